"""Softmax and LayerNorm, which work on whole rows."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from msgspec.structs import asdict
from numpy.typing import NDArray

from hwsim.formats import Overflow
from hwsim.machine.steps.workspace import Values, Workspace
from hwsim.operators import layernorm as norms
from hwsim.operators import softmax as softmaxes
from hwsim.operators.arguments import Codes
from hwsim.program.operations import (
    AnyLayerNorm,
    AnySoftmax,
    GemminiLayerNorm,
    IBertLayerNorm,
    Int16Softmax,
    LayerNorm,
    PulpLayerNorm,
    Softmax,
    TfliteLayerNorm,
)


class Rows(NamedTuple):
    """Scores and what is allowed of them, (rows, keys)."""

    scores: Codes
    allowed: NDArray[np.bool_]


def _rows(op: AnySoftmax, values: Values) -> Rows:
    scores = values[op.input]
    allowed = np.ones(scores.shape, np.bool_)
    if op.mask is not None:
        allowed &= values[op.mask].astype(np.bool_)[:, None, None, :]
    flat = math.prod(scores.shape[:-1]), scores.shape[-1]
    return Rows(scores.reshape(flat), allowed.reshape(flat))


def softmax(w: Workspace, op: Softmax, values: Values) -> None:
    shape = values[op.input].shape
    (m_d, e_d), (m_o, e_o) = w.single(op.denominator_requantization), w.single(op.output_requantization)
    codes = softmaxes.softmax(
        *_rows(op, values),
        w.table(op.table),
        denominator_multiplier=m_d,
        denominator_shift=e_d,
        denominator=w.format(op.denominator),
        output_multiplier=m_o,
        output_shift=e_o,
        output=w.format(op.output),
        counters=w.events(op.output),
    )
    values[op.numerator] = codes.numerator.reshape(shape)
    values[op.denominator] = codes.denominator.reshape(*shape[:-1], 1)
    values[op.output] = codes.output.reshape(shape)


def _probabilities(kernel: Callable[..., Codes]) -> Callable[[Workspace, AnySoftmax, Values], None]:
    """The step of a softmax without inner tensors: an operation's constants have the names of its kernel's."""

    def step(w: Workspace, op: AnySoftmax, values: Values) -> None:
        constants = {name: value for name, value in asdict(op).items() if name not in ("output", "input", "mask")}
        constants |= {name: w.table(value) for name, value in constants.items() if name == "table"}
        codes = kernel(*_rows(op, values), **constants, output=w.format(op.output), counters=w.events(op.output))
        values[op.output] = codes.reshape(values[op.input].shape)

    return step


gemmlowp_softmax = _probabilities(softmaxes.gemmlowp_softmax)
ibert_softmax = _probabilities(softmaxes.ibert_softmax)
itamax = _probabilities(softmaxes.itamax)
gemmini_softmax = _probabilities(softmaxes.gemmini_softmax)
pulp_softmax = _probabilities(softmaxes.pulp_softmax)


def int16_softmax(w: Workspace, op: Int16Softmax, values: Values) -> None:
    multiplier, shift = w.single(op.requantization)
    codes = softmaxes.softmax_int16(
        *_rows(op, values),
        w.table(op.exp_table),
        w.table(op.reciprocal_table),
        multiplier=multiplier,
        shift=shift,
        counters=w.events(op.output),
        clamped=op.clamped,
    )
    values[op.output] = codes.reshape(values[op.input].shape)


qlinear_softmax = _probabilities(softmaxes.qlinear_softmax)


def _parameters(w: Workspace, op: AnyLayerNorm) -> tuple[Codes, NDArray[np.int64]]:
    """Gamma and beta as kernels take them."""
    return w.table(op.gamma), w.program.constants[op.beta].astype(np.int64)


def layernorm(w: Workspace, op: LayerNorm, values: Values) -> None:
    constants = norms.LayerNormConstants(
        op.eps,
        *w.single(op.numerator_requantization),
        w.format(op.numerator),
        *w.single(op.denominator_requantization),
        w.format(op.denominator),
        *w.single(op.quotient_requantization),
        w.format(op.quotient),
        *w.single(op.output_requantization),
        w.zero(op.output),
        w.format(op.output),
    )
    codes = norms.layernorm(values[op.input], *_parameters(w, op), constants, w.events(op.output))
    values[op.numerator], values[op.denominator] = codes.numerator, codes.denominator
    values[op.quotient], values[op.output] = codes.quotient, codes.output


def ibert_layernorm(w: Workspace, op: IBertLayerNorm, values: Values) -> None:
    values[op.output] = norms.ibert_layernorm(
        values[op.input],
        *_parameters(w, op),
        *w.scale(op.requantization),
        zero=w.zero(op.input),
        variance_shift=op.variance_shift,
        zero_point=w.zero(op.output),
        output=w.format(op.output),
        counters=w.events(op.output),
    )


def pulp_layernorm(w: Workspace, op: PulpLayerNorm, values: Values) -> None:
    values[op.output] = norms.pulp_layernorm(
        values[op.input],
        *_parameters(w, op),
        zero=w.zero(op.input),
        shift=op.shift,
        zero_point=w.zero(op.output),
        output=w.format(op.output),
        counters=w.events(op.output),
        overflow=op.overflow if isinstance(op.overflow, Overflow) else Overflow.SATURATE,
    )


def gemmini_layernorm(w: Workspace, op: GemminiLayerNorm, values: Values) -> None:
    multiplier, shift = w.single(op.requantization)
    values[op.output] = norms.gemmini_layernorm(
        values[op.input],
        *_parameters(w, op),
        zero=w.zero(op.input),
        multiplier=multiplier,
        shift=shift,
        zero_point=w.zero(op.output),
        output=w.format(op.output),
        counters=w.events(op.output),
    )


def tflite_layernorm(w: Workspace, op: TfliteLayerNorm, values: Values) -> None:
    multiplier, shift = w.single(op.requantization)
    values[op.output] = norms.tflite_layernorm(
        values[op.input],
        *_parameters(w, op),
        zero=w.zero(op.input),
        variance_limit=op.variance_limit,
        multiplier=multiplier,
        shift=shift,
        zero_point=w.zero(op.output),
        output=w.format(op.output),
        counters=w.events(op.output),
    )
