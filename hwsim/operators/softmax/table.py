"""Softmax of integer scores through a table of exponentials: equations (4a) to (4e) of docs/numerics.md."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, Integer, raise_to_one, round_shift, saturate
from hwsim.formats import IntFormat
from hwsim.operators.arguments import (
    CODE_MAX,
    Codes,
    check_array,
    check_code_format,
    check_elements,
    check_exact,
    check_ratio,
)
from hwsim.operators.quotients import Held, Stage, quotients_of_row
from hwsim.operators.softmax.rows import Mask, Masks, check_distances, check_rows, greatest, masks_of, row_of_mask


class SoftmaxCodes(NamedTuple):
    """The three results of a softmax, of any integer dtype that holds them: (rows, n), (rows, 1), (rows, n)."""

    numerator: Codes
    denominator: Codes
    output: Codes


def softmax(
    scores: Codes,
    allowed: Mask,
    table: Codes,
    *,
    denominator_multiplier: int,
    denominator_shift: int,
    denominator: IntFormat,
    output_multiplier: int,
    output_shift: int,
    output: IntFormat,
    counters: Counters,
) -> SoftmaxCodes:
    """Softmax over the allowed scores of each row, equations (4a) to (4e), every rounding HALF_EVEN.

    Parameters
    ----------
    scores : int32, (rows, n)
        Score codes.
    allowed : bool, (rows, n)
        False where a key is masked. A row without an allowed key gives output 0 and denominator 1.
    table : int32, (distances,)
        Numerator by distance from the row's greatest allowed score; elements in [0, 2^16 - 1].
    denominator_multiplier, denominator_shift, output_multiplier, output_shift : int
        The ratios of (4d) and (4e), 1 <= multiplier <= 2^31 - 1, 0 <= shift <= 62.
    denominator, output : IntFormat
        Unsigned, at most 16 bits.
    counters : int64, (len(Counter),)
        Ties, saturations and denominators raised to 1 are added.

    Returns
    -------
    SoftmaxCodes
        int32 numerator (rows, n), denominator (rows, 1), output (rows, n).

    Raises
    ------
    ValueError
        For other dtypes, shapes, ratios or formats, or if a distance between allowed scores lies beyond the table.
    """
    check_rows(scores, allowed, counters)
    check_array("table", table, (np.int32,), 1)
    _, greatest = check_elements("table", table, 0, CODE_MAX)
    check_code_format("denominator", denominator, signed=False)
    check_code_format("output", output, signed=False)
    check_ratio("denominator", denominator_multiplier, denominator_shift)
    check_ratio("output", output_multiplier, output_shift)
    check_exact("sum * denominator_multiplier", scores.shape[1] * greatest * int(denominator_multiplier))
    check_distances(scores, allowed, table)
    codes = SoftmaxCodes(np.empty_like(scores), np.empty((scores.shape[0], 1), np.int32), np.empty_like(scores))
    stages = (
        Stage(int(denominator_multiplier), int(denominator_shift), 0, denominator.max),
        Stage(int(output_multiplier), int(output_shift), 0, output.max),
    )
    softmax_rows(scores, masks_of(allowed), table, *stages, codes, counters)
    return codes


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held,
    masks: Masks,
    table: Held,
    denominator: Stage,
    output: Stage,
    codes: SoftmaxCodes,
    counters: Counters,
) -> None:
    """Equations (4a) to (4e) on (rows, n) of any integer dtype into results of any that hold their codes.

    The caller has checked what `softmax` checks. Each pass over a row is a loop of its own, so that it vectorises.
    """
    numerators, denominators, outputs = codes
    for i in range(scores.shape[0]):
        k = row_of_mask(i, masks)
        total = _numerators(scores, i, masks.mask, k, table, numerators)
        scaled = round_shift(total * denominator.multiplier, denominator.shift, counters)
        divisor = raise_to_one(saturate(scaled, denominator.lo, denominator.hi, counters), counters)
        denominators[i, 0] = divisor
        quotients_of_row(numerators, i, divisor, output, outputs, counters)


@njit(cache=True, nogil=True)
def _numerators(scores: Held, i: int, mask: Mask, k: Integer, table: Held, numerators: Held) -> np.int64:
    """(4a) to (4c): entries by distance from the greatest score, 0 for a masked key, and their sum."""
    total, most = np.int64(0), greatest(scores, i, mask, k)
    if k < 0:
        for j in range(scores.shape[1]):
            numerator = np.int64(table[np.uint64(most - np.int64(scores[i, j]))])
            numerators[i, j] = numerator
            total += numerator
    else:
        for j in range(scores.shape[1]):
            distance = most - np.int64(scores[i, j]) if mask[k, j] else np.int64(0)
            numerator = np.int64(table[np.uint64(distance)]) if mask[k, j] else np.int64(0)
            numerators[i, j] = numerator
            total += numerator
    return total
