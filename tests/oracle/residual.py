"""Residual sum (7)."""

from fractions import Fraction

from .formats import clamp
from .rounding import half_even


def add(
    a: list[int],
    b: list[int],
    a_zero: int,
    b_zero: int,
    a_multiplier: int,
    b_multiplier: int,
    shift: int,
    zero_point: int,
    lo: int,
    hi: int,
) -> list[int]:
    """q = clamp(HALF_EVEN(((a - z_a)*m_a + (b - z_b)*m_b) / 2^e) + z) (7)."""
    totals = [(x - a_zero) * a_multiplier + (y - b_zero) * b_multiplier for x, y in zip(a, b, strict=True)]
    return [clamp(half_even(Fraction(total, 2**shift)) + zero_point, lo, hi) for total in totals]
