"""Activations: ReLU, (6) of docs/numerics.md, and docs/operators/activation.md."""

from hwsim.operators.activation.gelu import gemmini_gelu, ibert_gelu, ita_gelu, pulp_gelu
from hwsim.operators.activation.relu import relu
from hwsim.operators.activation.table import table_interpolate, table_lookup

__all__ = ["gemmini_gelu", "ibert_gelu", "ita_gelu", "pulp_gelu", "relu", "table_interpolate", "table_lookup"]
