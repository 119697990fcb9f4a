"""Operations of the datapath that each operation of a program needs, term by term of docs/numerics.md."""

import math
from collections.abc import Iterator
from typing import assert_never

from hwsim.accelerator import rows
from hwsim.accelerator.events import Component, Event, compute
from hwsim.accelerator.residence import Call
from hwsim.accelerator.terms import (
    MULTIPLIER_BITS,
    VECTOR_BITS,
    Term,
    finish,
    multiplied,
    multiplier_width,
    rescale,
    rounded,
)
from hwsim.arguments import CODE_BITS
from hwsim.operations import (
    Add,
    Append,
    Embed,
    GemminiSoftmax,
    GemmlowpSoftmax,
    IBertLayerNorm,
    IBertSoftmax,
    ItaMax,
    LayerNorm,
    MatMul,
    MergeHeads,
    Operation,
    PulpLayerNorm,
    Relu,
    Requantize,
    RescaledAdd,
    ShiftRight,
    Softmax,
    SplitHeads,
    TfliteLayerNorm,
)


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
            return rounded(call.bits(operation.output), math.prod(call.shape(operation.output)))
        case Relu():
            return iter([(Component.COMPARE, call.bits(operation.input), 0, math.prod(call.shape(operation.input)))])
        case Requantize():
            return _requantize(operation, call)
        case Softmax() | GemmlowpSoftmax() | IBertSoftmax() | ItaMax() | GemminiSoftmax():
            return rows.softmax(operation, call)
        case LayerNorm() | IBertLayerNorm() | PulpLayerNorm() | TfliteLayerNorm():
            return rows.layernorm(operation, call)
        case Add():
            return _add(operation, call)
        case RescaledAdd():
            return _rescaled_add(operation, call)
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


def _requantize(op: Requantize, call: Call) -> Iterator[Term]:
    """(R1), and (9), which is dyadic under every target and alone makes more than a code."""
    generator = call.bits(op.output) > CODE_BITS
    width = MULTIPLIER_BITS if generator else multiplier_width(op.requantization, call)
    return rescale(call.bits(op.input), op.output, math.prod(call.shape(op.output)), call, width)


def _embed(op: Embed, call: Call) -> Iterator[Term]:
    """Equation (8)."""
    count = math.prod(call.shape(op.output))
    yield Component.REQUANTIZE_MULTIPLY, call.bits(op.table), MULTIPLIER_BITS, count
    yield Component.REQUANTIZE_MULTIPLY, call.bits(op.positions), MULTIPLIER_BITS, count
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count
    yield from rounded(VECTOR_BITS, count)
    yield from finish(VECTOR_BITS, op.output, count, call)


def _add(op: Add, call: Call) -> Iterator[Term]:
    """Equation (7)."""
    count = math.prod(call.shape(op.output))
    for name in (op.a, op.b):
        if call.zero_point(name):
            yield Component.ZERO_POINT_ADD, call.bits(name), 0, count
        yield Component.REQUANTIZE_MULTIPLY, call.bits(name), MULTIPLIER_BITS, count
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count
    yield from rounded(VECTOR_BITS, count)
    yield from finish(VECTOR_BITS, op.output, count, call)


def _rescaled_add(op: RescaledAdd, call: Call) -> Iterator[Term]:
    """(R10): each operand rescaled, the sum, and the sum rescaled if it is."""
    count = math.prod(call.shape(op.output))
    for name, scheme in ((op.a, op.a_requantization), (op.b, op.b_requantization)):
        if call.zero_point(name):
            yield Component.ZERO_POINT_ADD, call.bits(name), 0, count
        yield from multiplied(call.bits(name) + op.left_shift, count, multiplier_width(scheme, call))
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count
    if op.output_requantization is None:
        yield from finish(VECTOR_BITS, op.output, count, call)
    else:
        yield from rescale(VECTOR_BITS, op.output, count, call, multiplier_width(op.output_requantization, call))
