"""The roundings and binary32 over plain integers, as hardware has them: shifts, remainders and sign bits.

`tests.oracle` says the same over exact rationals; `tests/unit/replay/test_rounding.py` holds them against each other.
"""

from collections.abc import Callable
from typing import NamedTuple

MANTISSA = 24
"""Bits of a binary32, the hidden one included."""


def half_up(p: int, e: int) -> int:
    """HALF_UP(p / 2^e)."""
    return (p + (1 << e >> 1)) >> e


def half_away(p: int, e: int) -> int:
    """HALF_AWAY(p / 2^e)."""
    magnitude = (abs(p) + (1 << e >> 1)) >> e
    return magnitude if p >= 0 else -magnitude


def half_even(p: int, e: int) -> int:
    """HALF_EVEN(p / 2^e)."""
    return half_even_ratio(p, 1 << e)


def floor(p: int, e: int) -> int:
    """FLOOR(p / 2^e)."""
    return p >> e


def toward_zero(p: int, e: int) -> int:
    """TOWARD_ZERO(p / 2^e)."""
    return p >> e if p >= 0 else -(-p >> e)


def half_even_ratio(a: int, b: int) -> int:
    """HALF_EVEN(a / b), b > 0."""
    below, rest = divmod(a, b)
    twice = 2 * rest
    return below + (twice > b or (twice == b and below & 1))


def toward_zero_ratio(a: int, b: int) -> int:
    """TOWARD_ZERO(a / b), b > 0: the division of C."""
    return a // b if a >= 0 else -(-a // b)


SHIFTS: dict[str, Callable[[int, int], int]] = {
    "half_up": half_up,
    "half_away": half_away,
    "half_even": half_even,
    "floor": floor,
    "toward_zero": toward_zero,
}


class Binary(NamedTuple):
    """The number mantissa * 2^exponent, the mantissa an integer of either sign."""

    mantissa: int
    exponent: int


def binary32(mantissa: int, exponent: int = 0) -> Binary:
    """The binary32 nearest to mantissa * 2^exponent, a tie to the even mantissa; nothing subnormal, no overflow."""
    surplus = abs(mantissa).bit_length() - MANTISSA
    if surplus <= 0:
        return Binary(mantissa, exponent)
    return Binary(half_even(mantissa, surplus), exponent + surplus)


def binary32_product(a: Binary, b: Binary) -> Binary:
    """The binary32 nearest to a * b."""
    return binary32(a.mantissa * b.mantissa, a.exponent + b.exponent)


def binary32_quotient(a: int, b: int) -> Binary:
    """The binary32 nearest to a / b, both positive."""
    shift = MANTISSA + b.bit_length() - a.bit_length()
    if (a << shift) // b >> MANTISSA:
        shift -= 1
    return Binary(half_even_ratio(a << shift, b), -shift)


def of_bits(bits: int) -> Binary:
    """The binary32 of 32 bits without a sign: 8 of exponent, 23 of fraction, a hidden one if the exponent is not 0."""
    exponent, fraction = bits >> 23, bits & 0x7FFFFF
    return Binary(fraction | (1 << 23), exponent - 150) if exponent else Binary(fraction, -149)


def binary32_sum(a: Binary, b: Binary) -> Binary:
    """The binary32 nearest to a + b; a sum of binary32 is never between two subnormals."""
    common = min(a.exponent, b.exponent)
    return binary32((a.mantissa << (a.exponent - common)) + (b.mantissa << (b.exponent - common)), common)


def nearest_integer_quotient(a: Binary, b: Binary) -> int:
    """HALF_EVEN(a / b), b positive."""
    shift = a.exponent - b.exponent
    return half_even_ratio(a.mantissa << max(shift, 0), b.mantissa << max(-shift, 0))


def nearest_integer(value: Binary) -> int:
    """HALF_EVEN of a binary number."""
    mantissa, exponent = value
    return mantissa << exponent if exponent >= 0 else half_even(mantissa, -exponent)
