"""ITA's softmax of base 2, with shifts only and keys in groups: docs/operators/softmax.md, section 5."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, Integer
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_code_format, check_range
from hwsim.operators.quotients import Held
from hwsim.operators.softmax.rows import (
    FURTHEST,
    LANES,
    Mask,
    Masks,
    Work,
    check_rows,
    distances,
    kept,
    masks_of,
    room_for,
    shifted_right,
    store,
)

MAX_SHIFT = 8
MAX_OUTPUT_BITS = 8
ONE = 256
"""What the greatest score adds to the sum."""


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
    codes = np.empty_like(scores)
    constants = ItaConstants(int(shift), int(group), output.max)
    softmax_rows(scores, masks_of(allowed), constants, codes, room_for(scores), counters)
    return codes


@njit(cache=True, nogil=True, forceinline=True)
def _halvings(distance: Integer, shift: int) -> np.int64:
    """sh(d): a distance in powers of 2, HALF_UP."""
    return (np.int64(distance) + (1 << shift >> 1)) >> shift


@njit(cache=True, nogil=True)
def _add_group(work: Work, lanes: Integer, start: int, end: int, shift: int) -> None:
    """(S15) of the keys from `start` to `end`: `factors` hold how far the running maximum lies below the greatest.

    It is FURTHEST while there is none; the sum that is shifted then is 0.
    """
    for lane in range(lanes):
        work.shifts[lane] = work.factors[lane]
    for j in range(start, end):
        for lane in range(lanes):
            distance = work.values[j, lane]
            work.factors[lane] = min(work.factors[lane], distance if distance >= 0 else np.int64(FURTHEST))
    for lane in range(lanes):
        moved = work.shifts[lane] - work.factors[lane]
        work.totals[lane] = shifted_right(work.totals[lane], _halvings(moved, shift))
    for j in range(start, end):
        for lane in range(lanes):
            distance = work.values[j, lane]
            below = max(distance - work.factors[lane], np.int64(0))
            work.totals[lane] += kept(shifted_right(ONE, _halvings(below, shift)), distance)


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, constants: ItaConstants, codes: Held, work: Work, counters: Counters
) -> None:
    """Equations (S15) to (S17) on (rows, n) of any integer dtype."""
    shift, keys = constants.shift, scores.shape[1]
    group = constants.group if constants.group > 0 else max(keys, 1)
    for first in range(0, scores.shape[0], LANES):
        lanes = distances(scores, first, masks, work)
        for lane in range(lanes):
            work.totals[lane], work.factors[lane] = 0, FURTHEST
        for start in range(0, keys, group):
            _add_group(work, lanes, start, min(start + group, keys), shift)
        for lane in range(lanes):
            work.factors[lane] = constants.greatest * ONE // max(work.totals[lane], np.int64(1))
        for j in range(keys):
            for lane in range(lanes):
                distance = work.values[j, lane]
                halvings = _halvings(max(distance, np.int64(0)), shift)
                work.values[j, lane] = kept(shifted_right(work.factors[lane], halvings), distance)
        store(codes, first, lanes, work.values, 0, constants.greatest, counters)
