"""The matrix product of integer codes, (2) of docs/numerics.md and docs/operators/accumulator.md, and that of heads."""

from hwsim.operators.gemm.heads import Heads, project_heads
from hwsim.operators.gemm.operand import Prepared, prepare
from hwsim.operators.gemm.product import first_overflow, matmul, partial_extremes

__all__ = ["Heads", "Prepared", "first_overflow", "matmul", "partial_extremes", "prepare", "project_heads"]
