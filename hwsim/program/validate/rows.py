"""Checks of softmax and LayerNorm, which work on whole rows."""

from math import isqrt

import numpy as np

from hwsim.formats import IntFormat, Overflow
from hwsim.program.catalogue import Dyadic
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
from hwsim.program.validate.checker import CODE_BITS, PRODUCT_LIMIT, Checker, Dims, single

TABLE_BITS = 12
INTERPOLATED_ENTRIES = 513
GAMMA_BITS = 32
"""Of the PULP LayerNorm's weights; the others take codes."""
MAX_HALVINGS = 31
INT32_END, UINT32_END = 1 << 31, 1 << 32
VARIANCE_LIMIT = 1 << 52
GEMMLOWP_KEYS = 4095
FINITE_BITS = 0x7F7FFFFF
"""The 32 bits of the greatest binary32."""
SUM_REACH = (1 << 276) - 1
"""Below 2^127, in steps of 2^-149."""
TFLITE_UNIT = 1024
"""What 1.0 is between the two factors of the TFLite LayerNorm."""
TFLITE_PARTS, TFLITE_SQUARES = 1 << 20, 1 << 50
"""2^20 of floor(2^20 / n), and what a sum of squares times that may reach."""


def softmax(c: Checker, op: Softmax) -> None:
    dims = c.same_dims(op.input, op.numerator, op.output)
    if c.dims(op.denominator) != (*dims[:-1], 1):
        raise ValueError(f"denominator has dimensions {c.dims(op.denominator)}")
    scores = c.code(op.input)
    if scores.bits > TABLE_BITS:
        raise ValueError(f"scores of {scores.bits} bits need a table of 2^{scores.bits}; allowed are {TABLE_BITS}")
    formats = [c.code(name, signed=False, centred_at_zero=True) for name in (op.numerator, op.denominator, op.output)]
    c.constant(op.table, (1 << scores.bits,))
    table = c.program.constants[op.table]
    if table.min() < 0 or table.max() > formats[0].max:
        raise ValueError(f"table {op.table} leaves the numerator's format {formats[0]}")
    _mask(c, op, dims)
    c.requantization(op.denominator_requantization, 1, c.maximum(dims[-1]) * formats[0].max)
    _quotient(c, op.output_requantization, formats[0].max, formats[1].max)


def _mask(c: Checker, op: AnySoftmax, dims: Dims) -> None:
    if op.mask is not None and (len(dims) != 4 or c.dims(op.mask) != (dims[0], dims[-1])):
        raise ValueError(f"mask {op.mask} has dimensions {c.dims(op.mask)}, needed {(dims[0], dims[-1])}")


def _probabilities(
    c: Checker, op: AnySoftmax, *, signed: bool | None, bits: int = 16
) -> tuple[IntFormat, IntFormat, int]:
    """Formats of scores and output, and the most keys that a row can have."""
    dims = c.same_dims(op.input, op.output)
    _mask(c, op, dims)
    output = c.code(op.output, signed=signed)
    if output.bits > bits:
        raise ValueError(f"output of {output.bits} bits; allowed are 2 to {bits}")
    if output.narrow:
        raise ValueError(f"output format {output}; a probability has no narrow range")
    return c.code(op.input), output, c.maximum(dims[-1])


def gemmlowp_softmax(c: Checker, op: GemmlowpSoftmax) -> None:
    _, output, keys = _probabilities(c, op, signed=True)
    if c.info(op.output).zero_point != output.min:
        raise ValueError(f"zero point {c.info(op.output).zero_point}; the operator's is {output.min}")
    if keys > GEMMLOWP_KEYS:
        raise ValueError(f"rows of up to {keys} keys; the 32-bit sum holds {GEMMLOWP_KEYS}")


def _zero_point_0(c: Checker, name: str) -> None:
    if c.info(name).zero_point:
        raise ValueError(f"{name} has zero point {c.info(name).zero_point}; the operation needs 0")


def ibert_softmax(c: Checker, op: IBertSoftmax) -> None:
    _probabilities(c, op, signed=False)
    _zero_point_0(c, op.output)
    if op.b <= op.ln2 or op.c << 30 >= PRODUCT_LIMIT:
        raise ValueError(f"b {op.b}, c {op.c}: b must be above ln2 = {op.ln2}, and c below 2^32")
    if (op.c << 30) * op.multiplier + (1 << op.shift >> 1) >= 1 << 63:
        raise ValueError(f"c * 2^30 * multiplier reaches {(op.c << 30) * op.multiplier}, at or above 2^63")
    if (op.ln2 + op.b) * op.ln2 + op.c >= 1 << 63:
        raise ValueError(f"b {op.b}, ln2 {op.ln2}: (r + b) * r + c can reach 2^63")


def itamax(c: Checker, op: ItaMax) -> None:
    _probabilities(c, op, signed=False, bits=8)
    _zero_point_0(c, op.output)


def gemmini_softmax(c: Checker, op: GemminiSoftmax) -> None:
    scores, _, keys = _probabilities(c, op, signed=True)
    _zero_point_0(c, op.output)
    furthest, factor = scores.max - scores.min, 65536 // op.ln2
    if furthest * factor >= INT32_END or furthest * factor >> 16 > MAX_HALVINGS:
        raise ValueError(f"ln2 {op.ln2}: a distance of {furthest} takes {furthest * factor >> 16} halvings; at most 31")
    # z is less than d/65536 + 1 below d / ln2, so that r lies at most that many ln2 below 0
    _exponentials(op, min(furthest, op.ln2 * ((furthest >> 16) + 2)), keys, INT32_END)


def pulp_softmax(c: Checker, op: PulpSoftmax) -> None:
    scores, output, keys = _probabilities(c, op, signed=False, bits=8)
    _zero_point_0(c, op.output)
    furthest = scores.max - scores.min
    beyond = max(furthest - MAX_HALVINGS * op.ln2, 0)  # z stops at 31 halvings
    _exponentials(op, min(furthest, max(op.ln2, beyond)), keys, UINT32_END)
    most = max(op.b, min(furthest, op.ln2) - op.b) ** 2 + op.c  # before its first halving
    if most * output.max >= UINT32_END:
        raise ValueError(f"b {op.b}, c {op.c}: {output.max} times an exponential reaches 2^32")


def _exponentials(op: GemminiSoftmax | PulpSoftmax, lowest: int, keys: int, sum_end: int) -> None:
    """(r + b)^2 + c in 32 bits for r from -lowest to 0, and the sum of so many exponentials, each at most the first."""
    most = max(op.b, lowest - op.b) ** 2 + op.c
    if most >= INT32_END:
        raise ValueError(f"b {op.b}, c {op.c}: (r + b)^2 + c reaches 2^31")
    if keys * most >= sum_end:
        raise ValueError(f"b {op.b}, c {op.c}: exponentials of {keys} keys sum to {keys * most}, at or above {sum_end}")


def int16_softmax(c: Checker, op: Int16Softmax) -> None:
    scores, output, keys = _probabilities(c, op, signed=True)
    _zero_point_0(c, op.output)
    if output.bits != 16 or not scores.signed:
        raise ValueError(f"scores {scores}, output {output}; the operator has signed scores and int16 outputs")
    for name, least in ((op.exp_table, 0), (op.reciprocal_table, -(1 << 15))):
        c.constant(name, (INTERPOLATED_ENTRIES,))
        table = c.program.constants[name]
        if table.min() < least or table.max() >= 1 << 15:
            raise ValueError(f"table {name} leaves {least}..{(1 << 15) - 1}")
    table = c.program.constants[op.exp_table].astype(np.int64)
    nearest = int(table[-2] + (((table[-1] - table[-2]) * 127 + 64) >> 7))
    if nearest < 1 << 14 or keys * int(table.max()) >= INT32_END:
        raise ValueError(
            f"table {op.exp_table}: the greatest score has {nearest}, and {keys} keys reach 2^31; "
            "needed: at least 2^14, and below"
        )
    c.requantization(op.requantization, 1, scores.max - scores.min)
    single(op.requantization)


def qlinear_softmax(c: Checker, op: QLinearSoftmax) -> None:
    scores, output, keys = _probabilities(c, op, signed=None, bits=8)
    if c.info(op.output).zero_point != output.min:
        raise ValueError(f"zero point {c.info(op.output).zero_point}; the operator's is {output.min}")
    if scores.bits > TABLE_BITS:
        raise ValueError(f"scores of {scores.bits} bits need a table of 2^{scores.bits}; allowed are {TABLE_BITS}")
    c.constant(op.table, (1 << scores.bits,))
    table = c.program.constants[op.table]
    if table.min() < 0 or table.max() > FINITE_BITS or table[0] == 0:
        raise ValueError(f"table {op.table} holds what is no binary32 from 0 on, or begins with 0")
    field, fraction = divmod(int(table.max()), 1 << 23)
    peak = (fraction | 1 << 23) << (field - 1) if field else fraction
    if keys > SUM_REACH // peak:
        most = SUM_REACH // peak
        raise ValueError(f"rows of up to {keys} keys; sums of table {op.table} stay below 2^127 for {most}")


def _quotient(c: Checker, dyadic: Dyadic, numerator: int, denominator: int) -> None:
    multiplier, shift = single(dyadic)
    if denominator << shift >= PRODUCT_LIMIT or numerator * multiplier >= PRODUCT_LIMIT:
        raise ValueError(f"the quotient's shift {shift} takes its operands beyond 62 bits")


def layernorm(c: Checker, op: LayerNorm) -> None:
    dims = c.same_dims(op.input, op.numerator, op.quotient, op.output)
    if c.dims(op.denominator) != (*dims[:-1], 1):
        raise ValueError(f"denominator has dimensions {c.dims(op.denominator)}")
    n, x = c.fixed(dims[-1]), c.code(op.input)
    numerator = c.code(op.numerator, signed=True, centred_at_zero=True)
    denominator = c.code(op.denominator, signed=False, centred_at_zero=True)
    quotient = c.code(op.quotient, signed=True, centred_at_zero=True)
    c.code(op.output)
    variance = n * n * (x.max - x.min) ** 2 // 4 + op.eps
    if variance >= VARIANCE_LIMIT:
        raise ValueError(f"n^2 * variance reaches {variance}, at or above 2^52; use fewer residual bits")
    c.requantization(op.numerator_requantization, 1, n * (x.max - x.min))
    c.requantization(op.denominator_requantization, 1, 1 << 26)
    _quotient(c, op.quotient_requantization, -numerator.min, denominator.max)
    c.constant(op.gamma, (n,), code=True)
    c.constant(op.beta, (n,))
    gamma, beta = c.program.constants[op.gamma], c.program.constants[op.beta]
    reach = int(np.abs(gamma.astype(np.int64)).max()) * -quotient.min + int(np.abs(beta.astype(np.int64)).max())
    c.requantization(op.output_requantization, 1, reach)


def _normalised(c: Checker, op: AnyLayerNorm, gamma_bits: int = 16) -> tuple[int, int, int, int]:
    """Length of a row, the greatest difference of two codes, |gamma| and |beta|, after the checks that all share."""
    dims = c.same_dims(op.input, op.output)
    n, x = c.fixed(dims[-1]), c.code(op.input)
    c.code(op.output)
    c.constant(op.gamma, (n,), code=gamma_bits <= CODE_BITS)
    c.constant(op.beta, (n,))
    if c.program.constant_info[op.gamma].format.bits > gamma_bits:
        raise ValueError(f"constant {op.gamma} has more than {gamma_bits} bits")
    if not c.program.constant_info[op.gamma].format.signed:
        raise ValueError(f"constant {op.gamma} must be signed")
    gamma, beta = (int(np.abs(c.program.constants[name].astype(np.int64)).max()) for name in (op.gamma, op.beta))
    return n, x.max - x.min, gamma, beta


def ibert_layernorm(c: Checker, op: IBertLayerNorm) -> None:
    n, span, gamma, beta = _normalised(c, op)
    if gamma > 1:
        raise ValueError(f"gamma {op.gamma} holds {gamma}; this operation takes signs -1, 0, 1")
    squares = n * (span >> op.variance_shift) ** 2
    if squares >= 1 << 32:
        raise ValueError(f"sum of squares reaches {squares}, at or above 2^32; use a greater variance_shift")
    c.requantization(op.requantization, n, (1 << 30 + max(1, op.variance_shift)) + beta)


def gemmini_layernorm(c: Checker, op: GemminiLayerNorm) -> None:
    n, span, gamma, beta = _normalised(c, op)
    x, zero = c.info(op.input).format, c.info(op.input).zero_point
    if beta >= INT32_END:
        raise ValueError(f"beta {op.beta} holds {beta}; the operation takes int32")
    if n * max(x.max - zero, zero - x.min) >= INT32_END or n * span**2 >= INT32_END:
        raise ValueError(f"sums of squares reach {n * span**2}, at or above 2^31; use fewer residual bits")
    single(op.requantization)
    c.requantization(op.requantization, 1, (gamma << 7) + beta)


def pulp_layernorm(c: Checker, op: PulpLayerNorm) -> None:
    n, span, gamma, beta = _normalised(c, op, GAMMA_BITS)
    if op.overflow is Overflow.PROVEN:
        raise ValueError("overflow 'proven'; a LayerNorm's codes saturate or wrap")
    if op.overflow is Overflow.WRAP and c.info(op.output).format.narrow:
        raise ValueError(f"codes that wrap to {c.info(op.output).format}; allowed are formats that are not narrow")
    if n * span**2 >= VARIANCE_LIMIT:
        raise ValueError(f"sums of squares reach {n * span**2}, at or above 2^52; use fewer residual bits")
    if span * gamma + beta >= PRODUCT_LIMIT:
        raise ValueError(f"y * gamma + beta reaches {span * gamma + beta}, at or above 2^62")


def tflite_layernorm(c: Checker, op: TfliteLayerNorm) -> None:
    n, span, gamma, beta = _normalised(c, op)
    if n > TFLITE_PARTS:
        raise ValueError(f"rows of {n}; allowed are at most 2^20")
    x, zero = c.info(op.input).format, c.info(op.input).zero_point
    greatest = max(x.max - zero, zero - x.min)
    squares = n * greatest**2 * (TFLITE_PARTS // n)
    if squares > TFLITE_SQUARES:
        raise ValueError(f"sum of squares * floor(2^20 / n) reaches {squares}, above 2^50; use fewer residual bits")
    single(op.requantization)
    normalised = _tflite_normalised(n, span, greatest)
    c.requantization(op.requantization, 1, (normalised * gamma + beta) // TFLITE_UNIT + 1)


def _tflite_normalised(n: int, span: int, greatest: int) -> int:
    """A bound of r of (L12).

    With p = n * floor(2^20 / n) / 2^20, (L10) finds a variance of at least p * sigma^2 - (1 - p) * mean^2 - 1, and no
    deviation squared exceeds (n - 1) * sigma^2. Their ratio is greatest where the variance that it finds is 1.
    """
    found = n * (TFLITE_PARTS // n)
    squared = (n - 1) * (2 * TFLITE_PARTS + (TFLITE_PARTS - found) * greatest**2) // found + 1
    return TFLITE_UNIT * (isqrt(min(span**2, squared)) + 2)
