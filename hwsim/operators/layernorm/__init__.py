"""LayerNorm and RMSNorm of integer codes: (5a) to (5f) of docs/numerics.md, and docs/operators/layernorm.md."""

from hwsim.operators.layernorm.fullyqt import LayerNormCodes, LayerNormConstants, layernorm
from hwsim.operators.layernorm.gemmini import gemmini_layernorm
from hwsim.operators.layernorm.ibert import ibert_layernorm
from hwsim.operators.layernorm.pulp import pulp_layernorm
from hwsim.operators.layernorm.tflite import tflite_layernorm

__all__ = [
    "LayerNormCodes",
    "LayerNormConstants",
    "gemmini_layernorm",
    "ibert_layernorm",
    "layernorm",
    "pulp_layernorm",
    "tflite_layernorm",
]
