"""The matrix product for accumulators that saturate or wrap: (A1) to (A3) of docs/operators/accumulator.md.

One engine for all: the products of a tile are summed exactly, then each sum is brought into range. A tile of one
product is a multiply-accumulate, a tile of all products the end. The sums of a row are independent of each other: the
loop over the columns is inside, where LLVM makes vectors of it, and b comes as (k, n), less its zero point. All rows of
a block take a few products in turn, so that neither the columns of these products nor the sums leave the near caches.

The sums are lanes of int32 where none can reach 2^31 before it is brought into range, twice as many in a vector as
those of int64: a tile of 2^28 products below 2^34 can be added to an accumulator of 63 bits. Compiled code widens sums
and products of int32, hence the casts back to the lane, which lose nothing.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import OVERFLOW, Counters, bounds
from hwsim.operators.arguments import Accumulators, Codes

Sums = NDArray[np.int64]
Number = int | np.signedinteger
Lane = type[np.int32] | type[np.int64]

LANE_LIMIT = 1 << 31
"""Lanes of int32 hold what is smaller than this, and its negative."""
ROWS, COLUMNS = 64, 512
"""Sums of a block: to 256 kB, and the overflows of a row of them are counted in a lane."""
VECTOR = 16
"""Lanes of int32 in a vector of 512 bits."""


def lane_of(bits: int, terms: int) -> Any:
    """The type of sums of `bits` bits to which up to `terms` is added before they are brought into range."""
    return np.int32 if (1 << (bits - 1)) + terms <= LANE_LIMIT else np.int64


def lanes(rows: int, bits: int, terms: int) -> Accumulators:
    """Room for a block of sums, as `lane_of` has them."""
    return np.empty(min(rows, ROWS) * COLUMNS, lane_of(bits, terms))


def transposed(codes: NDArray[Any], zero: int) -> Codes:
    """Codes (batch, n, k) minus zero point as (batch, k, n), n filled up with zeros to whole vectors of lanes."""
    batch, n, k = codes.shape
    columns = np.zeros((batch, k, n + -n % VECTOR), np.int32)
    np.subtract(codes.swapaxes(1, 2), np.int32(zero), out=columns[:, :, :n])
    return columns


def reach(start: Sums, terms: int) -> int:
    """What no sum of the start and any of the products, `terms` together, exceeds in magnitude."""
    least, greatest = bounds(start)
    return max(-int(least), int(greatest)) + terms


@njit(cache=True, nogil=True)
def start_of(bias: Sums, bits: int, wraps: bool, results: int, counters: Counters) -> Sums:
    """The bias brought into range; each of the results of a column counts one overflow if it was not."""
    start = bias.copy()
    counters[OVERFLOW] += results * _fit_all(start, bits, wraps)
    return start


@njit(cache=True, nogil=True)
def fit_sums(sums: Accumulators, bits: int, wraps: bool, counters: Counters) -> None:
    """Brings exact sums (batch, m, n) into range, overflows counted: (A3). Sums of int32 to at most 31 bits."""
    for s in range(sums.shape[0]):
        for i in range(sums.shape[1]):
            counters[OVERFLOW] += _fit_all(sums[s, i], bits, wraps)


@njit(cache=True, nogil=True)
def dot_ordered(
    a: Codes,
    a_zero: int,
    columns: Codes,
    start: Sums,
    bits: int,
    wraps: bool,
    tile: int,
    sums: Accumulators,
    result: Accumulators,
    counters: Counters,
) -> None:
    """result[s,i,j] = start[j] + sum_k (a[s,i,k] - a_zero)*columns[s,k,j], brought into range after every tile.

    The start is in range, the columns come from `transposed`. The sums are room from `lanes`.
    """
    lane, half, overflows = sums.dtype.type, np.int64(1) << (bits - 1), np.int64(0)
    lo, hi = lane(-half), lane(half - 1)
    for s in range(result.shape[0]):
        for i in range(0, result.shape[1], ROWS):
            rows = a[s, i : i + ROWS]
            for j in range(0, result.shape[2], COLUMNS):
                width = min(COLUMNS, columns.shape[2] - j)
                fill(sums, rows.shape[0], width, start[j : j + COLUMNS])
                overflows += _add_block(sums, rows, a_zero, columns[s], j, width, lo, hi, wraps, tile)
                for row in range(rows.shape[0]):
                    _copy(sums[row * COLUMNS : (row + 1) * COLUMNS], result[s, i + row][j : j + COLUMNS])
    counters[OVERFLOW] += overflows


@njit(cache=True, nogil=True)
def first_event(
    a: Codes, a_zero: int, b: Codes, b_zero: int, bias: Sums, bits: int, wraps: bool, tile: int
) -> tuple[int, int, int, int]:
    """(s, i, j, last k of the tile) of the first overflow of `dot_ordered`, result by result; b comes as (s, n, k).

    k is -1 for a bias out of range, s is -1 if there is no overflow.
    """
    lo = -(np.int64(1) << (bits - 1))
    hi = -(lo + 1)
    for s in range(a.shape[0]):
        for i in range(a.shape[1]):
            for j in range(bias.size):
                total = bias[j]
                if _fit(total, lo, hi, wraps) != total:
                    return s, i, j, -1
                for first in range(0, a.shape[2], tile):
                    last = min(first + tile, a.shape[2])
                    for k in range(first, last):
                        total += (np.int64(a[s, i, k]) - a_zero) * (np.int64(b[s, j, k]) - b_zero)
                    if _fit(total, lo, hi, wraps) != total:
                        return s, i, j, last - 1
    return -1, -1, -1, -1


@inner
def fill(sums: Accumulators, rows: int, width: int, start: Sums) -> None:
    """The first sums of a block, 0 for the columns that fill up a vector."""
    for i in range(rows):
        row = row_of(sums, i, width)
        for c in range(width):
            row[c] = start[c] if c < start.size else 0


@njit(cache=True, nogil=True)
def row_of(sums: Accumulators, i: int, width: int) -> Accumulators:
    """A row of a block of sums, the rows being COLUMNS apart."""
    return sums[i * COLUMNS : i * COLUMNS + width]


@inner
def _copy(values: Accumulators, result: Accumulators) -> None:
    for c in range(result.size):
        result[c] = values[c]


@inner
def _add_block(
    sums: Accumulators,
    rows: Codes,
    a_zero: int,
    columns: Codes,
    j: int,
    width: int,
    lo: Number,
    hi: Number,
    wraps: bool,
    tile: int,
) -> np.int64:
    """Adds all products of a block of results, its columns starting at j; how many sums were outside."""
    overflows, start = np.int64(0), 0
    if tile == 1:
        start = rows.shape[1] - rows.shape[1] % 4
        for k in range(0, start, 4):
            for i in range(rows.shape[0]):
                overflows += _accumulate(row_of(sums, i, width), rows[i], a_zero, columns, j, k, lo, hi, wraps)
    for first in range(start, rows.shape[1], tile):
        add_tile(sums, rows, a_zero, columns, j, width, first, min(first + tile, rows.shape[1]))
        for i in range(rows.shape[0]):
            overflows += _fit_row(row_of(sums, i, width), lo, hi, wraps)
    return overflows


@inner
def _accumulate(
    sums: Accumulators,
    row: Codes,
    a_zero: int,
    columns: Codes,
    j: int,
    k: int,
    lo: Number,
    hi: Number,
    wraps: bool,
) -> np.int64:
    """Adds the products k to k + 3 one by one: sums are loaded and stored once for all four."""
    lane, last = sums.dtype.type, j + sums.size
    x0, x1, x2, x3 = four(row, a_zero, k, lane)
    y0, y1, y2, y3 = columns[k][j:last], columns[k + 1][j:last], columns[k + 2][j:last], columns[k + 3][j:last]
    overflows = lane(0)
    for c in range(sums.size):
        t0 = lane(sums[c] + lane(x0 * y0[c]))
        s0 = lane(_fit(t0, lo, hi, wraps))
        t1 = lane(s0 + lane(x1 * y1[c]))
        s1 = lane(_fit(t1, lo, hi, wraps))
        t2 = lane(s1 + lane(x2 * y2[c]))
        s2 = lane(_fit(t2, lo, hi, wraps))
        t3 = lane(s2 + lane(x3 * y3[c]))
        sums[c] = lane(_fit(t3, lo, hi, wraps))
        overflows = lane(overflows + lane(s0 != t0) + lane(s1 != t1) + lane(s2 != t2) + lane(sums[c] != t3))
    return np.int64(overflows)


@inner
def add_tile(
    sums: Accumulators, rows: Codes, a_zero: int, columns: Codes, j: int, width: int, first: int, last: int
) -> None:
    """Adds the products first to last - 1 exactly, four of them to four rows at a time."""
    fours, quads = last - (last - first) % 4, rows.shape[0] - rows.shape[0] % 4
    for k in range(first, fours, 4):
        for i in range(0, quads, 4):
            _add_to_four(sums[i * COLUMNS : (i + 4) * COLUMNS], width, rows[i : i + 4], a_zero, columns, j, k)
        for i in range(quads, rows.shape[0]):
            _add_four(row_of(sums, i, width), rows[i], a_zero, columns, j, k)
    for k in range(fours, last):
        for i in range(rows.shape[0]):
            _add_one(row_of(sums, i, width), np.int64(rows[i, k]) - a_zero, columns[k][j : j + width])


@inner
def _add_to_four(sums: Accumulators, width: int, rows: Codes, a_zero: int, columns: Codes, j: int, k: int) -> None:
    """Adds the products k to k + 3 to four rows, loading the columns once; rows at a fixed distance need no checks."""
    lane, end = sums.dtype.type, j + width
    a0, a1, a2, a3 = four(rows[0], a_zero, k, lane)
    b0, b1, b2, b3 = four(rows[1], a_zero, k, lane)
    c0, c1, c2, c3 = four(rows[2], a_zero, k, lane)
    d0, d1, d2, d3 = four(rows[3], a_zero, k, lane)
    y0, y1, y2, y3 = columns[k][j:end], columns[k + 1][j:end], columns[k + 2][j:end], columns[k + 3][j:end]
    for c in range(min(width, COLUMNS)):
        v0, v1, v2, v3 = lane(y0[c]), lane(y1[c]), lane(y2[c]), lane(y3[c])
        sums[c] = _sum(sums[c], a0 * v0, a1 * v1, a2 * v2, a3 * v3, lane)
        sums[c + COLUMNS] = _sum(sums[c + COLUMNS], b0 * v0, b1 * v1, b2 * v2, b3 * v3, lane)
        sums[c + 2 * COLUMNS] = _sum(sums[c + 2 * COLUMNS], c0 * v0, c1 * v1, c2 * v2, c3 * v3, lane)
        sums[c + 3 * COLUMNS] = _sum(sums[c + 3 * COLUMNS], d0 * v0, d1 * v1, d2 * v2, d3 * v3, lane)


@inner
def _add_four(sums: Accumulators, row: Codes, a_zero: int, columns: Codes, j: int, k: int) -> None:
    """Adds the products k to k + 3 to one row."""
    lane, end = sums.dtype.type, j + sums.size
    x0, x1, x2, x3 = four(row, a_zero, k, lane)
    y0, y1, y2, y3 = columns[k][j:end], columns[k + 1][j:end], columns[k + 2][j:end], columns[k + 3][j:end]
    for c in range(sums.size):
        sums[c] = _sum(sums[c], x0 * y0[c], x1 * y1[c], x2 * y2[c], x3 * y3[c], lane)


@inner
def _add_one(sums: Accumulators, factor: Number, column: Codes) -> None:
    lane = sums.dtype.type
    for c in range(sums.size):
        sums[c] = lane(sums[c] + lane(lane(factor) * column[c]))


@njit(cache=True, nogil=True)
def _sum(t: Number, p0: Number, p1: Number, p2: Number, p3: Number, lane: Lane) -> Number:
    """A sum and four products, in the lane."""
    return lane(t + lane(lane(lane(p0) + lane(p1)) + lane(lane(p2) + lane(p3))))


@inner
def four(row: Codes, a_zero: int, k: int, lane: Lane) -> tuple[Number, Number, Number, Number]:
    """Four factors, less the zero point: numbers of 17 bits."""
    x0, x1, x2, x3 = np.int64(row[k]), np.int64(row[k + 1]), np.int64(row[k + 2]), np.int64(row[k + 3])
    return lane(x0 - a_zero), lane(x1 - a_zero), lane(x2 - a_zero), lane(x3 - a_zero)


@njit(cache=True, nogil=True)
def _fit(t: Number, lo: Number, hi: Number, wraps: bool) -> Number:
    """fit(t): a sum wrapped or saturated to lo = -2^(bits-1) to hi = 2^(bits-1) - 1.

    Wrapped, the low bits are kept and their highest is the sign; nothing here can leave the type of t.
    """
    return ((t & (hi - lo)) ^ -lo) + lo if wraps else min(max(t, lo), hi)


@inner
def _fit_row(sums: Accumulators, lo: Number, hi: Number, wraps: bool) -> np.int64:
    """Brings a row of sums into range; how many were outside."""
    lane = sums.dtype.type
    overflows = lane(0)
    for c in range(sums.size):
        t = sums[c]
        sums[c] = lane(_fit(t, lo, hi, wraps))
        overflows = lane(overflows + lane(sums[c] != t))
    return np.int64(overflows)


@inner
def _fit_all(sums: Accumulators, bits: int, wraps: bool) -> np.int64:
    """Brings a row of any length into range; how many were outside."""
    lane, half, overflows = sums.dtype.type, np.int64(1) << (bits - 1), np.int64(0)
    for j in range(0, sums.size, COLUMNS):
        overflows += _fit_row(sums[j : j + COLUMNS], lane(-half), lane(half - 1), wraps)
    return overflows
