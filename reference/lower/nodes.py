"""Which operations each kind of node becomes."""

from collections.abc import Callable
from typing import cast

from torch import nn

from hwsim.program import operations as ops
from hwsim.program.catalogue import AnyRequantization, Dyadic
from reference.lower import rows
from reference.lower.lowering import Lowering
from reference.quantize.graph import Kind, Node
from reference.quantize.sites import POSITIONS_WEIGHT
from reference.quantize.strict import exact


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


def _product(lowering: Lowering, node: Node, b: str, bias: str | None = None, transpose_b: bool = False) -> str:
    accumulator = lowering.accumulator(f"{node.site}.accumulator", node.output.dims)
    lowering.emit(
        node,
        ops.MatMul(
            output=accumulator,
            a=node.inputs[0].name,
            b=b,
            bias=bias,
            transpose_b=transpose_b,
            accumulator=lowering.plan.scheme.accumulator,
        ),
    )
    return accumulator


def _linear_product(lowering: Lowering, node: Node) -> str:
    assert isinstance(node.module, nn.Linear)
    site = f"{node.site}.weight"
    weight = lowering.strict.parameter(site, node.module.weight)
    bias = exact.quantize_bias(
        node.module.bias, lowering.plan.linear[node.site].bias_scale, lowering.plan.scheme.bias_bits
    )
    return _product(lowering, node, lowering.weight(site, weight), lowering.bias(f"{node.site}.bias", bias))


def _requantize(lowering: Lowering, node: Node, accumulator: str, multiplier: int | str, shift: int | str) -> None:
    scheme = Dyadic if node.kind is Kind.LOGITS else lowering.plan.target.scheme
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
    _requantize_rows(lowering, node, _linear_product(lowering, node))


def _linear_relu(lowering: Lowering, node: Node) -> None:
    accumulator = _linear_product(lowering, node)
    rectified = lowering.accumulator(f"{node.site}.rectified", node.output.dims)
    lowering.emit(node, ops.Relu(output=rectified, input=accumulator))
    _requantize_rows(lowering, node, rectified)


def _scores(lowering: Lowering, node: Node) -> None:
    accumulator, constants = _product(lowering, node, node.inputs[1].name), lowering.plan.scores[node.site]
    if constants.shift is not None:
        shifted = lowering.accumulator(f"{node.site}.shifted", node.output.dims)
        lowering.emit(node, ops.ShiftRight(output=shifted, input=accumulator, shift=constants.shift))
        accumulator = shifted
    _requantize(lowering, node, accumulator, *constants.requantization)


def _context(lowering: Lowering, node: Node) -> None:
    accumulator = _product(lowering, node, node.inputs[1].name, transpose_b=True)
    _requantize(lowering, node, accumulator, *lowering.plan.context[node.site])


def _logits(lowering: Lowering, node: Node) -> None:
    assert isinstance(node.module, nn.Embedding)
    constants = lowering.plan.logits[node.site]
    weight = lowering.weight(constants.table, lowering.strict.parameter(constants.table, node.module.weight))
    multipliers = lowering.multipliers(f"{constants.table}.multiplier", constants.multipliers)
    _requantize(lowering, node, _product(lowering, node, weight), multipliers, constants.shift)


def _split_heads(lowering: Lowering, node: Node) -> None:
    lowering.emit(node, ops.SplitHeads(output=lowering.activation(node.output), input=node.inputs[0].name))


def _merge_heads(lowering: Lowering, node: Node) -> None:
    lowering.emit(node, ops.MergeHeads(output=lowering.activation(node.output), input=node.inputs[0].name))


def _extend(lowering: Lowering, node: Node) -> None:
    past, new = (symbol.name for symbol in node.inputs)
    lowering.emit(node, ops.Append(output=lowering.activation(node.output), past=past, input=new))


NODES: dict[Kind, Callable[[Lowering, Node], None]] = {
    Kind.EMBED: _embed,
    Kind.LINEAR: _linear,
    Kind.LINEAR_RELU: _linear_relu,
    Kind.SPLIT_HEADS: _split_heads,
    Kind.MERGE_HEADS: _merge_heads,
    Kind.SCORES: _scores,
    Kind.SOFTMAX: rows.softmax,
    Kind.CONTEXT: _context,
    Kind.ADD: rows.add,
    Kind.LAYERNORM: rows.layernorm,
    Kind.EXTEND: _extend,
    Kind.LOGITS: _logits,
}
"""What writes each kind of node down."""
