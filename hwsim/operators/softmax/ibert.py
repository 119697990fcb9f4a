"""I-BERT's softmax, a polynomial of second degree: docs/operators/softmax.md, section 4."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.division import Divisor, divisor, floor_divide
from hwsim.arithmetic.fixedpoint import Counters, Integer, clamp, half_even_shift
from hwsim.formats import IntFormat
from hwsim.operators.arguments import CODE_MAX, SHIFT_MAX, Codes, check_code_format, check_exact, check_range
from hwsim.operators.quotients import Held
from hwsim.operators.softmax.rows import (
    FURTHEST,
    LANES,
    Mask,
    Masks,
    Work,
    add_up,
    check_rows,
    distances,
    kept,
    masks_of,
    raise_totals,
    room_for,
    store,
)

MAX_HALVINGS = 30
"""Exponentials of more than 30 * ln(2) below the greatest are taken as that."""
EXPONENTIAL_LIMIT = 1 << 62
_INT31_MAX = (1 << 31) - 1
_FACTOR_BITS = 32


class IBertConstants(NamedTuple):
    """What the kernel needs to know of section 4."""

    ln2: int
    b: int
    c: int
    multiplier: int
    shift: int
    bits: int


def ibert_softmax(
    scores: Codes,
    allowed: Mask,
    *,
    ln2: int,
    b: int,
    c: int,
    multiplier: int,
    shift: int,
    output: IntFormat,
    counters: Counters,
) -> Codes:
    """Softmax with the exponential as a polynomial and a shift, equations (S10) to (S14).

    Parameters
    ----------
    scores : int32, (rows, n)
        Score codes.
    allowed : bool, (rows, n)
        False where a key is masked; a masked key gets 0.
    ln2, b, c : int
        At least 1; exp(r) is ((r + b) * r + c) for -ln2 < r <= 0.
    multiplier, shift : int
        1 <= multiplier <= 2^31 - 1, 0 <= shift <= 62: the exponential to 16 bits, HALF_EVEN.
    output : IntFormat
        Unsigned, 2 to 16 bits.
    counters : int64, (len(Counter),)
        Saturations, and sums raised to 1 in rows with an allowed key, are added.

    Returns
    -------
    int32, (rows, n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats, or if an exponential could reach 2^62 or its product 2^63.
    """
    check_rows(scores, allowed, counters)
    for name, value in (("ln2", ln2), ("b", b), ("c", c)):
        check_range(name, value, 1, EXPONENTIAL_LIMIT - 1)
    check_range("multiplier", multiplier, 1, _INT31_MAX)
    check_range("shift", shift, 0, SHIFT_MAX)
    check_code_format("output", output, signed=False)
    _check_exponential(int(ln2), int(b), int(c), int(multiplier))
    constants = IBertConstants(int(ln2), int(b), int(c), int(multiplier), int(shift), output.bits)
    codes = np.empty_like(scores)
    softmax_rows(scores, masks_of(allowed), constants, codes, room_for(scores), counters)
    return codes


def _check_exponential(ln2: int, b: int, c: int, multiplier: int) -> None:
    """Refuse constants whose exponential could reach 2^62 or leave int64 on the way.

    The polynomial is convex, so that it is greatest at one end: c at r = 0, or at r = 1 - ln2.
    """
    check_exact("(r + b) * r + c", (ln2 + b) * ln2 + c)
    greatest = max(c, (ln2 - 1) * (ln2 - 1 - b) + c) << MAX_HALVINGS
    check_range("the greatest exponential", greatest, 0, EXPONENTIAL_LIMIT - 1)
    check_exact("exponential * multiplier", greatest * multiplier)


@inner(forceinline=True)
def _exponential(distance: Integer, by: Divisor, constants: IBertConstants) -> np.int64:
    """(S10) to (S12): exp of minus a distance in 16 bits. The maximum is taken before the shift, which keeps signs."""
    y = -clamp(distance, 0, MAX_HALVINGS * constants.ln2)
    halvings = floor_divide(-y, by)
    r = y + constants.ln2 * halvings
    polynomial = max((r + constants.b) * r + constants.c, np.int64(0))
    wide = (polynomial << (MAX_HALVINGS - halvings)) * constants.multiplier
    return min(half_even_shift(wide, constants.shift), np.int64(CODE_MAX))


@njit(cache=True, nogil=True)
def softmax_rows(
    scores: Held, masks: Masks, constants: IBertConstants, codes: Held, work: Work, counters: Counters
) -> None:
    """Equations (S10) to (S14) on (rows, n) of any integer dtype."""
    by = divisor(min(np.int64(constants.ln2), np.int64(FURTHEST)))
    for first in range(0, scores.shape[0], LANES):
        lanes = distances(scores, first, masks, work)
        for j in range(work.values.shape[0]):
            for lane in range(lanes):
                distance = work.values[j, lane]
                work.values[j, lane] = kept(_exponential(distance, by, constants), distance)
        add_up(work, lanes)
        raise_totals(work, lanes, counters)
        for lane in range(lanes):
            work.factors[lane] = (np.int64(1) << _FACTOR_BITS) // work.totals[lane]
        for j in range(work.values.shape[0]):
            for lane in range(lanes):
                work.values[j, lane] = (work.values[j, lane] * work.factors[lane]) >> (_FACTOR_BITS - constants.bits)
        store(codes, first, lanes, work.values, 0, (1 << constants.bits) - 1, counters)
