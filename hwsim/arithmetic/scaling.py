"""x * m / 2^e to an integer by every rule of `hwsim.formats.Scaling`: docs/operators/requantization.md, section 1.

Every rule ends in one rounding of a value v / 2^s: `last_rounding` makes v and s of x, m and e, and `fixedpoint` rounds
by shift and sees the tie. A kernel that calls these with a constant rule is compiled for that rule alone.
"""

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import (
    HALF_AWAY,
    HALF_EVEN,
    HALF_UP,
    Integer,
    shift_by_rule,
    tie_sign,
)
from hwsim.arithmetic.gemmlowp import high_multiply_left
from hwsim.arithmetic.softfloat import MANTISSA_BITS, add_integer, multiply
from hwsim.formats import Scaling

TOWARD_ZERO = int(Scaling.TOWARD_ZERO)
"""The last rule that is one exact product and one rounding of the same number."""
Q31_DOUBLE, Q31_DOUBLE_HALF_UP = int(Scaling.Q31_DOUBLE), int(Scaling.Q31_DOUBLE_HALF_UP)
FLOAT32, FLOAT32_INSIDE = int(Scaling.FLOAT32), int(Scaling.FLOAT32_INSIDE)

EXACT_MAX = (1 << 63) - 1
Q31_MAX = (1 << 31) - 1
FLOAT32_MAX = 1 << 31
FLOAT32_MULTIPLIER_MAX = (1 << MANTISSA_BITS) - 1


@njit(cache=True, nogil=True)
def greatest_input(rule: int, m: Integer, e: Integer) -> np.int64:
    """The greatest x that the rule takes: (R2, R3) x * 2^max(31-e, 0) < 2^31; (R9) 2^31; else an exact product."""
    if rule in (FLOAT32, FLOAT32_INSIDE):
        return np.int64(FLOAT32_MAX)
    if rule in (Q31_DOUBLE, Q31_DOUBLE_HALF_UP):
        return np.int64(Q31_MAX) >> np.int64(max(31 - e, 0))
    return (EXACT_MAX - ((np.int64(1) << e) >> 1)) // max(np.int64(m), np.int64(1))


@inner
def least_input(rule: int, m: Integer, e: Integer) -> np.int64:
    """The least x that the rule takes: minus the greatest, and one less for (R2, R3), whose x * 2^l is an int32."""
    return -greatest_input(rule, m, e) - np.int64(rule in (Q31_DOUBLE, Q31_DOUBLE_HALF_UP))


@inner(forceinline=True)
def last_rounding(rule: int, x: Integer, m: Integer, e: Integer, z: Integer) -> tuple[np.int64, np.int64]:
    """(v, s): the last rounding of a rule rounds v / 2^s. z is only seen by FLOAT32_INSIDE.

    For e <= 31 the doubling high multiply is the last rounding of (R2) and (R3); it cannot saturate, since m > 0.
    """
    if rule == FLOAT32:
        return multiply(x, m), np.int64(e)
    if rule == FLOAT32_INSIDE:
        return add_integer(multiply(x, m), np.int64(e), z)
    if rule in (Q31_DOUBLE, Q31_DOUBLE_HALF_UP):
        if e > 31:
            return high_multiply_left(x, m, e), np.int64(e) - 31
        return (np.int64(x) << (31 - np.int64(e))) * np.int64(m), np.int64(31)
    return np.int64(x) * np.int64(m), np.int64(e)


@inner(forceinline=True)
def last_rounding_rule(rule: int, e: Integer) -> int:
    """Which of the five roundings the last one is."""
    if rule <= TOWARD_ZERO:
        return rule
    if rule == Q31_DOUBLE and e > 31:
        return HALF_AWAY
    if rule in (FLOAT32, FLOAT32_INSIDE):
        return HALF_EVEN
    return HALF_UP


@inner(forceinline=True)
def scale_and_tie(rule: int, x: Integer, m: Integer, e: Integer, z: Integer) -> tuple[np.int64, np.int64]:
    """scale(x; m, e), and 1 or -1 where its last rounding met a tie above or below 0, else 0.

    Parameters
    ----------
    rule : int
        A member of `Scaling`.
    x, m, e : int
        least_input(rule, m, e) <= x <= greatest_input(rule, m, e); 0 <= m < 2^31 (at least 1 for (R2), (R3) and
        (R9), below 2^24 for the latter); 0 <= e <= 62.
    z : int
        The zero point that FLOAT32_INSIDE adds before the rounding. The other rules do not add it.
    """
    value, shift = last_rounding(rule, x, m, e, z)
    return shift_by_rule(last_rounding_rule(rule, e), value, shift), tie_sign(value, shift)


@njit(cache=True, nogil=True)
def scale(rule: int, x: Integer, m: Integer, e: Integer) -> np.int64:
    """scale(x; m, e), under the terms of `scale_and_tie`, the zero point 0."""
    return scale_and_tie(rule, x, m, e, 0)[0]
