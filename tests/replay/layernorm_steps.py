"""How each LayerNorm of a program calls its function of a row."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.replay.context import Context, Values, given, tag_of
from tests.replay.layernorms import (
    Affine,
    PartsConstants,
    PulpConstants,
    four_parts,
    gemmini_layernorm,
    ibert_layernorm,
    pulp_layernorm,
    tflite_layernorm,
)
from tests.replay.widths import LayerNorm

Kernel = Callable[[list[int], Affine], list[int]]


def affine_of(context: Context, op: Any) -> Affine:
    """Gamma and beta of a LayerNorm."""
    return Affine(context.listed(op.gamma), context.listed(op.beta))


def rows_of(op: Any, values: Values) -> list[list[int]]:
    return values[op.input].reshape(-1, values[op.input].shape[-1]).tolist()


def four_parts_step(context: Context, op: Any, values: Values) -> None:
    """The LayerNorm with inner tensors."""
    shape, held = values[op.input].shape, context.widths.rows[tag_of(op)]

    def part(name: str) -> Any:
        (ratio,) = context.ratios(getattr(op, f"{name}_requantization"))
        return ratio, context.result(getattr(op, name))

    (output,) = context.requantizers(op.output_requantization, held.converter, op.output)
    constants = PartsConstants(part("numerator"), part("denominator"), part("quotient"), output, op.eps)
    affine = affine_of(context, op)
    rows = [four_parts(row, affine, constants, held) for row in rows_of(op, values)]
    values[op.denominator] = np.array([row.denominator for row in rows], np.int64).reshape(*shape[:-1], 1)
    for name in ("numerator", "quotient", "output"):
        values[getattr(op, name)] = np.array([getattr(row, name) for row in rows], np.int64).reshape(shape)


def step(kernel_of: Callable[[Context, Any, LayerNorm], Kernel]) -> Callable[[Context, Any, Values], None]:
    """The step of a LayerNorm that makes codes alone."""

    def run(context: Context, op: Any, values: Values) -> None:
        kernel, affine = kernel_of(context, op, context.widths.rows[tag_of(op)]), affine_of(context, op)
        codes = [kernel(row, affine) for row in rows_of(op, values)]
        values[op.output] = np.array(codes, np.int64).reshape(values[op.input].shape)

    return run


def _ibert(context: Context, op: Any, held: LayerNorm) -> Kernel:
    codes = context.requantizers(op.requantization, held.converter, op.output)
    zero, shift = context.zero(op.input), op.variance_shift
    return partial(ibert_layernorm, zero=zero, variance_shift=shift, codes=codes, held=held)


def _pulp(context: Context, op: Any, held: LayerNorm) -> Kernel:
    overflow = given(op, "overflow")
    wraps = overflow is not None and overflow.value == "wrap"
    constants = PulpConstants(context.zero(op.input), op.shift, wraps=wraps)
    result, bits = context.result(op.output), context.bits(op.output)
    return partial(pulp_layernorm, constants=constants, result=result, bits=bits, held=held)


def _tflite(context: Context, op: Any, held: LayerNorm) -> Kernel:
    (code,) = context.requantizers(op.requantization, held.converter, op.output)
    limit = op.variance_limit
    return partial(tflite_layernorm, zero=context.zero(op.input), variance_limit=limit, code=code, held=held)


def _gemmini(context: Context, op: Any, held: LayerNorm) -> Kernel:
    (code,) = context.requantizers(op.requantization, held.converter, op.output)
    return partial(gemmini_layernorm, zero=context.zero(op.input), code=code, held=held)


ibert_step, pulp_step, tflite_step, gemmini_step = step(_ibert), step(_pulp), step(_tflite), step(_gemmini)
