"""Division of many numbers by one divisor, exact, without a division for each: the row operators' quotients.

A row has one ratio c = m / (d * 2^s), m < 2^31 and d < 2^16, and of each element |x| < 2^16 it wants HALF_EVEN(x * c).
`reciprocal` makes of c, by the one division of the row, a factor and a shift:

    j = 46 - bits(m) >= 15,    F = floor((m * 2^j + floor(d / 2)) / d),    k = j + s                               (1)

so that F <= m * 2^j < 2^46, x * F stays in 62 bits, and |F - c * 2^k| <= 1/2. The estimate
q = floor((x * F + floor(2^k / 2)) / 2^k) is x * F / 2^k to nearest, hence

    |q - x * c| <= 1/2 + |x| / 2^(k + 1) < 1/2 + 2^16 / 2^16 = 3/2                                                 (2)

The rest of the division, with B = d * 2^s,

    r = 2 * (x * m - q * B),    |r| < 3 * B                                                                        (3)

is an integer, exact in int64, and says all: above B the quotient is q + 1, below -B it is q - 1, between them it is q,
and at B or -B it is a tie, which `settle` breaks to the even one of the two neighbours. So the estimate has no part in
the result: one that is wrong by less than 3/2 is as good as another.

Where k > 62, |x * c| < 2^16 * 2^46 / 2^63 = 1/2, and where B >= 2^48, |2 * x * m| < 2^48 <= B: the quotient is 0
without a tie. Such a ratio gets the factor 0 and a divisor that no 2 * x * m reaches. Otherwise (3) stays below 2^50.

`Divisor` does the same for the floor of n / d without a multiplier: F = floor(2^k / d) with k = 29 + bits(d) is never
above, q = floor(n * F / 2^k) is the floor or one less while n < 2^32 and n / d < 2^28, and the rest n - q * d decides.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import Integer, bit_length

PRODUCT_BITS = 46
"""Bits of m * 2^j in (1)."""
_FURTHEST = 62
"""The greatest k of (1) whose quotients are not all 0."""
_UNREACHED = 1 << 48
FLOOR_BITS = 29
FLOOR_QUOTIENT_LIMIT = 1 << 28
"""Quotients that a floor has to stay below."""


class Reciprocal(NamedTuple):
    """What a row knows of its ratio: F, k, floor(2^k / 2), 2 * m and B."""

    factor: np.int64
    shift: np.int64
    half: np.int64
    twice_multiplier: np.int64
    divisor: np.int64


class Divisor(NamedTuple):
    """F, k and d of a floor."""

    factor: np.int64
    shift: np.int64
    divisor: np.int64


@inner
def headroom(multiplier: Integer) -> np.int64:
    """j of (1), which is the same for every row; 1 <= multiplier < 2^31."""
    return PRODUCT_BITS - bit_length(np.int64(multiplier))


@njit(cache=True, nogil=True, error_model="numpy")
def reciprocal(multiplier: Integer, left: Integer, denominator: Integer, shift: Integer) -> Reciprocal:
    """Equation (1); 1 <= multiplier < 2^31, left = headroom(multiplier), 1 <= denominator < 2^16, 0 <= shift <= 62."""
    m, d, k = np.int64(multiplier), np.int64(denominator), np.int64(left) + np.int64(shift)
    if k > _FURTHEST or d >= np.int64(_UNREACHED) >> np.int64(shift):
        return Reciprocal(np.int64(0), np.int64(0), np.int64(0), 2 * m, np.int64(_UNREACHED))
    return Reciprocal(((m << np.int64(left)) + (d >> 1)) // d, k, (np.int64(1) << k) >> 1, 2 * m, d << np.int64(shift))


@inner(forceinline=True)
def settle(estimate: Integer, twice_rest: Integer, divisor: Integer) -> tuple[np.int64, np.int64]:
    """The quotient by HALF_EVEN, and 1 if it was a tie, of an estimate off by less than 3/2 and r of (3)."""
    odd = np.int64(estimate) & 1
    above = np.int64(twice_rest + odd > divisor)
    below = np.int64(odd - twice_rest > divisor)
    tie = np.int64(abs(np.int64(twice_rest)) == divisor)
    return np.int64(estimate) + above - below, tie


@njit(cache=True, nogil=True, forceinline=True)
def multiply(x: Integer, by: Reciprocal) -> tuple[np.int64, np.int64]:
    """HALF_EVEN(x * m / (d * 2^s)) of |x| < 2^16, and 1 if it was a tie."""
    estimate = (np.int64(x) * by.factor + by.half) >> by.shift
    return settle(estimate, np.int64(x) * by.twice_multiplier - 2 * estimate * by.divisor, by.divisor)


@njit(cache=True, nogil=True, error_model="numpy")
def divisor(denominator: Integer) -> Divisor:
    """What a floor of numbers below 2^32 by 1 <= denominator < 2^33 needs to know."""
    d = np.int64(denominator)
    k = FLOOR_BITS + bit_length(d)
    return Divisor((np.int64(1) << k) // d, k, d)


@inner(forceinline=True)
def floor_divide(n: Integer, by: Divisor) -> np.int64:
    """floor(n / d), 0 <= n < 2^32 and n / d < 2^28."""
    estimate = (np.int64(n) * by.factor) >> by.shift
    return estimate + np.int64(np.int64(n) - estimate * by.divisor >= by.divisor)
