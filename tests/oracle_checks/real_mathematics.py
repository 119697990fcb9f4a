"""Real numbers for the oracle checks: rationals where possible, else 80 digits of mpmath or of isqrt."""

from fractions import Fraction
from math import isqrt

import mpmath  # type: ignore[import-untyped]

DIGITS = 80


def real_exp(exponent: Fraction) -> Fraction:
    """exp(exponent) to 80 digits, exact at 0."""
    with mpmath.workdps(DIGITS + 20):
        value = mpmath.exp(mpmath.mpf(exponent.numerator) / exponent.denominator)
    mantissa, power = value.man_exp
    return Fraction(int(mantissa)) * Fraction(2) ** int(power)


def real_root(square: Fraction) -> Fraction:
    """sqrt(square) to about 80 digits, exact if the root of the fraction is rational."""
    digits = 10**DIGITS
    return Fraction(isqrt(square.numerator * square.denominator * digits**2), square.denominator * digits)


def real_softmax(scores: list[int], allowed: list[bool], scale: float) -> list[Fraction]:
    """Softmax of scale * scores over the allowed keys, 0 elsewhere."""
    top = max(score for score, kept in zip(scores, allowed, strict=True) if kept)
    weights = [
        real_exp(Fraction(scale) * (score - top)) if kept else Fraction(0)
        for score, kept in zip(scores, allowed, strict=True)
    ]
    return [weight / sum(weights) for weight in weights]


def real_normalised(x: list[Fraction], eps: Fraction) -> list[Fraction]:
    """(x - mean) / sqrt(variance + eps), straight from the definition of LayerNorm."""
    mean = sum(x, Fraction(0)) / len(x)
    variance = sum(((value - mean) ** 2 for value in x), Fraction(0)) / len(x)
    root = real_root(variance + eps)
    return [(value - mean) / root for value in x]


def real_clamp(value: Fraction, lo: int, hi: int) -> Fraction:
    """Clamp of a real number; it never moves two numbers apart, so error bounds survive it."""
    return min(max(value, Fraction(lo)), Fraction(hi))


def snapped_down(ratio: Fraction) -> tuple[int, int]:
    """(m, e) of section 0 with m/2^e the largest such value <= ratio, as far as the limits of m and e allow."""
    shift = next((e for e in range(62, -1, -1) if ratio * 2**e < 2**16), 0)
    return min(max(int(ratio * 2**shift), 1), 2**16 - 1), shift
