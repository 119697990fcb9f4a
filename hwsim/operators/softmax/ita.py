"""ITA's softmax of base 2, with shifts only and keys in groups: docs/operators/softmax.md, section 5."""

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, Integer
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_code_format, check_range
from hwsim.operators.softmax.rows import Mask, Values, check_rows, distances, shifted_right, store

MAX_SHIFT = 8
MAX_OUTPUT_BITS = 8
ONE = 256
"""What the greatest score adds to the sum."""


def itamax(scores: Codes, allowed: Mask, *, shift: int, group: int, output: IntFormat, counters: Counters) -> Codes:
    """Softmax of base 2 whose maximum and sum are corrected as groups of keys arrive, equations (S15) to (S17).

    Parameters
    ----------
    scores : int32, (rows, n)
        Score codes of the scale ln(2) / 2^shift.
    allowed : bool, (rows, n)
        False where a key is masked; a masked key gets 0.
    shift : int
        The page's B, 0 to 8.
    group : int
        Keys that arrive at once, masked ones among them; 0 stands for the whole row.
    output : IntFormat
        Unsigned, 2 to 8 bits.
    counters : int64, (len(Counter),)
        Saturations are added.

    Returns
    -------
    int32, (rows, n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats.
    """
    check_rows(scores, allowed, counters)
    check_range("shift", shift, 0, MAX_SHIFT)
    check_range("group", group, 0, (1 << 31) - 1)
    check_code_format("output", output, signed=False)
    check_range("output bits", output.bits, 2, MAX_OUTPUT_BITS)
    codes = np.zeros_like(scores)
    _itamax(scores, allowed, int(shift), int(group) or max(scores.shape[1], 1), output.max, codes, counters)
    return codes


@njit(cache=True)
def _halvings(distance: Integer, shift: int) -> np.int64:
    """sh(d): a distance in powers of 2, HALF_UP."""
    return (np.int64(distance) + (1 << shift >> 1)) >> shift


@njit(cache=True)
def _running_sum(keys: Values, distance: Values, shift: int, group: int) -> np.int64:
    """(S15). The running maximum is held as its own distance below the row's greatest code."""
    nearest, total, start = np.int64(0), np.int64(0), 0
    while start < keys.size:
        end = start + np.searchsorted(keys[start:], (keys[start] // group + 1) * group)
        least = np.int64(distance[start:end].min())
        if start == 0:
            nearest = least
        elif least < nearest:
            total = shifted_right(total, _halvings(nearest - least, shift))
            nearest = least
        for j in range(start, end):
            total += shifted_right(ONE, _halvings(distance[j] - nearest, shift))
        start = end
    return total


@njit(cache=True)
def _itamax(
    scores: Codes, allowed: Mask, shift: int, group: int, greatest: int, codes: Codes, counters: Counters
) -> None:
    """Equations (S15) to (S17), row by row."""
    for i in range(scores.shape[0]):
        keys, values = distances(scores[i], allowed[i])
        inverse = greatest * ONE // max(_running_sum(keys, values, shift, group), np.int64(1))
        for j in range(keys.size):
            values[j] = shifted_right(inverse, _halvings(values[j], shift))
        store(codes[i], keys, values, 0, greatest, counters)
