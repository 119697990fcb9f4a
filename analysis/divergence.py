"""What a code was before it was rounded: the equations of docs/numerics.md in Python integers and fractions."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import singledispatch
from math import floor, isqrt
from typing import Any

from numpy.typing import NDArray

from hwsim.machine import operation_of
from hwsim.program import Add, Dyadic, Embed, LayerNorm, Operation, Program, Requantize, ShiftRight, Softmax

Index = tuple[int, ...]
Values = Mapping[str, NDArray[Any]]
Exact = tuple[int, Fraction]
"""An integer, and the factor that it is multiplied with before the rounding."""


@dataclass(frozen=True)
class Element:
    """One element of a tensor that an operation made, with all tensors of the call."""

    program: Program
    site: str
    index: Index
    values: Values

    def centred(self, name: str) -> int:
        """The same element of an operand, less its zero point."""
        return int(self.values[name][self.index]) - self.program.tensors[name].zero_point

    def row(self, name: str) -> list[int]:
        """The row of an operand in which the element lies."""
        return [int(x) for x in self.values[name][self.index[:-1]]]

    def constant(self, field: int | str, channel: int) -> int:
        """A field that is a number, or names a constant with one value for all channels or one for each."""
        if isinstance(field, int):
            return field
        array = self.program.constants[field]
        return int(array[channel if len(array) > 1 else 0])

    def ratio(self, dyadic: Dyadic) -> Fraction:
        channel = self.index[-1]
        return Fraction(self.constant(dyadic.multiplier, channel), 1 << self.constant(dyadic.shift, channel))


def before_rounding(program: Program, site: str, index: Index, values: Values) -> tuple[int | None, Fraction | None]:
    """The exact value that was rounded and clamped to the code of a site.

    Parameters
    ----------
    site
        A tensor that an operation makes.
    index
        Which element of it.
    values
        The tensors of the call, inputs included. Only operands of the operation are read, never the site itself.

    Returns
    -------
    tuple
        The integer that was scaled (an accumulator; a sum, for the operations that have none), and the code before
        its rounding and clamp, zero point included. (None, None) where nothing is rounded.

    Raises
    ------
    ValueError
        If no operation makes the site.
    """
    exact = _exact(operation_of(program, site), Element(program, site, index, values))
    if exact is None:
        return None, None
    integer, factor = exact
    return integer, integer * factor + program.tensors[site].zero_point


def tie_distance(value: Fraction) -> Fraction:
    """How far a value is from the nearest tie, in LSB; 0 is a tie."""
    return abs(value - floor(value) - Fraction(1, 2))


@singledispatch
def _exact(operation: Operation, at: Element) -> Exact | None:
    """Operations without an entry below round nothing."""
    return None


@_exact.register
def _requantize(operation: Requantize, at: Element) -> Exact:
    """(1), before its zero point."""
    return int(at.values[operation.input][at.index]), at.ratio(operation.requantization)


@_exact.register
def _shift_right(operation: ShiftRight, at: Element) -> Exact:
    """(3)."""
    return int(at.values[operation.input][at.index]), Fraction(1, 1 << operation.shift)


@_exact.register
def _add(operation: Add, at: Element) -> Exact:
    """(7), before its zero point."""
    total = at.centred(operation.a) * operation.a_multiplier + at.centred(operation.b) * operation.b_multiplier
    return total, Fraction(1, 1 << operation.shift)


@_exact.register
def _embed(operation: Embed, at: Element) -> Exact:
    """(8), before its zero point."""
    row, column, feature = at.index
    token = int(at.values[operation.ids][row, column])
    position = int(at.values[operation.position]) + column
    table, positions = at.program.constants[operation.table], at.program.constants[operation.positions]
    word = int(table[token, feature]) * at.constant(operation.multiplier, token)
    where = int(positions[position, feature]) * operation.position_multiplier
    return word + where, Fraction(1, 1 << operation.shift)


@_exact.register
def _softmax(operation: Softmax, at: Element) -> Exact | None:
    """(4d) and (4e); the numerator is an entry of the table."""
    if at.site == operation.denominator:
        return sum(at.row(operation.numerator)), at.ratio(operation.denominator_requantization)
    if at.site == operation.output:
        (denominator,) = at.row(operation.denominator)
        numerator = int(at.values[operation.numerator][at.index])
        return numerator, at.ratio(operation.output_requantization) / denominator
    return None


@_exact.register
def _layernorm(operation: LayerNorm, at: Element) -> Exact:
    """(5c) to (5f)."""
    if at.site == operation.numerator:
        x = at.row(operation.input)
        return len(x) * x[at.index[-1]] - sum(x), at.ratio(operation.numerator_requantization)
    if at.site == operation.denominator:
        x = at.row(operation.input)
        variance = len(x) * sum(code * code for code in x) - sum(x) ** 2 + operation.eps
        return isqrt(variance), at.ratio(operation.denominator_requantization)
    if at.site == operation.quotient:
        (denominator,) = at.row(operation.denominator)
        numerator = int(at.values[operation.numerator][at.index])
        return numerator, at.ratio(operation.quotient_requantization) / denominator
    gamma, beta = (int(at.program.constants[name][at.index[-1]]) for name in (operation.gamma, operation.beta))
    quotient = int(at.values[operation.quotient][at.index])
    return quotient * gamma + beta, at.ratio(operation.output_requantization)
