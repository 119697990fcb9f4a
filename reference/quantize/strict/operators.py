"""The function behind each record of constants: softmaxes, LayerNorms and residual sums of every target."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hwsim.formats import IntFormat, Overflow
from hwsim.program.catalogue import scaling_of, scheme_type
from reference.quantize.plan import Plan
from reference.quantize.plan.constants import (
    AddConstants,
    GemminiLayerNormConstants,
    GemminiSoftmaxConstants,
    GemmlowpConstants,
    IBertLayerNormConstants,
    IBertSoftmaxConstants,
    Int16SoftmaxConstants,
    ItaMaxConstants,
    LayerNormConstants,
    PulpLayerNormConstants,
    PulpSoftmaxConstants,
    QLinearSoftmaxConstants,
    Quantizer,
    RescaledAddConstants,
    SoftmaxConstants,
    TfliteLayerNormConstants,
)
from reference.quantize.plan.tables import softmax_tables
from reference.quantize.strict import fullyqt, fullyqt_layernorm, qlinear, residual, scaling
from reference.quantize.strict import layernorm as layernorms
from reference.quantize.strict import softmax as softmaxes

UNWRAPPED = IntFormat(bits=48)
"""Holds every code of a LayerNorm before it wraps."""
See = Callable[[str, Tensor], object]
"""Called with (site, codes) for every inner site, if anybody asks for them."""


class Scores(NamedTuple):
    """What a softmax reads, beside its constants: codes and mask; `slope` is the real value of one code."""

    site: str
    codes: Tensor
    allowed: Tensor | None
    plan: Plan
    slope: float
    see: See | None

    def format(self, part: str) -> IntFormat:
        return self.plan.quantizers[f"{self.site}.{part}"].format


class Norm(NamedTuple):
    """What a LayerNorm reads, beside its constants: codes of x (zero point `zero`), of gamma and of beta.

    `bound` is that of what gamma and beta make, where the constants know one.

    `overflowed` is told how many codes wrapped.
    """

    site: str
    codes: Tensor
    zero: int
    gamma: Tensor
    beta: Tensor
    bound: int | None
    plan: Plan
    see: See | None
    overflowed: Callable[[int], None]

    @property
    def output(self) -> Quantizer:
        return self.plan.quantizers[f"{self.site}.output"]


class Sum(NamedTuple):
    """What a residual sum reads, beside its constants: two operands and their zero points."""

    site: str
    a: Tensor
    b: Tensor
    a_zero: int
    b_zero: int
    plan: Plan


# --- softmax ----------------------------------------------------------------------------------------------------------


def exp_table(plan: Plan, site: str) -> Tensor:
    """The exp table of a softmax of section 4."""
    constants = plan.softmax[site]
    if not isinstance(constants, SoftmaxConstants):
        raise ValueError(f"{site} has no table; it is a softmax of {plan.target.name}")
    bits = plan.settings[f"{site}.numerator"].bits
    score_bits = plan.settings[site.replace(".softmax", ".scores")].bits
    return fullyqt.exp_table(constants.table_scale, score_bits, bits)


def _table(at: Scores, c: SoftmaxConstants) -> Tensor:
    result = fullyqt.softmax(
        at.codes,
        at.allowed,
        exp_table(at.plan, at.site),
        c.table_scale,
        denominator_multiplier=c.denominator.multiplier,
        denominator_shift=c.denominator.shift,
        denominator_fmt=at.format("denominator"),
        output_multiplier=c.output.multiplier,
        output_shift=c.output.shift,
        output_fmt=at.format("output"),
        inner=at.see is not None,
    )
    if at.see is not None:
        at.see(f"{at.site}.numerator", result.numerator)
        at.see(f"{at.site}.denominator", result.denominator)
    return result.output


def _gemmlowp(at: Scores, c: GemmlowpConstants) -> Tensor:
    return softmaxes.gemmlowp_softmax(
        at.codes, at.allowed, multiplier=c.multiplier, left_shift=c.left_shift, fmt=at.format("output"), slope=at.slope
    )


def _ibert_softmax(at: Scores, c: IBertSoftmaxConstants) -> Tensor:
    m, e = c.requantization
    return softmaxes.ibert_softmax(
        at.codes, at.allowed, ln2=c.ln2, b=c.b, c=c.c, multiplier=m, shift=e, fmt=at.format("output"), slope=at.slope
    )


def _itamax(at: Scores, c: ItaMaxConstants) -> Tensor:
    return softmaxes.itamax(at.codes, at.allowed, shift=c.shift, group=c.group, fmt=at.format("output"), slope=at.slope)


def _pulp_softmax(at: Scores, c: PulpSoftmaxConstants) -> Tensor:
    return softmaxes.pulp_softmax(
        at.codes, at.allowed, ln2=c.ln2, b=c.b, c=c.c, fmt=at.format("output"), slope=at.slope
    )


def _int16(at: Scores, c: Int16SoftmaxConstants) -> Tensor:
    m, e = c.requantization
    return softmaxes.softmax_int16(
        at.codes, at.allowed, *softmax_tables(), multiplier=m, shift=e, slope=at.slope, clamped=c.clamped
    )


def _gemmini(at: Scores, c: GemminiSoftmaxConstants) -> Tensor:
    return softmaxes.gemmini_softmax(
        at.codes, at.allowed, ln2=c.ln2, b=c.b, c=c.c, fmt=at.format("output"), slope=at.slope
    )


def _qlinear(at: Scores, c: QLinearSoftmaxConstants) -> Tensor:
    bits = at.plan.settings[at.site.replace(".softmax", ".scores")].bits
    table = qlinear.qlinear_table(c.table_scale, bits, c.keys)
    return qlinear.qlinear_softmax(
        at.codes, at.allowed, table, multiplier=c.multiplier, fmt=at.format("output"), slope=at.slope
    )


SOFTMAX: dict[type, Callable[[Scores, Any], Tensor]] = {
    SoftmaxConstants: _table,
    GemmlowpConstants: _gemmlowp,
    IBertSoftmaxConstants: _ibert_softmax,
    ItaMaxConstants: _itamax,
    GemminiSoftmaxConstants: _gemmini,
    PulpSoftmaxConstants: _pulp_softmax,
    Int16SoftmaxConstants: _int16,
    QLinearSoftmaxConstants: _qlinear,
}
"""Softmaxes by their constants."""

# --- LayerNorm --------------------------------------------------------------------------------------------------------


def _fullyqt_layernorm(at: Norm, c: LayerNormConstants) -> Tensor:
    result = fullyqt_layernorm.layernorm(at.codes, at.gamma, at.beta, c, at.bound, at.see is not None)
    if at.see is not None:
        for part in ("numerator", "denominator", "quotient"):
            at.see(f"{at.site}.{part}", getattr(result, part))
    return result.output


def _ibert_layernorm(at: Norm, c: IBertLayerNormConstants) -> Tensor:
    return layernorms.ibert_layernorm(
        *(at.codes, at.gamma, at.beta, c.multipliers, c.shifts),
        zero=at.zero,
        variance_shift=c.variance_shift,
        zero_point=at.output.zero_point,
        fmt=at.output.format,
    )


def _pulp(at: Norm, c: PulpLayerNormConstants) -> Tensor:
    to, operands = at.output, (at.codes, at.gamma, at.beta)
    constants: dict[str, Any] = {"zero": at.zero, "shift": c.shift, "zero_point": to.zero_point}
    if c.overflow is Overflow.WRAP:
        with torch.no_grad():
            exact = layernorms.pulp_layernorm(*operands, **constants, fmt=UNWRAPPED)
        at.overflowed(int(((exact < to.format.min) | (exact > to.format.max)).sum()))
    return layernorms.pulp_layernorm(*operands, **constants, fmt=to.format, overflow=c.overflow)


def _gemmini_layernorm(at: Norm, c: GemminiLayerNormConstants) -> Tensor:
    m, e = c.requantization
    return layernorms.gemmini_layernorm(
        *(at.codes, at.gamma, at.beta),
        zero=at.zero,
        multiplier=m,
        shift=e,
        zero_point=at.output.zero_point,
        fmt=at.output.format,
    )


def _tflite(at: Norm, c: TfliteLayerNormConstants) -> Tensor:
    m, e = c.requantization
    return layernorms.tflite_layernorm(
        *(at.codes, at.gamma, at.beta),
        zero=at.zero,
        variance_limit=c.variance_limit,
        multiplier=m,
        shift=e,
        zero_point=at.output.zero_point,
        fmt=at.output.format,
    )


LAYERNORM: dict[type, Callable[[Norm, Any], Tensor]] = {
    LayerNormConstants: _fullyqt_layernorm,
    IBertLayerNormConstants: _ibert_layernorm,
    PulpLayerNormConstants: _pulp,
    TfliteLayerNormConstants: _tflite,
    GemminiLayerNormConstants: _gemmini_layernorm,
}
"""LayerNorms by their constants."""

# --- residual sum -----------------------------------------------------------------------------------------------------


def _one_rounding(at: Sum, c: AddConstants) -> Tensor:
    to = at.plan.quantizers[at.site]
    return residual.add(at.a, at.b, at.a_zero, at.b_zero, *c.multipliers, c.shift, to.zero_point, to.format)


def _rescaled(at: Sum, c: RescaledAddConstants) -> Tensor:
    to = at.plan.quantizers[at.site]
    return scaling.rescaled_add(
        at.a,
        at.b,
        a_zero=at.a_zero,
        b_zero=at.b_zero,
        left_shift=c.left_shift,
        scaling=scaling_of(scheme_type(at.plan.settings[at.site].requantization)),
        a_multiplier=c.a.multiplier,
        a_shift=c.a.shift,
        b_multiplier=c.b.multiplier,
        b_shift=c.b.shift,
        output_multiplier=None if c.output is None else c.output.multiplier,
        output_shift=0 if c.output is None else c.output.shift,
        zero_point=to.zero_point,
        fmt=to.format,
        operand=c.operand,
    )


RESIDUAL: dict[type, Callable[[Sum, Any], Tensor]] = {AddConstants: _one_rounding, RescaledAddConstants: _rescaled}
"""Residual sums by their constants."""
