"""What every softmax does to a row of scores: masks, distances from the greatest, the last clamp."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import SATURATION, Counters, Integer, clamp_and_change
from hwsim.operators.arguments import Codes, check_array, check_counters, check_shape
from hwsim.operators.quotients import Held

Mask = NDArray[np.bool_] | NDArray[np.uint8]
Values = NDArray[np.int64]
NOTHING = -(1 << 32)
"""Less than every score."""


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


def masks_of(allowed: Mask) -> Masks:
    """The mask of each row, or none where nothing is masked."""
    return Masks(allowed[: 0 if allowed.all() else len(allowed)], 1)


@njit(cache=True, nogil=True)
def row_of_mask(i: Integer, masks: Masks) -> np.int64:
    """The row of the mask that row i of the scores has, -1 if it has none."""
    return np.int64(i) // np.int64(masks.rows) if masks.mask.shape[0] else np.int64(-1)


@njit(cache=True, nogil=True)
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
def distances(scores: Held, i: int, mask: Mask, k: Integer, values: Values) -> bool:
    """How far each allowed key of row i lies below the greatest of them, 0 for the others; False if there is none.

    A masked key is so as near as the greatest: it adds nothing to what a row can reach.
    """
    most = greatest(scores, i, mask, k)
    if k < 0:
        for j in range(scores.shape[1]):
            values[j] = most - np.int64(scores[i, j])
    else:
        for j in range(scores.shape[1]):
            values[j] = most - np.int64(scores[i, j]) if mask[k, j] else np.int64(0)
    return bool(most > NOTHING)


@njit(cache=True, nogil=True)
def allowed_sum(values: Values, mask: Mask, k: Integer) -> np.int64:
    """Sum of the values of the allowed keys; those of the others become 0."""
    total = np.int64(0)
    if k >= 0:
        for j in range(values.size):
            values[j] *= np.int64(mask[k, j] != 0)
    for j in range(values.size):
        total += values[j]
    return total


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
def store(codes: Held, i: int, values: Values, lo: Integer, hi: Integer, counters: Counters) -> None:
    """Clamp the values of a row into their places."""
    saturations = np.int64(0)
    for j in range(values.size):
        code, changed = clamp_and_change(values[j], lo, hi)
        codes[i, j] = code
        saturations += changed
    counters[SATURATION] += saturations


@njit(cache=True, nogil=True)
def shifted_right(value: Integer, shift: Integer) -> np.int64:
    """value >> shift of a non-negative value for any shift >= 0: 0 from 63 on."""
    return np.int64(value) >> np.int64(min(shift, 63))
