"""Residual sum: one rounding for both operands (7), or each rescaled and then added (R10)."""

from fractions import Fraction

from .formats import clamp, saturate
from .rounding import half_even
from .scaling import Ratio, Scaled, scale


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


def rescaled_add(
    a: list[int],
    b: list[int],
    zeros: tuple[int, int],
    ratios: tuple[Ratio, Ratio],
    left_shift: int,
    output_ratio: Ratio | None,
    zero_point: int,
    lo: int,
    hi: int,
) -> tuple[list[int], list[int], int]:
    """q = clamp(scale_o(scale_a((a - z_a) * 2^L) + scale_b((b - z_b) * 2^L)) + z) (R10).

    Returns the codes, the sign of every tie met, and how many values the clamp changed.
    """
    codes: list[int] = []
    ties: list[int] = []
    saturated = 0
    for pair in zip(a, b, strict=True):
        terms = [scale((x - zero) * 2**left_shift, ratio) for x, zero, ratio in zip(pair, zeros, ratios, strict=True)]
        total = sum(term.value for term in terms)
        terms.append(Scaled(total, 0) if output_ratio is None else scale(total, output_ratio))
        code, event = saturate(terms[-1].value + zero_point, lo, hi)
        codes.append(code)
        ties += [term.tie for term in terms if term.tie]
        saturated += event
    return codes, ties, saturated
