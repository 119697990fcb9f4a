"""The products on arrays, of the engine that the process uses; interpreted without JIT, they are NumPy's."""

from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import inner
from hwsim.operators.gemm.engines.kernels import pairs, quads_signed, quads_unsigned
from hwsim.operators.gemm.engines.packing import Pairs, Quads

Bytes = NDArray[np.int8] | NDArray[np.uint8]
Words = NDArray[np.int16]
Sums = NDArray[np.int32]


def is_signed(array: NDArray[Any]) -> bool:
    """Whether an array is of a signed type, a constant to the compiler."""
    return bool(array.dtype.kind == "i")


@overload(is_signed)
def _is_signed(array: Any) -> Any:
    signed = array.dtype.signed

    def constant(array: Any) -> Any:
        return signed

    return constant


@inner
def _check(
    a: tuple[int, int], packed: tuple[int, int, int, int], stride: int, bias: int, n: int, result: tuple[int, int]
) -> int:
    """Groups of k; a ValueError for operands that do not belong together, which would write anywhere.

    It takes shapes, and the stride of the groups, so that it is compiled once and not for every dtype.
    """
    panels, most, _, depth = packed
    groups = (a[1] + depth - 1) // depth
    if groups > most or n > panels * 16 or n > bias:
        raise ValueError("a packed operand or a bias is smaller than the product")
    if result[0] != a[0] or result[1] != n:
        raise ValueError("a result is not of the shape of the product")
    if panels and most and (stride != 64 or (depth == 4 and most % 16)):
        raise ValueError("a packed operand is not contiguous, or its groups are no multiple of 16")
    return groups


@njit(nogil=True, cache=True)
def multiply_quads(a: Bytes, packed: Quads, bias: Sums, n: int, result: Sums) -> None:
    """result[i, j] = bias[j] + sum_k a[i, k] * b[j, k], modulo 2^32, for 8-bit codes.

    Parameters
    ----------
    a : int8 or uint8, (m, k)
        Rows contiguous. Whole dwords are read, so that up to 3 bytes of memory must follow the last row; what is beyond
        the k that was packed, of the next row or anything, meets zeros.
    packed : int8, (panels, groups, 16, 4)
        b by `pack_centred`, contiguous.
    bias : int32, (n,) or longer, contiguous
    n : int
        Columns of the product.
    result : int32, (m, n)
        Rows contiguous; nothing else is written.

    Raises
    ------
    ValueError
        For shapes that do not belong together.
    """
    groups = _check(a.shape, packed.shape, packed.strides[1], bias.size, n, result.shape)
    left, right, start, target = a.ctypes.data, packed.ctypes.data, bias.ctypes.data, result.ctypes.data
    m, strides = a.shape[0], (a.strides[0], packed.strides[0], result.strides[0])
    if is_signed(a):
        quads_signed(left, strides[0], m, groups, right, strides[1], start, n, target, strides[2])
    else:
        quads_unsigned(left, strides[0], m, groups, right, strides[1], start, n, target, strides[2])


@njit(nogil=True, cache=True)
def multiply_pairs(a: Words, packed: Pairs, bias: Sums, n: int, result: Sums) -> None:
    """As `multiply_quads` for words: a int16 (m, k), k even or each row followed by memory for one more, b pairs."""
    groups = _check(a.shape, packed.shape, packed.strides[1], bias.size, n, result.shape)
    left, right, start, target = a.ctypes.data, packed.ctypes.data, bias.ctypes.data, result.ctypes.data
    m, strides = a.shape[0], (a.strides[0], packed.strides[0], result.strides[0])
    pairs(left, strides[0], m, groups, right, strides[1], start, n, target, strides[2])


def interpreted(a: Bytes | Words, packed: Quads | Pairs, bias: Sums, n: int, result: Sums) -> None:
    """The product in int64, brought to int32 at the end."""
    _check(a.shape, packed.shape, packed.strides[1], bias.size, n, result.shape)
    panels, groups, _, size = packed.shape
    b = packed.transpose(0, 2, 1, 3).reshape(panels * 16, groups * size)[:n, : a.shape[1]].astype(np.int64)
    result[...] = (a.astype(np.int64) @ b.T + bias[:n]).astype(np.int32)
