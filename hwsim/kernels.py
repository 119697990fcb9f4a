"""The kernels by name: one function for each operator of docs/numerics.md and docs/operators."""

from hwsim.operators.activation import (
    gemmini_gelu,
    ibert_gelu,
    ita_gelu,
    pulp_gelu,
    relu,
    table_interpolate,
    table_lookup,
)
from hwsim.operators.converters import nvdla_convert, requant_shift
from hwsim.operators.embedding import embed
from hwsim.operators.gemm import matmul, project_heads
from hwsim.operators.layernorm import (
    LayerNormConstants,
    gemmini_layernorm,
    ibert_layernorm,
    layernorm,
    pulp_layernorm,
    tflite_layernorm,
)
from hwsim.operators.mean import pulp_mean
from hwsim.operators.requantize import requantize, shift_right
from hwsim.operators.residual import add, rescaled_add
from hwsim.operators.softmax import (
    gemmini_softmax,
    gemmlowp_softmax,
    ibert_softmax,
    itamax,
    pulp_softmax,
    qlinear_softmax,
    softmax,
    softmax_int16,
)

__all__ = [
    "LayerNormConstants",
    "add",
    "embed",
    "gemmini_gelu",
    "gemmini_layernorm",
    "gemmini_softmax",
    "gemmlowp_softmax",
    "ibert_gelu",
    "ibert_layernorm",
    "ibert_softmax",
    "ita_gelu",
    "itamax",
    "layernorm",
    "matmul",
    "nvdla_convert",
    "project_heads",
    "pulp_gelu",
    "pulp_layernorm",
    "pulp_mean",
    "pulp_softmax",
    "qlinear_softmax",
    "relu",
    "requant_shift",
    "requantize",
    "rescaled_add",
    "shift_right",
    "softmax",
    "softmax_int16",
    "table_interpolate",
    "table_lookup",
    "tflite_layernorm",
]
