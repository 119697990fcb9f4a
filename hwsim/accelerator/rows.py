"""Operations of the datapath that softmaxes and LayerNorms need, term by term of their pages in docs/operators."""

import math
from collections.abc import Iterator

from hwsim.accelerator.events import Component
from hwsim.accelerator.residence import Call
from hwsim.accelerator.terms import (
    LENGTH_BITS,
    MULTIPLIER_BITS,
    VECTOR_BITS,
    WIDE_BITS,
    Term,
    divide,
    finish,
    multiplier_width,
    rescale,
    rounded,
)
from hwsim.operations import (
    AnyLayerNorm,
    AnySoftmax,
    GemminiSoftmax,
    GemmlowpSoftmax,
    IBertLayerNorm,
    IBertSoftmax,
    ItaMax,
    LayerNorm,
    PulpLayerNorm,
    Softmax,
    TfliteLayerNorm,
)

EXP_BITS = 32
"""Fixed point of gemmlowp."""
EXP_POLYNOMIAL, EXP_BARREL = 5, 7
"""Multiplications of exp_q: x^2, x^3, x^4, 1/3, exp(-1/8); and one for each bit of the remainder."""
NEWTON_STEPS, INVERSE_ROOT_STEPS = 3, 5
IBERT_EXP_BITS, IBERT_SUM_BITS = 62, 32


def softmax(op: AnySoftmax, call: Call) -> Iterator[Term]:
    """Every key that is stored counts, whether the mask allows it or not."""
    match op:
        case Softmax():
            return _table_softmax(op, call)
        case GemmlowpSoftmax():
            return _gemmlowp_softmax(op, call)
        case IBertSoftmax():
            return _ibert_softmax(op, call)
        case ItaMax():
            return _itamax(op, call)
        case GemminiSoftmax():
            return _gemmini_softmax(op, call)


def layernorm(op: AnyLayerNorm, call: Call) -> Iterator[Term]:
    match op:
        case LayerNorm():
            return _fullyqt_layernorm(op, call)
        case IBertLayerNorm():
            return _ibert_layernorm(op, call)
        case PulpLayerNorm():
            return _pulp_layernorm(op, call)
        case TfliteLayerNorm():
            return _tflite_layernorm(op, call)


def _size(op: AnySoftmax | AnyLayerNorm, call: Call) -> tuple[int, int]:
    """Rows, and elements of all rows."""
    *outer, n = call.shape(op.input)
    return math.prod(outer), math.prod(outer) * n


def _distance(op: AnySoftmax, count: int, call: Call) -> Iterator[Term]:
    """Running maximum, and what lies below it."""
    yield Component.COMPARE, call.bits(op.input), 0, count
    yield Component.VECTOR_ADD, call.bits(op.input), 0, count


def _gemmlowp_softmax(op: GemmlowpSoftmax, call: Call) -> Iterator[Term]:
    rows, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Component.VECTOR_MULTIPLY, EXP_BITS, EXP_BITS, count * (1 + EXP_POLYNOMIAL + EXP_BARREL)  # (S2)
    yield Component.VECTOR_ADD, EXP_BITS, 0, count * (EXP_POLYNOMIAL + 1)  # (S2) sums of the polynomial, (S3)
    yield Component.VECTOR_MULTIPLY, EXP_BITS, EXP_BITS, rows * (1 + 2 * NEWTON_STEPS)  # (S4)
    yield Component.VECTOR_ADD, EXP_BITS, 0, rows * (2 + 2 * NEWTON_STEPS)  # (S4)
    yield Component.VECTOR_MULTIPLY, EXP_BITS, EXP_BITS, count  # (S5)
    yield from rounded(EXP_BITS, count)  # (S5)
    yield from finish(EXP_BITS, op.output, count, call)


def _ibert_softmax(op: IBertSoftmax, call: Call) -> Iterator[Term]:
    rows, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Component.DIVIDE, VECTOR_BITS, 0, count  # (S10) z
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, VECTOR_BITS, 2 * count  # (S10) ln2*z, (S11)
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, 3 * count  # (S10), (S11)
    yield Component.REQUANTIZE_SHIFT, IBERT_EXP_BITS, 0, count  # (S11)
    yield Component.REQUANTIZE_MULTIPLY, IBERT_EXP_BITS, MULTIPLIER_BITS, count  # (S12)
    yield from rounded(WIDE_BITS, count)  # (S12)
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count  # (S13) sum
    yield Component.DIVIDE, IBERT_SUM_BITS, 0, rows  # (S13)
    yield Component.VECTOR_MULTIPLY, 16, IBERT_SUM_BITS, count  # (S14)
    yield Component.REQUANTIZE_SHIFT, 16 + IBERT_SUM_BITS, 0, count
    yield from finish(VECTOR_BITS, op.output, count, call)


def _itamax(op: ItaMax, call: Call) -> Iterator[Term]:
    rows, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Component.REQUANTIZE_SHIFT, VECTOR_BITS, 0, count  # (S15) 256 >> sh
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count  # (S15) sum
    yield Component.DIVIDE, VECTOR_BITS, 0, rows  # (S16)
    yield Component.VECTOR_ADD, call.bits(op.input), 0, count  # (S17) distance from the last maximum
    yield Component.REQUANTIZE_SHIFT, call.bits(op.output), 0, count  # (S17)
    yield from finish(VECTOR_BITS, op.output, count, call)


def _gemmini_softmax(op: GemminiSoftmax, call: Call) -> Iterator[Term]:
    _, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, VECTOR_BITS, 3 * count  # (S18) z, z*ln2, square
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, 3 * count  # (S18)
    yield Component.REQUANTIZE_SHIFT, VECTOR_BITS, 0, count  # (S18)
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count  # (S19) sum
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, call.bits(op.output), count  # (S19)
    yield Component.DIVIDE, VECTOR_BITS, 0, count  # (S19)
    yield from finish(VECTOR_BITS, op.output, count, call)


def _moments(op: AnyLayerNorm, count: int, rows: int, call: Call) -> Iterator[Term]:
    """Mean, centred codes, and the sum of their squares."""
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, 2 * count  # sum, difference
    yield Component.DIVIDE, VECTOR_BITS, 0, rows  # mean
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, VECTOR_BITS, count
    yield Component.VECTOR_ADD, WIDE_BITS, 0, count


def _ibert_layernorm(op: IBertLayerNorm, call: Call) -> Iterator[Term]:
    rows, count = _size(op, call)
    yield from _moments(op, count, rows, call)  # (L1), (L2)
    yield Component.SQUARE_ROOT, VECTOR_BITS, 0, rows  # (L3)
    yield Component.DIVIDE, VECTOR_BITS, 0, rows  # (L3)
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, VECTOR_BITS, count  # (L4)
    yield Component.BIAS_ADD, call.bits(op.beta), 0, count  # (L4)
    yield from rescale(WIDE_BITS, op.output, count, call)  # (L5)


def _pulp_layernorm(op: PulpLayerNorm, call: Call) -> Iterator[Term]:
    rows, count = _size(op, call)
    yield from _moments(op, count, rows, call)  # (L6), (L7)
    yield Component.DIVIDE, WIDE_BITS, 0, rows  # (L7) variance
    yield Component.VECTOR_ADD, WIDE_BITS, 0, rows  # (L7) 1
    yield Component.SQUARE_ROOT, VECTOR_BITS, 0, rows  # (L7)
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, call.bits(op.gamma), count  # (L8)
    yield Component.DIVIDE, VECTOR_BITS, 0, count  # (L8)
    yield Component.BIAS_ADD, call.bits(op.beta), 0, count  # (L8)
    yield Component.REQUANTIZE_SHIFT, VECTOR_BITS, 0, count  # (L8)
    yield from finish(VECTOR_BITS, op.output, count, call)


def _tflite_layernorm(op: TfliteLayerNorm, call: Call) -> Iterator[Term]:
    rows, count = _size(op, call)
    yield from _moments(op, count, rows, call)  # (L9), (L10)
    yield Component.VECTOR_MULTIPLY, WIDE_BITS, VECTOR_BITS, 2 * rows  # (L10)
    yield Component.VECTOR_ADD, WIDE_BITS, 0, rows  # (L10) difference
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, VECTOR_BITS, rows * (1 + 4 * INVERSE_ROOT_STEPS)  # (L11)
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, rows * INVERSE_ROOT_STEPS  # (L11)
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, VECTOR_BITS, count  # (L12)
    yield from rounded(WIDE_BITS, count)  # (L12)
    yield Component.VECTOR_MULTIPLY, VECTOR_BITS, call.bits(op.gamma), count  # (L13)
    yield Component.BIAS_ADD, call.bits(op.beta), 0, count  # (L13)
    yield from rounded(VECTOR_BITS, count)  # (L13)
    yield from rescale(VECTOR_BITS, op.output, count, call, multiplier_width(op.requantization, call))  # (L14)


def _table_softmax(op: Softmax, call: Call) -> Iterator[Term]:
    """Equations (4a) to (4e); every key that is stored counts, whether the mask allows it or not."""
    *heads, keys = call.shape(op.input)
    rows = math.prod(heads)
    count, bits = rows * keys, call.bits(op.input)
    yield Component.COMPARE, bits, 0, count  # (4a) running maximum
    yield Component.VECTOR_ADD, bits, 0, count  # (4a) distance
    yield Component.TABLE_READ, call.bits(op.table), 0, count  # (4b)
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count  # (4c)
    yield from rescale(VECTOR_BITS, op.denominator, rows, call)  # (4d)
    yield Component.COMPARE, call.bits(op.denominator), 0, rows  # (4d) at least 1
    yield from divide(op.numerator, op.output, rows, count, call)  # (4e)


def _fullyqt_layernorm(op: LayerNorm, call: Call) -> Iterator[Term]:
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
    yield from rescale(VECTOR_BITS, op.denominator, rows, call)  # (5d)
    yield Component.COMPARE, call.bits(op.denominator), 0, rows  # (5d) at least 1
    yield Component.VECTOR_MULTIPLY, bits, LENGTH_BITS, count  # (5a) n * x
    yield Component.VECTOR_ADD, VECTOR_BITS, 0, count  # (5a) difference
    yield from rescale(VECTOR_BITS, op.numerator, count, call)  # (5c)
    yield from divide(op.numerator, op.quotient, rows, count, call)  # (5e)
    yield Component.VECTOR_MULTIPLY, call.bits(op.quotient), call.bits(op.gamma), count  # (5f)
    yield Component.BIAS_ADD, call.bits(op.beta), 0, count  # (5f)
    yield from rescale(VECTOR_BITS, op.output, count, call)  # (5f)
