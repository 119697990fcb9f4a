"""Requantization, shifts, sums and embeddings, element by element."""

from fractions import Fraction

from analysis.proof.divergence.element import Element
from analysis.proof.divergence.stage import Stage
from hwsim.formats import IntFormat
from hwsim.program.operations import Add, Embed, Requantize, RescaledAdd, ShiftRight


def requantize(operation: Requantize, at: Element) -> Stage:
    """(1) of docs/numerics.md, (R1) to (R9) of docs/operators/requantization.md."""
    return at.scaled(at.of(operation.input), operation.requantization)


def shift_right(operation: ShiftRight, at: Element) -> Stage:
    """(3)."""
    return at.stage(at.of(operation.input), 1, operation.shift, operation.rounding.value)


def add(operation: Add, at: Element) -> Stage:
    """(7)."""
    return _sum(
        at,
        at.centred(operation.a) * operation.a_multiplier,
        at.centred(operation.b) * operation.b_multiplier,
        operation.shift,
    )


def _sum(at: Element, a: int, b: int, shift: int) -> Stage:
    terms = Fraction(a, 1 << shift), Fraction(b, 1 << shift)
    return at.stage(a + b, 1, shift, "half_even", terms=terms)


def rescaled_add(operation: RescaledAdd, at: Element) -> Stage:
    """(R10); without an output scheme the last rounding is that of the operands, and the sum is exact."""
    total, exact = 0, []
    for name, scheme in ((operation.a, operation.a_requantization), (operation.b, operation.b_requantization)):
        operand = at.scaled(at.centred(name) << operation.left_shift, scheme)._replace(zero_point=0)
        if isinstance(operation.operand, IntFormat):
            operand = operand._replace(format=operation.operand)
            total += operand.code
        else:
            total += operand.unclamped
        exact.append(operand.integer * at.ratio(scheme))
    to = operation.output_requantization
    if to is None:
        return at.stage(total, 1, 0, "half_even", terms=tuple(exact))
    return at.scaled(total, to)._replace(terms=tuple(term * at.ratio(to) for term in exact))


def embed(operation: Embed, at: Element) -> Stage:
    """(8)."""
    row, column, feature = at.index
    token = int(at.values[operation.ids][row, column])
    position = int(at.values[operation.position]) + column
    table, positions = at.program.constants[operation.table], at.program.constants[operation.positions]
    word = int(table[token, feature]) * at.constant(operation.multiplier, token)
    return _sum(at, word, int(positions[position, feature]) * operation.position_multiplier, operation.shift)
