"""Scalar integer arithmetic shared by every kernel: HALF_EVEN rounding, saturation, wrapping, square root.

Everything is exact in int64 and widens what it is given, so that the compiled and the interpreted function agree.
The functions that end in `counters` add their events to an int64 array indexed by `hwsim.formats.Counter`. They add
zero rather than branch: around a branch compiled code counts references to the array, atomically, for every element.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.formats import Counter, Scaling

Counters = NDArray[np.int64]
Integer = int | np.int64
"""A scalar a kernel works on: an int in compiled code, an int or an np.int64 in interpreted code."""

OVERFLOW = int(Counter.OVERFLOW)
SATURATION = int(Counter.SATURATION)
POSITIVE_TIE = int(Counter.POSITIVE_TIE)
NEGATIVE_TIE = int(Counter.NEGATIVE_TIE)
DENOMINATOR_CLAMP = int(Counter.DENOMINATOR_CLAMP)

HALF_UP, HALF_AWAY = int(Scaling.HALF_UP), int(Scaling.HALF_AWAY)
HALF_EVEN, FLOOR = int(Scaling.HALF_EVEN), int(Scaling.FLOOR)
"""The roundings by number, TOWARD_ZERO being the one that is left."""

ISQRT_BITS = 52
"""isqrt takes values below 2^52."""
_TOP_BIT = 1 << (ISQRT_BITS - 2)


@njit(cache=True)
def is_shift_tie(value: Integer, shift: Integer) -> bool:
    """Whether value / 2^shift lies halfway between two integers; 0 <= shift <= 62."""
    half = (np.int64(1) << shift) >> 1
    rest = np.int64(value) & ((np.int64(1) << shift) - 1)
    return bool(half != 0 and rest == half)


@njit(cache=True)
def half_even_shift(value: Integer, shift: Integer) -> np.int64:
    """HALF_EVEN(value / 2^shift), for every int64 value and 0 <= shift <= 62; no intermediate can overflow."""
    floor = np.int64(value) >> shift
    rest = np.int64(value) & ((np.int64(1) << shift) - 1)
    half = (np.int64(1) << shift) >> 1
    return floor + (np.int64(rest + (floor & 1) > half) & np.int64(half != 0))


@njit(cache=True)
def half_up_shift(value: Integer, shift: Integer) -> np.int64:
    """HALF_UP(value / 2^shift), for every int64 value and 0 <= shift <= 62."""
    rest = np.int64(value) & ((np.int64(1) << shift) - 1)
    half = (np.int64(1) << shift) >> 1
    return (np.int64(value) >> shift) + (np.int64(rest >= half) & np.int64(half != 0))


@njit(cache=True)
def half_away_shift(value: Integer, shift: Integer) -> np.int64:
    """HALF_AWAY(value / 2^shift), for every int64 value and 0 <= shift <= 62."""
    below_zero = np.int64(value < 0)
    return half_up_shift(value, shift) - (below_zero & np.int64(is_shift_tie(value, shift)))


@njit(cache=True)
def toward_zero_shift(value: Integer, shift: Integer) -> np.int64:
    """TOWARD_ZERO(value / 2^shift), for every int64 value and 0 <= shift <= 62."""
    rest = np.int64(value) & ((np.int64(1) << shift) - 1)
    return (np.int64(value) >> shift) + (np.int64(value < 0) & np.int64(rest != 0))


@njit(cache=True)
def shift_by_rule(rounding: int, value: Integer, shift: Integer) -> np.int64:
    """value / 2^shift by one of the five roundings, numbered as in `Scaling`; 0 <= shift <= 62."""
    if rounding == HALF_EVEN:
        return half_even_shift(value, shift)
    if rounding == HALF_UP:
        return half_up_shift(value, shift)
    if rounding == HALF_AWAY:
        return half_away_shift(value, shift)
    if rounding == FLOOR:
        return np.int64(value) >> shift
    return toward_zero_shift(value, shift)


@njit(cache=True)
def tie_sign(value: Integer, shift: Integer) -> np.int64:
    """1 or -1, the sign of the value, where value / 2^shift lies halfway between two integers; otherwise 0."""
    tie = np.int64(is_shift_tie(value, shift))
    return tie - 2 * (tie & np.int64(value < 0))


@njit(cache=True)
def bit_length(value: Integer) -> np.int64:
    """Bits of 0 <= value < 2^63 without its leading zeros, by halving."""
    rest, length = np.int64(value), np.int64(0)
    for k in range(5, -1, -1):
        step = np.int64((rest >> (1 << k)) != 0) << k
        rest >>= step
        length += step
    return length + rest


@njit(cache=True)
def is_divide_tie(numerator: Integer, denominator: Integer) -> bool:
    """Whether numerator / denominator lies halfway between two integers; denominator > 0."""
    rest = np.int64(numerator) % np.int64(denominator)
    return bool(rest == np.int64(denominator) - rest)


@njit(cache=True)
def half_even_divide(numerator: Integer, denominator: Integer) -> np.int64:
    """HALF_EVEN(numerator / denominator), for every int64 numerator and denominator > 0."""
    floor = np.int64(numerator) // np.int64(denominator)
    rest = np.int64(numerator) % np.int64(denominator)
    below, above = rest, np.int64(denominator) - rest
    return floor + np.int64(below > above or (below == above and (floor & 1) == 1))


@njit(cache=True)
def _quotient_side(numerator: Integer, denominator: Integer, shift: Integer) -> tuple[np.int64, np.int64]:
    """Floor of numerator / (denominator * 2^shift), and the sign of what is left minus one half.

    The product denominator * 2^shift is never formed: it may exceed 63 bits. With N = high * 2^shift + low and
    high = floor * denominator + rest, twice what is left is (2 * rest + top) + fraction, in units of 2^shift, where top
    is the highest bit of low and fraction the others.
    """
    high = np.int64(numerator) >> shift
    low = np.int64(numerator) & ((np.int64(1) << shift) - 1)
    half = (np.int64(1) << shift) >> 1
    top = np.int64(half != 0 and low >= half)
    floor = high // np.int64(denominator)
    rest = high - floor * np.int64(denominator)
    side = 2 * rest + top - np.int64(denominator)
    if side == 0 and low - top * half > 0:
        side = np.int64(1)
    return floor, side


@njit(cache=True)
def clamp(value: Integer, lo: Integer, hi: Integer) -> np.int64:
    """min(max(value, lo), hi)."""
    return np.int64(min(max(np.int64(value), np.int64(lo)), np.int64(hi)))


@njit(cache=True)
def wrap(value: Integer, bits: Integer) -> np.int64:
    """The signed number of `bits` bits, 2 <= bits <= 63, that equals an int64 value modulo 2^bits."""
    return (np.int64(value) << (64 - bits)) >> (64 - bits)


@njit(cache=True)
def isqrt(value: Integer) -> np.int64:
    """Floor of the square root, exact for 0 <= value < 2^52, one result bit at a time."""
    rest, root, bit = np.int64(value), np.int64(0), np.int64(_TOP_BIT)
    while bit > 0:
        if rest >= root + bit:
            rest -= root + bit
            root = (root >> 1) + bit
        else:
            root >>= 1
        bit >>= 2
    return root


@njit(cache=True)
def round_shift(value: Integer, shift: Integer, counters: Counters) -> np.int64:
    """HALF_EVEN(value / 2^shift), ties counted by the sign of the value."""
    counters[NEGATIVE_TIE if value < 0 else POSITIVE_TIE] += np.int64(is_shift_tie(value, shift))
    return half_even_shift(value, shift)


@njit(cache=True)
def round_shift_by_rule(rounding: int, value: Integer, shift: Integer, counters: Counters) -> np.int64:
    """value / 2^shift by one of the five roundings; all count the ties of HALF_EVEN, even those that meet none."""
    nearest = round_shift(value, shift, counters)
    return nearest if rounding == HALF_EVEN else shift_by_rule(rounding, value, shift)


@njit(cache=True)
def round_ratio(numerator: Integer, denominator: Integer, shift: Integer, counters: Counters) -> np.int64:
    """HALF_EVEN(numerator / (denominator * 2^shift)), ties counted; 0 < denominator < 2^61, 0 <= shift <= 62."""
    floor, side = _quotient_side(numerator, denominator, shift)
    counters[NEGATIVE_TIE if numerator < 0 else POSITIVE_TIE] += np.int64(side == 0)
    return floor + np.int64(side > 0 or (side == 0 and (floor & 1) == 1))


@njit(cache=True)
def saturate(value: Integer, lo: Integer, hi: Integer, counters: Counters) -> np.int64:
    """Clamp, counting a value outside [lo, hi]."""
    clamped = clamp(value, lo, hi)
    counters[SATURATION] += np.int64(clamped != value)
    return clamped


@njit(cache=True)
def raise_to_one(value: Integer, counters: Counters) -> np.int64:
    """max(1, value), counting a value below 1: the last step of a denominator."""
    counters[DENOMINATOR_CLAMP] += np.int64(value < 1)
    return max(np.int64(value), np.int64(1))


@njit(cache=True)
def bounds(values: NDArray[np.signedinteger]) -> tuple[np.int64, np.int64]:
    """Least and greatest element of a flat array of int32 or int64; (0, 0) for an empty one."""
    if values.size == 0:
        return np.int64(0), np.int64(0)
    least, greatest = np.int64(values[0]), np.int64(values[0])
    for i in range(values.size):
        least = min(least, np.int64(values[i]))
        greatest = max(greatest, np.int64(values[i]))
    return least, greatest
