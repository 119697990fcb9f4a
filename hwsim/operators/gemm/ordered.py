"""The matrix product for accumulators that saturate or wrap: (A1) to (A3) of docs/operators/accumulator.md.

One engine for all: the products of a tile are summed exactly, then each sum is brought into range. A tile of one
product is a multiply-accumulate, a tile of all products the end. The sums of a row are independent of each other, so
the loop over the columns is inside; b comes as (k, n). Sums are int64: a tile of 2^28 products below 2^34 can be added
to an accumulator of 63 bits.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import OVERFLOW, Counters, bounds, clamp, wrap
from hwsim.operators.arguments import Accumulators, Codes

Sums = NDArray[np.int64]


@njit(cache=True)
def dot_ordered(
    a: Codes,
    a_zero: int,
    columns: Codes,
    b_zero: int,
    bias: Sums,
    bits: int,
    wraps: bool,
    tile: int,
    result: Accumulators,
    counters: Counters,
) -> None:
    """result[s,i,j] = bias[j] + sum_k (a[s,i,k] - a_zero)*(columns[s,k,j] - b_zero), in range after every tile.

    The bias is the first sum: each result[s,i,j] whose bias is out of range counts one overflow for it.
    """
    overflows, sums = np.int64(0), np.empty_like(bias)
    for s in range(result.shape[0]):
        for i in range(result.shape[1]):
            _copy(bias, sums)
            overflows += _bring_into_range(sums, bits, wraps)
            for first in range(0, a.shape[2], tile):
                _add_tile(sums, a[s, i], a_zero, columns[s], b_zero, first, tile)
                overflows += _bring_into_range(sums, bits, wraps)
            for j in range(sums.size):
                result[s, i, j] = sums[j]
    counters[OVERFLOW] += overflows


@njit(cache=True)
def running_extremes(
    a: Codes, a_zero: int, columns: Codes, b_zero: int, bias: Sums, tile: int
) -> tuple[np.int64, np.int64]:
    """Least and greatest value of the exact sums of `dot_ordered`, looked at where it brings them into range."""
    (low, high), sums = bounds(bias), np.empty_like(bias)
    for s in range(a.shape[0]):
        for i in range(a.shape[1]):
            _copy(bias, sums)
            for first in range(0, a.shape[2], tile):
                _add_tile(sums, a[s, i], a_zero, columns[s], b_zero, first, tile)
                least, greatest = bounds(sums)
                low, high = min(low, least), max(high, greatest)
    return low, high


@njit(cache=True)
def first_event(
    a: Codes, a_zero: int, b: Codes, b_zero: int, bias: Sums, bits: int, wraps: bool, tile: int
) -> tuple[int, int, int, int]:
    """(s, i, j, last k of the tile) of the first overflow of `dot_ordered`, result by result; b comes as (s, n, k).

    k is -1 for a bias out of range, s is -1 if there is no overflow.
    """
    for s in range(a.shape[0]):
        for i in range(a.shape[1]):
            for j in range(bias.size):
                total = bias[j]
                if _fit(total, bits, wraps) != total:
                    return s, i, j, -1
                for first in range(0, a.shape[2], tile):
                    last = min(first + tile, a.shape[2])
                    for k in range(first, last):
                        total += (np.int64(a[s, i, k]) - a_zero) * (np.int64(b[s, j, k]) - b_zero)
                    if _fit(total, bits, wraps) != total:
                        return s, i, j, last - 1
    return -1, -1, -1, -1


@njit(cache=True)
def _copy(bias: Sums, sums: Sums) -> None:
    for j in range(sums.size):
        sums[j] = bias[j]


@njit(cache=True)
def _add_tile(sums: Sums, row: Codes, a_zero: int, columns: Codes, b_zero: int, first: int, tile: int) -> None:
    """Adds the products of k = first .. first + tile - 1, four at a time: sums are loaded and stored once for all."""
    last = min(first + tile, row.size)
    fours = last - (last - first) % 4
    for k in range(first, fours, 4):
        x0, x1 = np.int64(row[k]) - a_zero, np.int64(row[k + 1]) - a_zero
        x2, x3 = np.int64(row[k + 2]) - a_zero, np.int64(row[k + 3]) - a_zero
        y0, y1, y2, y3 = columns[k], columns[k + 1], columns[k + 2], columns[k + 3]
        for j in range(sums.size):
            left = x0 * (np.int64(y0[j]) - b_zero) + x1 * (np.int64(y1[j]) - b_zero)
            sums[j] += left + x2 * (np.int64(y2[j]) - b_zero) + x3 * (np.int64(y3[j]) - b_zero)
    for k in range(fours, last):
        factor, column = np.int64(row[k]) - a_zero, columns[k]
        for j in range(sums.size):
            sums[j] += factor * (np.int64(column[j]) - b_zero)


@njit(cache=True)
def _fit(value: np.int64, bits: int, wraps: bool) -> np.int64:
    """fit(t): a sum wrapped or saturated to `bits` bits."""
    hi = (np.int64(1) << (bits - 1)) - 1
    return wrap(value, bits) if wraps else clamp(value, -hi - 1, hi)


@njit(cache=True)
def _bring_into_range(sums: Sums, bits: int, wraps: bool) -> np.int64:
    """Fit every sum to `bits` bits; how many were outside."""
    overflows = np.int64(0)
    for j in range(sums.size):
        value = sums[j]
        sums[j] = _fit(value, bits, wraps)
        overflows += np.int64(sums[j] != value)
    return overflows
