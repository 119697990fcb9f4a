"""Products that no engine takes alone: accumulators that saturate or wrap, or are wider than 32 bits, and wide codes.

Where the exact sums of a product fit 32 bits and are brought into range once, at the end, an engine makes them.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import named
from hwsim.arithmetic.fixedpoint import OVERFLOW
from hwsim.formats import Accumulator, Counter, Granularity, Overflow
from hwsim.machine.kernels import products
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.kernels.operands import Matrix
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat, numbers_at
from hwsim.machine.record import Words, record
from hwsim.operators.gemm.operand import Prepared
from hwsim.operators.gemm.ordered import COLUMNS, LANE_LIMIT, ROWS, VECTOR, dot_ordered, fit_sums, lane_of, start_of
from hwsim.program.operations import MatMul
from hwsim.program.proofs import centred, product_reach, product_terms

WHOLE_ROW = 1 << 40
"""A tile of every product that there may be."""


class Rule(NamedTuple):
    """Width of the accumulator, whether it wraps, and products a tile."""

    bits: int
    wraps: int
    tile: int


class Rows(NamedTuple):
    """First operands as they lie: their place, where `sizes` says how many rows there are, k, and zero point."""

    place: int
    rows: int
    k: int
    zero: int


class Left(NamedTuple):
    """First operands: where they lie, as what, and their greatest code less the zero point."""

    rows: Rows
    kind: NumberType
    reach: int


class Made(NamedTuple):
    """Where sums come to lie, and as what."""

    place: int
    kind: NumberType


class _Weights(NamedTuple):
    """A product with a weight (k, n), int32; `beyond` numbers of its bias are out of range."""

    a: Rows
    columns: int
    n: int
    start: int
    beyond: int
    rule: Rule
    sums: int
    output: int
    events: int


class _Activations(NamedTuple):
    """A batch of products of activations, their dimensions as places in `sizes`, and room for one second operand."""

    batch: int
    m: int
    k: int
    n: int
    a: int
    a_zero: int
    b: int
    b_zero: int
    transposed: int
    columns: int
    start: int
    rule: Rule
    sums: int
    output: int
    events: int


class _Fitted(NamedTuple):
    """Exact sums, and what they are brought into."""

    sums: Matrix
    bits: int
    wraps: int
    events: int


def matmul(b: Builder, op: MatMul) -> Instructions:
    """By an engine where one may, alone or before its sums are brought into range; else in order."""
    accumulator = b.workspace.effective(op)
    made = products.matmul(b, op)
    if made is None and _ends_in_words(b, op, accumulator):
        made = products.matmul(b, replace(op, accumulator=Accumulator()))
        if made is not None:
            wraps = int(accumulator.overflow is Overflow.WRAP)
            fields = _Fitted(b.matrix(op.output), accumulator.bits, wraps, b.events(op.output))
            return [*made, Instruction(fitted, fields)]
    if made is not None:
        return made
    return [_weights(b, op, accumulator) if op.b in b.program.constants else _activations(b, op, accumulator)]


def _ends_in_words(b: Builder, op: MatMul, accumulator: Accumulator) -> bool:
    """Whether sums from a bias in range are looked at once, and fit 32 bits before that."""
    if accumulator.overflow is Overflow.PROVEN or rule_of(accumulator).tile < product_terms(b.program, op):
        return False
    reach, bias = product_reach(b.program, op), b.bias(op.bias)
    within = accumulator.min <= np.min(bias) and np.max(bias) <= accumulator.max
    return accumulator.bits <= 32 and reach.magnitude < LANE_LIMIT and bool(within)


def rule_of(accumulator: Accumulator) -> Rule:
    """How an accumulator adds; a proven one only at the end."""
    if accumulator.overflow is Overflow.PROVEN:
        return Rule(accumulator.bits, 0, WHOLE_ROW)
    tiles = {Granularity.MAC: 1, Granularity.TILE: accumulator.tile, Granularity.END: WHOLE_ROW}
    return Rule(accumulator.bits, int(accumulator.overflow is Overflow.WRAP), tiles[accumulator.granularity])


def in_order(
    b: Builder,
    left: Left,
    weight: Prepared,
    bias: NDArray[np.int64],
    accumulator: Accumulator,
    made: Made,
    key: str,
    counted: int,
) -> Instruction:
    """Rows times a weight; its constants have a key of their own, and overflows a place in the counters."""
    rule, beyond = rule_of(accumulator), np.zeros(len(Counter), np.int64)
    start = start_of(bias, rule.bits, bool(rule.wraps), 1, beyond)
    lane = lane_of(rule.bits, min(rule.tile, left.rows.k) * left.reach * weight.magnitude)
    columns = b.constants.place(f"{key} columns", weight.transposed)
    place = b.constants.place(f"{key} start", lambda: start)
    sums = b.scratch([ROWS * COLUMNS], lane)
    fields = _Weights(left.rows, columns, len(bias), place, int(beyond[OVERFLOW]), rule, sums, made.place, counted)
    return Instruction(ordered_weights(left.kind, lane, made.kind), fields)


def _weights(b: Builder, op: MatMul, accumulator: Accumulator) -> Instruction:
    weight, (place, rows, _) = b.workspace.operand(op.b), b.matrix(op.a)
    n, k = weight.shape
    left = Left(Rows(place, rows, k, b.zero(op.a)), b.dtype(op.a), centred(b.format(op.a), b.zero(op.a)).magnitude)
    made = Made(b.at(op.output), b.dtype(op.output))
    return in_order(b, left, weight, np.resize(b.bias(op.bias), n), accumulator, made, op.output, b.events(op.output))


@cache
def ordered_weights(a_type: NumberType, lane: NumberType, result_type: NumberType) -> Kernel:
    """(A1) to (A3), or exact sums."""

    @njit(cache=True, nogil=True)
    @named(a_type, lane, result_type)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Weights)
        rows, k, n = sizes[of.a.rows], of.a.k, of.n
        counted = events(counters, of.events)
        counted[OVERFLOW] += rows * of.beyond
        dot_ordered(
            numbers_at(memory, of.a.place, (1, rows, k), a_type),
            of.a.zero,
            numbers_at(constants, of.columns, (1, k, n + -n % VECTOR), np.int32),
            flat(constants, of.start, n, np.int64),
            of.rule.bits,
            of.rule.wraps != 0,
            of.rule.tile,
            flat(memory, of.sums, ROWS * COLUMNS, lane),
            numbers_at(memory, of.output, (1, rows, n), result_type),
            counted,
        )

    return product


def _activations(b: Builder, op: MatMul, accumulator: Accumulator) -> Instruction:
    *lead, m, k = b.dims(op.a)
    n, rule = b.dims(op.output)[-1], rule_of(accumulator)
    product = centred(b.format(op.a), b.zero(op.a)).magnitude * centred(b.format(op.b), b.zero(op.b)).magnitude
    lane = lane_of(rule.bits, min(rule.tile, product_terms(b.program, op)) * product)
    most, size = b.most(n), b.sizes.of
    fields = _Activations(
        *(size(lead), size([m]), size([k]), size([n])),
        *(b.at(op.a), b.zero(op.a), b.at(op.b), b.zero(op.b), int(op.transpose_b)),
        columns=b.scratch([k, most + -most % VECTOR], np.int32),
        start=b.zeros(n, np.int64),
        rule=rule,
        sums=b.scratch([ROWS * COLUMNS], lane),
        output=b.at(op.output),
        events=b.events(op.output),
    )
    return Instruction(ordered_activations(b.dtype(op.a), b.dtype(op.b), lane, b.dtype(op.output)), fields)


@cache
def ordered_activations(a_type: NumberType, b_type: NumberType, lane: NumberType, result_type: NumberType) -> Kernel:
    """The same for a batch of activations; each second operand is turned for its own product."""

    @njit(cache=True, nogil=True)
    @named(a_type, b_type, lane, result_type)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Activations)
        batch, m, k, n = sizes[of.batch], sizes[of.m], sizes[of.k], sizes[of.n]
        a = numbers_at(memory, of.a, (batch, m, k), a_type)
        result = numbers_at(memory, of.output, (batch, m, n), result_type)
        rows, deep = numbers_at(memory, of.b, (batch, n, k), b_type), numbers_at(memory, of.b, (batch, k, n), b_type)
        columns = numbers_at(memory, of.columns, (1, k, n + -n % VECTOR), np.int32)
        start, sums = flat(constants, of.start, n, np.int64), flat(memory, of.sums, ROWS * COLUMNS, lane)
        rule, counted = of.rule, events(counters, of.events)
        for i in range(batch):
            if of.transposed:
                _turn(deep[i].T, of.b_zero, columns[0])
            else:
                _turn(rows[i], of.b_zero, columns[0])
            wraps, one = rule.wraps != 0, result[i : i + 1]
            dot_ordered(a[i : i + 1], of.a_zero, columns, start, rule.bits, wraps, rule.tile, sums, one, counted)

    return product


@njit(cache=True, nogil=True)
def _turn(codes: NDArray[np.int32], zero: int, columns: NDArray[np.int32]) -> None:
    """Codes (n, k) of any dtype less their zero point as (k, n), n filled up with zeros."""
    for k in range(columns.shape[0]):
        for j in range(codes.shape[0]):
            columns[k, j] = np.int64(codes[j, k]) - zero
        for j in range(codes.shape[0], columns.shape[1]):
            columns[k, j] = 0


@njit(cache=True, nogil=True)
def fitted(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
    """(A3) of exact sums, in place."""
    of = record(args, _Fitted)
    shape = 1, sizes[of.sums.rows], sizes[of.sums.width]
    sums = numbers_at(memory, of.sums.start, shape, np.int32)
    fit_sums(sums, of.bits, of.wraps != 0, events(counters, of.events))
