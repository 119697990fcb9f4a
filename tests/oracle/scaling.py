"""Requantization by scheme, (R1) to (R9) of operators/requantization.md, and the whole converters (R11) to (R13)."""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from .formats import clamp, limits, saturate, wrap
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


def nearest_binary(v: Fraction, mantissa_bits: int) -> Fraction:
    """The binary number of so many bits nearest to v, a tie to the even mantissa; the exponent has no end."""
    if v == 0:
        return Fraction(0)
    exponent = abs(v.numerator).bit_length() - v.denominator.bit_length()
    if abs(v) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - mantissa_bits + 1)
    return half_even(v / unit) * unit


def fl32(v: Fraction) -> Fraction:
    """The IEEE 754 binary32 nearest to v; nothing subnormal, no overflow (R9)."""
    return nearest_binary(v, 24)


def fl64(v: Fraction) -> Fraction:
    """The IEEE 754 binary64 nearest to v; nothing subnormal, no overflow."""
    return nearest_binary(v, 53)


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


class Converted(NamedTuple):
    """What a whole converter made of rows of accumulators."""

    codes: list[list[int]]
    ties: list[int]
    """The sign of every tie met."""
    saturated: int
    """How many values the clamp changed."""
    overflows: int = 0
    """How many sums left int32."""


def of_channel(values: list[int], channel: int) -> int:
    """The value of one channel: a list of length 1 serves every channel."""
    return values[0] if len(values) == 1 else values[channel]


def requant_shift(
    acc: list[list[int]], multipliers: list[int], adds: list[int], shift: int, rounding: str, lo: int, hi: int
) -> Converted:
    """p = wrap32(acc*m + add + r*floor(2^e / 2)), q = clamp(p >> e), r = 1 for `half_up`, 0 for `floor` (R11)."""
    constant = {"half_up": 2**shift // 2, "floor": 0}[rounding]
    least, greatest = limits(32, signed=True, narrow=False)
    codes: list[list[int]] = []
    ties: list[int] = []
    saturated = overflows = 0
    for row in acc:
        codes.append([])
        for channel, x in enumerate(row):
            exact = x * of_channel(multipliers, channel) + of_channel(adds, channel)
            total = exact + constant
            code, event = saturate(wrap(total, least, 32) >> shift, lo, hi)
            codes[-1].append(code)
            ties.append(tie_sign(Fraction(exact, 2**shift)))
            saturated += event
            overflows += not least <= total <= greatest
    return Converted(codes, [tie for tie in ties if tie], saturated, overflows)


def nvdla_convert(x: list[list[int]], offset: int, multipliers: list[int], shift: int, lo: int, hi: int) -> Converted:
    """q = clamp(HALF_AWAY((x - offset) * m / 2^e)) (R12)."""
    values = [
        [Fraction((value - offset) * of_channel(multipliers, channel), 2**shift) for channel, value in enumerate(row)]
        for row in x
    ]
    return rounded_and_clamped(values, half_away, lo, hi)


def shift_right_saturating(acc: list[list[int]], shift: int, rounding: str, lo: int, hi: int) -> Converted:
    """q = clamp(ROUND(acc / 2^e)) (R13)."""
    return rounded_and_clamped(
        [[Fraction(value, 2**shift) for value in row] for row in acc], ROUNDINGS[rounding], lo, hi
    )


def rounded_and_clamped(values: list[list[Fraction]], rounds: Callable[[Fraction], int], lo: int, hi: int) -> Converted:
    """One rounding and one clamp of each value, with their events."""
    pairs = [[saturate(rounds(value), lo, hi) for value in row] for row in values]
    ties = [tie_sign(value) for row in values for value in row]
    return Converted(
        [[code for code, _ in row] for row in pairs],
        [tie for tie in ties if tie],
        sum(event for row in pairs for _, event in row),
    )
