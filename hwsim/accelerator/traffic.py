"""Bytes that each operation of a program moves, under the one mapping of docs/cost.md.

DRAM: constants once a call, of an embedding table only the rows looked up; each activation once into an operation and
once out; of a key and value cache all earlier positions into an operation, the new position out. SRAM: every DRAM
transfer once at its near end, and what the array or the vector unit reads and writes. Registers: accumulators. This is
a first mapping: SRAM holds whatever an operation needs, and nothing stays in it between operations.
"""

import math
from collections.abc import Iterator
from typing import assert_never

import msgspec

from hwsim.accelerator.arithmetic import product_size
from hwsim.accelerator.events import Component, Direction, Event, Operand, move
from hwsim.accelerator.residence import Call
from hwsim.operations import (
    Add,
    AnyAdd,
    AnyLayerNorm,
    AnySoftmax,
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
from hwsim.packing import row_bytes


class Array(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An output-stationary array of multiply-accumulate elements."""

    rows: int = 32
    columns: int = 32

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"an array of {self.rows} x {self.columns} elements; allowed are 1 and more each way")


Term = tuple[Component, Operand, Direction, int, int]
"""Component, operand, direction, bits, bytes."""


def traffic(operation: Operation, call: Call, array: Array) -> Iterator[Event]:
    """Byte events of one operation, in a fixed order; a count may be 0."""
    if isinstance(operation, SplitHeads | MergeHeads | Append):
        return  # addressing only; who makes and who reads the tensor moves its bytes
    tag = str(type(operation).__struct_config__.tag)
    for terms in (_loads(operation, call), _accesses(operation, call, array), _stores(operation, call)):
        for component, operand, direction, bits, count in terms:
            yield move(operation.output, tag, component, operand, direction, bits, count)


# --- DRAM ---------------------------------------------------------------------------------------------------------


def _load(operand: Operand, bits: int, count: int) -> Iterator[Term]:
    """DRAM to SRAM."""
    yield Component.DRAM_TRANSFER, operand, Direction.READ, bits, count
    yield Component.SRAM_TRANSFER, operand, Direction.WRITE, bits, count


def _loads(operation: Operation, call: Call) -> Iterator[Term]:
    """Everything that an operation needs, once."""
    for name in dict.fromkeys(call.program.constants_of(operation)):
        yield from _load(Operand.WEIGHT, call.bits(name), _constant_bytes(operation, name, call))
    for name in dict.fromkeys(call.program.inputs_of(operation)):
        if name not in call.residence.fused:
            yield from _load(call.residence.operand(name), call.bits(name), call.loaded_bytes(name))


def _constant_bytes(operation: Operation, name: str, call: Call) -> int:
    """Bytes of a constant that an operation needs: of what an embedding looks up in, one row for each token."""
    if isinstance(operation, Embed):
        _, *row = call.shape(name)
        return math.prod(call.shape(operation.ids)) * row_bytes(math.prod(row), call.bits(name))
    return call.bytes(name)


def _stores(operation: Operation, call: Call) -> Iterator[Term]:
    """The result, once, SRAM to DRAM; inner results of softmax and LayerNorm stay."""
    name = operation.output
    if name in call.residence.fused:
        return
    operand, bits, count = call.residence.operand(name), call.bits(name), call.stored_bytes(name)
    yield Component.SRAM_ACCESS, operand, Direction.WRITE, bits, count
    yield Component.SRAM_TRANSFER, operand, Direction.READ, bits, count
    yield Component.DRAM_TRANSFER, operand, Direction.WRITE, bits, count


# --- SRAM, seen from the array and the vector unit ------------------------------------------------------------------


def _accesses(operation: Operation, call: Call, array: Array) -> Iterator[Term]:
    match operation:
        case MatMul():
            return _matmul(operation, call, array)
        case Softmax() | GemmlowpSoftmax() | IBertSoftmax() | ItaMax() | GemminiSoftmax():
            return _softmax(operation, call)
        case LayerNorm() | IBertLayerNorm() | PulpLayerNorm() | TfliteLayerNorm():
            return _layernorm(operation, call)
        case Embed():
            return _embed(operation, call)
        case Requantize() | ShiftRight() | Relu() | Add() | RescaledAdd():
            return _elementwise(operation, call, array)
        case SplitHeads() | MergeHeads() | Append():
            return iter(())
    assert_never(operation)


def _read(name: str, times: int, call: Call) -> Term:
    """A whole tensor or constant, read so many times."""
    constant = name in call.program.constant_info
    operand = Operand.WEIGHT if constant else call.residence.operand(name)
    return Component.SRAM_ACCESS, operand, Direction.READ, call.bits(name), call.bytes(name) * times


def _matmul(op: MatMul, call: Call, array: Array) -> Iterator[Term]:
    """Output-stationary: a once for each fold of columns, b and bias once for each fold of rows.

    At 8 bits these are SCALE-Sim's counts, M*K*ceil(N/columns) and K*N*ceil(M/rows). An accumulator is written at the
    start, read and written by each MAC, and read at the end.
    """
    products, m, k, n = product_size(op, call)
    column_folds, row_folds = -(-n // array.columns), -(-m // array.rows)
    width = op.accumulator.bits
    yield _read(op.a, column_folds, call)
    yield _read(op.b, row_folds, call)
    if op.bias is not None:
        yield _read(op.bias, row_folds, call)
    if call.zero_point(op.a) and op.b in call.program.constant_info:
        kept = row_bytes(n, width) * row_folds
        yield Component.REGISTER, Operand.WEIGHT, Direction.READ, width, kept
    accumulators = products * m * row_bytes(n, width)
    for direction in (Direction.READ, Direction.WRITE):
        yield Component.REGISTER, Operand.ACCUMULATOR, direction, width, accumulators * (k + 1)


def _elementwise(op: Requantize | ShiftRight | Relu | AnyAdd, call: Call, array: Array) -> Iterator[Term]:
    """Operands once; constants of the columns once for each fold of rows."""
    row_folds = -(-math.prod(call.shape(op.output)[:-1]) // array.rows)
    for name in call.program.constants_of(op):
        yield _read(name, row_folds, call)
    for name in call.program.inputs_of(op):
        if name not in call.residence.fused:
            yield _read(name, 1, call)


def _embed(op: Embed, call: Call) -> Iterator[Term]:
    """Ids, position and the rows looked up, once."""
    for name in call.program.constants_of(op):
        count = _constant_bytes(op, name, call)
        yield Component.SRAM_ACCESS, Operand.WEIGHT, Direction.READ, call.bits(name), count
    for name in call.program.inputs_of(op):
        yield _read(name, 1, call)


def _softmax(op: AnySoftmax, call: Call) -> Iterator[Term]:
    """Three passes: maximum; numerators, kept; quotients. Look-ups are events of the datapath.

    Without a table each pass works the exponentials out of the scores again, and nothing is kept: ITAMax as it is
    built, the polynomials by choice.
    """
    *heads, queries, _ = call.shape(op.input)
    yield _read(op.input, 2, call)
    if op.mask is not None:
        yield _read(op.mask, math.prod(heads[1:]) * queries, call)
    if not isinstance(op, Softmax):
        return
    operand, bits, count = call.residence.operand(op.numerator), call.bits(op.numerator), call.bytes(op.numerator)
    yield Component.SRAM_ACCESS, operand, Direction.WRITE, bits, count
    yield Component.SRAM_ACCESS, operand, Direction.READ, bits, count


def _layernorm(op: AnyLayerNorm, call: Call) -> Iterator[Term]:
    """Two passes: both sums; numerator, quotient and result. Gamma, beta and ratios of the columns for each row."""
    rows = math.prod(call.shape(op.input)[:-1])
    yield _read(op.input, 2, call)
    for name in call.program.constants_of(op):
        yield _read(name, rows, call)
