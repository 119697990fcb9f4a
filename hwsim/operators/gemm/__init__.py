"""The matrix product of integer codes: equation (2) of docs/numerics.md, and docs/operators/accumulator.md."""

from hwsim.operators.gemm.product import Prepared, first_overflow, matmul, partial_extremes, prepare

__all__ = ["Prepared", "first_overflow", "matmul", "partial_extremes", "prepare"]
