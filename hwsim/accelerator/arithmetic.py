"""Operations of the datapath that each operation of a program needs, term by term of docs/numerics.md."""

import math
from collections.abc import Iterator
from typing import assert_never

from hwsim.accelerator.events import Component, Event, compute
from hwsim.accelerator.residence import Call
from hwsim.program import (
    Add,
    Append,
    Embed,
    LayerNorm,
    MatMul,
    MergeHeads,
    Operation,
    Relu,
    Requantize,
    ShiftRight,
    Softmax,
    SplitHeads,
)

MULTIPLIER_BITS = 16
"""Width of m in m / 2^e."""
VECTOR_BITS = 32
"""Width of sums in the vector unit."""
WIDE_BITS = 64
"""Width of sums of squares and of V of LayerNorm."""
LENGTH_BITS = 16
"""Width of n as a factor in LayerNorm."""

Term = tuple[Component, int, int, int]
"""Component, bits, second bits, count."""


def arithmetic(operation: Operation, call: Call) -> Iterator[Event]:
    """Events of the datapath of one operation, in a fixed order; a count may be 0."""
    tag = str(type(operation).__struct_config__.tag)
    for component, bits, second_bits, count in _terms(operation, call):
        yield compute(operation.output, tag, component, bits, count, second_bits)


def _terms(operation: Operation, call: Call) -> Iterator[Term]:
    match operation:
        case MatMul():
            return _matmul(operation, call)
        case Embed():
            return _embed(operation, call)
        case ShiftRight():
            return _round(call.bits(operation.output), math.prod(call.shape(operation.output)))
        case Relu():
            return iter([(Component.COMPARE, call.bits(operation.input), 0, math.prod(call.shape(operation.input)))])
        case Requantize():
            return _requantize(operation, call)
        case Softmax():
            return _softmax(operation, call)
        case LayerNorm():
            return _layernorm(operation, call)
        case Add():
            return _add(operation, call)
        case SplitHeads() | MergeHeads() | Append():
            return iter(())
    assert_never(operation)


def product_size(operation: MatMul, call: Call) -> tuple[int, int, int, int]:
    """(products, m, k, n): one product for all rows if b is a constant, else one for each batch element and head."""
    *rows, m, k = call.shape(operation.a)
    n = call.shape(operation.output)[-1]
    if operation.b in call.program.constant_info:
        return 1, math.prod(rows) * m, k, n
    return math.prod(rows), m, k, n


def _matmul(op: MatMul, call: Call) -> Iterator[Term]:
    """Equation (2), expanded: sum a*b, then bias, then corrections for z_a and z_b."""
    products, m, k, n = product_size(op, call)
    width, results = op.accumulator.bits, products * m * n
    yield Component.MAC_MULTIPLY, call.bits(op.a), call.bits(op.b), results * k
    yield Component.MAC_ADD, width, 0, results * k
    if op.bias is not None:
        yield Component.BIAS_ADD, width, 0, results
    zero_a, zero_b = call.zero_point(op.a), call.zero_point(op.b)
    if zero_a:  # z_a * sum_k b[j,k]: of a constant formed once and kept, else formed here
        if op.b not in call.program.constant_info:
            yield Component.ZERO_POINT_ADD, width, 0, products * n * k
            yield Component.ZERO_POINT_MULTIPLY, width, call.bits(op.a), products * n
        yield Component.ZERO_POINT_ADD, width, 0, results
    if zero_b:  # z_b * sum_k a[i,k]
        yield Component.ZERO_POINT_ADD, width, 0, products * m * k
        yield Component.ZERO_POINT_MULTIPLY, width, call.bits(op.b), products * m
        yield Component.ZERO_POINT_ADD, width, 0, results
    if zero_a and zero_b:  # k * z_a * z_b, into the term of the row
        yield Component.ZERO_POINT_ADD, width, 0, products * m


def _round(bits: int, count: int) -> Iterator[Term]:
    """HALF_EVEN(x / 2^e)."""
    yield Component.REQUANTIZE_SHIFT, bits, 0, count
    yield Component.REQUANTIZE_ADD, bits, 0, count


def _finish(bits: int, output: str, count: int, call: Call) -> Iterator[Term]:
    """clamp(x + z), the addition only if z is not 0."""
    if call.zero_point(output):
        yield Component.REQUANTIZE_ADD, bits, 0, count
    yield Component.CLAMP, call.bits(output), 0, count


def _rescale(bits: int, output: str, count: int, call: Call) -> Iterator[Term]:
    """Equation (1): clamp(HALF_EVEN(x * m / 2^e) + z) of x with `bits` bits."""
    yield Component.REQUANTIZE_MULTIPLY, bits, MULTIPLIER_BITS, count
    yield from _round(bits + MULTIPLIER_BITS, count)
    yield from _finish(bits, output, count, call)


def _divide(numerator: str, output: str, rows: int, count: int, call: Call) -> Iterator[Term]:
    """clamp(HALF_EVEN(x * m / (d * 2^e))): d is shifted once a row, the division rounds."""
    yield Component.REQUANTIZE_MULTIPLY, call.bits(numerator), MULTIPLIER_BITS, count
    yield Component.REQUANTIZE_SHIFT, VECTOR_BITS, 0, rows
    yield Component.DIVIDE, VECTOR_BITS, 0, count
    yield Component.CLAMP, call.bits(output), 0, count


def _requantize(op: Requantize, call: Call) -> Iterator[Term]:
    return _rescale(call.bits(op.input), op.output, math.prod(call.shape(op.output)), call)


def _embed(op: Embed, call: Call) -> Iterator[Term]:
    """Equation (8)."""
    count = math.prod(call.shape(op.output))
    yield Component.REQUANTIZE_MULTIPLY, call.bits(op.table), MULTIPLIER_BITS, count
    yield Component.REQUANTIZE_MULTIPLY, call.bits(op.positions), MULTIPLIER_BITS, count
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count
    yield from _round(VECTOR_BITS, count)
    yield from _finish(VECTOR_BITS, op.output, count, call)


def _add(op: Add, call: Call) -> Iterator[Term]:
    """Equation (7)."""
    count = math.prod(call.shape(op.output))
    for name in (op.a, op.b):
        if call.zero_point(name):
            yield Component.ZERO_POINT_ADD, call.bits(name), 0, count
        yield Component.REQUANTIZE_MULTIPLY, call.bits(name), MULTIPLIER_BITS, count
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count
    yield from _round(VECTOR_BITS, count)
    yield from _finish(VECTOR_BITS, op.output, count, call)


def _softmax(op: Softmax, call: Call) -> Iterator[Term]:
    """Equations (4a) to (4e); every key that is stored counts, whether the mask allows it or not."""
    *heads, keys = call.shape(op.input)
    rows = math.prod(heads)
    count, bits = rows * keys, call.bits(op.input)
    yield Component.COMPARE, bits, 0, count  # (4a) running maximum
    yield Component.VECTOR_ADD, bits, 0, count  # (4a) distance
    yield Component.TABLE_READ, call.bits(op.table), 0, count  # (4b)
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count  # (4c)
    yield from _rescale(VECTOR_BITS, op.denominator, rows, call)  # (4d)
    yield Component.COMPARE, call.bits(op.denominator), 0, rows  # (4d) at least 1
    yield from _divide(op.numerator, op.output, rows, count, call)  # (4e)


def _layernorm(op: LayerNorm, call: Call) -> Iterator[Term]:
    """Equations (5a) to (5f)."""
    *outer, n = call.shape(op.input)
    rows = math.prod(outer)
    count, bits = rows * n, call.bits(op.input)
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count  # sum(x)
    yield Component.VECTOR_MULTIPLY, bits, bits, count  # x^2
    yield Component.VECTOR_ADD, WIDE_BITS, 0, count  # sum(x^2)
    yield Component.VECTOR_MULTIPLY, WIDE_BITS, LENGTH_BITS, rows  # (5b) n * sum(x^2)
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, VECTOR_BITS, rows  # (5b) sum(x)^2
    yield Component.VECTOR_ADD, WIDE_BITS, 0, 2 * rows  # (5b) difference, eps
    yield Component.SQUARE_ROOT, WIDE_BITS, 0, rows  # (5d)
    yield from _rescale(VECTOR_BITS, op.denominator, rows, call)  # (5d)
    yield Component.COMPARE, call.bits(op.denominator), 0, rows  # (5d) at least 1
    yield Component.VECTOR_MULTIPLY, bits, LENGTH_BITS, count  # (5a) n * x
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count  # (5a) difference
    yield from _rescale(VECTOR_BITS, op.numerator, count, call)  # (5c)
    yield from _divide(op.numerator, op.quotient, rows, count, call)  # (5e)
    yield Component.VECTOR_MULTIPLY, call.bits(op.quotient), call.bits(op.gamma), count  # (5f)
    yield Component.BIAS_ADD, call.bits(op.beta), 0, count  # (5f)
    yield from _rescale(VECTOR_BITS, op.output, count, call)  # (5f)
