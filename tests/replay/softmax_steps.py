"""How each softmax of a program calls its function of a row."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.replay.context import Context, Values, tag_of
from tests.replay.softmaxes import (
    Polynomial,
    Row,
    gemmini_softmax,
    gemmlowp_softmax,
    ibert_softmax,
    int16_softmax,
    itamax,
    pulp_softmax,
    qlinear_softmax,
    table_softmax,
)
from tests.replay.widths import Softmax


def rows_of(context: Context, op: Any, values: Values) -> list[Row]:
    """Every row of the scores, flat."""
    scores = values[op.input]
    allowed = np.ones(scores.shape, bool)
    if op.mask is not None:
        allowed &= (values[op.mask] != 0)[:, None, None, :]
    keys = scores.shape[-1]
    pairs = zip(scores.reshape(-1, keys).tolist(), allowed.reshape(-1, keys).tolist(), strict=True)
    return [Row(*pair) for pair in pairs]


def table_step(context: Context, op: Any, values: Values) -> None:
    """The softmax with inner tensors."""
    shape, held = values[op.input].shape, context.widths.rows[tag_of(op)]
    table = context.listed(op.table)
    (to_denominator,), (to_output,) = (
        context.ratios(op.denominator_requantization),
        context.ratios(op.output_requantization),
    )
    highest = context.result(op.denominator).high, context.result(op.output).high
    rows = [table_softmax(row, table, to_denominator, to_output, highest, held) for row in rows_of(context, op, values)]
    values[op.numerator] = np.array([row.numerator for row in rows], np.int64).reshape(shape)
    values[op.denominator] = np.array([row.denominator for row in rows], np.int64).reshape(*shape[:-1], 1)
    values[op.output] = np.array([row.output for row in rows], np.int64).reshape(shape)


Kernel = Callable[[Row], list[int]]


def step(kernel_of: Callable[[Context, Any, int, Softmax], Kernel]) -> Callable[[Context, Any, Values], None]:
    """The step of a softmax that makes codes alone."""

    def run(context: Context, op: Any, values: Values) -> None:
        held = context.widths.rows[tag_of(op)]
        kernel = kernel_of(context, op, context.bits(op.output), held)
        codes = [kernel(row) for row in rows_of(context, op, values)]
        values[op.output] = np.array(codes, np.int64).reshape(values[op.input].shape)

    return run


def polynomial_of(op: Any) -> Polynomial:
    return Polynomial(op.ln2, op.b, op.c)


def _gemmlowp(context: Context, op: Any, bits: int, held: Softmax) -> Kernel:
    return partial(gemmlowp_softmax, multiplier=op.multiplier, left_shift=op.left_shift, bits=bits, held=held)


def _ibert(context: Context, op: Any, bits: int, held: Softmax) -> Kernel:
    ratio = op.multiplier, op.shift
    return partial(ibert_softmax, polynomial=polynomial_of(op), ratio=ratio, bits=bits, held=held)


def _itamax(context: Context, op: Any, bits: int, held: Softmax) -> Kernel:
    return partial(itamax, fraction_bits=op.shift, group=op.group, bits=bits, held=held)


def _gemmini(context: Context, op: Any, bits: int, held: Softmax) -> Kernel:
    return partial(gemmini_softmax, polynomial=polynomial_of(op), bits=bits, held=held)


def _pulp(context: Context, op: Any, bits: int, held: Softmax) -> Kernel:
    return partial(pulp_softmax, polynomial=polynomial_of(op), bits=bits, held=held)


def _int16(context: Context, op: Any, bits: int, held: Softmax) -> Kernel:
    tables = context.listed(op.exp_table), context.listed(op.reciprocal_table)
    (ratio,) = context.ratios(op.requantization)
    return partial(int16_softmax, ratio=ratio, tables=tables, clamped=op.clamped, held=held)


def _qlinear(context: Context, op: Any, bits: int, held: Softmax) -> Kernel:
    result = context.result(op.output)
    return partial(qlinear_softmax, table=context.listed(op.table), multiplier=op.multiplier, result=result, held=held)


gemmlowp_step, int16_step, ibert_step = step(_gemmlowp), step(_int16), step(_ibert)
itamax_step, gemmini_step, pulp_step, qlinear_step = step(_itamax), step(_gemmini), step(_pulp), step(_qlinear)
