"""How far the exact running sums of a matrix product go, looked at where an accumulator would be brought into range.

The blocks and lanes are those of `ordered`. All rows of a block share one least and one greatest sum a column.
"""

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import bounds
from hwsim.operators.arguments import Accumulators, Codes
from hwsim.operators.gemm.ordered import COLUMNS, ROWS, Lane, Number, Sums, add_tile, fill, four, row_of


@njit(cache=True, nogil=True)
def running_extremes(
    a: Codes, a_zero: int, columns: Codes, bias: Sums, tile: int, sums: Accumulators
) -> tuple[np.int64, np.int64]:
    """Least and greatest value of the exact sums of `dot_ordered`, the bias included.

    The sums are room from `lanes` that holds any of them.
    """
    low, high = bounds(bias)
    least, greatest = np.empty(COLUMNS, sums.dtype), np.empty(COLUMNS, sums.dtype)
    for s in range(a.shape[0]):
        for i in range(0, a.shape[1], ROWS):
            rows = a[s, i : i + ROWS]
            for j in range(0, bias.size, COLUMNS):
                width = min(COLUMNS, columns.shape[2] - j)
                fill(sums, rows.shape[0], width, bias[j : j + COLUMNS])
                for c in range(width):
                    least[c] = greatest[c] = sums[c]
                _look_at_block(sums, rows, a_zero, columns[s], j, tile, least[:width], greatest[:width])
                for c in range(min(width, bias.size - j)):
                    low, high = min(low, np.int64(least[c])), max(high, np.int64(greatest[c]))
    return low, high


@inner
def _look_at_block(
    sums: Accumulators,
    rows: Codes,
    a_zero: int,
    columns: Codes,
    j: int,
    tile: int,
    least: Accumulators,
    greatest: Accumulators,
) -> None:
    """Adds all products of a block of results, its columns starting at j."""
    start, width, quads = 0, least.size, rows.shape[0] - rows.shape[0] % 4
    if tile == 1:
        start = rows.shape[1] - rows.shape[1] % 4
        for k in range(0, start, 4):
            for i in range(0, quads, 4):
                _add_to_four(
                    sums[i * COLUMNS : (i + 4) * COLUMNS], rows[i : i + 4], a_zero, columns, j, k, least, greatest
                )
            for i in range(quads, rows.shape[0]):
                _add_and_look(row_of(sums, i, width), rows[i], a_zero, columns, j, k, least, greatest)
    for first in range(start, rows.shape[1], tile):
        add_tile(sums, rows, a_zero, columns, j, width, first, min(first + tile, rows.shape[1]))
        for i in range(rows.shape[0]):
            _look(row_of(sums, i, width), least, greatest)


@inner
def _add_and_look(
    sums: Accumulators,
    row: Codes,
    a_zero: int,
    columns: Codes,
    j: int,
    k: int,
    least: Accumulators,
    greatest: Accumulators,
) -> None:
    """Adds the products k to k + 3 one by one: sums are loaded and stored once for all four."""
    lane, last = sums.dtype.type, j + sums.size
    x0, x1, x2, x3 = four(row, a_zero, k, lane)
    y0, y1, y2, y3 = columns[k][j:last], columns[k + 1][j:last], columns[k + 2][j:last], columns[k + 3][j:last]
    for c in range(sums.size):
        sums[c], low, high = _sums(sums[c], x0 * y0[c], x1 * y1[c], x2 * y2[c], x3 * y3[c], lane)
        least[c], greatest[c] = min(least[c], low), max(greatest[c], high)


@inner
def _add_to_four(
    sums: Accumulators,
    rows: Codes,
    a_zero: int,
    columns: Codes,
    j: int,
    k: int,
    least: Accumulators,
    greatest: Accumulators,
) -> None:
    """As `_add_and_look`, to four rows, loading the columns and extremes once."""
    lane, width = sums.dtype.type, least.size
    end = j + width
    a0, a1, a2, a3 = four(rows[0], a_zero, k, lane)
    b0, b1, b2, b3 = four(rows[1], a_zero, k, lane)
    c0, c1, c2, c3 = four(rows[2], a_zero, k, lane)
    d0, d1, d2, d3 = four(rows[3], a_zero, k, lane)
    y0, y1, y2, y3 = columns[k][j:end], columns[k + 1][j:end], columns[k + 2][j:end], columns[k + 3][j:end]
    for c in range(min(width, COLUMNS)):
        v0, v1, v2, v3 = lane(y0[c]), lane(y1[c]), lane(y2[c]), lane(y3[c])
        sums[c], al, ah = _sums(sums[c], a0 * v0, a1 * v1, a2 * v2, a3 * v3, lane)
        sums[c + COLUMNS], bl, bh = _sums(sums[c + COLUMNS], b0 * v0, b1 * v1, b2 * v2, b3 * v3, lane)
        sums[c + 2 * COLUMNS], cl, ch = _sums(sums[c + 2 * COLUMNS], c0 * v0, c1 * v1, c2 * v2, c3 * v3, lane)
        sums[c + 3 * COLUMNS], dl, dh = _sums(sums[c + 3 * COLUMNS], d0 * v0, d1 * v1, d2 * v2, d3 * v3, lane)
        least[c] = min(least[c], min(min(al, bl), min(cl, dl)))
        greatest[c] = max(greatest[c], max(max(ah, bh), max(ch, dh)))


@njit(cache=True, nogil=True)
def _sums(t: Number, p0: Number, p1: Number, p2: Number, p3: Number, lane: Lane) -> tuple[Number, Number, Number]:
    """A sum and four products, one by one, in the lane; and the least and the greatest of the four sums."""
    s0 = lane(t + lane(p0))
    s1 = lane(s0 + lane(p1))
    s2 = lane(s1 + lane(p2))
    s3 = lane(s2 + lane(p3))
    return s3, min(min(s0, s1), min(s2, s3)), max(max(s0, s1), max(s2, s3))


@inner
def _look(sums: Accumulators, least: Accumulators, greatest: Accumulators) -> None:
    for c in range(sums.size):
        least[c] = min(least[c], sums[c])
        greatest[c] = max(greatest[c], sums[c])
