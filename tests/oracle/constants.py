"""Constants from a real scale: the table of operators/softmax.md, 7, and those of operators/activation.md.

In float64, but for Gemmini's: there each operation is exact and then rounded to the format that the page says.
"""

from fractions import Fraction
from math import floor, frexp, isqrt, sqrt, trunc

from .rounding import half_away, half_up
from .scaling import fl32, fl64
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
    """With the scale rounded to binary32: ln2 by one quotient in binary64, b and c in binary32."""
    s = fl32(Fraction(scale))
    ln2 = trunc(fl64(Fraction(0.693147) / s))
    first = fl32(fl32(fl32(Fraction(0.3585)) * s) * s)
    return Polynomial(ln2, trunc(fl32(fl32(Fraction(1.353)) / s)), trunc(fl32(fl32(Fraction(0.344)) / first)))


def gemmini_gelu_constants(scale: float) -> tuple[int, int, int]:
    """(q1, qb, qc) of (G9)."""
    root = fl32(Fraction(isqrt(2 * 10**60), 10**30))
    u = fl32(fl32(Fraction(scale)) / root)
    square = fl64(fl64(Fraction(-0.2888) * u) * u)
    q1 = trunc(fl32(1 / fl32(square)))
    return q1, trunc(fl64(Fraction(-1.769) / u)), trunc(fl64(1 / square))


def pulp_constants(scale: float) -> Polynomial:
    return Polynomial(trunc(0.693147 / scale), trunc(1.353 / scale), trunc(0.344 / (0.3585 * scale**2)))


def ibert_gelu_constants(scale: float) -> tuple[int, int, int]:
    """(b, c, sh) of (G1), (G2)."""
    reduced = scale / 1.4142
    shift = floor(1 / (-0.2888 * reduced**2 * 2**14))
    return -floor(-1.769 / reduced), floor(1 / -0.2888 / reduced**2), shift


def ita_gelu_constants(scale: float) -> tuple[int, int]:
    """(b, c) of (G3), (G4), both negative, c at least the least int16."""
    c = half_up(Fraction(2 / (-0.2888 * scale**2)))
    return half_up(Fraction(-1.769 * sqrt(2) / scale)), max(c, -(2**15))
