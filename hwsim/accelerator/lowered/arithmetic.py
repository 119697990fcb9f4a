"""Operations of the datapath that each operation of a program needs, term by term (docs/accelerator.md, section 2)."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from hwsim.accelerator.datapath import (
    MULTIPLIER_BITS,
    SUM_BITS,
    embedding_terms,
    matmul_terms,
    relu_terms,
    residual_terms,
    scale_terms,
    shift_terms,
)
from hwsim.accelerator.events import Component
from hwsim.accelerator.layers import Term
from hwsim.accelerator.lowered import rows
from hwsim.accelerator.lowered.residence import Call
from hwsim.accelerator.lowered.terms import finish, multiplier_width, rescale
from hwsim.formats import IntFormat
from hwsim.program import operations as ops
from hwsim.program.operations import (
    Add,
    AnyProduct,
    Append,
    Embed,
    MatMul,
    MergeHeads,
    Operation,
    ProjectHeads,
    Relu,
    Requantize,
    RescaledAdd,
    ShiftRight,
    SplitHeads,
)

WIDEST_CODE = 16
"""Bits of the widest code; only the generator (9), which is dyadic under every target, makes more."""


def arithmetic(operation: Operation, call: Call) -> Iterator[Term]:
    """Terms of one operation in one call, in a fixed order; a count may be 0."""
    return TERMS[type(operation)](operation, call)


def product_size(operation: AnyProduct, call: Call) -> tuple[int, int, int, int]:
    """(products, m, k, n): one product for all rows if b is a constant, else one for each batch element and head.

    Of projected heads, one for all rows of a head.
    """
    if isinstance(operation, ProjectHeads):
        batch, heads, length, d_head = call.shape(operation.input)
        return heads, batch * length, d_head, call.shape(operation.output)[-1]
    *outer, m, k = call.shape(operation.a)
    n = call.shape(operation.output)[-1]
    if operation.b in call.program.constant_info:
        return 1, math.prod(outer) * m, k, n
    return math.prod(outer), m, k, n


def _elements(name: str, call: Call) -> int:
    return math.prod(call.shape(name))


def _matmul(op: MatMul, call: Call) -> Iterator[Term]:
    """Equation (2)."""
    yield from matmul_terms(
        *product_size(op, call),
        a_bits=call.bits(op.a),
        b_bits=call.bits(op.b),
        accumulator_bits=op.accumulator.bits,
        bias=op.bias is not None,
        zero_a=call.zero_point(op.a) != 0,
        zero_b=call.zero_point(op.b) != 0,
        constant_b=op.b in call.program.constant_info,
    )


def _project_heads(op: ProjectHeads, call: Call) -> Iterator[Term]:
    """(R14) up to the codes of the heads; what reads their sum adds them up."""
    count, m, k, n = product_size(op, call)
    yield from matmul_terms(
        *(count, m, k, n),
        a_bits=call.bits(op.input),
        b_bits=call.bits(op.weight),
        accumulator_bits=op.accumulator.bits,
        zero_a=call.zero_point(op.input) != 0,
    )
    if op.bias is not None:
        yield Term(Component.BIAS_ADD, op.accumulator.bits, 0, m * n)
    width = multiplier_width(op.requantization, call)
    yield from rescale(op.accumulator.bits, op.heads, count * m * n, call, width)


def _requantize(op: Requantize, call: Call) -> Iterator[Term]:
    """(R1), and (9); of a sum of heads also the sum."""
    maker = call.residence.producer.get(op.input)
    if isinstance(maker, ProjectHeads):
        yield Term(Component.VECTOR_ADD, SUM_BITS, 0, _elements(maker.heads, call) - _elements(op.output, call))
    generator = call.bits(op.output) > WIDEST_CODE
    width = MULTIPLIER_BITS if generator else multiplier_width(op.requantization, call)
    yield from rescale(call.bits(op.input), op.output, _elements(op.output, call), call, width)


def _embed(op: Embed, call: Call) -> Iterator[Term]:
    """Equation (8)."""
    yield from embedding_terms(
        _elements(op.output, call),
        call.bits(op.table),
        call.bits(op.positions),
        call.bits(op.output),
        zero_point=call.zero_point(op.output) != 0,
    )


def _add(op: Add, call: Call) -> Iterator[Term]:
    """Equation (7)."""
    yield from residual_terms(
        _elements(op.output, call),
        call.bits(op.a),
        call.bits(op.b),
        call.bits(op.output),
        zero_a=call.zero_point(op.a) != 0,
        zero_b=call.zero_point(op.b) != 0,
        zero_point=call.zero_point(op.output) != 0,
    )


def _rescaled_add(op: RescaledAdd, call: Call) -> Iterator[Term]:
    """(R10): each operand rescaled, the sum, and the sum rescaled if it is."""
    count = _elements(op.output, call)
    for name, scheme in ((op.a, op.a_requantization), (op.b, op.b_requantization)):
        if call.zero_point(name):
            yield Term(Component.ZERO_POINT_ADD, call.bits(name), 0, count)
        yield from scale_terms(count, call.bits(name) + op.left_shift, multiplier_width(scheme, call))
        if isinstance(op.operand, IntFormat):
            yield Term(Component.CLAMP, op.operand.bits, 0, count)
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, count)
    if op.output_requantization is None:
        yield from finish(SUM_BITS, op.output, count, call)
    else:
        yield from rescale(SUM_BITS, op.output, count, call, multiplier_width(op.output_requantization, call))


def _shift_right(op: ShiftRight, call: Call) -> Iterator[Term]:
    """Equation (3), (R13)'s clamp into a narrower format, and a bias."""
    count, bits, narrowed = _elements(op.output, call), call.bits(op.input), call.bits(op.output)
    yield from shift_terms(count, bits)
    if narrowed < bits:
        yield Term(Component.CLAMP, narrowed, 0, count)
    if isinstance(op.bias, str):
        yield Term(Component.BIAS_ADD, narrowed, 0, count)


def _relu(op: Relu, call: Call) -> Iterator[Term]:
    return iter(relu_terms(_elements(op.input, call), call.bits(op.input)))


def _nothing(op: SplitHeads | MergeHeads | Append, call: Call) -> Iterator[Term]:
    """Where a tensor lies costs no arithmetic."""
    return iter(())


TERMS: dict[type[Operation], Callable[[Any, Call], Iterator[Term]]] = {
    ops.Embed: _embed,
    ops.MatMul: _matmul,
    ops.ShiftRight: _shift_right,
    ops.Relu: _relu,
    ops.Requantize: _requantize,
    ops.SplitHeads: _nothing,
    ops.MergeHeads: _nothing,
    ops.ProjectHeads: _project_heads,
    ops.Append: _nothing,
    ops.Softmax: rows.table_softmax,
    ops.GemmlowpSoftmax: rows.gemmlowp_softmax,
    ops.IBertSoftmax: rows.ibert_softmax,
    ops.ItaMax: rows.itamax,
    ops.GemminiSoftmax: rows.gemmini_softmax,
    ops.PulpSoftmax: rows.pulp_softmax,
    ops.Int16Softmax: rows.int16_softmax,
    ops.QLinearSoftmax: rows.qlinear_softmax,
    ops.LayerNorm: rows.fullyqt_layernorm,
    ops.IBertLayerNorm: rows.ibert_layernorm,
    ops.PulpLayerNorm: rows.pulp_layernorm,
    ops.TfliteLayerNorm: rows.tflite_layernorm,
    ops.GemminiLayerNorm: rows.gemmini_layernorm,
    ops.Add: _add,
    ops.RescaledAdd: _rescaled_add,
}
"""What each operation asks of the datapath."""
