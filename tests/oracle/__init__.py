"""Pure-Python oracle of docs/numerics.md and docs/operators: each equation over unbounded integers and exact rationals.

Written from the pages alone and importing nothing but the standard library, so that agreement means something.
"""

from .accumulator import Accumulation, a2q_bits, accumulate, least_bits, matmul_by
from .activation import (
    code_table,
    gemmini_gelu,
    ibert_gelu,
    ita_gelu,
    pulp_gelu,
    pulp_mean,
    table_interpolate,
    table_lookup,
)
from .constants import (
    gemmini_constants,
    gemmini_gelu_constants,
    gemmlowp_constants,
    ibert_16_bit,
    ibert_constants,
    ibert_gelu_constants,
    ita_gelu_constants,
    pulp_constants,
)
from .embedding import embed
from .exp_table import exp_table, qlinear_table
from .formats import limits
from .heads import HeadSum, project_heads
from .interpolation import interpolation_table, lookup, softmax_tables
from .layernorm import LayerNormRow, epsilon_integer, layernorm
from .layernorms import (
    Result,
    ShortNormRow,
    gemmini_layernorm,
    ibert_layernorm,
    pulp_layernorm,
    tflite_layernorm,
)
from .matmul import matmul, partial_sum_bounds, product_bounds
from .requantize import generator, relu, requantize, shift_of_head, shift_of_head_dropped, shift_right
from .residual import add, rescaled_add, sum_of_heads
from .rounding import half_even, tie_sign
from .scaling import (
    Converted,
    Ratio,
    Scaled,
    double_round,
    nvdla_convert,
    requant_shift,
    requantize_by,
    scale,
    shift_right_saturating,
)
from .softmax import SoftmaxRow, softmax
from .softmaxes import (
    Polynomial,
    ShortSoftmaxRow,
    gemmini_softmax,
    gemmlowp_softmax,
    ibert_softmax,
    itamax,
    pulp_softmax,
    qlinear_softmax,
    softmax_int16,
)

__all__ = [
    "Accumulation",
    "Converted",
    "HeadSum",
    "LayerNormRow",
    "Polynomial",
    "Ratio",
    "Result",
    "Scaled",
    "ShortNormRow",
    "ShortSoftmaxRow",
    "SoftmaxRow",
    "a2q_bits",
    "accumulate",
    "add",
    "code_table",
    "double_round",
    "embed",
    "epsilon_integer",
    "exp_table",
    "gemmini_constants",
    "gemmini_gelu",
    "gemmini_gelu_constants",
    "gemmini_layernorm",
    "gemmini_softmax",
    "gemmlowp_constants",
    "gemmlowp_softmax",
    "generator",
    "half_even",
    "ibert_16_bit",
    "ibert_constants",
    "ibert_gelu",
    "ibert_gelu_constants",
    "ibert_layernorm",
    "ibert_softmax",
    "interpolation_table",
    "ita_gelu",
    "ita_gelu_constants",
    "itamax",
    "layernorm",
    "least_bits",
    "limits",
    "lookup",
    "matmul",
    "matmul_by",
    "nvdla_convert",
    "partial_sum_bounds",
    "product_bounds",
    "project_heads",
    "pulp_constants",
    "pulp_gelu",
    "pulp_layernorm",
    "pulp_mean",
    "pulp_softmax",
    "qlinear_softmax",
    "qlinear_table",
    "relu",
    "requant_shift",
    "requantize",
    "requantize_by",
    "rescaled_add",
    "scale",
    "shift_of_head",
    "shift_of_head_dropped",
    "shift_right",
    "shift_right_saturating",
    "softmax",
    "softmax_int16",
    "softmax_tables",
    "sum_of_heads",
    "table_interpolate",
    "table_lookup",
    "tflite_layernorm",
    "tie_sign",
]
