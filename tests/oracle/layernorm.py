"""LayerNorm of one row of residual codes, (5a) to (5f)."""

from fractions import Fraction
from math import isqrt
from typing import NamedTuple

from .formats import saturate_row
from .requantize import requantize
from .rounding import half_even
from .softmax import at_least_one


class LayerNormRow(NamedTuple):
    """The named sites of one row and its events."""

    numerator: list[int]
    denominator: int
    quotient: list[int]
    output: list[int]
    numerator_saturated: int
    denominator_saturated: int
    denominator_below_one: int
    quotient_saturated: int


def centred(x: list[int]) -> list[int]:
    """c[j] = n*x[j] - sum(x) (5a)."""
    return [len(x) * value - sum(x) for value in x]


def variance_integer(x: list[int], eps_int: int) -> int:
    """V = n*sum(x^2) - sum(x)^2 + eps_int (5b)."""
    return len(x) * sum(value**2 for value in x) - sum(x) ** 2 + eps_int


def uncentred(x: list[int], eps_int: int) -> tuple[list[int], int]:
    """c[j] = n*x[j] and V = n*sum(x^2) + eps_int: RMSNorm (operators/layernorm.md, 1)."""
    return [len(x) * value for value in x], len(x) * sum(value**2 for value in x) + eps_int


def parts(x: list[int], zero: int | None, eps_int: int) -> tuple[list[int], int]:
    """c and V: of LayerNorm, or of RMSNorm if a zero point is given."""
    if zero is None:
        return centred(x), variance_integer(x, eps_int)
    return uncentred([value - zero for value in x], eps_int)


def epsilon_integer(eps: float, n: int, scale: float) -> int:
    """eps_int = HALF_EVEN(eps * n^2 / s_x^2), both floats taken as exact rationals (section 5)."""
    return half_even(Fraction(eps) * n**2 / Fraction(scale) ** 2)


def ratios(values: list[int], multiplier: int, divisor: int, lo: int, hi: int) -> tuple[list[int], int]:
    """sat(HALF_EVEN(value * m / divisor)) of a row, and the events (5c), (5e)."""
    return saturate_row([half_even(Fraction(value * multiplier, divisor)) for value in values], lo, hi)


def layernorm(
    x: list[int], eps_int: int,
    numerator_multiplier: int, numerator_shift: int, numerator_lo: int, numerator_hi: int,
    denominator_multiplier: int, denominator_shift: int, denominator_hi: int,
    quotient_multiplier: int, quotient_shift: int, quotient_lo: int, quotient_hi: int,
    gamma: list[int], beta: list[int],
    output_multiplier: int, output_shift: int, output_zero_point: int, output_lo: int, output_hi: int,
    zero: int | None = None,
) -> LayerNormRow:  # fmt: skip
    """One row of (5a) to (5f); with the zero point of x, which else cancels, of RMSNorm."""
    c, variance = parts(x, zero, eps_int)
    numerator, numerator_events = ratios(c, numerator_multiplier, 2**numerator_shift, numerator_lo, numerator_hi)
    scaled_root = Fraction(isqrt(variance) * denominator_multiplier, 2**denominator_shift)
    denominator, saturated, below_one = at_least_one(half_even(scaled_root), denominator_hi)
    quotient, quotient_events = ratios(
        numerator, quotient_multiplier, denominator * 2**quotient_shift, quotient_lo, quotient_hi
    )
    affine = [q * g + b for q, g, b in zip(quotient, gamma, beta, strict=True)]
    output = requantize([affine], [output_multiplier], [output_shift], output_zero_point, output_lo, output_hi)[0]
    return LayerNormRow(
        numerator, denominator, quotient, output, numerator_events, saturated, below_one, quotient_events
    )
