"""Requantization by scheme, (R1) to (R9) of operators/requantization.md, each from its row of the table."""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from .formats import clamp, saturate
from .rounding import ROUNDINGS, half_away, half_even, half_up, tie_sign

INT32_MAX = 2**31 - 1


class Scaled(NamedTuple):
    """An integer that a scheme rounded, and the sign of the tie that its last rounding met, 0 for none."""

    value: int
    tie: int


class Ratio(NamedTuple):
    """m/2^e as a scheme encodes it; `rounding` is that of the scheme `shift`."""

    scheme: str
    m: int
    e: int
    rounding: str = "half_even"


def doubling_high(a: int, b: int) -> int:
    """S(a, b) = min(2^31-1, HALF_UP(a*b / 2^31)), the doubling high multiply of gemmlowp."""
    return min(INT32_MAX, (a * b + 2**30) >> 31)


def rounding_shift(a: int, r: int) -> int:
    """R(a, r) = HALF_AWAY(a / 2^r)."""
    return half_away(Fraction(a, 2**r))


def saturating_left(a: int, k: int) -> int:
    """satshl(a, k) = clamp_int32(a * 2^k) (operators/softmax.md)."""
    return clamp(a * 2**k, -(2**31), INT32_MAX)


def last_rounding(v: Fraction, rounds: Callable[[Fraction], int]) -> Scaled:
    """The rounding of the value v, and its tie."""
    return Scaled(rounds(v), tie_sign(v))


def doubled(x: int, m: int, e: int, rounds: Callable[[Fraction], int]) -> Scaled:
    """(R2), (R3): two roundings; where the second rounds nothing, the tie of the first is the last one's."""
    left, right = max(31 - e, 0), max(e - 31, 0)
    y = doubling_high(x * 2**left, m)
    if right == 0:
        return Scaled(y, tie_sign(Fraction(x * 2**left * m, 2**31)))
    return last_rounding(Fraction(y, 2**right), rounds)


def double_round(x: int, m: int, e: int) -> int:
    """TOSA's DOUBLE_ROUND: floor((x*m + 2^(e-1) + sgn(x) * 2^30) / 2^e), its last term for e > 31 only, sgn(0) = +1."""
    second = (1 if x >= 0 else -1) * 2**30 if e > 31 else 0
    return int((x * m + Fraction(2**e, 2) + second) // 2**e)


def fl32(v: Fraction) -> Fraction:
    """The IEEE 754 binary32 nearest to v, a tie to the even mantissa; nothing subnormal, no overflow (R9)."""
    if v == 0:
        return Fraction(0)
    exponent = abs(v.numerator).bit_length() - v.denominator.bit_length()
    if abs(v) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    return half_even(v / unit) * unit


def float_product(x: int, m: int, e: int) -> Fraction:
    """fl32(fl32(x) * M), M = m/2^e a binary32 exactly (R9)."""
    return fl32(fl32(Fraction(x)) * Fraction(m, 2**e))


SINGLE_ROUNDINGS = {
    "q31_single": half_up,
    "q15": half_up,
    "dyadic": half_even,
    "narrow_after": half_up,
    "narrow_before": half_up,
    "nvdla": half_away,
}
"""(R4) to (R8n) without `shift`: x*m/2^e rounded once."""


def scale(x: int, ratio: Ratio) -> Scaled:
    """scale(x; m, e) of a scheme (R2) to (R9); `float32_inside` has none without its zero point."""
    scheme, m, e, rounding = ratio
    if scheme == "q31_double":
        return doubled(x, m, e, half_away)
    if scheme == "q31_double_half_up":
        return doubled(x, m, e, half_up)
    if scheme == "shift":
        return last_rounding(Fraction(x * m, 2**e), ROUNDINGS[rounding])
    if scheme == "float32":
        return last_rounding(float_product(x, m, e), half_even)
    return last_rounding(Fraction(x * m, 2**e), SINGLE_ROUNDINGS[scheme])


def code_before_clamp(x: int, ratio: Ratio, zero_point: int) -> Scaled:
    """scale(x; m, e) + z of (R1), or the rounded float sum of `float32_inside` (R9)."""
    if ratio.scheme == "float32_inside":
        return last_rounding(fl32(float_product(x, ratio.m, ratio.e) + zero_point), half_even)
    scaled = scale(x, ratio)
    return Scaled(scaled.value + zero_point, scaled.tie)


def requantize_by(
    acc: list[list[int]], ratios: list[Ratio], zero_point: int, lo: int, hi: int
) -> tuple[list[list[int]], list[int], int]:
    """q = clamp(scale(x; m, e) + z) (R1), one ratio for all or one a channel of the last axis.

    Returns the codes, the sign of every tie met, and how many values the clamp changed.
    """
    rows: list[list[int]] = []
    ties: list[int] = []
    saturated = 0
    for row in acc:
        of_row = ratios * len(row) if len(ratios) == 1 else ratios
        scaled = [code_before_clamp(x, ratio, zero_point) for x, ratio in zip(row, of_row, strict=True)]
        pairs = [saturate(value, lo, hi) for value, _ in scaled]
        rows.append([code for code, _ in pairs])
        saturated += sum(event for _, event in pairs)
        ties += [tie for _, tie in scaled if tie]
    return rows, ties, saturated
