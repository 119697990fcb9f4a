"""Softmax of integer scores through a table of exponentials: equations (4a) to (4e) of docs/numerics.md."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arguments import (
    CODE_MAX,
    Codes,
    check_array,
    check_code_format,
    check_counters,
    check_elements,
    check_ratio,
    check_shape,
)
from hwsim.fixedpoint import Counters, raise_to_one, round_ratio, round_shift, saturate
from hwsim.formats import IntFormat


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
    allowed: NDArray[np.bool_],
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
        The ratios of (4d) and (4e), 1 <= multiplier <= 2^16 - 1, 0 <= shift <= 62.
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
    check_array("scores", scores, (np.int32,), 2)
    check_array("allowed", allowed, (np.bool_,), 2)
    check_shape("allowed", allowed, scores.shape)
    check_array("table", table, (np.int32,), 1)
    check_elements("table", table, 0, CODE_MAX)
    check_code_format("denominator", denominator, signed=False)
    check_code_format("output", output, signed=False)
    check_ratio("denominator", denominator_multiplier, denominator_shift)
    check_ratio("output", output_multiplier, output_shift)
    check_counters(counters)
    furthest = int(_furthest(scores, allowed))
    if furthest >= table.size:
        raise ValueError(f"a score lies {furthest} below its row's greatest; allowed: 0 to {table.size - 1}, the table")
    rows = scores.shape[0]
    codes = SoftmaxCodes(np.empty_like(scores), np.empty((rows, 1), np.int32), np.empty_like(scores))
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
def _greatest(scores: Codes, allowed: NDArray[np.bool_]) -> np.int64:
    """Greatest allowed score of a row, 0 if none is."""
    found, greatest = False, np.int64(0)
    for j in range(scores.size):
        if allowed[j] and (not found or np.int64(scores[j]) > greatest):
            found, greatest = True, np.int64(scores[j])
    return greatest


@njit(cache=True)
def _furthest(scores: Codes, allowed: NDArray[np.bool_]) -> np.int64:
    """Greatest distance (4a) of all rows, -1 if nothing is allowed."""
    furthest = np.int64(-1)
    for i in range(scores.shape[0]):
        greatest = _greatest(scores[i], allowed[i])
        for j in range(scores.shape[1]):
            if allowed[i, j]:
                furthest = max(furthest, greatest - np.int64(scores[i, j]))
    return furthest


@njit(cache=True)
def _softmax(
    scores: Codes,
    allowed: NDArray[np.bool_],
    table: Codes,
    division: Division,
    codes: SoftmaxCodes,
    counters: Counters,
) -> None:
    """Equations (4a) to (4e), row by row."""
    numerators, denominators, outputs = codes
    for i in range(scores.shape[0]):
        greatest, total = _greatest(scores[i], allowed[i]), np.int64(0)
        for j in range(scores.shape[1]):
            numerator = np.int64(0)
            if allowed[i, j]:
                numerator = np.int64(table[greatest - np.int64(scores[i, j])])
            numerators[i, j] = np.int32(numerator)
            total += numerator
        scaled = round_shift(total * division.denominator_multiplier, division.denominator_shift, counters)
        denominator = raise_to_one(saturate(scaled, 0, division.denominator_max, counters), counters)
        denominators[i, 0] = np.int32(denominator)
        for j in range(scores.shape[1]):
            product = np.int64(numerators[i, j]) * division.output_multiplier
            quotient = round_ratio(product, denominator, division.output_shift, counters)
            outputs[i, j] = np.int32(saturate(quotient, 0, division.output_max, counters))
