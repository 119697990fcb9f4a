"""The kernels by name: one function for each equation of docs/numerics.md, as the machine calls them."""

from hwsim.activation import relu
from hwsim.embedding import embed
from hwsim.gemm import matmul
from hwsim.layernorm import LayerNormConstants, layernorm
from hwsim.requantize import requantize, shift_right
from hwsim.residual import add
from hwsim.softmax import softmax

__all__ = [
    "LayerNormConstants",
    "add",
    "embed",
    "layernorm",
    "matmul",
    "relu",
    "requantize",
    "shift_right",
    "softmax",
]
