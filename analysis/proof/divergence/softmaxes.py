"""The last rounding of every softmax: docs/numerics.md, section 4, and docs/operators/softmax.md."""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from analysis.proof.divergence.element import Element
from analysis.proof.divergence.stage import MANTISSA, Stage, binary32, half_even
from hwsim.arithmetic.gemmlowp import (
    count_leading_zeros32,
    doubling_high_multiply,
    exp_on_negative,
    one_over_one_plus,
    rounding_divide,
)
from hwsim.program.operations import (
    AnySoftmax,
    GemminiSoftmax,
    GemmlowpSoftmax,
    IBertSoftmax,
    Int16Softmax,
    ItaMax,
    PulpSoftmax,
    QLinearSoftmax,
    Softmax,
)

INT16_CODES = (1 << 16) - 1


class Distances(NamedTuple):
    """The row of scores: (4a) for allowed keys, None for masked ones."""

    of: list[int | None]

    @property
    def allowed(self) -> list[int]:
        return [d for d in self.of if d is not None]


def distances(operation: AnySoftmax, at: Element) -> Distances:
    """Distance of every allowed key of the element's row from the greatest."""
    scores = at.row(operation.input)
    allowed = [True] * len(scores)
    if operation.mask is not None:
        allowed = [bool(x) for x in at.values[operation.mask][at.index[0]]]
    greatest = max((x for x, ok in zip(scores, allowed, strict=True) if ok), default=0)
    return Distances([greatest - x if ok else None for x, ok in zip(scores, allowed, strict=True)])


def table(operation: Softmax, at: Element) -> Stage | None:
    """(4d) and (4e); the numerator is an entry of the table."""
    if at.site == operation.denominator:
        return at.scaled(sum(at.row(operation.numerator)), operation.denominator_requantization, lowest=1)
    if at.site == operation.output:
        (denominator,) = at.row(operation.denominator)
        return at.scaled(at.of(operation.numerator), operation.output_requantization, denominator)
    return None


def gemmlowp(operation: GemmlowpSoftmax, at: Element) -> Stage | None:
    """(S1) to (S5)."""

    def power(d: int) -> int:
        return int(exp_on_negative(doubling_high_multiply(-d << operation.left_shift, operation.multiplier)))

    def row() -> tuple[list[int | None], int, int]:
        furthest = (31 << 26) >> operation.left_shift
        powers = [None if d is None or d > furthest else power(d) for d in distances(operation, at).of]
        total = sum(int(rounding_divide(p, 12)) for p in powers if p is not None)
        zeros = int(count_leading_zeros32(total))
        return powers, zeros, int(one_over_one_plus((total << zeros) - (1 << 31))) if total else 0

    powers, zeros, reciprocal = at.shared(row)
    mine = powers[at.index[-1]]
    if mine is None:
        return None
    bits = at.program.tensors[at.site].format.bits
    stage = at.stage(int(doubling_high_multiply(reciprocal, mine)), 1, 12 - zeros + 31 - bits, "half_away")
    return stage._replace(zero_point=-(1 << (bits - 1)))


def ibert(operation: IBertSoftmax, at: Element) -> Stage | None:
    """(S10) to (S14)."""

    def power(d: int) -> int:
        y = max(-d, -30 * operation.ln2)
        z = -y // operation.ln2
        r = y + operation.ln2 * z
        exact = max(0, ((r + operation.b) * r + operation.c) << (30 - z))
        return min(INT16_CODES, half_even(exact * operation.multiplier, 1 << operation.shift))

    def row() -> tuple[list[int | None], int]:
        powers = [None if d is None else power(d) for d in distances(operation, at).of]
        return powers, (1 << 32) // max(1, sum(p for p in powers if p is not None))

    powers, factor = at.shared(row)
    mine = powers[at.index[-1]]
    bits = at.program.tensors[at.site].format.bits
    return None if mine is None else at.stage(mine * factor, 1, 32 - bits, "floor")


def itamax(operation: ItaMax, at: Element) -> Stage | None:
    """(S15) to (S17)."""
    bits = at.program.tensors[at.site].format.bits

    def shift(d: int) -> int:
        return d if operation.shift == 0 else (d + (1 << (operation.shift - 1))) >> operation.shift

    def row() -> tuple[list[int | None], int]:
        of = distances(operation, at).of
        group, total, nearest = operation.group or len(of), 0, None
        for start in range(0, len(of), group):
            seen = [d for d in of[start : start + group] if d is not None]
            if not seen:
                continue
            if nearest is None or min(seen) < nearest:
                total >>= 0 if nearest is None else shift(nearest - min(seen))
                nearest = min(seen)
            total += sum(256 >> shift(d - nearest) for d in seen)
        return of, ((1 << bits) - 1) * 256 // max(1, total)

    of, inverse = at.shared(row)
    mine = of[at.index[-1]]
    return None if mine is None else at.stage(inverse, 1, shift(mine), "floor")


def gemmini(operation: GemminiSoftmax, at: Element) -> Stage | None:
    """(S18) and (S19)."""

    def power(d: int) -> int:
        z = (d * (65536 // operation.ln2)) >> 16
        return ((-d + z * operation.ln2 + operation.b) ** 2 + operation.c) >> z

    bits = at.program.tensors[at.site].format.bits

    def row() -> tuple[list[int | None], int, int]:
        powers = [None if d is None else power(d) for d in distances(operation, at).of]
        n, d = binary32(max(1, sum(p for p in powers if p is not None)), 1)
        n, d = binary32(((1 << (bits - 1)) - 1) * d, n)
        return powers, n, d.bit_length() - 1

    powers, factor, shift = at.shared(row)
    mine = powers[at.index[-1]]
    return None if mine is None else at.stage(mine, factor, shift, "float32")


def pulp(operation: PulpSoftmax, at: Element) -> Stage | None:
    """(S20) to (S22)."""

    def power(d: int) -> int:
        z = min(d // operation.ln2, 31)
        return ((z * operation.ln2 - d + operation.b) ** 2 + operation.c) >> z

    def row() -> tuple[list[int | None], int]:
        powers = [None if d is None else power(d) for d in distances(operation, at).of]
        return powers, max(1, sum(p for p in powers if p is not None))

    powers, total = at.shared(row)
    mine = powers[at.index[-1]]
    bits = at.program.tensors[at.site].format.bits
    return None if mine is None else at.stage(mine, (1 << bits) - 1, 0, "floor", divisor=total)


def int16(operation: Int16Softmax, at: Element) -> Stage | None:
    """(S6) to (S9)."""
    tables = [at.program.constants[name] for name in (operation.exp_table, operation.reciprocal_table)]

    def lookup(table: NDArray[Any], value: int) -> int:
        i, o = 256 + (value >> 7), value & 127
        left, right = int(table[i]), int(table[i + 1])
        return left + (((right - left) * o + 64) >> 7)

    def held(value: int) -> int:
        return min(max(value, -(1 << 15)), (1 << 15) - 1)

    def power(d: int) -> int:
        step = at.scaled(-d, operation.requantization)._replace(zero_point=0).unclamped
        return lookup(tables[0], held(step + (1 << 15) - 1))

    def row() -> tuple[list[int | None], int, int]:
        powers = [None if d is None else power(d) for d in distances(operation, at).of]
        total = sum(p for p in powers if p is not None)
        zeros = int(count_leading_zeros32(total))
        middle = (((total << (zeros - 1)) + (1 << 13)) >> 14) - 98304 if total else 0
        return powers, zeros, lookup(tables[1], held(middle))

    powers, zeros, reciprocal = at.shared(row)
    mine = powers[at.index[-1]]
    if mine is None:
        return None
    return at.stage(mine * reciprocal, 1, 31 - zeros, "half_up")._replace(lowest=0, wraps=not operation.clamped)


def qlinear(operation: QLinearSoftmax, at: Element) -> Stage | None:
    """(S30) to (S32); exponentials are integers in steps of 2^-149, and their mantissas what is divided."""
    table = at.program.constants[operation.table]

    def power(d: int) -> int:
        field, fraction = divmod(int(table[d]), 1 << 23)
        return (fraction | 1 << 23) << (field - 1) if field else fraction

    def row() -> tuple[list[int | None], int]:
        powers = [None if d is None else power(d) for d in distances(operation, at).of]
        total = 0
        for p in powers:
            total = total if p is None else binary32(total + p, 1)[0]
        return powers, total

    powers, total = at.shared(row)
    mine = powers[at.index[-1]]
    if mine is None:
        return None
    low, lost = (max(number.bit_length() - MANTISSA, 0) for number in (mine, total))
    return at.stage(mine >> low, operation.multiplier, lost - low, "half_even", divisor=total >> lost)
