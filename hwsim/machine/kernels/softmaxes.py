"""The softmaxes of docs/operators/softmax.md on a worker's memory; that of the tables of section 1 is among `rows`."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.kernels.masks import Masked, mask_of, masks_of
from hwsim.machine.kernels.operands import Matrix
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat, matrix
from hwsim.machine.record import Words, record
from hwsim.operators.lookup import INTERPOLATED_ENTRIES
from hwsim.operators.quotients import Held
from hwsim.operators.softmax import gemmini, gemmlowp_int8, ibert, ita, pulp, qlinear, table_int16
from hwsim.operators.softmax.rows import LANES, SIDES, Masks, Work, work_in
from hwsim.program.operations import (
    AnySoftmax,
    GemminiSoftmax,
    GemmlowpSoftmax,
    IBertSoftmax,
    Int16Softmax,
    ItaMax,
    PulpSoftmax,
    QLinearSoftmax,
)


class Rows(NamedTuple):
    """Scores and their mask, where probabilities and events go, and room for the rows that are under way."""

    scores: Matrix
    masked: Masked
    output: int
    values: int
    sides: int
    events: int


class Opened(NamedTuple):
    """What a softmax of rows works on, as arrays."""

    scores: Held
    masks: Masks
    codes: Held
    work: Work
    counters: Words


def _rows(b: Builder, op: AnySoftmax) -> Rows:
    work = b.scratch([*b.dims(op.input)[-1:], LANES], np.int64), b.scratch([SIDES, LANES], np.int64)
    return Rows(b.matrix(op.input), mask_of(b, op), b.at(op.output), *work, b.events(op.output))


@njit(cache=True, nogil=True)
def _opened(memory: Bytes, counters: Words, sizes: Words, of: Rows, x_type: Any, mask_type: Any, output: Any) -> Opened:
    rows, keys = sizes[of.scores.rows], sizes[of.scores.width]
    return Opened(
        matrix(memory, of.scores.start, rows, keys, x_type),
        masks_of(memory, of.masked, sizes, keys, mask_type),
        matrix(memory, of.output, rows, keys, output),
        work_in(matrix(memory, of.values, keys, LANES, np.int64), matrix(memory, of.sides, SIDES, LANES, np.int64)),
        events(counters, of.events),
    )


def _instruction(
    b: Builder, op: AnySoftmax, kernel: Callable[..., Kernel], fields: type[Any], *rest: Any
) -> Instructions:
    """One, of the kernel for the types of scores, mask and probabilities; `rest` are the fields behind the rows."""
    mask_type = np.uint8 if op.mask is None else b.dtype(op.mask)
    return [Instruction(kernel(b.dtype(op.input), mask_type, b.dtype(op.output)), fields(_rows(b, op), *rest))]


class _Gemmlowp(NamedTuple):
    rows: Rows
    constants: gemmlowp_int8.GemmlowpConstants


def gemmlowp_softmax(b: Builder, op: GemmlowpSoftmax) -> Instructions:
    constants = gemmlowp_int8.GemmlowpConstants(op.multiplier, op.left_shift, b.format(op.output).bits)
    return _instruction(b, op, gemmlowp_rows, _Gemmlowp, constants)


@cache
def gemmlowp_rows(x_type: NumberType, mask_type: NumberType, output: NumberType) -> Kernel:
    """(S1) to (S5)."""

    @njit(cache=True, nogil=True)
    @named(x_type, mask_type, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Gemmlowp)
        x, masks, codes, work, seen = _opened(memory, counters, sizes, of.rows, x_type, mask_type, output)
        gemmlowp_int8.softmax_rows(x, masks, of.constants, codes, work, seen)

    return step


class _IBert(NamedTuple):
    rows: Rows
    constants: ibert.IBertConstants


def ibert_softmax(b: Builder, op: IBertSoftmax) -> Instructions:
    constants = ibert.IBertConstants(op.ln2, op.b, op.c, op.multiplier, op.shift, b.format(op.output).bits)
    return _instruction(b, op, ibert_rows, _IBert, constants)


@cache
def ibert_rows(x_type: NumberType, mask_type: NumberType, output: NumberType) -> Kernel:
    """(S10) to (S14)."""

    @njit(cache=True, nogil=True)
    @named(x_type, mask_type, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _IBert)
        x, masks, codes, work, seen = _opened(memory, counters, sizes, of.rows, x_type, mask_type, output)
        ibert.softmax_rows(x, masks, of.constants, codes, work, seen)

    return step


class _Ita(NamedTuple):
    rows: Rows
    constants: ita.ItaConstants


def itamax(b: Builder, op: ItaMax) -> Instructions:
    constants = ita.ItaConstants(op.shift, op.group, b.format(op.output).max)
    return _instruction(b, op, ita_rows, _Ita, constants)


@cache
def ita_rows(x_type: NumberType, mask_type: NumberType, output: NumberType) -> Kernel:
    """(S15) to (S17)."""

    @njit(cache=True, nogil=True)
    @named(x_type, mask_type, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Ita)
        x, masks, codes, work, seen = _opened(memory, counters, sizes, of.rows, x_type, mask_type, output)
        ita.softmax_rows(x, masks, of.constants, codes, work, seen)

    return step


class _Gemmini(NamedTuple):
    rows: Rows
    constants: gemmini.GemminiConstants


def gemmini_softmax(b: Builder, op: GemminiSoftmax) -> Instructions:
    """What is beyond int32 was refused when the program was loaded."""
    constants = gemmini.GemminiConstants(op.ln2, op.b, op.c, b.format(op.output).max)
    return _instruction(b, op, gemmini_rows, _Gemmini, constants)


@cache
def gemmini_rows(x_type: NumberType, mask_type: NumberType, output: NumberType) -> Kernel:
    """(S18) and (S19)."""

    @njit(cache=True, nogil=True)
    @named(x_type, mask_type, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Gemmini)
        x, masks, codes, work, seen = _opened(memory, counters, sizes, of.rows, x_type, mask_type, output)
        gemmini.softmax_rows(x, masks, of.constants, codes, work, seen)

    return step


class _Pulp(NamedTuple):
    rows: Rows
    constants: pulp.PulpConstants


def pulp_softmax(b: Builder, op: PulpSoftmax) -> Instructions:
    """What is beyond 32 bits was refused when the program was loaded."""
    constants = pulp.PulpConstants(op.ln2, op.b, op.c, b.format(op.output).max)
    return _instruction(b, op, pulp_rows, _Pulp, constants)


@cache
def pulp_rows(x_type: NumberType, mask_type: NumberType, output: NumberType) -> Kernel:
    """(S20) to (S22)."""

    @njit(cache=True, nogil=True)
    @named(x_type, mask_type, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Pulp)
        x, masks, codes, work, seen = _opened(memory, counters, sizes, of.rows, x_type, mask_type, output)
        pulp.softmax_rows(x, masks, of.constants, codes, work, seen)

    return step


class _Int16(NamedTuple):
    """Places of both tables, and the ratio."""

    rows: Rows
    exp_table: int
    reciprocal_table: int
    multiplier: int
    shift: int
    clamped: int


def int16_softmax(b: Builder, op: Int16Softmax) -> Instructions:
    ratio = b.workspace.single(op.requantization)
    return _instruction(
        b, op, int16_rows, _Int16, b.word(op.exp_table), b.word(op.reciprocal_table), *ratio, op.clamped
    )


@cache
def int16_rows(x_type: NumberType, mask_type: NumberType, output: NumberType) -> Kernel:
    """(S6) to (S9)."""

    @njit(cache=True, nogil=True)
    @named(x_type, mask_type, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Int16)
        x, masks, codes, work, seen = _opened(memory, counters, sizes, of.rows, x_type, mask_type, output)
        exp_table = flat(constants, of.exp_table, INTERPOLATED_ENTRIES, np.int32)
        reciprocal_table = flat(constants, of.reciprocal_table, INTERPOLATED_ENTRIES, np.int32)
        tables = table_int16.Int16Constants(exp_table, reciprocal_table, of.multiplier, of.shift, of.clamped != 0)
        table_int16.softmax_rows(x, masks, tables, codes, work, seen)

    return step


class _QLinear(NamedTuple):
    """Place and length of the table, and what it is divided by."""

    rows: Rows
    table: int
    distances: int
    division: qlinear.QLinearDivision


def qlinear_softmax(b: Builder, op: QLinearSoftmax) -> Instructions:
    output = b.format(op.output)
    division = qlinear.QLinearDivision(op.multiplier, output.min, output.max)
    distances = 1 << b.format(op.input).bits
    return _instruction(b, op, qlinear_rows, _QLinear, b.word(op.table), distances, division)


@cache
def qlinear_rows(x_type: NumberType, mask_type: NumberType, output: NumberType) -> Kernel:
    """(S30) to (S32)."""

    @njit(cache=True, nogil=True)
    @named(x_type, mask_type, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _QLinear)
        x, masks, codes, work, seen = _opened(memory, counters, sizes, of.rows, x_type, mask_type, output)
        table = flat(constants, of.table, of.distances, np.int32)
        qlinear.softmax_rows(x, masks, table, of.division, codes, work, seen)

    return step
