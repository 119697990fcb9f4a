"""Softmax of integer scores through a table of exponentials: equations (4a) to (4e) of docs/numerics.md."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, raise_to_one, round_ratio, round_shift, saturate
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
from hwsim.operators.softmax.rows import Mask, check_distances, check_rows, distances, store


class SoftmaxCodes(NamedTuple):
    """The three results of a softmax, all int32: (rows, n), (rows, 1), (rows, n)."""

    numerator: Codes
    denominator: Codes
    output: Codes


class Division(NamedTuple):
    """What the kernel needs to know of (4d) and (4e)."""

    denominator_multiplier: int
    denominator_shift: int
    denominator_max: int
    output_multiplier: int
    output_shift: int
    output_max: int


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
    codes = SoftmaxCodes(np.zeros_like(scores), np.empty((scores.shape[0], 1), np.int32), np.zeros_like(scores))
    division = Division(
        int(denominator_multiplier),
        int(denominator_shift),
        denominator.max,
        int(output_multiplier),
        int(output_shift),
        output.max,
    )
    _softmax(scores, allowed, table, division, codes, counters)
    return codes


@njit(cache=True)
def _softmax(
    scores: Codes,
    allowed: Mask,
    table: Codes,
    division: Division,
    codes: SoftmaxCodes,
    counters: Counters,
) -> None:
    """Equations (4a) to (4e), row by row; a masked key's numerator and output stay 0."""
    numerators, denominators, outputs = codes
    for i in range(scores.shape[0]):
        keys, values = distances(scores[i], allowed[i])
        for j in range(keys.size):
            values[j] = table[values[j]]
            numerators[i, keys[j]] = np.int32(values[j])
        scaled = round_shift(values.sum() * division.denominator_multiplier, division.denominator_shift, counters)
        denominator = raise_to_one(saturate(scaled, 0, division.denominator_max, counters), counters)
        denominators[i, 0] = np.int32(denominator)
        for j in range(keys.size):
            product = values[j] * division.output_multiplier
            values[j] = round_ratio(product, denominator, division.output_shift, counters)
        store(outputs[i], keys, values, 0, division.output_max, counters)
