"""Which operations each kind of node becomes."""

from collections.abc import Callable
from typing import cast

import msgspec
from torch import nn

from hwsim.formats import IntFormat, Rounding
from hwsim.program import operations as ops
from hwsim.program.catalogue import AnyRequantization, Dyadic, scheme_type
from reference.lower import rows
from reference.lower.lowering import Lowering
from reference.quantize.graph import Kind, Node, Symbol
from reference.quantize.plan.constants import HeadsConstants, LinearConstants
from reference.quantize.sites import POSITIONS_WEIGHT, heads_site

TRUNCATED = IntFormat(bits=32)
"""What NVDLA's CACC hands on."""


def _embed(lowering: Lowering, node: Node) -> None:
    assert isinstance(node.module, nn.Embedding)
    constants = lowering.plan.embed[node.site]
    positions = lowering.strict.parameter(POSITIONS_WEIGHT, lowering.model.positions)
    lowering.emit(
        node,
        ops.Embed(
            output=lowering.activation(node.output),
            ids="source_ids" if node.function == "encode" else "target_ids",
            position=f"{node.function}.position",
            table=lowering.weight(constants.table, lowering.strict.parameter(constants.table, node.module.weight)),
            positions=lowering.weight(POSITIONS_WEIGHT, positions),
            multiplier=lowering.multipliers(f"{constants.table}.multiplier", constants.multipliers),
            position_multiplier=constants.position_multiplier,
            shift=constants.shift,
        ),
    )


def _product(
    lowering: Lowering,
    node: Node,
    a: str,
    b: str,
    bias: str | None = None,
    transpose_b: bool = False,
    truncate: int | None = None,
) -> str:
    """A product; with a `truncate` its accumulator in 32 bits, to which the bias is added then."""
    accumulator = lowering.accumulator(f"{node.site}.accumulator", node.output.dims)
    lowering.emit(
        node,
        ops.MatMul(
            output=accumulator,
            a=a,
            b=b,
            bias=bias if truncate is None else None,
            transpose_b=transpose_b,
            accumulator=lowering.plan.scheme.accumulator,
        ),
    )
    if truncate is None:
        return accumulator
    truncated = lowering.tensor(f"{node.site}.truncated", TRUNCATED, node.output.dims)
    lowering.emit(
        node,
        ops.ShiftRight(
            output=truncated,
            input=accumulator,
            shift=truncate,
            rounding=Rounding.HALF_AWAY,
            bias=msgspec.UNSET if bias is None else bias,
        ),
    )
    return truncated


def _weight_and_bias(lowering: Lowering, node: Node, constants: LinearConstants | HeadsConstants) -> tuple[str, str]:
    assert isinstance(node.module, nn.Linear)
    site = f"{node.site}.weight"
    weight = lowering.strict.parameter(site, node.module.weight)
    bias = lowering.bias(
        f"{node.site}.bias",
        lowering.strict.bias(constants, node.module.bias),
        constants.bias_bits + constants.bias_shift,
    )
    return lowering.weight(site, weight), bias


def _linear_product(lowering: Lowering, node: Node, a: str) -> str:
    constants = lowering.plan.linear[node.site]
    return _product(lowering, node, a, *_weight_and_bias(lowering, node, constants), truncate=constants.truncate)


def _requantize(lowering: Lowering, node: Node, accumulator: str, multiplier: int | str, shift: int | str) -> None:
    own = lowering.plan.settings[node.site].requantization
    scheme = Dyadic if node.kind is Kind.LOGITS else scheme_type(own)
    operation = ops.Requantize(
        output=lowering.activation(node.output),
        input=accumulator,
        requantization=cast(AnyRequantization, scheme(multiplier=multiplier, shift=shift)),
    )
    lowering.emit(node, operation)


def _requantize_rows(lowering: Lowering, node: Node, accumulator: str) -> None:
    constants = lowering.plan.linear[node.site]
    _requantize(
        lowering,
        node,
        accumulator,
        lowering.multipliers(f"{node.site}.multiplier", constants.multipliers),
        lowering.shifts(f"{node.site}.shift", constants.shifts),
    )


def _linear(lowering: Lowering, node: Node) -> None:
    _requantize_rows(lowering, node, _linear_product(lowering, node, node.inputs[0].name))


def _linear_relu(lowering: Lowering, node: Node) -> None:
    accumulator = _linear_product(lowering, node, node.inputs[0].name)
    rectified = lowering.tensor(f"{node.site}.rectified", lowering.tensors[accumulator].format, node.output.dims)
    lowering.emit(node, ops.Relu(output=rectified, input=accumulator))
    _requantize_rows(lowering, node, rectified)


def _scores(lowering: Lowering, node: Node) -> None:
    queries, keys = (symbol.name for symbol in node.inputs)
    constants = lowering.plan.scores[node.site]
    accumulator = _product(lowering, node, queries, keys, truncate=constants.truncate)
    if constants.shift is not None:
        shifted = lowering.tensor(f"{node.site}.shifted", lowering.tensors[accumulator].format, node.output.dims)
        lowering.emit(node, ops.ShiftRight(output=shifted, input=accumulator, shift=constants.shift))
        accumulator = shifted
    _requantize(lowering, node, accumulator, *constants.requantization)


def _context(lowering: Lowering, node: Node) -> None:
    probabilities, values = (symbol.name for symbol in node.inputs)
    constants = lowering.plan.context[node.site]
    accumulator = _product(lowering, node, probabilities, values, transpose_b=True, truncate=constants.truncate)
    _requantize(lowering, node, accumulator, *constants.requantization)


def _logits(lowering: Lowering, node: Node) -> None:
    assert isinstance(node.module, nn.Embedding)
    constants = lowering.plan.logits[node.site]
    weight = lowering.weight(constants.table, lowering.strict.parameter(constants.table, node.module.weight))
    multipliers = lowering.multipliers(f"{constants.table}.multiplier", constants.multipliers)
    accumulator = _product(lowering, node, node.inputs[0].name, weight)
    _requantize(lowering, node, accumulator, multipliers, constants.shift)


def _split_heads(lowering: Lowering, node: Node) -> None:
    lowering.emit(node, ops.SplitHeads(output=lowering.activation(node.output), input=node.inputs[0].name))


def _project_heads(lowering: Lowering, node: Node) -> None:
    (context,) = node.inputs
    batch, heads, length, d_head = context.dims
    if node.site not in lowering.plan.heads:
        dims = (batch, length, int(heads) * int(d_head))
        merged = lowering.activation(Symbol(name=f"{context.name}.merged", site=context.site, dims=dims))
        lowering.emit(node, ops.MergeHeads(output=merged, input=context.name))
        _requantize_rows(lowering, node, _linear_product(lowering, node, merged))
        return
    constants, site = lowering.plan.heads[node.site], heads_site(node.site)
    weight, bias = _weight_and_bias(lowering, node, constants)
    total = lowering.accumulator(f"{node.site}.accumulator", node.output.dims)
    multiplier = lowering.multipliers(f"{site}.multiplier", constants.multipliers)
    shift = lowering.shifts(f"{site}.shift", constants.shifts)
    scheme = scheme_type(lowering.plan.settings[site].requantization)
    operation = ops.ProjectHeads(
        heads=lowering.inner(site, (batch, heads, *node.output.dims[1:])),
        output=total,
        input=context.name,
        weight=weight,
        bias=bias,
        accumulator=lowering.plan.scheme.accumulator,
        requantization=cast(AnyRequantization, scheme(multiplier=multiplier, shift=shift)),
    )
    lowering.emit(node, operation)
    _requantize(lowering, node, total, *constants.output)


def _extend(lowering: Lowering, node: Node) -> None:
    past, new = (symbol.name for symbol in node.inputs)
    lowering.emit(node, ops.Append(output=lowering.activation(node.output), past=past, input=new))


NODES: dict[Kind, Callable[[Lowering, Node], None]] = {
    Kind.EMBED: _embed,
    Kind.LINEAR: _linear,
    Kind.LINEAR_RELU: _linear_relu,
    Kind.SPLIT_HEADS: _split_heads,
    Kind.PROJECT_HEADS: _project_heads,
    Kind.SCORES: _scores,
    Kind.SOFTMAX: rows.softmax,
    Kind.CONTEXT: _context,
    Kind.ADD: rows.add,
    Kind.LAYERNORM: rows.layernorm,
    Kind.EXTEND: _extend,
    Kind.LOGITS: _logits,
}
"""What writes each kind of node down."""
