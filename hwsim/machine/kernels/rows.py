"""The default softmax and LayerNorm on a worker's memory."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.kernels.masks import Masked, mask_of, masks_of
from hwsim.machine.kernels.operands import Matrix, Vector
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat, matrix
from hwsim.machine.record import Words, record
from hwsim.operators.layernorm.fullyqt import LayerNormCodes, Stages, Zeros, normalise_rows
from hwsim.operators.quotients import Stage
from hwsim.operators.softmax.table import SoftmaxCodes, softmax_rows
from hwsim.program.catalogue import Requantization
from hwsim.program.operations import LayerNorm, Softmax


def stage(b: Builder, scheme: Requantization, output: str) -> Stage:
    """A rounding with one ratio, and the ends of the codes that it makes."""
    form = b.format(output)
    return Stage(*b.workspace.single(scheme), form.min, form.max)


class _Softmax(NamedTuple):
    """Scores, their mask, where codes go, the table of exponentials, and both roundings."""

    scores: Matrix
    masked: Masked
    numerator: int
    denominator: int
    output: int
    table: Vector
    to_denominator: Stage
    to_output: Stage
    events: int


def softmax(b: Builder, op: Softmax) -> Instructions:
    results = op.numerator, op.denominator, op.output
    mask_type = np.uint8 if op.mask is None else b.dtype(op.mask)
    fields = _Softmax(
        scores=b.matrix(op.input),
        masked=mask_of(b, op),
        numerator=b.at(op.numerator),
        denominator=b.at(op.denominator),
        output=b.at(op.output),
        table=Vector(b.word(op.table), 1 << b.format(op.input).bits),
        to_denominator=stage(b, op.denominator_requantization, op.denominator),
        to_output=stage(b, op.output_requantization, op.output),
        events=b.events(op.output),
    )
    return [Instruction(table_softmax(b.dtype(op.input), mask_type, *(b.dtype(name) for name in results)), fields)]


@cache
def table_softmax(
    x_type: NumberType, mask_type: NumberType, numerator: NumberType, denominator: NumberType, output: NumberType
) -> Kernel:
    """(4a) to (4e)."""

    @njit(cache=True, nogil=True)
    @named(x_type, mask_type, numerator, denominator, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Softmax)
        rows, n = sizes[of.scores.rows], sizes[of.scores.width]
        codes = SoftmaxCodes(
            matrix(memory, of.numerator, rows, n, numerator),
            matrix(memory, of.denominator, rows, 1, denominator),
            matrix(memory, of.output, rows, n, output),
        )
        softmax_rows(
            matrix(memory, of.scores.start, rows, n, x_type),
            masks_of(memory, of.masked, sizes, n, mask_type),
            flat(constants, of.table.start, of.table.length, np.int32),
            of.to_denominator,
            of.to_output,
            codes,
            events(counters, of.events),
        )

    return step


class _LayerNorm(NamedTuple):
    """Rows, where codes go, gamma and beta, eps, the zero point of the output, and four roundings."""

    x: Matrix
    numerator: int
    denominator: int
    quotient: int
    output: int
    gamma: int
    beta: int
    eps: int
    zero_point: int
    stages: Stages
    events: int


def layernorm(b: Builder, op: LayerNorm) -> Instructions:
    results = op.numerator, op.denominator, op.quotient, op.output
    stages = Stages(
        stage(b, op.numerator_requantization, op.numerator),
        stage(b, op.denominator_requantization, op.denominator),
        stage(b, op.quotient_requantization, op.quotient),
        stage(b, op.output_requantization, op.output),
    )
    fields = _LayerNorm(
        x=b.matrix(op.input),
        numerator=b.at(op.numerator),
        denominator=b.at(op.denominator),
        quotient=b.at(op.quotient),
        output=b.at(op.output),
        gamma=b.word(op.gamma),
        beta=b.wide(op.beta),
        eps=op.eps,
        zero_point=b.zero(op.output),
        stages=stages,
        events=b.events(op.output),
    )
    return [Instruction(fullyqt_layernorm(b.dtype(op.input), *(b.dtype(name) for name in results)), fields)]


@cache
def fullyqt_layernorm(
    x_type: NumberType, numerator: NumberType, denominator: NumberType, quotient: NumberType, output: NumberType
) -> Kernel:
    """(5a) to (5f)."""

    @njit(cache=True, nogil=True)
    @named(x_type, numerator, denominator, quotient, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _LayerNorm)
        rows, n = sizes[of.x.rows], sizes[of.x.width]
        codes = LayerNormCodes(
            matrix(memory, of.numerator, rows, n, numerator),
            matrix(memory, of.denominator, rows, 1, denominator),
            matrix(memory, of.quotient, rows, n, quotient),
            matrix(memory, of.output, rows, n, output),
        )
        normalise_rows(
            matrix(memory, of.x.start, rows, n, x_type),
            flat(constants, of.gamma, n, np.int32),
            flat(constants, of.beta, n, np.int64),
            of.eps,
            of.stages,
            Zeros(0, of.zero_point),
            True,
            codes,
            events(counters, of.events),
        )

    return step
