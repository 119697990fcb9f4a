"""LayerNorms without inner tensors, row by row: what one leaves for its last rounding stays in a near cache."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.arithmetic.fixedpoint import Counters
from hwsim.formats import Overflow, Scaling
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.kernels.operands import Matrix, Scale, vector_at
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat, matrix
from hwsim.machine.record import Words, record
from hwsim.operators.arguments import INT64_MIN, Codes
from hwsim.operators.layernorm import gemmini, ibert, pulp, tflite
from hwsim.operators.layernorm.rows import Values
from hwsim.operators.quotients import Held
from hwsim.operators.rescale import rescale_rows
from hwsim.program.operations import (
    GemminiLayerNorm,
    IBertLayerNorm,
    PulpLayerNorm,
    TfliteLayerNorm,
)

HALF_EVEN, Q31_DOUBLE, FLOAT32 = int(Scaling.HALF_EVEN), int(Scaling.Q31_DOUBLE), int(Scaling.FLOAT32)


RowNorm = IBertLayerNorm | TfliteLayerNorm | GemminiLayerNorm | PulpLayerNorm
"""Those without inner tensors."""


class _Rows(NamedTuple):
    """Where rows of codes, their results, gamma (int32), beta (int64) and room for one row of int64 lie."""

    x: Matrix
    zero: int
    output: int
    gamma: int
    beta: int
    room: int
    events: int


class _End(NamedTuple):
    """The last rounding: a ratio a channel or one for all, zero point and ends of the codes."""

    scale: Scale
    zero_point: int
    lo: int
    hi: int


def _rows(b: Builder, op: RowNorm) -> _Rows:
    x, room = b.matrix(op.input), b.scratch(b.dims(op.input)[-1:], np.int64)
    affine = b.word(op.gamma), b.wide(op.beta)
    return _Rows(x, b.zero(op.input), b.at(op.output), *affine, room, b.events(op.output))


def _end(b: Builder, op: IBertLayerNorm | TfliteLayerNorm | GemminiLayerNorm) -> _End:
    return _End(b.scale(op.requantization), *b.range(op.output))


def _types(b: Builder, op: RowNorm) -> tuple[NumberType, NumberType]:
    return b.dtype(op.input), b.dtype(op.output)


@njit(cache=True, nogil=True)
def _affine(constants: Bytes, at: _Rows, n: int) -> tuple[Codes, Values]:
    """Gamma and beta."""
    return flat(constants, at.gamma, n, np.int32), flat(constants, at.beta, n, np.int64)


@njit(cache=True, nogil=True, forceinline=True)
def _round(rule: int, values: Values, constants: Bytes, end: _End, result: Held, counters: Counters) -> None:
    """The last rounding of a row by one rule, a constant of the caller."""
    m, e = vector_at(constants, end.scale.multiplier), vector_at(constants, end.scale.shift)
    rescale_rows(rule, values, m, e, end.zero_point, end.lo, end.hi, INT64_MIN, result, counters)


class _IBert(NamedTuple):
    at: _Rows
    variance_shift: int
    end: _End


def ibert_layernorm(b: Builder, op: IBertLayerNorm) -> Instructions:
    return [Instruction(ibert_norm(*_types(b, op)), _IBert(_rows(b, op), op.variance_shift, _end(b, op)))]


@cache
def ibert_norm(x_type: NumberType, result_type: NumberType) -> Kernel:
    """(L1) to (L5)."""

    @njit(cache=True, nogil=True)
    @named(x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _IBert)
        rows, n = sizes[of.at.x.rows], sizes[of.at.x.width]
        x, result = matrix(memory, of.at.x.start, rows, n, x_type), matrix(memory, of.at.output, rows, n, result_type)
        gamma, beta = _affine(constants, of.at, n)
        values, counted = matrix(memory, of.at.room, 1, n, np.int64), events(counters, of.at.events)
        for i in range(rows):
            ibert.normalise_rows(x[i : i + 1], of.at.zero, gamma, beta, of.variance_shift, True, values, counted)
            _round(HALF_EVEN, values, constants, of.end, result[i : i + 1], counted)

    return step


class _Tflite(NamedTuple):
    at: _Rows
    variance_limit: int
    end: _End


def tflite_layernorm(b: Builder, op: TfliteLayerNorm) -> Instructions:
    return [Instruction(tflite_norm(*_types(b, op)), _Tflite(_rows(b, op), op.variance_limit, _end(b, op)))]


@cache
def tflite_norm(x_type: NumberType, result_type: NumberType) -> Kernel:
    """(L9) to (L14)."""

    @njit(cache=True, nogil=True)
    @named(x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Tflite)
        rows, n = sizes[of.at.x.rows], sizes[of.at.x.width]
        x, result = matrix(memory, of.at.x.start, rows, n, x_type), matrix(memory, of.at.output, rows, n, result_type)
        gamma, beta = _affine(constants, of.at, n)
        values, counted = matrix(memory, of.at.room, 1, n, np.int64), events(counters, of.at.events)
        for i in range(rows):
            tflite.normalise_rows(x[i : i + 1], of.at.zero, gamma, beta, of.variance_limit, True, values, counted)
            _round(Q31_DOUBLE, values, constants, of.end, result[i : i + 1], counted)

    return step


class _Gemmini(NamedTuple):
    at: _Rows
    end: _End


def gemmini_layernorm(b: Builder, op: GemminiLayerNorm) -> Instructions:
    return [Instruction(gemmini_norm(*_types(b, op)), _Gemmini(_rows(b, op), _end(b, op)))]


@cache
def gemmini_norm(x_type: NumberType, result_type: NumberType) -> Kernel:
    """(L15) to (L17)."""

    @njit(cache=True, nogil=True)
    @named(x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Gemmini)
        rows, n = sizes[of.at.x.rows], sizes[of.at.x.width]
        x, result = matrix(memory, of.at.x.start, rows, n, x_type), matrix(memory, of.at.output, rows, n, result_type)
        gamma, beta = _affine(constants, of.at, n)
        values, counted = matrix(memory, of.at.room, 1, n, np.int64), events(counters, of.at.events)
        for i in range(rows):
            gemmini.normalise_rows(x[i : i + 1], of.at.zero, gamma, beta, values, counted)
            _round(FLOAT32, values, constants, of.end, result[i : i + 1], counted)

    return step


class _Pulp(NamedTuple):
    at: _Rows
    affine: pulp.PulpAffine
    wraps: int


def pulp_layernorm(b: Builder, op: PulpLayerNorm) -> Instructions:
    affine = pulp.PulpAffine(b.zero(op.input), op.shift, *b.range(op.output))
    fields = _Pulp(_rows(b, op), affine, int(op.overflow is Overflow.WRAP))
    return [Instruction(pulp_norm(*_types(b, op)), fields)]


@cache
def pulp_norm(x_type: NumberType, result_type: NumberType) -> Kernel:
    """(L6) to (L8)."""

    @njit(cache=True, nogil=True)
    @named(x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Pulp)
        rows, n = sizes[of.at.x.rows], sizes[of.at.x.width]
        x, result = matrix(memory, of.at.x.start, rows, n, x_type), matrix(memory, of.at.output, rows, n, result_type)
        gamma, beta = _affine(constants, of.at, n)
        room, counted = flat(memory, of.at.room, n, np.int64), events(counters, of.at.events)
        pulp.normalise_rows(x, gamma, beta, of.affine, True, of.wraps != 0, room, result, counted)

    return step
