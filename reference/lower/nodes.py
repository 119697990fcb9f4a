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
from reference.quantize.graph import Kind, Node
from reference.quantize.sites import POSITIONS_WEIGHT

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
            a=node.inputs[0].name,
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


def _linear_product(lowering: Lowering, node: Node) -> str:
    assert isinstance(node.module, nn.Linear)
    site = f"{node.site}.weight"
    weight = lowering.strict.parameter(site, node.module.weight)
    constants = lowering.plan.linear[node.site]
    codes = lowering.strict.bias(node.site, node.module.bias)
    bias = lowering.bias(f"{node.site}.bias", codes, constants.bias_bits + constants.bias_shift)
    return _product(lowering, node, lowering.weight(site, weight), bias, truncate=constants.truncate)


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
    _requantize_rows(lowering, node, _linear_product(lowering, node))


def _linear_relu(lowering: Lowering, node: Node) -> None:
    accumulator = _linear_product(lowering, node)
    rectified = lowering.tensor(f"{node.site}.rectified", lowering.tensors[accumulator].format, node.output.dims)
    lowering.emit(node, ops.Relu(output=rectified, input=accumulator))
    _requantize_rows(lowering, node, rectified)


def _scores(lowering: Lowering, node: Node) -> None:
    constants = lowering.plan.scores[node.site]
    accumulator = _product(lowering, node, node.inputs[1].name, truncate=constants.truncate)
    if constants.shift is not None:
        shifted = lowering.tensor(f"{node.site}.shifted", lowering.tensors[accumulator].format, node.output.dims)
        lowering.emit(node, ops.ShiftRight(output=shifted, input=accumulator, shift=constants.shift))
        accumulator = shifted
    _requantize(lowering, node, accumulator, *constants.requantization)


def _context(lowering: Lowering, node: Node) -> None:
    constants = lowering.plan.context[node.site]
    accumulator = _product(lowering, node, node.inputs[1].name, transpose_b=True, truncate=constants.truncate)
    _requantize(lowering, node, accumulator, *constants.requantization)


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
