"""Overflow proofs: what an accumulator can reach at most (docs/numerics.md, section 10).

Sums over a row of codes are int64; the rest are Python integers. Rows come in parts, so that a proof takes less memory
than what it is about.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.program.operations import AnyProduct, ProjectHeads
from hwsim.program.program import Program

ROWS_AT_ONCE, CODES_AT_ONCE = 1 << 10, 1 << 16


class Interval(NamedTuple):
    """Least and greatest value, both reached or not."""

    low: int
    high: int

    @property
    def magnitude(self) -> int:
        return max(abs(self.low), abs(self.high))

    @property
    def bits(self) -> int:
        """Width of the least signed format that holds the interval."""
        return max(self.high.bit_length(), (-self.low - 1).bit_length() if self.low < 0 else 0) + 1


class Rows(NamedTuple):
    """Least and greatest value of each of several rows: arrays of one length, of objects or of what holds them."""

    low: NDArray[Any]
    high: NDArray[Any]

    @classmethod
    def of(cls, reach: Interval) -> "Rows":
        """One row, which stands for all."""
        return cls(np.array([reach.low], object), np.array([reach.high], object))

    @property
    def union(self) -> Interval:
        """The least interval that holds all."""
        return Interval(int(self.low.min()), int(self.high.max()))


def centred(fmt: IntFormat, zero_point: int) -> Interval:
    """The interval of q - zero_point."""
    return Interval(fmt.min - zero_point, fmt.max - zero_point)


def weight_rows(a: Interval, weight: NDArray[Any], zero: int, bias: NDArray[Any] | None) -> Iterator[Rows]:
    """(10a): every partial sum of a @ (weight - zero).T + bias, row by row; weight (out, in) codes of any dtype."""
    count, terms = weight.shape
    step = min(max(1, CODES_AT_ONCE // terms), ROWS_AT_ONCE)
    for first in range(0, count, step):
        some = slice(first, first + step)
        codes = weight[some]
        positive = (np.maximum(codes, zero).sum(-1, dtype=np.int64) - terms * zero).astype(object)
        negative = (np.minimum(codes, zero).sum(-1, dtype=np.int64) - terms * zero).astype(object)
        start = np.zeros(1, object) if bias is None else bias[some].astype(object)
        high = np.maximum(start, 0) + positive * a.high + negative * a.low
        low = np.minimum(start, 0) + positive * a.low + negative * a.high
        yield Rows(low, high)


def weight_product(a: Interval, weight: NDArray[Any], bias: NDArray[Any] | None) -> Interval:
    """(10a) of the worst row, of a weight without zero point."""
    return union(rows.union for rows in weight_rows(a, weight, 0, bias))


def union(reaches: Iterable[Interval]) -> Interval:
    """The least interval that holds all."""
    lows, highs = zip(*reaches, strict=True)
    return Interval(min(lows), max(highs))


def activation_product(a: Interval, b: Interval, terms: int) -> Interval:
    """(10b): every partial sum of at most `terms` products of two activations."""
    corners = [x * y for x in a for y in b]
    return Interval(terms * min(0, *corners), terms * max(0, *corners))


def first_factor(operation: AnyProduct) -> str:
    """The activation whose rows a product multiplies."""
    return operation.input if isinstance(operation, ProjectHeads) else operation.a


def product_terms(program: Program, operation: AnyProduct) -> int:
    """Products of a sum, at most."""
    dim = program.tensors[first_factor(operation)].dims[-1]
    return program.dimensions[dim].maximum if isinstance(dim, str) else dim


def head_weights(program: Program, operation: ProjectHeads) -> list[NDArray[Any]]:
    """Each head's columns of the weight, (out, d_head)."""
    weight, d_head = program.constants.held(operation.weight), product_terms(program, operation)
    return [weight[:, start : start + d_head] for start in range(0, weight.shape[1], d_head)]


def constant_factors(program: Program, operation: AnyProduct) -> tuple[list[NDArray[Any]], int]:
    """The constants that a product multiplies with, as they are held: one, or one a head; and their zero point."""
    if isinstance(operation, ProjectHeads):
        return head_weights(program, operation), 0
    return [program.constants.held(operation.b)], program.constant_info[operation.b].zero_point


def product_rows(program: Program, operation: AnyProduct) -> Iterator[Rows]:
    """(10a) of each row of a product with a constant, head by head; (10b) of two activations; of any accumulator."""
    a = program.tensors[first_factor(operation)]
    left = centred(a.format, a.zero_point)
    if isinstance(operation, ProjectHeads) or operation.b in program.constants:
        bias = None if operation.bias is None else program.constants.held(operation.bias)
        (first, *others), zero = constant_factors(program, operation)
        yield from weight_rows(left, first, zero, bias)
        for weight in others:
            yield from weight_rows(left, weight, zero, None)
        return
    b = program.tensors[operation.b]
    yield Rows.of(activation_product(left, centred(b.format, b.zero_point), product_terms(program, operation)))


def product_reach(program: Program, operation: AnyProduct) -> Interval:
    """`product_rows`, the worst row."""
    return union(rows.union for rows in product_rows(program, operation))


def check_accumulator(site: str, reach: Interval, accumulator: Accumulator) -> Interval:
    """The interval that the accumulator can hold at the end.

    Raises
    ------
    ValueError
        If it must be proven and is not; names the site and the least width that would do.
    """
    if accumulator.min <= reach.low and reach.high <= accumulator.max:
        return reach
    if accumulator.overflow is Overflow.PROVEN:
        raise ValueError(
            f"{site}: partial sums reach [{reach.low}, {reach.high}], which a {accumulator.bits}-bit accumulator "
            f"cannot hold; it needs {reach.bits} bits, or the overflow rule 'saturate' or 'wrap'"
        )
    if accumulator.overflow is Overflow.WRAP:
        return Interval(accumulator.min, accumulator.max)
    return Interval(max(reach.low, accumulator.min), min(reach.high, accumulator.max))


def held_rows(rows: Rows, accumulator: Accumulator) -> Rows:
    """What the accumulator holds at the end of each row; of a proven one, the rows themselves."""
    low, high = np.maximum(rows.low, accumulator.min), np.minimum(rows.high, accumulator.max)
    if accumulator.overflow is Overflow.WRAP:
        beyond = (low != rows.low) | (high != rows.high)
        low, high = np.where(beyond, accumulator.min, low), np.where(beyond, accumulator.max, high)
    return Rows(low, high)
