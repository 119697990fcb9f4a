"""The rounded quotients of a row by its one denominator, (4e) and (5e); its caller checks arguments."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.division import headroom, multiply, reciprocal
from hwsim.arithmetic.fixedpoint import Counters, Integer, add_events, clamp_and_change

Held = NDArray[Any]
"""Codes as they are held: int8, uint8, int16, uint16 or int32, (rows, n)."""


class Stage(NamedTuple):
    """One rounding as a kernel sees it: a ratio multiplier / 2^shift and the ends of its result."""

    multiplier: int
    shift: int
    lo: int
    hi: int


@inner
def quotients_of_row(
    numerators: Held, i: int, denominator: Integer, stage: Stage, quotients: Held, counters: Counters
) -> None:
    """sat(HALF_EVEN(numerator * multiplier / (denominator * 2^shift))) of row i, by one division.

    Numerators are codes of at most 16 bits, 1 <= denominator < 2^16.
    """
    by = reciprocal(stage.multiplier, headroom(stage.multiplier), denominator, stage.shift)
    ties, balance, saturations = np.int64(0), np.int64(0), np.int64(0)
    for j in range(numerators.shape[1]):
        numerator = np.int64(numerators[i, j])
        quotient, tie = multiply(numerator, by)
        code, changed = clamp_and_change(quotient, stage.lo, stage.hi)
        quotients[i, j] = code
        ties += tie
        balance += tie - 2 * (tie & np.int64(numerator < 0))
        saturations += changed
    add_events(ties, balance, saturations, counters)
