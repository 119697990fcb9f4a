"""Operations of the datapath that softmaxes and LayerNorms need, term by term of their pages in docs/operators.

Every key that is stored counts, whether the mask allows it or not.
"""

import math
from collections.abc import Iterator

from hwsim.accelerator.datapath import (
    MULTIPLIER_BITS,
    SQUARES_BITS,
    SUM_BITS,
    fullyqt_layernorm_terms,
    requantize_terms,
    shift_terms,
    table_softmax_terms,
)
from hwsim.accelerator.events import Component
from hwsim.accelerator.layers import Term
from hwsim.accelerator.lowered.residence import Call
from hwsim.accelerator.lowered.terms import finish, multiplier_width, rescale
from hwsim.program.operations import (
    AnyLayerNorm,
    AnySoftmax,
    GemminiLayerNorm,
    GemminiSoftmax,
    GemmlowpSoftmax,
    IBertLayerNorm,
    IBertSoftmax,
    Int16Softmax,
    ItaMax,
    LayerNorm,
    PulpLayerNorm,
    PulpSoftmax,
    QLinearSoftmax,
    Softmax,
    TfliteLayerNorm,
)

EXP_BITS = 32
"""Fixed point of gemmlowp."""
EXP_POLYNOMIAL, EXP_BARREL = 5, 7
"""Multiplications of exp_q: x^2, x^3, x^4, 1/3, exp(-1/8); and one for each bit of the remainder."""
NEWTON_STEPS, INVERSE_ROOT_STEPS = 3, 5
IBERT_EXP_BITS, IBERT_SUM_BITS = 62, 32
BINARY32_BITS = 24
"""Multiplier of a binary32: its mantissa."""
TABLE_BITS = 16
UNIT_BITS = 8
"""Of a code in whole standard deviations."""
MANTISSA_BITS = 24
"""Of binary32."""


def _size(op: AnySoftmax | AnyLayerNorm, call: Call) -> tuple[int, int]:
    """Rows, and elements of all rows."""
    *outer, n = call.shape(op.input)
    return math.prod(outer), math.prod(outer) * n


def _distance(op: AnySoftmax, count: int, call: Call) -> Iterator[Term]:
    """Running maximum, and what lies below it."""
    yield Term(Component.COMPARE, call.bits(op.input), 0, count)
    yield Term(Component.VECTOR_ADD, call.bits(op.input), 0, count)


def gemmlowp_softmax(op: GemmlowpSoftmax, call: Call) -> Iterator[Term]:
    """(S1) to (S5)."""
    rows, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Term(Component.VECTOR_MULTIPLY, EXP_BITS, EXP_BITS, count * (1 + EXP_POLYNOMIAL + EXP_BARREL))  # (S2)
    yield Term(Component.VECTOR_ADD, EXP_BITS, 0, count * (EXP_POLYNOMIAL + 1))  # (S2) sums of the polynomial, (S3)
    yield Term(Component.VECTOR_MULTIPLY, EXP_BITS, EXP_BITS, rows * (1 + 2 * NEWTON_STEPS))  # (S4)
    yield Term(Component.VECTOR_ADD, EXP_BITS, 0, rows * (2 + 2 * NEWTON_STEPS))  # (S4)
    yield Term(Component.VECTOR_MULTIPLY, EXP_BITS, EXP_BITS, count)  # (S5)
    yield from shift_terms(count, EXP_BITS)  # (S5)
    yield from finish(EXP_BITS, op.output, count, call)


def ibert_softmax(op: IBertSoftmax, call: Call) -> Iterator[Term]:
    """(S10) to (S14)."""
    rows, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Term(Component.DIVIDE, SUM_BITS, 0, count)  # (S10) z
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, SUM_BITS, 2 * count)  # (S10) ln2*z, (S11)
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, 3 * count)  # (S10), (S11)
    yield Term(Component.REQUANTIZE_SHIFT, IBERT_EXP_BITS, 0, count)  # (S11)
    yield Term(Component.REQUANTIZE_MULTIPLY, IBERT_EXP_BITS, MULTIPLIER_BITS, count)  # (S12)
    yield from shift_terms(count, SQUARES_BITS)  # (S12)
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, count)  # (S13) sum
    yield Term(Component.DIVIDE, IBERT_SUM_BITS, 0, rows)  # (S13)
    yield Term(Component.VECTOR_MULTIPLY, 16, IBERT_SUM_BITS, count)  # (S14)
    yield Term(Component.REQUANTIZE_SHIFT, 16 + IBERT_SUM_BITS, 0, count)
    yield from finish(SUM_BITS, op.output, count, call)


def itamax(op: ItaMax, call: Call) -> Iterator[Term]:
    """(S15) to (S17)."""
    rows, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Term(Component.REQUANTIZE_SHIFT, SUM_BITS, 0, count)  # (S15) 256 >> sh
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, count)  # (S15) sum
    yield Term(Component.DIVIDE, SUM_BITS, 0, rows)  # (S16)
    yield Term(Component.VECTOR_ADD, call.bits(op.input), 0, count)  # (S17) distance from the last maximum
    yield Term(Component.REQUANTIZE_SHIFT, call.bits(op.output), 0, count)  # (S17)
    yield from finish(SUM_BITS, op.output, count, call)


def gemmini_softmax(op: GemminiSoftmax, call: Call) -> Iterator[Term]:
    """(S18) and (S19)."""
    rows, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, SUM_BITS, 3 * count)  # (S18) z, z*ln2, square
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, 3 * count)  # (S18)
    yield Term(Component.REQUANTIZE_SHIFT, SUM_BITS, 0, count)  # (S18)
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, count)  # (S19) sum
    yield Term(Component.DIVIDE, SUM_BITS, 0, rows)  # (S19) F
    yield from rescale(SUM_BITS, op.output, count, call, BINARY32_BITS)  # (S19)


def pulp_softmax(op: PulpSoftmax, call: Call) -> Iterator[Term]:
    """(S20) to (S22)."""
    _, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Term(Component.DIVIDE, SUM_BITS, 0, count)  # (S20) z
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, SUM_BITS, 2 * count)  # (S20) z*ln2, square
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, 3 * count)  # (S20)
    yield Term(Component.REQUANTIZE_SHIFT, SUM_BITS, 0, count)  # (S20)
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, count)  # (S21)
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, call.bits(op.output), count)  # (S22)
    yield Term(Component.DIVIDE, SUM_BITS, 0, count)  # (S22); at most its greatest code, without a clamp


def _interpolation(count: int) -> Iterator[Term]:
    """lookup(T, v): two entries, their difference times an offset, a rounded shift, a sum."""
    yield Term(Component.TABLE_READ, TABLE_BITS, 0, 2 * count)
    yield Term(Component.VECTOR_MULTIPLY, TABLE_BITS, TABLE_BITS, count)
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, 2 * count)
    yield from shift_terms(count, SUM_BITS)


def int16_softmax(op: Int16Softmax, call: Call) -> Iterator[Term]:
    """(S6) to (S9)."""
    rows, count = _size(op, call)
    yield from _distance(op, count, call)
    width = multiplier_width(op.requantization, call)
    yield from requantize_terms(  # (S6) t
        count, call.bits(op.input), TABLE_BITS, multiplier_bits=width, zero_point=True
    )
    yield from _interpolation(count)  # (S6) E
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, count)  # (S7) sum
    yield from shift_terms(rows, SUM_BITS)  # (S7) v
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, rows)  # (S8) v - 98304
    yield from _interpolation(rows)  # (S8)
    yield Term(Component.VECTOR_MULTIPLY, TABLE_BITS, TABLE_BITS, count)  # (S9)
    yield from shift_terms(count, SUM_BITS)  # (S9)
    yield from finish(SUM_BITS, op.output, count, call)


def qlinear_softmax(op: QLinearSoftmax, call: Call) -> Iterator[Term]:
    """(S30) to (S32)."""
    _, count = _size(op, call)
    yield from _distance(op, count, call)
    yield Term(Component.TABLE_READ, call.bits(op.table), 0, count)  # (S30)
    yield Term(Component.VECTOR_ADD, MANTISSA_BITS, 0, count)  # (S31)
    yield Term(Component.VECTOR_MULTIPLY, MANTISSA_BITS, call.bits(op.output), count)  # (S32)
    yield Term(Component.DIVIDE, MANTISSA_BITS, 0, count)  # (S32)
    yield from finish(SUM_BITS, op.output, count, call)  # (S32)


def _moments(op: AnyLayerNorm, count: int, rows: int, call: Call) -> Iterator[Term]:
    """Mean, centred codes, and the sum of their squares."""
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, 2 * count)  # sum, difference
    yield Term(Component.DIVIDE, SUM_BITS, 0, rows)  # mean
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, SUM_BITS, count)
    yield Term(Component.VECTOR_ADD, SQUARES_BITS, 0, count)


def ibert_layernorm(op: IBertLayerNorm, call: Call) -> Iterator[Term]:
    """(L1) to (L5)."""
    rows, count = _size(op, call)
    yield from _moments(op, count, rows, call)  # (L1), (L2)
    yield Term(Component.SQUARE_ROOT, SUM_BITS, 0, rows)  # (L3)
    yield Term(Component.DIVIDE, SUM_BITS, 0, rows)  # (L3)
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, SUM_BITS, count)  # (L4)
    yield Term(Component.BIAS_ADD, call.bits(op.beta), 0, count)  # (L4)
    yield from rescale(SQUARES_BITS, op.output, count, call)  # (L5)


def pulp_layernorm(op: PulpLayerNorm, call: Call) -> Iterator[Term]:
    """(L6) to (L8)."""
    rows, count = _size(op, call)
    yield from _moments(op, count, rows, call)  # (L6), (L7)
    yield Term(Component.DIVIDE, SQUARES_BITS, 0, rows)  # (L7) variance
    yield Term(Component.VECTOR_ADD, SQUARES_BITS, 0, rows)  # (L7) 1
    yield Term(Component.SQUARE_ROOT, SUM_BITS, 0, rows)  # (L7)
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, call.bits(op.gamma), count)  # (L8)
    yield Term(Component.DIVIDE, SUM_BITS, 0, count)  # (L8)
    yield Term(Component.BIAS_ADD, call.bits(op.beta), 0, count)  # (L8)
    yield Term(Component.REQUANTIZE_SHIFT, SUM_BITS, 0, count)  # (L8)
    yield from finish(SUM_BITS, op.output, count, call)


def gemmini_layernorm(op: GemminiLayerNorm, call: Call) -> Iterator[Term]:
    """(L15) to (L17)."""
    rows, count = _size(op, call)
    yield from _moments(op, count, rows, call)  # (L15)
    yield Term(Component.DIVIDE, SUM_BITS, 0, rows)  # (L15) variance
    yield Term(Component.SQUARE_ROOT, SUM_BITS, 0, rows)  # (L15)
    yield Term(Component.DIVIDE, SUM_BITS, 0, count)  # (L16)
    yield Term(Component.CLAMP, UNIT_BITS, 0, count)  # (L16)
    yield Term(Component.VECTOR_MULTIPLY, UNIT_BITS, call.bits(op.gamma), count)  # (L17)
    yield Term(Component.BIAS_ADD, call.bits(op.beta), 0, count)  # (L17)
    yield from rescale(SUM_BITS, op.output, count, call, BINARY32_BITS)  # (L17)


def tflite_layernorm(op: TfliteLayerNorm, call: Call) -> Iterator[Term]:
    """(L9) to (L14)."""
    rows, count = _size(op, call)
    yield from _moments(op, count, rows, call)  # (L9), (L10)
    yield Term(Component.VECTOR_MULTIPLY, SQUARES_BITS, SUM_BITS, 2 * rows)  # (L10)
    yield Term(Component.VECTOR_ADD, SQUARES_BITS, 0, rows)  # (L10) difference
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, SUM_BITS, rows * (1 + 4 * INVERSE_ROOT_STEPS))  # (L11)
    yield Term(Component.VECTOR_ADD, SUM_BITS, 0, rows * INVERSE_ROOT_STEPS)  # (L11)
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, SUM_BITS, count)  # (L12)
    yield from shift_terms(count, SQUARES_BITS)  # (L12)
    yield Term(Component.VECTOR_MULTIPLY, SUM_BITS, call.bits(op.gamma), count)  # (L13)
    yield Term(Component.BIAS_ADD, call.bits(op.beta), 0, count)  # (L13)
    yield from shift_terms(count, SUM_BITS)  # (L13)
    yield from rescale(SUM_BITS, op.output, count, call, multiplier_width(op.requantization, call))  # (L14)


def table_softmax(op: Softmax, call: Call) -> Iterator[Term]:
    """Equations (4a) to (4e)."""
    rows, count = _size(op, call)
    yield from table_softmax_terms(
        rows,
        count // rows,
        score_bits=call.bits(op.input),
        numerator_bits=call.bits(op.numerator),
        denominator_bits=call.bits(op.denominator),
        output_bits=call.bits(op.output),
    )


def fullyqt_layernorm(op: LayerNorm, call: Call) -> Iterator[Term]:
    """Equations (5a) to (5f)."""
    rows, count = _size(op, call)
    yield from fullyqt_layernorm_terms(
        rows,
        count // rows,
        bits=call.bits(op.input),
        numerator_bits=call.bits(op.numerator),
        denominator_bits=call.bits(op.denominator),
        quotient_bits=call.bits(op.quotient),
        gamma_bits=call.bits(op.gamma),
        beta_bits=call.bits(op.beta),
        output_bits=call.bits(op.output),
        zero_point=call.zero_point(op.output) != 0,
    )
