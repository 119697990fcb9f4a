"""ONNX Runtime's quantized softmax: docs/operators/softmax.md, section 6b. Sums of binary32 in integers."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic import softfloat
from hwsim.arithmetic.division import settle
from hwsim.arithmetic.fixedpoint import Counters, Integer, bit_length
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_array, check_code_format, check_elements, check_range
from hwsim.operators.quotients import Held
from hwsim.operators.softmax.rows import (
    LANES,
    Mask,
    Masks,
    Work,
    check_distances,
    check_rows,
    distances,
    masks_of,
    room_for,
    store,
)

OUTPUT_BITS = 8
GREATEST_MULTIPLIER = 1 << OUTPUT_BITS
SUM_LIMIT = 1 << (127 - softfloat.LEAST_POWER)
"""2^127 in steps of 2^-149: a sum that stays below does not overflow, however it was rounded."""
FACTOR_BITS = 28
"""Bits of the inverse of a sum, at least."""
FURTHEST_POWER = 10
"""A power of two so far above that of an exponential leaves a quotient of 0: less than 2^32 / 2^(23 + 10)."""


class QLinearDivision(NamedTuple):
    """What the kernel needs to know of (S32)."""

    multiplier: int
    lo: int
    hi: int


def qlinear_softmax(
    scores: Codes, allowed: Mask, table: Codes, *, multiplier: int, output: IntFormat, counters: Counters
) -> Codes:
    """Softmax with exponentials and sum in binary32, equations (S30) to (S32).

    Parameters
    ----------
    scores : int32, (rows, n)
        Score codes.
    allowed : bool, (rows, n)
        False where a key is masked; a masked key gets the lowest code.
    table : int32, (distances,)
        The 32 bits of a binary32 number for each distance from the row's greatest allowed score; none is negative, and
        the first is above 0.
    multiplier : int
        1 to 256, the inverse of the output's scale.
    output : IntFormat
        2 to 8 bits; the zero point is its lowest code.
    counters : int64, (len(Counter),)
        Saturations are added.

    Returns
    -------
    int32, (rows, n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, tables, multipliers or formats, if a distance between allowed scores lies beyond the
        table, or if a sum could overflow.
    """
    check_rows(scores, allowed, counters)
    check_array("table", table, (np.int32,), 1)
    _, greatest = check_elements("table", table, 0, softfloat.FINITE_BITS)
    check_range("multiplier", multiplier, 1, GREATEST_MULTIPLIER)
    check_code_format("output", output)
    check_range("output bits", output.bits, 2, OUTPUT_BITS)
    if output.narrow:
        raise ValueError(f"output has format {output}; allowed: formats that are not narrow")
    check_distances(scores, allowed, table)
    if scores.size:
        check_range("table at distance 0", int(table[0]), 1, softfloat.FINITE_BITS)
        mantissa, power = softfloat.from_bits(greatest)
        peak = int(mantissa) << (int(power) - softfloat.LEAST_POWER)
        check_range("keys", scores.shape[1], 0, (SUM_LIMIT - 1) // peak)
    codes = np.empty_like(scores)
    division = QLinearDivision(int(multiplier), output.min, output.max)
    softmax_rows(scores, masks_of(allowed), table, division, codes, room_for(scores), counters)
    return codes


@njit(cache=True, nogil=True)
def _take(work: Work, lanes: Integer, table: Held) -> None:
    """(S30) in place: the bits of the entries; those of a masked key are 0, which adds nothing."""
    for j in range(work.values.shape[0]):
        for lane in range(lanes):
            distance = work.values[j, lane]
            work.values[j, lane] = np.int64(table[np.uint64(distance)]) if distance >= 0 else np.int64(0)


@njit(cache=True, nogil=True)
def _add_up(work: Work, lanes: Integer) -> None:
    """(S31): the entries of each row, added in order; `totals` times two to the `shifts`, and what divides by them."""
    for lane in range(lanes):
        work.totals[lane], work.shifts[lane] = 0, softfloat.LEAST_POWER
    for j in range(work.values.shape[0]):
        for lane in range(lanes):
            total = work.totals[lane], work.shifts[lane]
            work.totals[lane], work.shifts[lane] = softfloat.add(total, softfloat.from_bits(work.values[j, lane]))
    for lane in range(lanes):
        total = max(work.totals[lane], np.int64(1))  # 0 if nothing is allowed
        work.totals[lane] = total
        work.factors[lane] = (np.int64(1) << (FACTOR_BITS + bit_length(total))) // total


@njit(cache=True, nogil=True, forceinline=True)
def _quotient(entry: softfloat.Number, total: softfloat.Number, factor: Integer, multiplier: Integer) -> np.int64:
    """HALF_EVEN(entry * multiplier / total) of a term of the sum; its power is no greater, since no term decreases it.

    The factor is 2^k / total, k = 28 + bits(total), less than 1 too small. So the estimate, to nearest, is off by less
    than 1/2 + entry * multiplier / 2^k <= 1/2 + 2^-20, and `settle` makes it exact.
    """
    gap = min(total[1] - entry[1], np.int64(FURTHEST_POWER))
    product, shift = entry[0] * np.int64(multiplier), FACTOR_BITS + bit_length(total[0]) + gap
    estimate = (product * factor + (np.int64(1) << (shift - 1))) >> shift
    divisor = total[0] << gap
    quotient, _ = settle(estimate, 2 * (product - estimate * divisor), divisor)
    return quotient


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, table: Held, division: QLinearDivision, codes: Held, work: Work, counters: Counters
) -> None:
    """Equations (S30) to (S32) on (rows, n) of any integer dtype."""
    for first in range(0, scores.shape[0], LANES):
        lanes = distances(scores, first, masks, work)
        _take(work, lanes, table)
        _add_up(work, lanes)
        for j in range(work.values.shape[0]):
            for lane in range(lanes):
                entry, total = softfloat.from_bits(work.values[j, lane]), (work.totals[lane], work.shifts[lane])
                quotient = _quotient(entry, total, work.factors[lane], division.multiplier)
                work.values[j, lane] = quotient + division.lo
        store(codes, first, lanes, work.values, division.lo, division.hi, counters)
