"""ITA's softmax of base 2, with shifts only and keys in groups: docs/operators/softmax.md, section 5."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, Integer
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_code_format, check_range
from hwsim.operators.quotients import Held
from hwsim.operators.softmax.rows import (
    Mask,
    Masks,
    Values,
    allowed_sum,
    check_rows,
    distances,
    masks_of,
    row_of_mask,
    shifted_right,
    store,
)

MAX_SHIFT = 8
MAX_OUTPUT_BITS = 8
ONE = 256
"""What the greatest score adds to the sum."""
FURTHEST = 1 << 32
"""More than two scores lie apart."""


class ItaConstants(NamedTuple):
    """What the kernel needs to know of section 5; a group of 0 is the whole row."""

    shift: int
    group: int
    greatest: int


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
    codes, values = np.empty_like(scores), np.empty(scores.shape[1], np.int64)
    constants = ItaConstants(int(shift), int(group), output.max)
    softmax_rows(scores, masks_of(allowed), constants, codes, values, counters)
    return codes


@njit(cache=True, nogil=True)
def _halvings(distance: Integer, shift: int) -> np.int64:
    """sh(d): a distance in powers of 2, HALF_UP."""
    return (np.int64(distance) + (1 << shift >> 1)) >> shift


@njit(cache=True, nogil=True)
def _running_sum(values: Values, mask: Mask, k: Integer, shift: int, group: int) -> np.int64:
    """(S15). The running maximum is held as its own distance below the row's greatest code."""
    nearest, total = np.int64(-1), np.int64(0)
    for start in range(0, values.size, group):
        end = min(start + group, values.size)
        least = np.int64(FURTHEST)
        for j in range(start, end):
            least = min(least, values[j] if k < 0 or mask[k, j] else np.int64(FURTHEST))
        if least < FURTHEST and nearest < 0:
            nearest = least
        elif least < nearest:
            total = shifted_right(total, _halvings(nearest - least, shift))
            nearest = least
        for j in range(start, end):
            added = shifted_right(ONE, _halvings(max(values[j] - nearest, np.int64(0)), shift))
            total += added if k < 0 or mask[k, j] else np.int64(0)
    return total


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, constants: ItaConstants, codes: Held, values: Values, counters: Counters
) -> None:
    """Equations (S15) to (S17) on (rows, n) of any integer dtype; values are int64 (n,) to work in."""
    shift = constants.shift
    group = constants.group if constants.group > 0 else max(scores.shape[1], 1)
    for i in range(scores.shape[0]):
        k = row_of_mask(i, masks)
        distances(scores, i, masks.mask, k, values)
        total = _running_sum(values, masks.mask, k, shift, group)
        inverse = constants.greatest * ONE // max(total, np.int64(1))
        for j in range(values.size):
            values[j] = shifted_right(inverse, _halvings(values[j], shift))
        allowed_sum(values, masks.mask, k)
        store(codes, i, values, 0, constants.greatest, counters)
