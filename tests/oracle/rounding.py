"""The five roundings of a rational to an integer, all exact (section 0, and operators/requantization.md)."""

from collections.abc import Callable
from fractions import Fraction
from math import floor, trunc

HALF = Fraction(1, 2)


def half_even(fraction: Fraction) -> int:
    """HALF_EVEN(a/b): the nearest integer, a tie to the even one (section 0)."""
    below = fraction.numerator // fraction.denominator
    above = below + 1
    distance = fraction - below
    if distance == HALF:
        return below if below % 2 == 0 else above
    return below if distance < HALF else above


def half_up(fraction: Fraction) -> int:
    """HALF_UP(v) = floor(v + 1/2)."""
    return floor(fraction + HALF)


def half_away(fraction: Fraction) -> int:
    """HALF_AWAY(v) = sgn(v) * floor(|v| + 1/2)."""
    return sign(fraction) * floor(abs(fraction) + HALF)


def toward_zero(fraction: Fraction) -> int:
    """TOWARD_ZERO(v) = sgn(v) * floor(|v|)."""
    return trunc(fraction)


def sign(value: Fraction | int) -> int:
    """sgn(v), 0 for 0."""
    return (value > 0) - (value < 0)


ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "half_up": half_up,
    "half_away": half_away,
    "half_even": half_even,
    "floor": floor,
    "toward_zero": toward_zero,
}


def tie_sign(fraction: Fraction) -> int:
    """Sign of the fraction if it lies exactly between two integers, else 0."""
    if fraction.denominator != 2:
        return 0
    return 1 if fraction > 0 else -1
