"""Which operation each record of constants becomes: softmaxes, LayerNorms and residual sums of every target."""

from collections.abc import Callable
from typing import Any, cast

import msgspec
from torch import nn

from hwsim.formats import IntFormat, Overflow
from hwsim.program import operations as ops
from hwsim.program.catalogue import AnyRequantization, Dyadic, Float32, Q31Double, scheme_type
from reference.lower.lowering import Lowering
from reference.quantize.graph import Node
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
    Rescale,
    RescaledAddConstants,
    SoftmaxConstants,
    TfliteLayerNormConstants,
)
from reference.quantize.plan.snap import Snapped
from reference.quantize.plan.tables import softmax_tables
from reference.quantize.strict.operators import exp_table
from reference.quantize.strict.qlinear import qlinear_table

# --- softmax ----------------------------------------------------------------------------------------------------------


def softmax(lowering: Lowering, node: Node) -> None:
    constants = lowering.plan.softmax[node.site]
    lowering.emit(node, SOFTMAX[type(constants)](lowering, node, constants))


def _softmax_fields(lowering: Lowering, node: Node) -> dict[str, Any]:
    return {"output": lowering.activation(node.output), "input": node.inputs[0].name, "mask": node.mask}


def _table(lowering: Lowering, node: Node, c: SoftmaxConstants) -> ops.Softmax:
    dims, bits = node.output.dims, lowering.plan.settings[f"{node.site}.numerator"].bits
    table = exp_table(lowering.plan, node.site)
    return ops.Softmax(
        numerator=lowering.inner(f"{node.site}.numerator", dims),
        denominator=lowering.inner(f"{node.site}.denominator", (*dims[:-1], 1)),
        **_softmax_fields(lowering, node),
        table=lowering.constant(f"{node.site}.table", table, IntFormat(bits=bits, signed=False), "table"),
        denominator_requantization=_dyadic(c.denominator),
        output_requantization=_dyadic(c.output),
    )


def _gemmlowp(lowering: Lowering, node: Node, c: GemmlowpConstants) -> ops.GemmlowpSoftmax:
    return ops.GemmlowpSoftmax(**_softmax_fields(lowering, node), multiplier=c.multiplier, left_shift=c.left_shift)


def _ibert_softmax(lowering: Lowering, node: Node, c: IBertSoftmaxConstants) -> ops.IBertSoftmax:
    m, e = c.requantization
    return ops.IBertSoftmax(**_softmax_fields(lowering, node), ln2=c.ln2, b=c.b, c=c.c, multiplier=m, shift=e)


def _itamax(lowering: Lowering, node: Node, c: ItaMaxConstants) -> ops.ItaMax:
    return ops.ItaMax(**_softmax_fields(lowering, node), shift=c.shift, group=c.group)


def _gemmini(lowering: Lowering, node: Node, c: GemminiSoftmaxConstants) -> ops.GemminiSoftmax:
    return ops.GemminiSoftmax(**_softmax_fields(lowering, node), ln2=c.ln2, b=c.b, c=c.c)


def _pulp_softmax(lowering: Lowering, node: Node, c: PulpSoftmaxConstants) -> ops.PulpSoftmax:
    return ops.PulpSoftmax(**_softmax_fields(lowering, node), ln2=c.ln2, b=c.b, c=c.c)


def _int16(lowering: Lowering, node: Node, c: Int16SoftmaxConstants) -> ops.Int16Softmax:
    names = ("exp_table", "reciprocal_table")
    tables = {
        name: lowering.constant(name, table, IntFormat(bits=16), "table")
        for name, table in zip(names, softmax_tables(), strict=True)
    }
    m, e = c.requantization
    requantization = Q31Double(multiplier=m, shift=e)
    return ops.Int16Softmax(
        **_softmax_fields(lowering, node), **tables, requantization=requantization, clamped=c.clamped
    )


def _qlinear(lowering: Lowering, node: Node, c: QLinearSoftmaxConstants) -> ops.QLinearSoftmax:
    table = qlinear_table(c.table_scale, lowering.plan.settings[node.inputs[0].site].bits, c.keys)
    bits = lowering.constant(f"{node.site}.table", table, IntFormat(bits=32), "table")
    return ops.QLinearSoftmax(**_softmax_fields(lowering, node), table=bits, multiplier=c.multiplier)


SOFTMAX: dict[type, Callable[[Lowering, Node, Any], ops.AnySoftmax]] = {
    SoftmaxConstants: _table,
    GemmlowpConstants: _gemmlowp,
    IBertSoftmaxConstants: _ibert_softmax,
    ItaMaxConstants: _itamax,
    GemminiSoftmaxConstants: _gemmini,
    PulpSoftmaxConstants: _pulp_softmax,
    Int16SoftmaxConstants: _int16,
    QLinearSoftmaxConstants: _qlinear,
}
"""What each record of constants becomes."""

# --- LayerNorm --------------------------------------------------------------------------------------------------------


def layernorm(lowering: Lowering, node: Node) -> None:
    constants = lowering.plan.layernorm[node.site]
    lowering.emit(node, LAYERNORM[type(constants)](lowering, node, constants))


def _layernorm_fields(lowering: Lowering, node: Node) -> dict[str, Any]:
    norm = node.module
    assert isinstance(norm, nn.LayerNorm)
    gamma = lowering.strict.parameter(f"{node.site}.gamma", norm.weight)
    beta, bits = lowering.strict.beta(node.site, norm)
    return {
        "output": lowering.activation(node.output),
        "input": node.inputs[0].name,
        "gamma": lowering.weight(f"{node.site}.gamma", gamma),
        "beta": lowering.bias(f"{node.site}.beta", beta, bits),
    }


def _fullyqt(lowering: Lowering, node: Node, c: LayerNormConstants) -> ops.LayerNorm:
    dims = node.output.dims
    return ops.LayerNorm(
        numerator=lowering.inner(f"{node.site}.numerator", dims),
        denominator=lowering.inner(f"{node.site}.denominator", (*dims[:-1], 1)),
        quotient=lowering.inner(f"{node.site}.quotient", dims),
        **_layernorm_fields(lowering, node),
        eps=c.eps,
        numerator_requantization=_rescale(c.numerator),
        denominator_requantization=_rescale(c.denominator),
        quotient_requantization=_rescale(c.quotient),
        output_requantization=_rescale(c.output),
    )


def _ibert_layernorm(lowering: Lowering, node: Node, c: IBertLayerNormConstants) -> ops.IBertLayerNorm:
    common = _layernorm_fields(lowering, node)
    m = lowering.multipliers(f"{node.site}.multiplier", c.multipliers)
    e = lowering.shifts(f"{node.site}.shift", c.shifts)
    return ops.IBertLayerNorm(**common, variance_shift=c.variance_shift, requantization=Dyadic(multiplier=m, shift=e))


def _pulp(lowering: Lowering, node: Node, c: PulpLayerNormConstants) -> ops.PulpLayerNorm:
    overflow = Overflow.WRAP if c.overflow is Overflow.WRAP else msgspec.UNSET
    return ops.PulpLayerNorm(**_layernorm_fields(lowering, node), shift=c.shift, overflow=overflow)


def _gemmini_layernorm(lowering: Lowering, node: Node, c: GemminiLayerNormConstants) -> ops.GemminiLayerNorm:
    m, e = c.requantization
    return ops.GemminiLayerNorm(**_layernorm_fields(lowering, node), requantization=Float32(multiplier=m, shift=e))


def _tflite(lowering: Lowering, node: Node, c: TfliteLayerNormConstants) -> ops.TfliteLayerNorm:
    m, e = c.requantization
    return ops.TfliteLayerNorm(
        **_layernorm_fields(lowering, node),
        variance_limit=c.variance_limit,
        requantization=Q31Double(multiplier=m, shift=e),
    )


LAYERNORM: dict[type, Callable[[Lowering, Node, Any], ops.AnyLayerNorm]] = {
    LayerNormConstants: _fullyqt,
    IBertLayerNormConstants: _ibert_layernorm,
    PulpLayerNormConstants: _pulp,
    TfliteLayerNormConstants: _tflite,
    GemminiLayerNormConstants: _gemmini_layernorm,
}
"""What each record of constants becomes."""

# --- residual sum -----------------------------------------------------------------------------------------------------


def add(lowering: Lowering, node: Node) -> None:
    constants = lowering.plan.add[node.site]
    lowering.emit(node, RESIDUAL[type(constants)](lowering, node, constants))


def _add_fields(lowering: Lowering, node: Node) -> dict[str, Any]:
    a, b = (symbol.name for symbol in node.inputs)
    return {"output": lowering.activation(node.output), "a": a, "b": b}


def _one_rounding(lowering: Lowering, node: Node, c: AddConstants) -> ops.Add:
    m_a, m_b = c.multipliers
    return ops.Add(**_add_fields(lowering, node), a_multiplier=m_a, b_multiplier=m_b, shift=c.shift)


def _rescaled(lowering: Lowering, node: Node, c: RescaledAddConstants) -> ops.RescaledAdd:
    return ops.RescaledAdd(
        **_add_fields(lowering, node),
        left_shift=c.left_shift,
        a_requantization=_scheme(lowering, node, c.a),
        b_requantization=_scheme(lowering, node, c.b),
        output_requantization=None if c.output is None else _scheme(lowering, node, c.output),
        operand=msgspec.UNSET if c.operand is None else c.operand,
    )


RESIDUAL: dict[type, Callable[[Lowering, Node, Any], ops.AnyAdd]] = {
    AddConstants: _one_rounding,
    RescaledAddConstants: _rescaled,
}
"""What each record of constants becomes."""

# --- ratios -----------------------------------------------------------------------------------------------------------


def _scheme(lowering: Lowering, node: Node, snapped: Snapped) -> AnyRequantization:
    """A ratio in the scheme of a node's site."""
    scheme = scheme_type(lowering.plan.settings[node.site].requantization)
    return cast(AnyRequantization, scheme(multiplier=snapped.multiplier, shift=snapped.shift))


def _rescale(constants: Rescale) -> Dyadic:
    return Dyadic(multiplier=constants.multiplier, shift=constants.shift)


def _dyadic(snapped: Snapped) -> Dyadic:
    return Dyadic(multiplier=snapped.multiplier, shift=snapped.shift)
