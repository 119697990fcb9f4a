"""Overflow proofs: what an accumulator can reach at most (docs/numerics.md, section 10).

Sums over a row of codes are int64; the rest are Python integers.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.program.operations import AnyProduct, ProjectHeads
from hwsim.program.program import Program

ROWS_AT_ONCE = 256
"""Of a weight: their codes as int64 stay few."""


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


def centred(fmt: IntFormat, zero_point: int) -> Interval:
    """The interval of q - zero_point."""
    return Interval(fmt.min - zero_point, fmt.max - zero_point)


def weight_rows(a: Interval, weight: NDArray[Any], zero: int, bias: NDArray[Any] | None) -> list[Interval]:
    """(10a): every partial sum of a @ (weight - zero).T + bias, row by row; weight (out, in) codes of any dtype."""
    start = np.zeros(len(weight), object) if bias is None else bias.astype(object)
    positive, negative = np.empty(len(weight), object), np.empty(len(weight), object)
    for first in range(0, len(weight), ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        codes = weight[some].astype(np.int64) - zero
        positive[some], negative[some] = np.maximum(codes, 0).sum(-1), np.minimum(codes, 0).sum(-1)
    high = np.maximum(start, 0) + positive * a.high + negative * a.low
    low = np.minimum(start, 0) + positive * a.low + negative * a.high
    return [Interval(int(least), int(most)) for least, most in zip(low, high, strict=True)]


def weight_product(a: Interval, weight: NDArray[Any], bias: NDArray[Any] | None) -> Interval:
    """(10a) of the worst row, of a weight without zero point."""
    return union(weight_rows(a, weight, 0, bias))


def union(rows: list[Interval]) -> Interval:
    """The least interval that holds all."""
    return Interval(min(row.low for row in rows), max(row.high for row in rows))


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


def product_rows(program: Program, operation: AnyProduct) -> list[Interval]:
    """(10a) of each row of a product with a constant, head by head; (10b) of two activations; of any accumulator."""
    a = program.tensors[first_factor(operation)]
    left = centred(a.format, a.zero_point)
    if isinstance(operation, ProjectHeads) or operation.b in program.constants:
        bias = None if operation.bias is None else program.constants[operation.bias]
        (first, *others), zero = constant_factors(program, operation)
        rows = weight_rows(left, first, zero, bias)
        return rows + [row for weight in others for row in weight_rows(left, weight, zero, None)]
    b = program.tensors[operation.b]
    return [activation_product(left, centred(b.format, b.zero_point), product_terms(program, operation))]


def product_reach(program: Program, operation: AnyProduct) -> Interval:
    """`product_rows`, the worst row."""
    return union(product_rows(program, operation))


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
