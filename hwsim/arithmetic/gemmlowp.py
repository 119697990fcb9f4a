"""Fixed-point primitives of gemmlowp on int64: docs/operators/requantization.md, softmax.md and layernorm.md.

A number of Qi.f has i integer and f fractional bits, i + f = 31, and is held in the range of an int32. None of these
functions counts events.
"""

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import Integer, bit_length, clamp, half_away_shift, half_up_shift

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
Q31_ONE = INT32_MAX
"""The greatest Q0.31 stands for 1."""

EXP_MINUS_EIGHTH = 1895147668
"""exp(-1/8), Q0.31."""
THIRD = 715827883
"""1/3, Q0.31."""
EXP_OF_BIT = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^k) for k = -2..4, Q0.31: the factors of bits 24 to 30 of a Q5.26."""
QUARTER_BITS = 24
"""1/4 in Q5.26 is 2^24."""
EIGHTH = 1 << 28
"""1/8, Q0.31."""

FORTY_EIGHT_SEVENTEENTHS = 1515870810
"""48/17, Q2.29."""
MINUS_THIRTY_TWO_SEVENTEENTHS = -1010580540
"""-32/17, Q2.29."""
Q29_ONE = 1 << 29
RECIPROCAL_STEPS = 3

Q28_ONE = 1 << 28
THREE_HALVES = 402653184
"""3/2, Q3.28."""
SQRT_HALF = 1518500250
"""sqrt(1/2), Q0.31."""
INVERSE_SQRT_STEPS = 5
INVERSE_SQRT_LIMIT = 1 << 29


@njit(cache=True, nogil=True, forceinline=True)
def doubling_high_multiply(a: Integer, b: Integer) -> np.int64:
    """S(a, b) = min(2^31 - 1, HALF_UP(a*b / 2^31)) of two int32, or of 2^31 and 0 <= b < 2^31."""
    return min(half_up_shift(np.int64(a) * np.int64(b), 31), np.int64(INT32_MAX))


@njit(cache=True, nogil=True, forceinline=True)
def rounding_divide(a: Integer, r: Integer) -> np.int64:
    """R(a, r) = HALF_AWAY(a / 2^r), for every int64 a and 0 <= r <= 62."""
    return half_away_shift(a, r)


@inner(forceinline=True)
def saturating_shift_left(a: Integer, k: Integer) -> np.int64:
    """satshl(a, k) = clamp_int32(a * 2^k) of an int32, 0 <= k <= 31."""
    return clamp(np.int64(a) << np.int64(k), INT32_MIN, INT32_MAX)


@njit(cache=True, nogil=True, forceinline=True)
def count_leading_zeros32(v: Integer) -> np.int64:
    """Leading zeros of 0 <= v < 2^32 in 32 bits; 32 for 0."""
    return 32 - bit_length(v)


@inner(forceinline=True)
def multiply_by_multiplier(x: Integer, m: Integer, e: Integer) -> np.int64:
    """scale(x; m, e) of (R2): R(S(x * 2^max(31-e, 0), m), max(e-31, 0)), |x| * 2^max(31-e, 0) <= 2^31."""
    return rounding_divide(high_multiply_left(x, m, e), np.int64(max(e - 31, 0)))


@inner(forceinline=True)
def high_multiply_left(x: Integer, m: Integer, e: Integer) -> np.int64:
    """The y of (R2) and (R3): S(x * 2^max(31-e, 0), m)."""
    return doubling_high_multiply(np.int64(x) << np.int64(max(31 - e, 0)), m)


@inner(forceinline=True)
def _times_bit(r: np.int64, remainder: Integer, k: int, factor: int) -> np.int64:
    """r times a factor if bit QUARTER_BITS + k of the remainder is set. A loop over the bits would not vectorise."""
    return half_up_shift(r * factor, 31) if (remainder >> (QUARTER_BITS + k)) & 1 else r


@njit(cache=True, nogil=True, forceinline=True)
def exp_on_negative(a: Integer) -> np.int64:
    """exp_q(a) of softmax.md, section 2: exp of a Q5.26, -2^31 <= a <= 0, in Q0.31.

    A Taylor series around -1/8 for the part in [-1/4, 0), one factor for each bit of what remains.
    """
    f = (np.int64(a) & ((1 << QUARTER_BITS) - 1)) - (1 << QUARTER_BITS)
    x = saturating_shift_left(f, 5) + EIGHTH
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = doubling_high_multiply(x2, x2)
    y = rounding_divide(doubling_high_multiply(rounding_divide(x4, 2) + x3, THIRD) + x2, 1)
    r = EXP_MINUS_EIGHTH + doubling_high_multiply(EXP_MINUS_EIGHTH, x + y)
    remainder = f - np.int64(a)
    r = _times_bit(r, remainder, 0, EXP_OF_BIT[0])
    r = _times_bit(r, remainder, 1, EXP_OF_BIT[1])
    r = _times_bit(r, remainder, 2, EXP_OF_BIT[2])
    r = _times_bit(r, remainder, 3, EXP_OF_BIT[3])
    r = _times_bit(r, remainder, 4, EXP_OF_BIT[4])
    r = _times_bit(r, remainder, 5, EXP_OF_BIT[5])
    r = _times_bit(r, remainder, 6, EXP_OF_BIT[6])
    return r if a != 0 else np.int64(Q31_ONE)


@njit(cache=True, nogil=True, forceinline=True)
def one_over_one_plus(v: Integer) -> np.int64:
    """recip(v) of softmax.md, section 2: 1/(1 + v) of a Q0.31, 0 <= v < 2^31, in Q0.31, by Newton's method."""
    half = (np.int64(v) + Q31_ONE + 1) >> 1
    x = FORTY_EIGHT_SEVENTEENTHS + doubling_high_multiply(half, MINUS_THIRTY_TWO_SEVENTEENTHS)
    for _ in range(RECIPROCAL_STEPS):
        error = Q29_ONE - doubling_high_multiply(half, x)
        x += saturating_shift_left(doubling_high_multiply(x, error), 2)
    return saturating_shift_left(x, 1)


@njit(cache=True, nogil=True)
def inverse_sqrt(v: Integer) -> tuple[np.int64, np.int64]:
    """invsqrt(v) of layernorm.md, section 4: (I, k) with 1/sqrt(v) ~ I / 2^(31+k), I in Q0.31, v >= 1, k >= 0."""
    if v == 1:
        return np.int64(Q31_ONE), np.int64(0)
    value, k = np.int64(v), np.int64(11)
    while value >= INVERSE_SQRT_LIMIT:
        value >>= 2
        k += 1
    pairs = ((count_leading_zeros32(value) - 1) >> 1) - 1
    k -= pairs
    half = rounding_divide((value << (2 * pairs)) >> 1, 1)
    x = np.int64(Q28_ONE)
    for _ in range(INVERSE_SQRT_STEPS):
        x3 = saturating_shift_left(doubling_high_multiply(doubling_high_multiply(x, x), x), 6)
        x = saturating_shift_left(doubling_high_multiply(THREE_HALVES, x) - doubling_high_multiply(half, x3), 3)
    left = max(-k, np.int64(0))
    return doubling_high_multiply(x, SQRT_HALF) << left, k + left
