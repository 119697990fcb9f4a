"""Softmax and LayerNorm on a worker's memory."""

from functools import cache

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat, matrix
from hwsim.machine.record import Words
from hwsim.operators.layernorm.fullyqt import LayerNormCodes, Stages, Zeros, normalise_rows
from hwsim.operators.quotients import Stage
from hwsim.operators.softmax.rows import Masks
from hwsim.operators.softmax.table import SoftmaxCodes, softmax_rows
from hwsim.program.catalogue import Requantization
from hwsim.program.operations import AnySoftmax, LayerNorm, Softmax

NO_MASK = -1


def _mask(b: Builder, op: AnySoftmax) -> list[int]:
    """Place of the mask or NO_MASK, its rows, and how many rows of scores share one."""
    batch, *rest = b.dims(op.input)[:-1]
    shared = b.sizes.of(rest)
    return [NO_MASK if op.mask is None else b.at(op.mask), b.sizes.of([batch]), shared]


def _stage(b: Builder, scheme: Requantization, output: str) -> list[int]:
    form = b.format(output)
    return [*b.workspace.single(scheme), form.min, form.max]


def softmax(b: Builder, op: Softmax) -> Instructions:
    results = op.numerator, op.denominator, op.output
    stages = [
        *_stage(b, op.denominator_requantization, op.denominator),
        *_stage(b, op.output_requantization, op.output),
    ]
    table = b.constants.place(f"{op.table} int32", lambda: b.workspace.table(op.table))
    places = [*b.matrix(op.input), *(b.at(name) for name in results), table, 1 << b.format(op.input).bits]
    kernel = table_softmax(b.dtype(op.input), *(b.dtype(name) for name in results))
    return [Instruction(kernel, [*places, *_mask(b, op), b.events(op.output), *stages])]


@cache
def table_softmax(x_type: NumberType, numerator: NumberType, denominator: NumberType, output: NumberType) -> Kernel:
    """(4a) to (4e)."""

    @njit(cache=True, nogil=True)
    @named(x_type, numerator, denominator, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        rows, n = sizes[args[1]], sizes[args[2]]
        codes = SoftmaxCodes(
            matrix(memory, args[3], rows, n, numerator),
            matrix(memory, args[4], rows, 1, denominator),
            matrix(memory, args[5], rows, n, output),
        )
        masked = sizes[args[9]] if args[8] >= 0 else 0
        masks = Masks(matrix(memory, max(args[8], 0), masked, n, np.uint8), sizes[args[10]])
        softmax_rows(
            matrix(memory, args[0], rows, n, x_type),
            masks,
            flat(constants, args[6], args[7], np.int32),
            Stage(args[12], args[13], args[14], args[15]),
            Stage(args[16], args[17], args[18], args[19]),
            codes,
            events(counters, args[11]),
        )

    return step


def layernorm(b: Builder, op: LayerNorm) -> Instructions:
    results = op.numerator, op.denominator, op.quotient, op.output
    schemes = (
        op.numerator_requantization,
        op.denominator_requantization,
        op.quotient_requantization,
        op.output_requantization,
    )
    stages = [x for scheme, name in zip(schemes, results, strict=True) for x in _stage(b, scheme, name)]
    gamma = b.constants.place(f"{op.gamma} int32", lambda: b.workspace.table(op.gamma))
    beta = b.constants.place(f"{op.beta} int64", lambda: b.program.constants[op.beta].astype(np.int64))
    places = [*b.matrix(op.input), *(b.at(name) for name in results), gamma, beta]
    kernel = fullyqt_layernorm(b.dtype(op.input), *(b.dtype(name) for name in results))
    return [Instruction(kernel, [*places, op.eps, b.zero(op.output), b.events(op.output), *stages])]


@cache
def fullyqt_layernorm(
    x_type: NumberType, numerator: NumberType, denominator: NumberType, quotient: NumberType, output: NumberType
) -> Kernel:
    """(5a) to (5f)."""

    @njit(cache=True, nogil=True)
    @named(x_type, numerator, denominator, quotient, output)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        rows, n = sizes[args[1]], sizes[args[2]]
        codes = LayerNormCodes(
            matrix(memory, args[3], rows, n, numerator),
            matrix(memory, args[4], rows, 1, denominator),
            matrix(memory, args[5], rows, n, quotient),
            matrix(memory, args[6], rows, n, output),
        )
        stages = Stages(
            Stage(args[12], args[13], args[14], args[15]),
            Stage(args[16], args[17], args[18], args[19]),
            Stage(args[20], args[21], args[22], args[23]),
            Stage(args[24], args[25], args[26], args[27]),
        )
        normalise_rows(
            matrix(memory, args[0], rows, n, x_type),
            flat(constants, args[7], n, np.int32),
            flat(constants, args[8], n, np.int64),
            args[9],
            stages,
            Zeros(0, args[10]),
            True,
            codes,
            events(counters, args[11]),
        )

    return step
