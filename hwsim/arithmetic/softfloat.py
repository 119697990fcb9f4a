"""IEEE 754 binary32 in integers: what fl32 of docs/operators/requantization.md and softmax.md needs, and no float type.

A binary32 is an int64 v of at most 24 significant bits over a power of two that the caller keeps: no result here is
subnormal or overflows, so rounding does not depend on that power. Numbers with a power of their own are pairs (v, e) of
v * 2^e, 0 <= v <= 2^24; v is at least 2^23 unless the number is 0 or came subnormal, with e = -149, into the integers.
"""

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import Integer, bit_length, half_even_shift

MANTISSA_BITS = 24
NUMERATOR_BITS = 62
"""Width to which a numerator is shifted: over at most 32 bits its quotient keeps 30."""
SUM_BITS = 46
"""Fractional bits of a sum with a zero point: a zero point of at most 17 bits, and the product, stay below 2^63."""


@inner(forceinline=True)
def to_mantissa(value: Integer) -> np.int64:
    """fl32 of an integer |v| < 2^63: the nearest of 24 significant bits, a tie to the even mantissa.

    Half of a last bit less one, and one more if the last bit is odd, carry into it what is to be rounded up.
    """
    v = np.int64(value)
    dropped = max(bit_length(abs(v)) - MANTISSA_BITS, np.int64(0))
    below = (np.int64(1) << dropped) - 1
    return (v + (below >> 1) + ((v >> dropped) & below & 1)) & ~below


@njit(cache=True, nogil=True, forceinline=True)
def multiply(x: Integer, m: Integer) -> np.int64:
    """fl32(fl32(x) * m), |x| <= 2^31 and 1 <= m < 2^24; over 2^e it is fl32(fl32(x) * m / 2^e)."""
    return to_mantissa(to_mantissa(x) * np.int64(m))


@inner
def divide_integers(numerator: Integer, denominator: Integer) -> tuple[np.int64, np.int64]:
    """fl32(numerator / fl32(denominator)) as (m, e) of m / 2^e, 2^23 <= m < 2^24.

    1 <= numerator < 2^16, 1 <= denominator < 2^32. The quotient is taken to more than 24 bits; what is left of it is
    only seen as a last bit that is set.
    """
    below = to_mantissa(denominator)
    kept = NUMERATOR_BITS - bit_length(np.int64(numerator))
    above = np.int64(numerator) << kept
    quotient = above // below
    value = to_mantissa(quotient | np.int64(quotient * below != above))
    dropped = bit_length(value) - MANTISSA_BITS
    return value >> dropped, kept - dropped


@inner(forceinline=True)
def add_integer(value: Integer, shift: Integer, z: Integer) -> tuple[np.int64, np.int64]:
    """fl32(value / 2^shift + z) as (v, s) of v / 2^s, for a product of `multiply` and a zero point.

    Bits below 2^-46 are only seen as a last bit that is set (rounding to odd). They exist only where |value / 2^shift|
    is below 2^-22; then the sum with z != 0 is at least 1/2 and its last mantissa bit far above.
    """
    low = np.int64(max(shift - SUM_BITS, 0))
    kept = shift - low
    sticky = np.int64((value & ((np.int64(1) << low) - 1)) != 0)
    return to_mantissa(((value >> low) | sticky) + (np.int64(z) << kept)), kept


LEAST_POWER = -149
"""Of two: the step of subnormal numbers."""
FINITE_BITS = 0x7F7FFFFF
"""The 32 bits of the greatest number."""

Number = tuple[np.int64, np.int64]


@njit(cache=True, nogil=True, forceinline=True)
def from_bits(bits: Integer) -> Number:
    """The number whose 32 bits are 0 <= bits <= FINITE_BITS."""
    fraction, field = np.int64(bits) & ((1 << (MANTISSA_BITS - 1)) - 1), np.int64(bits) >> (MANTISSA_BITS - 1)
    hidden = np.int64(field != 0) << (MANTISSA_BITS - 1)
    return fraction | hidden, max(field, np.int64(1)) + (LEAST_POWER - 1)


@njit(cache=True, nogil=True, forceinline=True)
def add(a: Number, b: Number) -> Number:
    """fl32(a + b), without a branch; 0 has the power -149.

    A power of two that lies 38 or more below the other one leaves less than half of a last bit. Of two powers the
    greater one's number has 24 bits, and so the sum has those and the gap, and perhaps one more.
    """
    more = np.int64(a[1] >= b[1])
    high, low = b[0] + more * (a[0] - b[0]), a[0] + more * (b[0] - a[0])
    gap = min(np.int64(abs(a[1] - b[1])), np.int64(62 - MANTISSA_BITS))
    total = (high << gap) + low
    carry = np.int64((total >> (gap + MANTISSA_BITS)) != 0)
    return half_even_shift(total, gap + carry), max(a[1], b[1]) + carry
