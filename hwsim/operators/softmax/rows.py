"""What every softmax does to rows of scores: masks, distances from the greatest, the last clamp.

Rows are short, of as many elements as a sentence has keys. So that loops fill vectors they run over the columns of an
array (keys, rows) into which scores are copied, `LANES` rows at once: every stage is a loop over keys and, inside it,
one over rows, each of which has its own sum and divisor.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import DENOMINATOR_CLAMP, SATURATION, Counters, Integer, clamp_and_change
from hwsim.operators.arguments import Codes, check_array, check_counters, check_shape
from hwsim.operators.quotients import Held

Mask = NDArray[np.bool_] | NDArray[np.uint8]
Values = NDArray[np.int64]
NOTHING = -(1 << 32)
"""Less than every score."""
FURTHEST = -NOTHING
"""More than two scores lie apart."""
LANES = 32
"""Rows at once."""
OWN = 4
"""Numbers that a softmax keeps of each row."""
NEAR = 256
"""Distances that two scores of 8 bits can have."""
SIDES = OWN + NEAR // LANES
"""Rows of LANES numbers beside the values."""


def check_rows(scores: Codes, allowed: Mask, counters: Counters) -> None:
    """Refuse arrays of other dtypes or shapes than (rows, n)."""
    check_array("scores", scores, (np.int32,), 2)
    check_array("allowed", allowed, (np.bool_,), 2)
    check_shape("allowed", allowed, scores.shape)
    check_counters(counters)


def check_distances(scores: Codes, allowed: Mask, table: Codes) -> None:
    """Refuse allowed scores further apart than the table is long."""
    reach = int(furthest(scores, allowed))
    if reach >= table.size:
        raise ValueError(f"a score lies {reach} below its row's greatest; allowed: 0 to {table.size - 1}, the table")


class Masks(NamedTuple):
    """What is allowed of scores: row i of them has row i // rows of the mask; all is allowed by a mask without rows."""

    mask: Mask
    rows: int


class Work(NamedTuple):
    """What a softmax works in, all int64: `values` (n, LANES) of a key and a row, and what it knows of each row.

    `most` is the greatest allowed score, NOTHING if there is none; the others are the softmax's own. `near` (NEAR,) has
    room for a table of the distances of 8-bit scores.
    """

    values: Values
    most: Values
    totals: Values
    factors: Values
    shifts: Values
    near: Values


def masks_of(allowed: Mask) -> Masks:
    """The mask of each row, or none where nothing is masked."""
    return Masks(allowed[: 0 if allowed.all() else len(allowed)], 1)


def room_for(scores: Codes) -> Work:
    """Where the rows of scores can be worked on."""
    return work_in(np.empty((scores.shape[1], LANES), np.int64), np.empty((SIDES, LANES), np.int64))


@njit(cache=True, nogil=True)
def work_in(values: Values, sides: Values) -> Work:
    """Room in arrays (n, LANES) and (SIDES, LANES)."""
    return Work(values, sides[0], sides[1], sides[2], sides[3], sides[OWN:].reshape(NEAR))


@njit(cache=True, nogil=True)
def row_of_mask(i: Integer, masks: Masks) -> np.int64:
    """The row of the mask that row i of the scores has, -1 if it has none."""
    return np.int64(i) // np.int64(masks.rows) if masks.mask.shape[0] else np.int64(-1)


@inner
def greatest(scores: Held, i: int, mask: Mask, k: Integer) -> np.int64:
    """Greatest allowed score of row i, by row k of the mask; NOTHING if there is none."""
    most = np.int64(NOTHING)
    if k < 0:
        for j in range(scores.shape[1]):
            most = max(most, np.int64(scores[i, j]))
    else:
        for j in range(scores.shape[1]):
            most = max(most, np.int64(scores[i, j]) if mask[k, j] else np.int64(NOTHING))
    return most


@njit(cache=True, nogil=True)
def _columns(scores: Held, first: int, lanes: int, masks: Masks, values: Values) -> None:
    """Each of `lanes` rows from `first` on as a column; NOTHING for a masked key."""
    for lane in range(lanes):
        i, k = first + lane, row_of_mask(first + lane, masks)
        if k < 0:
            for j in range(scores.shape[1]):
                values[j, lane] = scores[i, j]
        else:
            for j in range(scores.shape[1]):
                values[j, lane] = np.int64(scores[i, j]) if masks.mask[k, j] else np.int64(NOTHING)


@njit(cache=True, nogil=True)
def distances(scores: Held, first: int, masks: Masks, work: Work) -> np.int64:
    """How far each allowed key lies below its row's greatest, -1 for a masked one; of so many rows from `first` on."""
    lanes, values, most = min(LANES, scores.shape[0] - first), work.values, work.most
    _columns(scores, first, lanes, masks, values)
    for lane in range(lanes):
        most[lane] = NOTHING
    for j in range(values.shape[0]):
        for lane in range(lanes):
            most[lane] = max(most[lane], values[j, lane])
    for j in range(values.shape[0]):
        for lane in range(lanes):
            score = values[j, lane]
            values[j, lane] = most[lane] - score if score > NOTHING else np.int64(-1)
    return np.int64(lanes)


@njit(cache=True, nogil=True, forceinline=True)
def kept(value: Integer, distance: Integer) -> np.int64:
    """A value of an allowed key, 0 of a masked one."""
    return np.int64(value) & -np.int64(distance >= 0)


@njit(cache=True, nogil=True)
def add_up(work: Work, lanes: Integer) -> None:
    """The sum of each row's values."""
    for lane in range(lanes):
        work.totals[lane] = 0
    for j in range(work.values.shape[0]):
        for lane in range(lanes):
            work.totals[lane] += work.values[j, lane]


@njit(cache=True, nogil=True)
def raise_totals(work: Work, lanes: Integer, counters: Counters) -> None:
    """Sums of rows with an allowed key raised to 1, each counted; those of the others, which are 0, are made 1 too."""
    for lane in range(lanes):
        counters[DENOMINATOR_CLAMP] += np.int64(work.totals[lane] < 1 and work.most[lane] > NOTHING)
        work.totals[lane] = max(work.totals[lane], np.int64(1))


@njit(cache=True, nogil=True)
def furthest(scores: Held, allowed: Mask) -> np.int64:
    """Greatest distance between two allowed scores of a row, of all rows; -1 if nothing is allowed."""
    reach = np.int64(-1)
    for i in range(scores.shape[0]):
        least, most = np.int64(-NOTHING), np.int64(NOTHING)
        for j in range(scores.shape[1]):
            score = np.int64(scores[i, j])
            least = min(least, score if allowed[i, j] else np.int64(-NOTHING))
            most = max(most, score if allowed[i, j] else np.int64(NOTHING))
        reach = max(reach, most - least)
    return reach


@njit(cache=True, nogil=True)
def store(
    codes: Held, first: int, lanes: Integer, values: Values, lo: Integer, hi: Integer, counters: Counters
) -> None:
    """Clamp the values of rows into their places from row `first` on."""
    saturations = np.int64(0)
    for j in range(values.shape[0]):
        for lane in range(lanes):
            code, changed = clamp_and_change(values[j, lane], lo, hi)
            values[j, lane] = code
            saturations += changed
    counters[SATURATION] += saturations
    put_back(codes, first, lanes, values)


@njit(cache=True, nogil=True)
def put_back(codes: Held, first: int, lanes: Integer, values: Values) -> None:
    """Columns as rows."""
    for lane in range(lanes):
        for j in range(values.shape[0]):
            codes[first + lane, j] = values[j, lane]


@inner
def shifted_right(value: Integer, shift: Integer) -> np.int64:
    """value >> shift of a non-negative value for any shift >= 0: 0 from 63 on."""
    return np.int64(value) >> np.int64(min(shift, 63))
