"""What every softmax does to a row of scores: masks, distances from the greatest, the last clamp."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import Counters, Integer, bounds, saturate
from hwsim.operators.arguments import Codes, check_array, check_counters, check_shape

Mask = NDArray[np.bool_]
Values = NDArray[np.int64]


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


@njit(cache=True)
def distances(scores: Codes, allowed: Mask) -> tuple[Values, Values]:
    """Allowed keys of a row in order, and how far each lies below the greatest of them; both may be empty."""
    keys = np.flatnonzero(allowed)
    codes = scores[keys].astype(np.int64)
    return keys, bounds(codes)[1] - codes


@njit(cache=True)
def furthest(scores: Codes, allowed: Mask) -> np.int64:
    """Greatest distance of all rows, -1 if nothing is allowed."""
    greatest = np.int64(-1)
    for i in range(scores.shape[0]):
        keys, distance = distances(scores[i], allowed[i])
        if keys.size:
            greatest = max(greatest, np.int64(distance.max()))
    return greatest


@njit(cache=True)
def store(row: Codes, keys: Values, values: Values, lo: Integer, hi: Integer, counters: Counters) -> None:
    """Clamp the values of the allowed keys into their places; the row holds the code that means 0 elsewhere."""
    for j in range(keys.size):
        row[keys[j]] = np.int32(saturate(values[j], lo, hi, counters))


@njit(cache=True)
def shifted_right(value: Integer, shift: Integer) -> np.int64:
    """value >> shift of a non-negative value for any shift >= 0: 0 from 63 on."""
    return np.int64(value) >> np.int64(min(shift, 63))
