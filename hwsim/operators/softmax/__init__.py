"""Softmax of integer scores: equations (4a) to (4e) of docs/numerics.md, and docs/operators/softmax.md."""

from hwsim.operators.softmax.gemmini import gemmini_softmax
from hwsim.operators.softmax.gemmlowp_int8 import gemmlowp_softmax
from hwsim.operators.softmax.ibert import ibert_softmax
from hwsim.operators.softmax.ita import itamax
from hwsim.operators.softmax.pulp import pulp_softmax
from hwsim.operators.softmax.qlinear import qlinear_softmax
from hwsim.operators.softmax.table import SoftmaxCodes, softmax
from hwsim.operators.softmax.table_int16 import softmax_int16

__all__ = [
    "SoftmaxCodes",
    "gemmini_softmax",
    "gemmlowp_softmax",
    "ibert_softmax",
    "itamax",
    "pulp_softmax",
    "qlinear_softmax",
    "softmax",
    "softmax_int16",
]
