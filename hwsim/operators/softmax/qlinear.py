"""ONNX Runtime's quantized softmax: docs/operators/softmax.md, section 6b. Sums of binary32 in integers."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic import softfloat
from hwsim.arithmetic.fixedpoint import Counters, Integer, half_even_divide
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_array, check_code_format, check_elements, check_range
from hwsim.operators.quotients import Held
from hwsim.operators.softmax.rows import (
    Mask,
    Masks,
    Values,
    check_distances,
    check_rows,
    distances,
    masks_of,
    row_of_mask,
    store,
)

OUTPUT_BITS = 8
GREATEST_MULTIPLIER = 1 << OUTPUT_BITS
SUM_LIMIT = 1 << (127 - softfloat.LEAST_POWER)
"""2^127 in steps of 2^-149: a sum that stays below does not overflow, however it was rounded."""
FURTHEST = 62 - softfloat.MANTISSA_BITS
"""A power of two so far above that of an exponential leaves a quotient of 0: 2^33 / 2^(23 + 38)."""


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
    codes, values = np.empty_like(scores), np.empty(scores.shape[1], np.int64)
    division = QLinearDivision(int(multiplier), output.min, output.max)
    softmax_rows(scores, masks_of(allowed), table, division, codes, values, counters)
    return codes


@njit(cache=True, nogil=True)
def _quotient(entry: softfloat.Number, total: softfloat.Number, multiplier: Integer) -> np.int64:
    """HALF_EVEN(entry * multiplier / total), entry <= total."""
    product, gap = entry[0] * np.int64(multiplier), total[1] - entry[1]
    if gap < 0:
        return half_even_divide(product << -gap, total[0])
    return half_even_divide(product, total[0] << gap) if gap <= FURTHEST else np.int64(0)


@njit(cache=True, nogil=True)
def _sum(values: Values, mask: Mask, k: Integer, table: Held) -> softfloat.Number:
    """(S31): the entries of the allowed keys, added in order."""
    total = softfloat.from_bits(0)
    for j in range(values.size):
        if k < 0 or mask[k, j]:
            total = softfloat.add(total, softfloat.from_bits(table[values[j]]))
    return total


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, table: Held, division: QLinearDivision, codes: Held, values: Values, counters: Counters
) -> None:
    """Equations (S30) to (S32) on (rows, n) of any integer dtype; values are int64 (n,) to work in."""
    for i in range(scores.shape[0]):
        k = row_of_mask(i, masks)
        distances(scores, i, masks.mask, k, values)
        total = _sum(values, masks.mask, k, table)
        for j in range(values.size):
            kept = k < 0 or masks.mask[k, j]
            quotient = (
                _quotient(softfloat.from_bits(table[values[j]]), total, division.multiplier) if kept else np.int64(0)
            )
            values[j] = quotient + division.lo
        store(codes, i, values, division.lo, division.hi, counters)
