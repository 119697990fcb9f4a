"""Softmax of one row of score codes, (4a) to (4e)."""

from fractions import Fraction
from typing import NamedTuple

from .formats import saturate, saturate_row
from .rounding import half_even


class SoftmaxRow(NamedTuple):
    """The named sites of one row and its events."""

    numerator: list[int]
    denominator: int
    output: list[int]
    denominator_saturated: int
    denominator_below_one: int
    output_saturated: int


def numerators(scores: list[int], allowed: list[bool], table: list[int]) -> list[int]:
    """numerator[j] = T[max of the allowed q - q[j]] if j is allowed, else 0 (4a), (4b)."""
    if not any(allowed):
        return [0] * len(scores)
    top = max(score for score, kept in zip(scores, allowed, strict=True) if kept)
    return [table[top - score] if kept else 0 for score, kept in zip(scores, allowed, strict=True)]


def at_least_one(rounded: int, hi: int) -> tuple[int, int, int]:
    """max(1, sat(rounded)), the saturation event and the event "below 1" of (4d) and (5d)."""
    saturated, saturation_event = saturate(rounded, 0, hi)
    return max(1, saturated), saturation_event, int(saturated < 1)


def softmax(
    scores: list[int],
    allowed: list[bool],
    table: list[int],
    denominator_multiplier: int,
    denominator_shift: int,
    denominator_max: int,
    output_multiplier: int,
    output_shift: int,
    output_max: int,
) -> SoftmaxRow:
    """One row of (4a) to (4e)."""
    numerator = numerators(scores, allowed, table)
    scaled_sum = Fraction(sum(numerator) * denominator_multiplier, 2**denominator_shift)
    denominator, saturated, below_one = at_least_one(half_even(scaled_sum), denominator_max)
    quotients = [half_even(Fraction(value * output_multiplier, denominator * 2**output_shift)) for value in numerator]
    output, output_saturated = saturate_row(quotients, 0, output_max)
    return SoftmaxRow(numerator, denominator, output, saturated, below_one, output_saturated)
