"""Softmax of integer scores: equations (4a) to (4e) of docs/numerics.md, and docs/operators/softmax.md."""

from hwsim.softmax.gemmini import gemmini_softmax
from hwsim.softmax.gemmlowp_int8 import gemmlowp_softmax
from hwsim.softmax.ibert import ibert_softmax
from hwsim.softmax.ita import itamax
from hwsim.softmax.table import SoftmaxCodes, softmax
from hwsim.softmax.table_int16 import softmax_int16

__all__ = [
    "SoftmaxCodes",
    "gemmini_softmax",
    "gemmlowp_softmax",
    "ibert_softmax",
    "itamax",
    "softmax",
    "softmax_int16",
]
