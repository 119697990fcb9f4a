"""Constants from a real scale: the table of operators/softmax.md, 7, and those of operators/activation.md; float64."""

from fractions import Fraction
from math import floor, frexp, sqrt, trunc

from .rounding import half_away, half_up
from .softmaxes import Polynomial


def gemmlowp_constants(scale: float) -> tuple[int, int]:
    """(Q, l) with Q * 2^l / 2^31 = min(s * 2^26, 2^31 - 1) as nearly as 31 bits can."""
    fraction, left_shift = frexp(min(scale * 2**26, 2**31 - 1))
    multiplier = half_away(Fraction(fraction) * 2**31)
    return (2**30, left_shift + 1) if multiplier == 2**31 else (multiplier, left_shift)


def ibert_constants(scale: float) -> Polynomial:
    return Polynomial(-floor(-0.6931 / scale), floor(0.96963238 / 0.35815147 / scale), floor(1 / 0.35815147 / scale**2))


def ibert_16_bit(c: int) -> tuple[int, int]:
    """(m, e), e as large as it may be, m/2^e the greatest that is not above (2^15 - 1) / (c * 2^30).

    m has at most min(16, 32 - bits of c) bits, 8 at least.
    """
    width = min(16, 32 - c.bit_length())
    if width < 8:
        raise ValueError(f"c is {c}; allowed: to 24 bits")
    ratio = Fraction(2**15 - 1, c * 2**30)
    shift = max(e for e in range(63) if floor(ratio * 2**e) < 2**width)
    return floor(ratio * 2**shift), shift


def gemmini_constants(scale: float) -> Polynomial:
    return Polynomial(trunc(0.693147 / scale), trunc(1.353 / scale), trunc(0.344 / (0.3585 * scale**2)))


def ibert_gelu_constants(scale: float) -> tuple[int, int, int]:
    """(b, c, sh) of (G1), (G2)."""
    reduced = scale / 1.4142
    shift = floor(1 / (-0.2888 * reduced**2 * 2**14))
    return -floor(-1.769 / reduced), floor(1 / -0.2888 / reduced**2), shift


def ita_gelu_constants(scale: float) -> tuple[int, int]:
    """(b, c) of (G3), (G4)."""
    b = -half_up(Fraction(-1.769 * sqrt(2) / scale))
    return b, half_up(Fraction(2 / (-0.2888 * scale**2)))
