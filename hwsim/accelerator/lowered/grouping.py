"""Which operations make one layer: a matrix product with what is done to its result alone, or one of the rest."""

from collections.abc import Iterator
from typing import NamedTuple

from hwsim.accelerator.layers import Part
from hwsim.accelerator.lowered.residence import Addressing, Epilogue, Residence
from hwsim.program.operations import AnyAdd, AnySoftmax, MatMul, Operation, ProjectHeads, Requantize


class Group(NamedTuple):
    """Operations of one layer, in order, the first of which says what layer it is.

    Attributes
    ----------
    name
        The layer's site: the code that a product ends in, before a residual sum; of other layers the output. Projected
        heads are two layers: the products, which end in codes of the heads, and what reads their sum.
    dimensions
        The symbolic dimensions on which the layer's sizes depend.
    """

    name: str
    operations: tuple[Operation, ...]
    part: Part
    dimensions: frozenset[str]


def groups(residence: Residence) -> tuple[Group, ...]:
    """The layers of a function in execution order: each runs when its last operation can.

    Every operation is in just one of them, but those that only say where a tensor lies, which cost nothing.
    """
    parts = dict(_attention_parts(residence))
    return tuple(
        Group(
            _name(operations), operations, parts.get(operations[0].output, Part.NONE), residence.dimensions(operations)
        )
        for operations in _collected(residence)
    )


def _collected(residence: Residence) -> list[tuple[Operation, ...]]:
    making: dict[str, list[Operation]] = {}
    order = [operation for operation in residence.function.operations if not isinstance(operation, Addressing)]
    for operation in order:
        source = _continued(operation, residence, making)
        group = [] if source is None else making[source]
        group.append(operation)
        making[operation.output] = group
    return [tuple(making[operation.output]) for operation in order if making[operation.output][-1] is operation]


def _continued(operation: Operation, residence: Residence, making: dict[str, list[Operation]]) -> str | None:
    """The tensor whose layer an operation belongs to as well; None if it begins a layer."""
    if isinstance(operation, Epilogue):
        return operation.input if operation.input in residence.fused else None
    if not isinstance(operation, AnyAdd) or operation.a == operation.b:
        return None
    codes = [name for name in (operation.a, operation.b) if _ends_product(name, residence, making)]
    order = list(residence.producer)
    return max(codes, key=order.index, default=None)  # of two products the later one, when the other's result is there


def _ends_product(name: str, residence: Residence, making: dict[str, list[Operation]]) -> bool:
    """Whether a tensor is the requantized code of a matrix product that one operation alone reads."""
    return (
        isinstance(residence.producer.get(name), Requantize)
        and isinstance(making[name][0], MatMul)
        and len(residence.readers[name]) == 1
        and name not in residence.function.outputs
    )


def _name(operations: tuple[Operation, ...]) -> str:
    codes = [operation for operation in operations if not isinstance(operation, AnyAdd)]
    last = (codes or operations)[-1]
    return last.heads if isinstance(last, ProjectHeads) else last.output


def _attention_parts(residence: Residence) -> Iterator[tuple[str, Part]]:
    """(output of a layer's first operation, its part) for every softmax whose scores and context are products."""
    products = [op for op in residence.function.operations if isinstance(op, MatMul)]
    for softmax in residence.function.operations:
        if not isinstance(softmax, AnySoftmax):
            continue
        scores = [op for op in products if softmax.input in _results(op, residence)]
        contexts = [op for op in products if residence.unshaped(op.a) == softmax.output]
        if len(scores) == len(contexts) == 1:
            yield scores[0].output, Part.SCORES
            yield softmax.output, Part.SOFTMAX
            yield contexts[0].output, Part.CONTEXT


def _results(product: MatMul, residence: Residence) -> list[str]:
    """A product's accumulators and what becomes of them on the way to its code."""
    names = [product.output]
    while names[-1] in residence.fused:
        names.append(residence.readers[names[-1]][0].output)
    return names
