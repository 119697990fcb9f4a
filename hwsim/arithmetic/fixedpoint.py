"""Scalar integer arithmetic shared by every kernel: HALF_EVEN rounding, saturation, wrapping, square root.

Everything is exact in int64 and widens what it is given, so that the compiled and the interpreted function agree.
The functions that end in `counters` add their events to an int64 array indexed by `hwsim.formats.Counter`. They add
zero rather than branch: around a branch compiled code counts references to the array, atomically, for every element.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import INTERPRETED, inner
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
_NEWTON_STEPS = 4


@inner(forceinline=True)
def is_shift_tie(value: Integer, shift: Integer) -> bool:
    """Whether value / 2^shift lies halfway between two integers; 0 <= shift <= 62."""
    half = (np.int64(1) << shift) >> 1
    rest = np.int64(value) & ((np.int64(1) << shift) - 1)
    return bool(half != 0 and rest == half)


@inner(forceinline=True)
def half_even_shift(value: Integer, shift: Integer) -> np.int64:
    """HALF_EVEN(value / 2^shift), for every int64 value and 0 <= shift <= 62; no intermediate can overflow."""
    floor = np.int64(value) >> shift
    rest = np.int64(value) & ((np.int64(1) << shift) - 1)
    half = (np.int64(1) << shift) >> 1
    return floor + (np.int64(rest + (floor & 1) > half) & np.int64(half != 0))


@inner(forceinline=True)
def half_up_shift(value: Integer, shift: Integer) -> np.int64:
    """HALF_UP(value / 2^shift), for every int64 value and 0 <= shift <= 62."""
    half = (np.int64(1) << shift) >> 1
    return (np.int64(value) >> shift) + np.int64((np.int64(value) & half) != 0)


@inner(forceinline=True)
def half_away_shift(value: Integer, shift: Integer) -> np.int64:
    """HALF_AWAY(value / 2^shift), for every int64 value and 0 <= shift <= 62."""
    rest = np.int64(value) & ((np.int64(1) << shift) - 1)
    half = (np.int64(1) << shift) >> 1
    return (np.int64(value) >> shift) + (np.int64(rest - np.int64(value < 0) >= half) & np.int64(half != 0))


@inner(forceinline=True)
def toward_zero_shift(value: Integer, shift: Integer) -> np.int64:
    """TOWARD_ZERO(value / 2^shift), for every int64 value and 0 <= shift <= 62."""
    rest = np.int64(value) & ((np.int64(1) << shift) - 1)
    return (np.int64(value) >> shift) + (np.int64(value < 0) & np.int64(rest != 0))


@inner(forceinline=True)
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


@inner(forceinline=True)
def tie_sign(value: Integer, shift: Integer) -> np.int64:
    """1 or -1, the sign of the value, where value / 2^shift lies halfway between two integers; otherwise 0."""
    tie = np.int64(is_shift_tie(value, shift))
    return tie - 2 * (tie & np.int64(value < 0))


def _counted(value: Integer) -> int:
    """What `_leading_zeros` is where nothing is compiled."""
    return 64 - int(value).bit_length()


@intrinsic
def _leading_zeros(typing: Any, value: Any) -> Any:
    """Zeros above the highest bit of an int64, by the processor's instruction, of which there are vectors."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return builder.ctlz(values[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), emit


_zeros_above: Any = _counted if INTERPRETED else _leading_zeros


@njit(cache=True, nogil=True, forceinline=True)
def bit_length(value: Integer) -> np.int64:
    """Bits of 0 <= value < 2^63 without its leading zeros."""
    return np.int64(64 - _zeros_above(np.int64(value)))


@inner
def is_divide_tie(numerator: Integer, denominator: Integer) -> bool:
    """Whether numerator / denominator lies halfway between two integers; denominator > 0."""
    rest = np.int64(numerator) % np.int64(denominator)
    return bool(rest == np.int64(denominator) - rest)


@inner
def half_even_divide(numerator: Integer, denominator: Integer) -> np.int64:
    """HALF_EVEN(numerator / denominator), for every int64 numerator and denominator > 0."""
    floor = np.int64(numerator) // np.int64(denominator)
    rest = np.int64(numerator) % np.int64(denominator)
    below, above = rest, np.int64(denominator) - rest
    return floor + np.int64(below > above or (below == above and (floor & 1) == 1))


@njit(cache=True, nogil=True, forceinline=True)
def clamp(value: Integer, lo: Integer, hi: Integer) -> np.int64:
    """min(max(value, lo), hi)."""
    return np.int64(min(max(np.int64(value), np.int64(lo)), np.int64(hi)))


@njit(cache=True, nogil=True)
def wrap(value: Integer, bits: Integer) -> np.int64:
    """The signed number of `bits` bits, 2 <= bits <= 63, that equals an int64 value modulo 2^bits."""
    return (np.int64(value) << (64 - bits)) >> (64 - bits)


@njit(cache=True, nogil=True, error_model="numpy")
def isqrt(value: Integer) -> np.int64:
    """Floor of the square root, exact for 0 <= value < 2^52, by Newton's method in integers.

    The first guess, 2^floor(bits / 2), is the root times or over at most sqrt(2). The first step carries that to a root
    0.061 too great, and every other one a relative error e > 0 to e^2 / (2 + 2e): 0.0018, 1.6e-6, 1.3e-12, the last of
    which is less than 0.001 of a root below 2^26. A step never ends below the floor of the root, and one from that
    floor at most 1 above it.
    """
    v = np.int64(value)
    root = np.int64(1) << (bit_length(v) >> 1)
    for _ in range(_NEWTON_STEPS):
        root = max((root + v // root) >> 1, np.int64(1))
    return root - np.int64(root * root > v)


@inner
def round_shift(value: Integer, shift: Integer, counters: Counters) -> np.int64:
    """HALF_EVEN(value / 2^shift), ties counted by the sign of the value."""
    counters[NEGATIVE_TIE if value < 0 else POSITIVE_TIE] += np.int64(is_shift_tie(value, shift))
    return half_even_shift(value, shift)


@inner
def saturate(value: Integer, lo: Integer, hi: Integer, counters: Counters) -> np.int64:
    """Clamp, counting a value outside [lo, hi]."""
    clamped = clamp(value, lo, hi)
    counters[SATURATION] += np.int64(clamped != value)
    return clamped


@inner(forceinline=True)
def half_even_and_tie(value: Integer, shift: Integer) -> tuple[np.int64, np.int64]:
    """HALF_EVEN(value / 2^shift), and 1 or -1 where it broke a tie above or below 0: `round_shift` for vector loops."""
    return half_even_shift(value, shift), tie_sign(value, shift)


@inner(forceinline=True)
def clamp_and_change(value: Integer, lo: Integer, hi: Integer) -> tuple[np.int64, np.int64]:
    """Clamp, and 1 for a value outside [lo, hi]: `saturate` for vector loops."""
    clamped = clamp(value, lo, hi)
    return clamped, np.int64(clamped != value)


@inner
def add_events(ties: Integer, balance: Integer, saturations: Integer, counters: Counters) -> None:
    """Add what a loop kept in registers: ties, the sum of their signs, and saturations."""
    counters[SATURATION] += saturations
    counters[POSITIVE_TIE] += (ties + balance) >> 1
    counters[NEGATIVE_TIE] += (ties - balance) >> 1


@inner
def raise_to_one(value: Integer, counters: Counters) -> np.int64:
    """max(1, value), counting a value below 1: the last step of a denominator."""
    counters[DENOMINATOR_CLAMP] += np.int64(value < 1)
    return max(np.int64(value), np.int64(1))


@njit(cache=True, nogil=True)
def bounds(values: NDArray[np.signedinteger]) -> tuple[np.int64, np.int64]:
    """Least and greatest element of a flat array of int32 or int64; (0, 0) for an empty one."""
    if values.size == 0:
        return np.int64(0), np.int64(0)
    least, greatest = np.int64(values[0]), np.int64(values[0])
    for i in range(values.size):
        least = min(least, np.int64(values[i]))
        greatest = max(greatest, np.int64(values[i]))
    return least, greatest
