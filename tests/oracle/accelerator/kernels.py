"""Products, requantizations, sums and look-ups that count their operations (docs/accelerator.md, section 2)."""

from fractions import Fraction
from typing import NamedTuple

from .unit import Format, Ratio, Unit

Matrix = list[list[int]]


class Operand(NamedTuple):
    """An operand of a product, summed dimension last."""

    codes: Matrix
    bits: int
    zero: int = 0
    constant: bool = False


def macs(unit: Unit, a: Operand, b: Operand, row: int, column: int, start: int, width: int, gating: bool) -> int:
    """start + sum_k a*b of codes; with gating a zero MAC is left out, a zero code counting as its zero point."""
    total = start
    for x, y in zip(a.codes[row], b.codes[column], strict=True):
        if gating and (x == a.zero or y == b.zero):
            unit.tick("mac_gated", a.bits, b.bits)
            total += x * y  # not 0 if the zero point is not: (2) wants it, whoever pays
            continue
        total = unit.add(total, unit.multiply(x, y, a.bits, b.bits, "mac_multiply"), width, "mac_add")
    return total


def sums(unit: Unit, operand: Operand, count: bool) -> list[int]:
    """The sum of each row's codes, k additions each unless it was made beforehand."""
    made = []
    for codes in operand.codes:
        total = 0
        for code in codes:
            total = unit.add(total, code, 0, "zero_point_add") if count else total + code
        made.append(total)
    return made


def corrections(unit: Unit, a: Operand, b: Operand) -> tuple[list[int] | None, list[int] | None]:
    """Taken off each row, z_b * sum(a) - k*z_a*z_b, and off each column, z_a * sum(b); None where nothing is."""
    rows = columns = None
    if a.zero:
        made = sums(unit, b, not b.constant)
        columns = [total * a.zero for total in made]
        if not b.constant:
            columns = [unit.multiply(total, a.zero, 0, 0, "zero_point_multiply") for total in made]
    if b.zero:
        rows = [unit.multiply(total, b.zero, 0, 0, "zero_point_multiply") for total in sums(unit, a, True)]
        if a.zero:
            both = len(a.codes[0]) * a.zero * b.zero
            rows = [unit.add(row, -both, 0, "zero_point_add") for row in rows]
    return rows, columns


def matmul(unit: Unit, a: Operand, b: Operand, bias: list[int] | None, width: int = 32, gating: bool = False) -> Matrix:
    """(2), b stored with rows along n: a plain product of codes, then the corrections for zero points."""
    rows, columns = corrections(unit, a, b)
    made: Matrix = []
    for i in range(len(a.codes)):
        made.append([])
        for j in range(len(b.codes)):
            acc = macs(unit, a, b, i, j, 0, width, gating)
            if bias is not None:
                acc = unit.add(acc, bias[j], 0, "bias_add")
            for taken in (rows and rows[i], columns and columns[j]):
                if taken is not None:
                    acc = unit.add(acc, -taken, 0, "zero_point_add")
            made[-1].append(acc)
    return made


def requantize(unit: Unit, acc: Matrix, ratios: list[Ratio], bits: int, result: Format) -> Matrix:
    """(1), (9), (R1), one ratio for all or one a column."""
    return [
        [unit.requantize(x, ratios[j % len(ratios)], bits, result) for j, x in enumerate(row)]
        for row in acc
    ]  # fmt: skip


def project_heads(
    unit: Unit, heads: list[tuple[Operand, Operand]], bias: list[int] | None, ratios: list[Ratio], result: Format,
    width: int,
) -> tuple[list[Matrix], Matrix]:  # fmt: skip
    """(R14): codes of each head, and their sum; one ratio for all or one a head."""
    codes = []
    for h, (a, b) in enumerate(heads):
        acc = matmul(unit, a, b, bias if h == 0 else None, width)
        codes.append(requantize(unit, acc, [ratios[h % len(ratios)]], width, result))
    total = codes[0]
    for more in codes[1:]:
        total = [[unit.add(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(total, more, strict=True)]
    return codes, total


def shift_right(
    unit: Unit, acc: Matrix, e: int, rounding: str, bits: tuple[int, int], bias: list[int] | None = None
) -> Matrix:
    """(3), and (R13) with a bias a column; bits before and after it."""
    made, end = [], 2 ** (bits[1] - 1)
    for row in acc:
        shifted = [unit.rounded(Fraction(x, 2**e), rounding, bits[0]) for x in row]
        if bits[1] < bits[0]:
            shifted = [unit.clamp(x, -end, end - 1) for x in shifted]
        if bias is not None:
            shifted = [unit.add(x, y, bits[1], "bias_add") for x, y in zip(shifted, bias, strict=True)]
        made.append(shifted)
    return made


def relu(unit: Unit, acc: Matrix) -> Matrix:
    """(6)"""
    return [[unit.greater(x, 0) for x in row] for row in acc]


def table_lookup(unit: Unit, codes: list[int], table: list[int], lo: int) -> list[int]:
    """(G5)"""
    made = []
    for code in codes:
        unit.tick("table_read")
        made.append(table[code - lo])
    return made


class Addend(NamedTuple):
    """An operand of a residual sum."""

    codes: list[int]
    bits: int
    zero: int
    ratio: Ratio

    def shown(self, unit: Unit, j: int) -> int:
        """The code less its zero point."""
        return unit.add(self.codes[j], -self.zero, 0, "zero_point_add") if self.zero else self.codes[j]


def add(unit: Unit, a: Addend, b: Addend, shift: int, result: Format) -> list[int]:
    """(7)"""
    made = []
    for j in range(len(a.codes)):
        x, y = (unit.multiply(o.shown(unit, j), o.ratio.m, o.bits, 16, "requantize_multiply") for o in (a, b))
        total = unit.add(x, y)
        made.append(unit.finish(unit.rounded(Fraction(total, 2**shift), bits=32), result))
    return made


def rescaled_add(
    unit: Unit, a: Addend, b: Addend, left: int, ratio: Ratio | None, result: Format, operand: Format | None = None
) -> list[int]:
    """(R10); operand is what each saturates to."""
    made = []
    for j in range(len(a.codes)):
        x, y = (unit.rescale(o.shown(unit, j) * 2**left, o.ratio, o.bits + left) for o in (a, b))
        if operand is not None:
            x, y = (unit.clamp(value, operand.lo, operand.hi) for value in (x, y))
        total = unit.add(x, y)
        made.append(unit.finish(total, result) if ratio is None else unit.requantize(total, ratio, 32, result))
    return made


class Table(NamedTuple):
    """Rows of an embedding, a multiplier each (or one for all)."""

    rows: Matrix
    bits: int
    multipliers: list[int]


def embed(unit: Unit, ids: list[int], first: int, words: Table, places: Table, shift: int, result: Format) -> Matrix:
    """(8), row i at position first + i."""
    made: Matrix = []
    for i, token in enumerate(ids):
        m, made_row = words.multipliers[token % len(words.multipliers)], list[int]()
        for code, place in zip(words.rows[token], places.rows[first + i], strict=True):
            x = unit.multiply(code, m, words.bits, 16, "requantize_multiply")
            y = unit.multiply(place, places.multipliers[0], places.bits, 16, "requantize_multiply")
            made_row.append(unit.finish(unit.rounded(Fraction(unit.add(x, y), 2**shift), bits=32), result))
        made.append(made_row)
    return made
