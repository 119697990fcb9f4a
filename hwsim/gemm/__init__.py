"""The matrix product of integer codes: equation (2) of docs/numerics.md."""

from hwsim.gemm.product import Prepared, matmul, prepare

__all__ = ["Prepared", "matmul", "prepare"]
