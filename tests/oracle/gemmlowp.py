"""Fixed-point functions of gemmlowp: exp and reciprocal of operators/softmax.md, 1/sqrt of operators/layernorm.md."""

from fractions import Fraction

from .rounding import toward_zero
from .scaling import INT32_MAX, doubling_high, rounding_shift, saturating_left

EXP_MINUS_EIGHTH = 1895147668
ONE_THIRD = 715827883
EXP_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^k) in Q0.31, k = -2..4, for the bits 24 to 30 of the remainder."""


def exp_fraction(f: int) -> int:
    """exp of f/2^26, f in -2^24..-1: the polynomial of fourth degree around -1/8."""
    x = saturating_left(f, 5) + 2**28
    x2 = doubling_high(x, x)
    x3, x4 = doubling_high(x2, x), doubling_high(x2, x2)
    y = rounding_shift(doubling_high(rounding_shift(x4, 2) + x3, ONE_THIRD) + x2, 1)
    return EXP_MINUS_EIGHTH + doubling_high(EXP_MINUS_EIGHTH, x + y)


def exp_q(a: int) -> int:
    """exp(a / 2^26) in Q0.31, -2^31 <= a <= 0 (S2)."""
    if a == 0:
        return INT32_MAX
    f = a % 2**24 - 2**24
    remainder, result = f - a, exp_fraction(f)
    for bit, factor in enumerate(EXP_FACTORS, start=24):
        if remainder & 2**bit:
            result = doubling_high(result, factor)
    return result


def recip(v: int) -> int:
    """1 / (1 + v/2^31) in Q0.31, 0 <= v < 2^31: three steps of Newton's method (S4)."""
    half = toward_zero(Fraction(v + INT32_MAX + 1, 2))
    x = 1515870810 + doubling_high(half, -1010580540)
    for _ in range(3):
        x += saturating_left(doubling_high(x, 2**29 - doubling_high(half, x)), 2)
    return saturating_left(x, 1)


def leading_zeros(v: int) -> int:
    """The number of leading zeros of v in 32 bits."""
    return 32 - v.bit_length()


def normalised(v: int) -> tuple[int, int]:
    """v brought into 2^27..2^29 - 1 by a power of 4, and the shift k that goes with it (L11)."""
    k = 11
    while v >= 2**29:
        v, k = v // 4, k + 1
    p = (leading_zeros(v) - 1) // 2 - 1
    return v * 4**p, k - p


def invsqrt(v: int) -> tuple[int, int]:
    """(I, k) with 1/sqrt(v) ~ I / 2^(31+k), v >= 1 (L11)."""
    if v == 1:
        return INT32_MAX, 0
    v, k = normalised(v)
    half, x = rounding_shift(v >> 1, 1), 2**28
    for _ in range(5):
        x3 = saturating_left(doubling_high(doubling_high(x, x), x), 6)
        x = saturating_left(doubling_high(402653184, x) - doubling_high(half, x3), 3)
    inverse = doubling_high(x, 1518500250)
    return (inverse * 2**-k, 0) if k < 0 else (inverse, k)
