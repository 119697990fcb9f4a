"""HALF_EVEN of section 0, on exact rationals."""

from fractions import Fraction

HALF = Fraction(1, 2)


def half_even(fraction: Fraction) -> int:
    """HALF_EVEN(a/b): the nearest integer, a tie to the even one (section 0)."""
    below = fraction.numerator // fraction.denominator
    above = below + 1
    distance = fraction - below
    if distance == HALF:
        return below if below % 2 == 0 else above
    return below if distance < HALF else above


def tie_sign(fraction: Fraction) -> int:
    """Sign of the fraction if it lies exactly between two integers, else 0."""
    if fraction.denominator != 2:
        return 0
    return 1 if fraction > 0 else -1
