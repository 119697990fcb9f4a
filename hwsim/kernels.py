"""The kernels by name: one function for each operator of docs/numerics.md and docs/operators."""

from hwsim.operators.activation import ibert_gelu, ita_gelu, relu, table_interpolate, table_lookup
from hwsim.operators.embedding import embed
from hwsim.operators.gemm import matmul
from hwsim.operators.layernorm import LayerNormConstants, ibert_layernorm, layernorm, pulp_layernorm, tflite_layernorm
from hwsim.operators.requantize import requantize, shift_right
from hwsim.operators.residual import add, rescaled_add
from hwsim.operators.softmax import gemmini_softmax, gemmlowp_softmax, ibert_softmax, itamax, softmax, softmax_int16

__all__ = [
    "LayerNormConstants",
    "add",
    "embed",
    "gemmini_softmax",
    "gemmlowp_softmax",
    "ibert_gelu",
    "ibert_layernorm",
    "ibert_softmax",
    "ita_gelu",
    "itamax",
    "layernorm",
    "matmul",
    "pulp_layernorm",
    "relu",
    "requantize",
    "rescaled_add",
    "shift_right",
    "softmax",
    "softmax_int16",
    "table_interpolate",
    "table_lookup",
    "tflite_layernorm",
]
