"""gemmlowp's softmax in fixed point: docs/operators/softmax.md, section 2."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, Integer, clamp
from hwsim.arithmetic.gemmlowp import (
    count_leading_zeros32,
    doubling_high_multiply,
    exp_on_negative,
    one_over_one_plus,
    rounding_divide,
)
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_code_format, check_range
from hwsim.operators.quotients import Held
from hwsim.operators.softmax.rows import (
    LANES,
    NEAR,
    Mask,
    Masks,
    Work,
    check_rows,
    distances,
    kept,
    masks_of,
    room_for,
    store,
)

MAX_KEYS = 4095
"""So many exponentials of 1 sum to less than 2^31."""
MAX_LEFT_SHIFT = 31
SUM_BITS = 12
"""Bits that an exponential loses before it is summed, and integer bits of the sum."""
_SUM_FRACTION = 31 - SUM_BITS
_FURTHEST = 31 << 26
"""31 in Q5.26: exponentials further down are 0."""
_Q31_ONE = 1 << 31


class GemmlowpConstants(NamedTuple):
    """What the kernel needs to know of section 2."""

    multiplier: int
    left_shift: int
    bits: int


def gemmlowp_softmax(
    scores: Codes,
    allowed: Mask,
    *,
    multiplier: int,
    left_shift: int,
    output: IntFormat,
    counters: Counters,
    max_exponentials: int | None = None,
) -> Codes:
    """Softmax with gemmlowp's exponential and reciprocal, equations (S1) to (S5).

    Parameters
    ----------
    scores : int32, (rows, n)
        Score codes, n <= 4095.
    allowed : bool, (rows, n)
        False where a key is masked; a masked key gets the least code.
    multiplier, left_shift : int
        2^30 <= multiplier <= 2^31 - 1 and 0 <= left_shift <= 31; multiplier * 2^left_shift / 2^31 scales a distance
        to Q5.26.
    output : IntFormat
        Signed, 2 to 16 bits, not narrow; the least code means 0.
    counters : int64, (len(Counter),)
        Saturations are added.
    max_exponentials : int, optional
        1 to 4095: a row whose exponentials sum to so many or more is refused. TFLM's and CMSIS-NN's code is undefined
        from 512 on.

    Returns
    -------
    int32, (rows, n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats, or a sum of exponentials beyond `max_exponentials`.
    """
    check_rows(scores, allowed, counters)
    check_range("the number of keys in a row", scores.shape[1], 0, MAX_KEYS)
    check_range("multiplier", multiplier, 1 << 30, (1 << 31) - 1)
    check_range("left_shift", left_shift, 0, MAX_LEFT_SHIFT)
    check_code_format("output", output, signed=True)
    if output.narrow:
        raise ValueError(f"output has format {output}; allowed: formats that are not narrow")
    codes, events = np.empty_like(scores), np.zeros_like(counters)
    constants = GemmlowpConstants(int(multiplier), int(left_shift), output.bits)
    greatest = softmax_rows(scores, masks_of(allowed), constants, codes, room_for(scores), events)
    if max_exponentials is not None:
        check_range("max_exponentials", max_exponentials, 1, MAX_KEYS)
        check_range("the sum of exponentials in Q12.19", int(greatest), 0, (int(max_exponentials) << _SUM_FRACTION) - 1)
    counters += events
    return codes


@njit(cache=True, nogil=True, forceinline=True)
def _exponential(distance: Integer, constants: GemmlowpConstants) -> np.int64:
    """(S1) and (S2): exp of minus a distance in Q0.31, 0 of a masked key, without a branch."""
    furthest = np.int64(_FURTHEST >> constants.left_shift)
    near = clamp(distance, 0, furthest)
    exponential = exp_on_negative(doubling_high_multiply(-(near << constants.left_shift), constants.multiplier))
    return kept(exponential * np.int64(distance <= furthest), distance)


@njit(cache=True, nogil=True)
def _exponentials(work: Work, lanes: Integer, known: bool, constants: GemmlowpConstants) -> None:
    """(S1) and (S2) in place: by the table `near` if it is known, or each anew, which takes three times as long."""
    if known:
        for j in range(work.values.shape[0]):
            for lane in range(lanes):
                distance = work.values[j, lane]
                work.values[j, lane] = work.near[np.uint64(distance)] if distance >= 0 else np.int64(0)
    else:
        for j in range(work.values.shape[0]):
            for lane in range(lanes):
                work.values[j, lane] = _exponential(work.values[j, lane], constants)


@njit(cache=True, nogil=True)
def _add_up(work: Work, lanes: Integer) -> np.int64:
    """The sums of (S3); the greatest of them."""
    for lane in range(lanes):
        work.totals[lane] = 0
    for j in range(work.values.shape[0]):
        for lane in range(lanes):
            work.totals[lane] += rounding_divide(work.values[j, lane], SUM_BITS)
    most = np.int64(0)
    for lane in range(lanes):
        most = max(most, work.totals[lane])
    return most


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, constants: GemmlowpConstants, codes: Held, work: Work, counters: Counters
) -> np.int64:
    """Equations (S1) to (S5) on (rows, n) of any integer dtype; the greatest sum."""
    most, half = np.int64(0), np.int64(1) << (constants.bits - 1)
    known = scores.itemsize == 1 and scores.size >= NEAR
    if known:
        for distance in range(NEAR):
            work.near[distance] = _exponential(distance, constants)
    for first in range(0, scores.shape[0], LANES):
        lanes = distances(scores, first, masks, work)
        _exponentials(work, lanes, known, constants)
        most = max(most, _add_up(work, lanes))
        for lane in range(lanes):
            total = max(work.totals[lane], np.int64(1))  # 0 if nothing is allowed: then every product is 0
            headroom = count_leading_zeros32(total)
            work.factors[lane] = one_over_one_plus((total << headroom) - _Q31_ONE)
            work.shifts[lane] = SUM_BITS - headroom + 31 - constants.bits
        for j in range(work.values.shape[0]):
            for lane in range(lanes):
                quotient = doubling_high_multiply(work.factors[lane], work.values[j, lane])
                work.values[j, lane] = rounding_divide(quotient, max(work.shifts[lane], np.int64(0))) - half
        store(codes, first, lanes, work.values, -half, half - 1, counters)
    return most
