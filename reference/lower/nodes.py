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


def _embed(to: Lowering, node: Node) -> None:
    assert isinstance(node.module, nn.Embedding)
    constants = to.plan.embed[node.site]
    positions = to.strict.parameter(POSITIONS_WEIGHT, to.model.positions)
    to.emit(
        node,
        ops.Embed(
            output=to.activation(node.output),
            ids="source_ids" if node.function == "encode" else "target_ids",
            position=f"{node.function}.position",
            table=to.weight(constants.table, to.strict.parameter(constants.table, node.module.weight)),
            positions=to.weight(POSITIONS_WEIGHT, positions),
            multiplier=to.multipliers(f"{constants.table}.multiplier", constants.multipliers),
            position_multiplier=constants.position_multiplier,
            shift=constants.shift,
        ),
    )


def _product(to: Lowering, node: Node, b: str, bias: str | None = None, transpose_b: bool = False) -> str:
    accumulator = to.accumulator(f"{node.site}.accumulator", node.output.dims)
    to.emit(
        node,
        ops.MatMul(
            output=accumulator,
            a=node.inputs[0].name,
            b=b,
            bias=bias,
            transpose_b=transpose_b,
            accumulator=to.plan.scheme.accumulator,
        ),
    )
    return accumulator


def _linear_product(to: Lowering, node: Node) -> str:
    assert isinstance(node.module, nn.Linear)
    site = f"{node.site}.weight"
    weight = to.strict.parameter(site, node.module.weight)
    bias = exact.quantize_bias(node.module.bias, to.plan.linear[node.site].bias_scale, to.plan.scheme.bias_bits)
    return _product(to, node, to.weight(site, weight), to.bias(f"{node.site}.bias", bias))


def _requantize(to: Lowering, node: Node, accumulator: str, multiplier: int | str, shift: int | str) -> None:
    scheme = Dyadic if node.kind is Kind.LOGITS else to.plan.target.scheme
    operation = ops.Requantize(
        output=to.activation(node.output),
        input=accumulator,
        requantization=cast(AnyRequantization, scheme(multiplier=multiplier, shift=shift)),
    )
    to.emit(node, operation)


def _requantize_rows(to: Lowering, node: Node, accumulator: str) -> None:
    constants = to.plan.linear[node.site]
    _requantize(
        to,
        node,
        accumulator,
        to.multipliers(f"{node.site}.multiplier", constants.multipliers),
        to.shifts(f"{node.site}.shift", constants.shifts),
    )


def _linear(to: Lowering, node: Node) -> None:
    _requantize_rows(to, node, _linear_product(to, node))


def _linear_relu(to: Lowering, node: Node) -> None:
    accumulator = _linear_product(to, node)
    rectified = to.accumulator(f"{node.site}.rectified", node.output.dims)
    to.emit(node, ops.Relu(output=rectified, input=accumulator))
    _requantize_rows(to, node, rectified)


def _scores(to: Lowering, node: Node) -> None:
    accumulator, constants = _product(to, node, node.inputs[1].name), to.plan.scores[node.site]
    if constants.shift is not None:
        shifted = to.accumulator(f"{node.site}.shifted", node.output.dims)
        to.emit(node, ops.ShiftRight(output=shifted, input=accumulator, shift=constants.shift))
        accumulator = shifted
    _requantize(to, node, accumulator, *constants.requantization)


def _context(to: Lowering, node: Node) -> None:
    accumulator = _product(to, node, node.inputs[1].name, transpose_b=True)
    _requantize(to, node, accumulator, *to.plan.context[node.site])


def _logits(to: Lowering, node: Node) -> None:
    assert isinstance(node.module, nn.Embedding)
    constants = to.plan.logits[node.site]
    weight = to.weight(constants.table, to.strict.parameter(constants.table, node.module.weight))
    multipliers = to.multipliers(f"{constants.table}.multiplier", constants.multipliers)
    _requantize(to, node, _product(to, node, weight), multipliers, constants.shift)


def _split_heads(to: Lowering, node: Node) -> None:
    to.emit(node, ops.SplitHeads(output=to.activation(node.output), input=node.inputs[0].name))


def _merge_heads(to: Lowering, node: Node) -> None:
    to.emit(node, ops.MergeHeads(output=to.activation(node.output), input=node.inputs[0].name))


def _extend(to: Lowering, node: Node) -> None:
    past, new = (symbol.name for symbol in node.inputs)
    to.emit(node, ops.Append(output=to.activation(node.output), past=past, input=new))


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
