"""Softmax of one row of score codes, (4), (S1) to (S22) and (S30) to (S32), every intermediate in its register."""

from functools import lru_cache
from typing import NamedTuple

from tests.oracle.formats import clamp, limits
from tests.oracle.gemmlowp import exp_q, leading_zeros, recip
from tests.oracle.interpolation import INT16, lookup
from tests.replay.context import Result
from tests.replay.rounding import (
    Binary,
    binary32,
    binary32_product,
    binary32_quotient,
    binary32_sum,
    half_away,
    half_even,
    half_even_ratio,
    nearest_integer,
    nearest_integer_quotient,
    of_bits,
)
from tests.replay.scaling import Ratio, doubling_high, scaler
from tests.replay.widths import GEMMLOWP, Softmax

Kept = dict[int, int]
"""Key -> distance of its code from the greatest, of the keys that are allowed."""


class Row(NamedTuple):
    """Scores and what is allowed of them."""

    scores: list[int]
    allowed: list[bool]

    @property
    def kept(self) -> Kept:
        codes = {j: score for j, (score, keep) in enumerate(zip(self.scores, self.allowed, strict=True)) if keep}
        top = max(codes.values(), default=0)
        return {j: top - code for j, code in codes.items()}

    def spread(self, codes: Kept, nothing: int = 0) -> list[int]:
        """A code for every key, that which means 0 where there is none."""
        return [codes.get(j, nothing) for j in range(len(self.scores))]


class Table(NamedTuple):
    """The inner tensors of (4)."""

    numerator: list[int]
    denominator: int
    output: list[int]


def table_softmax(
    row: Row, table: list[int], denominator: Ratio, output: Ratio, highest: tuple[int, int], held: Softmax
) -> Table:
    """(4a) to (4e); `highest` are those of denominator and output."""
    numerator = row.spread({j: held.exponential.hold(table[d]) for j, d in row.kept.items()})
    total = held.total.hold(sum(numerator))
    scaled = half_even(held.product.hold(total * denominator.m), denominator.e)
    divisor = max(1, clamp(scaled, 0, highest[0]))
    divided = held.product.hold(divisor << output.e)
    codes = [half_even_ratio(held.product.hold(value * output.m), divided) for value in numerator]
    return Table(numerator, divisor, [clamp(code, 0, highest[1]) for code in codes])


@lru_cache(maxsize=1 << 16)
def gemmlowp_exponential(d: int, multiplier: int, left_shift: int) -> int:
    """(S2)."""
    return exp_q(doubling_high(-d << left_shift, multiplier))


def gemmlowp_softmax(row: Row, multiplier: int, left_shift: int, bits: int, held: Softmax) -> list[int]:
    """(S1) to (S5).

    Raises
    ------
    ValueError
        If a shift of 32 or more follows from the sum: the code aborts, or is undefined.
    """
    low, high = limits(bits, signed=True, narrow=False)
    farthest = 31 * 2**26 >> left_shift
    near = {j: gemmlowp_exponential(d, multiplier, left_shift) for j, d in row.kept.items() if d <= farthest}
    if not near:
        return row.spread({}, low)
    total = held.total.hold(sum(half_away(value, 12) for value in near.values()))
    h = leading_zeros(total)
    exponent = (12 - h) + 31 - bits
    if total < 1 or exponent > 31:
        raise ValueError(f"{len(near)} keys: their exponentials sum to {total}; below 2^28 the kernel is defined")
    reciprocal = recip((total << h) - 2**31)
    codes = {j: half_away(doubling_high(reciprocal, value), exponent) + low for j, value in near.items()}
    return row.spread({j: clamp(code, low, high) for j, code in codes.items()}, low)


def int16_softmax(
    row: Row, ratio: Ratio, tables: tuple[list[int], list[int]], clamped: bool, held: Softmax
) -> list[int]:
    """(S6) to (S9); tables of exp and of the reciprocal."""
    index = scaler(ratio, GEMMLOWP)
    near = {j: held.exponential.hold(lookup(tables[0], clamp(index(-d) + 32767, *INT16))) for j, d in row.kept.items()}
    if not near:
        return row.spread({})
    total = held.total.hold(sum(near.values()))
    h = leading_zeros(total)
    v = ((total << (h - 1)) + 2**13) >> 14
    rho = lookup(tables[1], clamp(v - 98304, *INT16))
    codes = {j: (held.product.hold(value * rho) + (1 << (30 - h))) >> (31 - h) for j, value in near.items()}
    cut = held.code or held.product
    return row.spread({j: clamp(code, 0, 32767) if clamped else cut.hold(code) for j, code in codes.items()})


class Polynomial(NamedTuple):
    """ln2, b and c of an integer exponential."""

    ln2: int
    b: int
    c: int


def ibert_softmax(row: Row, polynomial: Polynomial, ratio: tuple[int, int], bits: int, held: Softmax) -> list[int]:
    """(S10) to (S14)."""
    ln2, b, c = polynomial

    def exponential(d: int) -> int:
        y = max(-d, -30 * ln2)
        z = -y // ln2
        r = y + ln2 * z
        wide = held.exponential.hold(max(0, ((r + b) * r + c) << (30 - z)))
        return min(2**16 - 1, half_even(held.product.hold(wide * ratio[0]), ratio[1]))

    near = {j: exponential(d) for j, d in row.kept.items()}
    factor = 2**32 // max(1, held.total.hold(sum(near.values())))
    codes = {j: held.product.hold(value * factor) >> (32 - bits) for j, value in near.items()}
    return row.spread({j: min(2**bits - 1, code) for j, code in codes.items()})


def halvings(d: int, fraction_bits: int) -> int:
    """sh(d) = (d + 2^(B-1)) >> B, d itself for B = 0."""
    return (d + (1 << fraction_bits >> 1)) >> fraction_bits


def itamax_total(row: Row, fraction_bits: int, group: int, held: Softmax) -> tuple[int, int]:
    """(S15): the greatest code and the running sum in its register."""
    top, total, step = None, 0, group or max(len(row.scores), 1)
    for start in range(0, len(row.scores), step):
        end = min(start + step, len(row.scores))
        codes = [row.scores[j] for j in range(start, end) if row.allowed[j]]
        if not codes:
            continue
        greatest = max(codes)
        if top is None:
            top = greatest
        elif greatest > top:
            total >>= halvings(greatest - top, fraction_bits)
            top = greatest
        for code in codes:
            total = held.total.hold(total + held.exponential.hold(256 >> halvings(top - code, fraction_bits)))
    return top or 0, total


def itamax(row: Row, fraction_bits: int, group: int, bits: int, held: Softmax) -> list[int]:
    """(S15) to (S17); a sum that wrapped to 0 divides into ones."""
    if not any(row.allowed):
        return row.spread({})
    top, total = itamax_total(row, fraction_bits, group, held)
    inverse = (2**bits - 1) * 256 // total if total else held.product.hold(-1)
    cut = held.code if held.code is not None and held.code.bits == bits else None
    codes = {j: inverse >> halvings(top - row.scores[j], fraction_bits) for j, keep in enumerate(row.allowed) if keep}
    return row.spread({j: cut.hold(code) if cut else min(2**bits - 1, code) for j, code in codes.items()})


def gemmini_softmax(row: Row, polynomial: Polynomial, bits: int, held: Softmax) -> list[int]:
    """(S18), (S19): the quotient and its product in binary32; a shift of 32 or more leaves 0."""
    ln2, b, c = polynomial
    low, high = limits(bits, signed=True, narrow=False)

    def exponential(d: int) -> int:
        z = held.exponential.hold(d * (65536 // ln2)) >> 16
        square = held.exponential.hold((-d + z * ln2 + b) ** 2 + c)
        return square >> z if 0 <= z < 32 else 0

    near = {j: exponential(d) for j, d in row.kept.items()}
    total = max(1, held.total.hold(sum(near.values())))
    factor = binary32_quotient(high, nearest_integer(binary32(total)))
    codes = {j: nearest_integer(binary32_product(binary32(value), factor)) for j, value in near.items()}
    return row.spread({j: clamp(code, low, high) for j, code in codes.items()})


def pulp_softmax(row: Row, polynomial: Polynomial, bits: int, held: Softmax) -> list[int]:
    """(S20) to (S22)."""
    ln2, b, c = polynomial

    def exponential(d: int) -> int:
        z = min(d // ln2, 31)
        return held.exponential.hold((z * ln2 - d + b) ** 2 + c) >> z

    near = {j: exponential(d) for j, d in row.kept.items()}
    total = max(1, held.total.hold(sum(near.values())))
    codes = {j: held.product.hold((2**bits - 1) * value) // total for j, value in near.items()}
    return row.spread({j: clamp(code, 0, 2**bits - 1) for j, code in codes.items()})


def qlinear_softmax(row: Row, table: list[int], multiplier: int, result: Result, held: Softmax) -> list[int]:
    """(S30) to (S32); the table holds the 32 bits of binary32 numbers, which are added one key after another."""
    near = {j: of_bits(table[d]) for j, d in row.kept.items()}
    total = Binary(0, 0)
    for value in near.values():
        total = binary32_sum(total, value)

    def quotient(value: Binary) -> int:
        scaled = Binary(held.product.hold(value.mantissa * multiplier), value.exponent)
        return nearest_integer_quotient(scaled, total) + result.zero

    codes = {j: clamp(quotient(value), result.low, result.high) for j, value in near.items()}
    return row.spread(codes, result.zero)
