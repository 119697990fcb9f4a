"""The softmaxes of operators/softmax.md that are not (4a) to (4e): one row of score codes each."""

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from .formats import clamp, limits, saturate, wrap
from .gemmlowp import exp_q, leading_zeros, recip
from .interpolation import INT16, lookup
from .rounding import half_even
from .scaling import Ratio, doubling_high, fl32, rounding_shift, scale


class ShortSoftmaxRow(NamedTuple):
    """The codes of one row and its events."""

    output: list[int]
    output_saturated: int
    denominator_below_one: int


class Polynomial(NamedTuple):
    """ln2, b and c of an integer exponential (operators/softmax.md, 7)."""

    ln2: int
    b: int
    c: int


def distances(scores: list[int], allowed: list[bool]) -> dict[int, int]:
    """d[j] = max of the allowed codes - x[j], of every allowed j."""
    kept = {j: score for j, (score, keep) in enumerate(zip(scores, allowed, strict=True)) if keep}
    top = max(kept.values(), default=0)
    return {j: top - score for j, score in kept.items()}


def row_of(n: int, codes: dict[int, int], lo: int, hi: int, zero: int, below_one: bool = False) -> ShortSoftmaxRow:
    """A row with clamped codes where there are any, and the code that means 0 elsewhere."""
    pairs = {j: saturate(code, lo, hi) for j, code in codes.items()}
    output = [pairs[j][0] if j in pairs else zero for j in range(n)]
    return ShortSoftmaxRow(output, sum(event for _, event in pairs.values()), int(below_one))


def gemmlowp_softmax(
    scores: list[int], allowed: list[bool], multiplier: int, left_shift: int, bits: int
) -> ShortSoftmaxRow:
    """(S1) to (S5)."""
    lo, hi = limits(bits, signed=True, narrow=False)
    diff_min = 31 * 2**26 // 2**left_shift
    numerators = {
        j: exp_q(doubling_high(-d * 2**left_shift, multiplier))
        for j, d in distances(scores, allowed).items()
        if d <= diff_min
    }
    if not numerators:
        return row_of(len(scores), {}, lo, hi, lo)
    total = sum(rounding_shift(value, 12) for value in numerators.values())
    h = leading_zeros(total)
    reciprocal = recip(total * 2**h - 2**31)
    exponent = (12 - h) + 31 - bits
    codes = {j: rounding_shift(doubling_high(reciprocal, value), exponent) + lo for j, value in numerators.items()}
    return row_of(len(scores), codes, lo, hi, lo)


def softmax_int16(
    scores: list[int],
    allowed: list[bool],
    multiplier: int,
    shift: int,
    exp_table: list[int],
    reciprocal_table: list[int],
    clamped: bool = True,
) -> ShortSoftmaxRow:
    """(S6) to (S9); without its clamp the low 16 bits of a code are kept."""
    ratio = Ratio("q31_double", multiplier, shift)
    numerators = {
        j: lookup(exp_table, clamp(scale(-d, ratio).value + 32767, *INT16))
        for j, d in distances(scores, allowed).items()
    }
    if not numerators:
        return row_of(len(scores), {}, 0, 32767, 0)
    total = sum(numerators.values())
    h = leading_zeros(total)
    v = (total * 2 ** (h - 1) + 2**13) >> 14
    rho = lookup(reciprocal_table, clamp(v - 98304, *INT16))
    codes = {j: (value * rho + 2 ** (30 - h)) >> (31 - h) for j, value in numerators.items()}
    if not clamped:
        codes = {j: wrap(code, INT16[0], 16) for j, code in codes.items()}
        return row_of(len(scores), codes, *INT16, 0)
    return row_of(len(scores), codes, 0, 32767, 0)


def ibert_exponential(d: int, polynomial: Polynomial) -> int:
    """E of (S10), (S11)."""
    ln2, b, c = polynomial
    y = max(-d, -30 * ln2)
    z = -y // ln2
    r = y + ln2 * z
    return max(0, ((r + b) * r + c) * 2 ** (30 - z))


def ibert_softmax(
    scores: list[int], allowed: list[bool], polynomial: Polynomial, multiplier: int, shift: int, bits: int
) -> ShortSoftmaxRow:
    """(S10) to (S14)."""
    numerators = {
        j: min(2**16 - 1, half_even(Fraction(ibert_exponential(d, polynomial) * multiplier, 2**shift)))
        for j, d in distances(scores, allowed).items()
    }
    total = sum(numerators.values())
    factor = 2**32 // max(1, total)
    codes = {j: (value * factor) >> (32 - bits) for j, value in numerators.items()}
    return row_of(len(scores), codes, 0, 2**bits - 1, 0, bool(numerators) and total < 1)


def halvings(d: int, fraction_bits: int) -> int:
    """sh(d) = (d + 2^(B-1)) >> B, d itself for B = 0 (section 5)."""
    return (d + 2**fraction_bits // 2) >> fraction_bits


def groups(scores: list[int], allowed: list[bool], size: int) -> Iterable[list[int]]:
    """The allowed codes of each group of keys, `size` 0 standing for the whole row; none is empty."""
    step = size or max(len(scores), 1)
    for start in range(0, len(scores), step):
        part = slice(start, start + step)
        kept = [score for score, keep in zip(scores[part], allowed[part], strict=True) if keep]
        if kept:
            yield kept


def running_sum(parts: Iterable[list[int]], fraction_bits: int) -> tuple[int, int]:
    """M and sum of (S15); (0, 0) if there is no group."""
    top, total = None, 0
    for kept in parts:
        greatest = max(kept)
        if top is None:
            top = greatest
        elif greatest > top:
            total >>= halvings(greatest - top, fraction_bits)
            top = greatest
        total += sum(256 >> halvings(top - score, fraction_bits) for score in kept)
    return top or 0, total


def itamax(scores: list[int], allowed: list[bool], fraction_bits: int, group: int, bits: int) -> ShortSoftmaxRow:
    """(S15) to (S17)."""
    top, total = running_sum(groups(scores, allowed, group), fraction_bits)
    inverse = (2**bits - 1) * 256 // max(1, total)
    codes = {j: inverse >> halvings(top - scores[j], fraction_bits) for j, keep in enumerate(allowed) if keep}
    return row_of(len(scores), codes, 0, 2**bits - 1, 0)


def gemmini_exponential(d: int, polynomial: Polynomial) -> int:
    """E of (S18)."""
    ln2, b, c = polynomial
    z = (d * (65536 // ln2)) >> 16
    return ((-d + z * ln2 + b) ** 2 + c) >> z


def gemmini_softmax(scores: list[int], allowed: list[bool], polynomial: Polynomial, bits: int) -> ShortSoftmaxRow:
    """(S18), (S19)."""
    lo, hi = limits(bits, signed=True, narrow=False)
    numerators = {j: gemmini_exponential(d, polynomial) for j, d in distances(scores, allowed).items()}
    total = sum(numerators.values())
    factor = fl32(hi / fl32(Fraction(max(1, total))))
    codes = {j: half_even(fl32(fl32(Fraction(value)) * factor)) for j, value in numerators.items()}
    return row_of(len(scores), codes, lo, hi, 0, bool(numerators) and total < 1)


def pulp_exponential(d: int, polynomial: Polynomial) -> int:
    """E of (S20)."""
    ln2, b, c = polynomial
    z = min(d // ln2, 31)
    return ((z * ln2 - d + b) ** 2 + c) >> z


def pulp_softmax(scores: list[int], allowed: list[bool], polynomial: Polynomial, bits: int) -> ShortSoftmaxRow:
    """(S20) to (S22)."""
    numerators = {j: pulp_exponential(d, polynomial) for j, d in distances(scores, allowed).items()}
    total = sum(numerators.values())
    codes = {j: (2**bits - 1) * value // max(1, total) for j, value in numerators.items()}
    return row_of(len(scores), codes, 0, 2**bits - 1, 0, bool(numerators) and total < 1)


def number_of(bits: int) -> Fraction:
    """The binary32 from 0 on that has these 32 bits (IEEE 754)."""
    exponent, fraction = divmod(bits, 2**23)
    if exponent == 0:
        return Fraction(fraction, 2**149)
    return (1 + Fraction(fraction, 2**23)) * Fraction(2) ** (exponent - 127)


def qlinear_softmax(
    scores: list[int], allowed: list[bool], table: list[int], multiplier: int, bits: int, signed: bool = True
) -> ShortSoftmaxRow:
    """(S30) to (S32)."""
    lo, hi = limits(bits, signed=signed, narrow=False)
    exponentials = {j: number_of(table[d]) for j, d in distances(scores, allowed).items()}
    total = Fraction(0)
    for j in sorted(exponentials):
        total = fl32(total + exponentials[j])
    codes = {j: half_even(value * multiplier / total) + lo for j, value in exponentials.items()}
    return row_of(len(scores), codes, lo, hi, lo)
