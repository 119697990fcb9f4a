"""The matrix product for accumulators that are proven not to overflow, in whatever order is fastest.

`dot_narrow` multiplies int16 by int16 into int32, which LLVM vectorises over k; a tile of two rows by four columns
loads six numbers for eight products. The explicit np.int32 keeps the sums in 32 bits where compiled code would widen
them to 64. It needs no bound to be reordered: addition modulo 2^32 is associative, and a proven result lies inside
int32. Interpreted, NumPy's int32 scalars give the same sums, since by (10a) no sum of some of the terms leaves a proven
accumulator.

`dot_wide` works in int64 on the codes themselves; it serves every accumulator and all codes of at most 16 bits.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.operators.arguments import Accumulators, Codes

Narrow = NDArray[np.int16]


@njit(cache=True)
def centre(codes: Codes, zero: int, result: Narrow) -> None:
    """codes - zero as int16, on flat arrays; the caller has seen that it fits."""
    for i in range(codes.size):
        result[i] = np.int16(np.int64(codes[i]) - zero)


@njit(cache=True)
def dot_narrow(a: Narrow, b: Narrow, bias: NDArray[np.int64], result: Accumulators) -> None:
    """result[s,i,j] = bias[j] + sum_k a[s,i,k]*b[s,j,k], modulo 2^32, by tiles, strips and single products."""
    _, m, n = result.shape
    for s in range(result.shape[0]):
        for j in range(0, n - 3, 4):
            for i in range(0, m - 1, 2):
                _tile(a[s], b[s], i, j, result[s])
            if m % 2:
                _strip(a[s, m - 1], b[s], j, result[s, m - 1])
        for j in range(n - n % 4, n):
            for i in range(m):
                result[s, i, j] = _dot(a[s, i], b[s, j])
        _add_bias(bias, result[s])


@njit(cache=True)
def _product(x: np.int16, y: np.int16) -> np.int32:
    return np.int32(np.int32(x) * np.int32(y))


@njit(cache=True)
def _dot(x: Narrow, y: Narrow) -> np.int32:
    total = np.int32(0)
    for k in range(x.size):
        total = np.int32(total + _product(x[k], y[k]))
    return total


@njit(cache=True)
def _strip(x: Narrow, b: Narrow, j: int, result: Accumulators) -> None:
    """One row times four."""
    y0, y1, y2, y3 = b[j], b[j + 1], b[j + 2], b[j + 3]
    t0, t1, t2, t3 = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for k in range(x.size):
        t0 = np.int32(t0 + _product(x[k], y0[k]))
        t1 = np.int32(t1 + _product(x[k], y1[k]))
        t2 = np.int32(t2 + _product(x[k], y2[k]))
        t3 = np.int32(t3 + _product(x[k], y3[k]))
    result[j], result[j + 1], result[j + 2], result[j + 3] = t0, t1, t2, t3


@njit(cache=True)
def _tile(a: Narrow, b: Narrow, i: int, j: int, result: Accumulators) -> None:
    """Two rows times four: six loads for eight multiply-adds."""
    x0, x1, y0, y1, y2, y3 = a[i], a[i + 1], b[j], b[j + 1], b[j + 2], b[j + 3]
    t0, t1, t2, t3 = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    u0, u1, u2, u3 = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for k in range(x0.size):
        t0 = np.int32(t0 + _product(x0[k], y0[k]))
        t1 = np.int32(t1 + _product(x0[k], y1[k]))
        t2 = np.int32(t2 + _product(x0[k], y2[k]))
        t3 = np.int32(t3 + _product(x0[k], y3[k]))
        u0 = np.int32(u0 + _product(x1[k], y0[k]))
        u1 = np.int32(u1 + _product(x1[k], y1[k]))
        u2 = np.int32(u2 + _product(x1[k], y2[k]))
        u3 = np.int32(u3 + _product(x1[k], y3[k]))
    result[i, j], result[i, j + 1], result[i, j + 2], result[i, j + 3] = t0, t1, t2, t3
    result[i + 1, j], result[i + 1, j + 1], result[i + 1, j + 2], result[i + 1, j + 3] = u0, u1, u2, u3


@njit(cache=True)
def _add_bias(bias: NDArray[np.int64], result: Accumulators) -> None:
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            result[i, j] = np.int32(np.int64(result[i, j]) + bias[j])


@njit(cache=True)
def dot_wide(a: Codes, a_zero: int, b: Codes, b_zero: int, bias: NDArray[np.int64], result: Accumulators) -> None:
    """result[s,i,j] = bias[j] + sum_k (a[s,i,k] - a_zero)*(b[s,j,k] - b_zero), in int64."""
    for s in range(result.shape[0]):
        for i in range(result.shape[1]):
            for j in range(result.shape[2]):
                total = np.int64(bias[j])
                for k in range(a.shape[2]):
                    total += (np.int64(a[s, i, k]) - a_zero) * (np.int64(b[s, j, k]) - b_zero)
                result[s, i, j] = total
