"""What is done to accumulators one by one: shift, ReLU, requantization."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.formats import Scaling
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.kernels.operands import Matrix, Scale, vector_at
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat, matrix
from hwsim.machine.record import Words, record
from hwsim.operators.arguments import INT64_MAX, INT64_MIN
from hwsim.operators.requantize import add_bias_rows, shift_flat
from hwsim.operators.rescale import rescale_rows
from hwsim.program.operations import Relu, Requantize, ShiftRight


class _Rectified(NamedTuple):
    """Input, output, and how many numbers they have."""

    input: int
    output: int
    numbers: int


def relu(b: Builder, op: Relu) -> Instructions:
    fields = _Rectified(b.at(op.input), b.at(op.output), b.sizes.of(b.dims(op.input)))
    return [Instruction(rectified(b.dtype(op.input), b.dtype(op.output)), fields)]


@cache
def rectified(x_type: NumberType, result_type: NumberType) -> Kernel:
    """max(x, 0)."""

    @njit(cache=True, nogil=True)
    @named(x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Rectified)
        count = sizes[of.numbers]
        x, result = flat(memory, of.input, count, x_type), flat(memory, of.output, count, result_type)
        for i in range(count):
            result[i] = max(x[i], 0)

    return step


class _Rescaled(NamedTuple):
    """Accumulators, where codes and events go, what the codes are, and a ratio a channel or one for all."""

    acc: Matrix
    output: int
    events: int
    zero_point: int
    lo: int
    hi: int
    scale: Scale


def requantize(b: Builder, op: Requantize) -> Instructions:
    scheme = op.requantization
    kernel = rescaled(int(scheme.scaling), b.dtype(op.input), b.dtype(op.output))
    places = (b.matrix(op.input), b.at(op.output), b.events(op.output))
    return [Instruction(kernel, _Rescaled(*places, *b.range(op.output), b.scale(scheme)))]


@cache
def rescaled(rule: int, x_type: NumberType, result_type: NumberType) -> Kernel:
    """(R1)."""

    @njit(cache=True, nogil=True)
    @named(rule, x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Rescaled)
        rows, n = sizes[of.acc.rows], sizes[of.acc.width]
        rescale_rows(
            rule,
            matrix(memory, of.acc.start, rows, n, x_type),
            vector_at(constants, of.scale.multiplier),
            vector_at(constants, of.scale.shift),
            of.zero_point,
            of.lo,
            of.hi,
            INT64_MIN,
            matrix(memory, of.output, rows, n, result_type),
            events(counters, of.events),
        )

    return step


class _Shifted(NamedTuple):
    """Input, output, how many numbers, the shift, the ends of the result, and where events are counted."""

    input: int
    output: int
    numbers: int
    shift: int
    lo: int
    hi: int
    events: int


class _Biased(NamedTuple):
    """Rows, the bias that is added in place, the ends of the sums, and where events are counted."""

    x: Matrix
    bias: int
    lo: int
    hi: int
    events: int


def shift_right(b: Builder, op: ShiftRight) -> Instructions:
    output = b.format(op.output)
    limits = (INT64_MIN, INT64_MAX) if output == b.format(op.input) else (output.min, output.max)
    kernel = shifted(int(Scaling[op.rounding.name]), b.dtype(op.input), b.dtype(op.output))
    places = (b.at(op.input), b.at(op.output), b.sizes.of(b.dims(op.input)))
    made = [Instruction(kernel, _Shifted(*places, op.shift, *limits, b.events(op.output)))]
    if not isinstance(op.bias, str):
        return made
    fields = _Biased(b.matrix(op.output), b.wide(op.bias), output.min, output.max, b.events(op.output))
    return [*made, Instruction(biased(b.dtype(op.output)), fields)]


@cache
def shifted(rule: int, x_type: NumberType, result_type: NumberType) -> Kernel:
    """(3) and (R13)."""

    @njit(cache=True, nogil=True)
    @named(rule, x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Shifted)
        count = sizes[of.numbers]
        x, result = flat(memory, of.input, count, x_type), flat(memory, of.output, count, result_type)
        shift_flat(rule, x, of.shift, of.lo, of.hi, result, events(counters, of.events))

    return step


@cache
def biased(x_type: NumberType) -> Kernel:
    """The sum after (R13), in place."""

    @njit(cache=True, nogil=True)
    @named(x_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Biased)
        rows, n = sizes[of.x.rows], sizes[of.x.width]
        x, bias = matrix(memory, of.x.start, rows, n, x_type), flat(constants, of.bias, n, np.int64)
        add_bias_rows(x, bias, of.lo, of.hi, x, events(counters, of.events))

    return step
