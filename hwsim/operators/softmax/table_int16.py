"""Softmax of int16 scores through two interpolated tables: docs/operators/softmax.md, section 3."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, Integer, clamp, wrap
from hwsim.arithmetic.gemmlowp import count_leading_zeros32, multiply_by_multiplier
from hwsim.arithmetic.scaling import Q31_DOUBLE, greatest_input
from hwsim.operators.arguments import SHIFT_MAX, Codes, check_elements, check_range
from hwsim.operators.lookup import INT16_MAX, INT16_MIN, check_interpolated_table, interpolate
from hwsim.operators.quotients import Held
from hwsim.operators.softmax.rows import (
    LANES,
    Mask,
    Masks,
    Work,
    add_up,
    check_rows,
    distances,
    furthest,
    masks_of,
    put_back,
    room_for,
    store,
)

_INT32_LIMIT = 1 << 31
_NEAREST_MIN = 1 << 14
"""Least exponential of the greatest score: with less, the sum would have too few bits for (S9)."""
_NO_STEP = INT16_MIN - 1
_RECIPROCAL_MIDDLE = 98304
"""3/2 in 16 fractional bits: the middle of [1, 2], where the reciprocal's table has code 0."""


class Int16Constants(NamedTuple):
    """Tables and ratio as the kernel sees them."""

    exp_table: Codes
    reciprocal_table: Codes
    multiplier: int
    shift: int
    clamped: bool


def softmax_int16(
    scores: Codes,
    allowed: Mask,
    exp_table: Codes,
    reciprocal_table: Codes,
    *,
    multiplier: int,
    shift: int,
    counters: Counters,
    clamped: bool = True,
) -> Codes:
    """Softmax with interpolated exponentials and one interpolated reciprocal a row, equations (S6) to (S9).

    Parameters
    ----------
    scores : int32, (rows, n)
        int16 codes.
    allowed : bool, (rows, n)
        False where a key is masked; a masked key gets 0.
    exp_table, reciprocal_table : int32, (513,)
        exp over [-10, 0], entries in [0, 2^15 - 1], and 1/(1 + x) over [0, 1], int16 entries; scaled by 2^15.
    multiplier, shift : int
        2^30 <= multiplier <= 2^31 - 1, 0 <= shift <= 62: scheme (R2), distances to steps of the table.
    counters : int64, (len(Counter),)
        Saturations are added.
    clamped : bool
        False leaves out the last clamp and stores the low 16 bits, as CMSIS-NN does: -32768 for the key of a row of 1.

    Returns
    -------
    int32, (rows, n)
        Codes of [0, 2^15 - 1], scale 2^-15, and -2^15 where a 1 is not clamped.

    Raises
    ------
    ValueError
        For other dtypes, shapes, codes, ratios or tables; if exp_table is below 2^14 at its end, if n of its greatest
        entry could sum to 2^31, or if a distance times 2^max(31 - shift, 0) reaches 2^31.
    """
    check_rows(scores, allowed, counters)
    check_elements("scores", scores, INT16_MIN, INT16_MAX)
    check_interpolated_table("exp_table", exp_table, 0)
    check_interpolated_table("reciprocal_table", reciprocal_table)
    check_range("multiplier", multiplier, 1 << 30, (1 << 31) - 1)
    check_range("shift", shift, 0, SHIFT_MAX)
    check_range("exp_table at the greatest score", int(interpolate(exp_table, INT16_MAX)), _NEAREST_MIN, INT16_MAX)
    check_range("n * the greatest entry of exp_table", scores.shape[1] * int(exp_table.max()), 0, _INT32_LIMIT - 1)
    limit = int(greatest_input(Q31_DOUBLE, multiplier, shift))
    check_range("the greatest distance of two scores", max(int(furthest(scores, allowed)), 0), 0, limit)
    codes = np.empty_like(scores)
    constants = Int16Constants(exp_table, reciprocal_table, int(multiplier), int(shift), bool(clamped))
    softmax_rows(scores, masks_of(allowed), constants, codes, room_for(scores), counters)
    return codes


@njit(cache=True, nogil=True)
def _entries(work: Work, lanes: Integer, constants: Int16Constants) -> None:
    """(S6) and (S7) in place: distances to steps of the table, and its entries there; those of masked keys are 0.

    Two loops, because only the first one fills vectors.
    """
    for j in range(work.values.shape[0]):
        for lane in range(lanes):
            distance = work.values[j, lane]
            step = multiply_by_multiplier(-distance, constants.multiplier, constants.shift)
            work.values[j, lane] = clamp(step + INT16_MAX, INT16_MIN, INT16_MAX) if distance >= 0 else _NO_STEP
    for j in range(work.values.shape[0]):
        for lane in range(lanes):
            step = work.values[j, lane]
            work.values[j, lane] = interpolate(constants.exp_table, step) if step > _NO_STEP else np.int64(0)


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, constants: Int16Constants, codes: Held, work: Work, counters: Counters
) -> None:
    """Equations (S6) to (S9) on (rows, n) of any integer dtype."""
    for first in range(0, scores.shape[0], LANES):
        lanes = distances(scores, first, masks, work)
        _entries(work, lanes, constants)
        add_up(work, lanes)
        for lane in range(lanes):
            total = max(work.totals[lane], np.int64(_NEAREST_MIN))  # less only if nothing is allowed
            headroom = count_leading_zeros32(total)
            mantissa = ((total << (headroom - 1)) + (1 << 13)) >> 14
            code = clamp(mantissa - _RECIPROCAL_MIDDLE, INT16_MIN, INT16_MAX)
            work.factors[lane] = interpolate(constants.reciprocal_table, code)
            work.shifts[lane] = 31 - headroom
        for j in range(work.values.shape[0]):
            for lane in range(lanes):
                shift = work.shifts[lane]
                product = work.values[j, lane] * work.factors[lane] + ((np.int64(1) << shift) >> 1)
                work.values[j, lane] = product >> shift
        if constants.clamped:
            store(codes, first, lanes, work.values, 0, INT16_MAX, counters)
        else:
            for j in range(work.values.shape[0]):
                for lane in range(lanes):
                    work.values[j, lane] = wrap(work.values[j, lane], 16)
            put_back(codes, first, lanes, work.values)
