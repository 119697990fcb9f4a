"""Gemmini's variant of I-BERT's softmax: docs/operators/softmax.md, section 6."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, Integer, half_even_divide, raise_to_one
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_code_format, check_range
from hwsim.operators.softmax.rows import Mask, check_rows, distances, furthest, shifted_right, store

EXACT_SUM_LIMIT = 1 << 62


class Constants(NamedTuple):
    """What the kernel needs to know of section 6."""

    ln2: int
    b: int
    c: int
    greatest: int


def gemmini_softmax(
    scores: Codes, allowed: Mask, *, ln2: int, b: int, c: int, output: IntFormat, counters: Counters
) -> Codes:
    """Softmax with I-BERT's polynomial, halved by a shift, and a division a key, equations (S18) and (S19).

    Parameters
    ----------
    scores : int32, (rows, n)
        Score codes.
    allowed : bool, (rows, n)
        False where a key is masked; a masked key gets 0.
    ln2, b, c : int
        At least 1; exp(r) is (r + b)^2 + c.
    output : IntFormat
        Signed, 2 to 16 bits, zero point 0.
    counters : int64, (len(Counter),)
        Saturations, and sums raised to 1 in rows with an allowed key, are added.

    Returns
    -------
    int32, (rows, n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats, or if the sum of n exponentials * 2^bits could reach 2^62.
    """
    check_rows(scores, allowed, counters)
    for name, value in (("ln2", ln2), ("b", b), ("c", c)):
        check_range(name, value, 1, EXACT_SUM_LIMIT - 1)
    check_code_format("output", output, signed=True)
    total = scores.shape[1] * _exponential_reach(int(furthest(scores, allowed)), int(ln2), int(b), int(c))
    check_range("the sum of exponentials * 2^bits", total << output.bits, 0, EXACT_SUM_LIMIT - 1)
    codes = np.zeros_like(scores)
    _gemmini_softmax(scores, allowed, Constants(int(ln2), int(b), int(c), output.max), codes, counters)
    return codes


def _exponential_reach(furthest: int, ln2: int, b: int, c: int) -> int:
    """A bound of (r + b)^2 + c: z is less than d/65536 + 1 below d / ln2, so that r lies that many ln2 below 0."""
    lowest = min(furthest, ln2 * ((furthest >> 16) + 2))
    return int(max(b, lowest - b) ** 2 + c)


@njit(cache=True)
def _exponential(distance: Integer, constants: Constants) -> np.int64:
    """(S18): exp of minus a distance, c + b^2 at 0."""
    halvings = (distance * (65536 // constants.ln2)) >> 16
    root = halvings * constants.ln2 - distance + constants.b
    return shifted_right(root * root + constants.c, halvings)


@njit(cache=True)
def _gemmini_softmax(scores: Codes, allowed: Mask, constants: Constants, codes: Codes, counters: Counters) -> None:
    """Equations (S18) and (S19), row by row."""
    for i in range(scores.shape[0]):
        keys, values = distances(scores[i], allowed[i])
        for j in range(keys.size):
            values[j] = _exponential(values[j], constants)
        if keys.size:
            total = raise_to_one(values.sum(), counters)
            for j in range(keys.size):
                values[j] = half_even_divide(values[j] * constants.greatest, total)
            store(codes[i], keys, values, -constants.greatest, constants.greatest, counters)
