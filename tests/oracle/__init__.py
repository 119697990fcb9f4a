"""Pure-Python oracle of docs/numerics.md: each equation over unbounded integers and exact rationals.

Written from the page alone and importing nothing but the standard library, so that agreement means something.
"""

from .embedding import embed
from .exp_table import exp_table
from .formats import limits
from .layernorm import LayerNormRow, epsilon_integer, layernorm
from .matmul import matmul, partial_sum_bounds, product_bounds
from .requantize import generator, relu, requantize, shift_of_head, shift_of_head_dropped, shift_right
from .residual import add
from .rounding import half_even, tie_sign
from .softmax import SoftmaxRow, softmax

__all__ = [
    "LayerNormRow",
    "SoftmaxRow",
    "add",
    "embed",
    "epsilon_integer",
    "exp_table",
    "generator",
    "half_even",
    "layernorm",
    "limits",
    "matmul",
    "partial_sum_bounds",
    "product_bounds",
    "relu",
    "requantize",
    "shift_of_head",
    "shift_of_head_dropped",
    "shift_right",
    "softmax",
    "tie_sign",
]
