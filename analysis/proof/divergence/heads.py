"""The last rounding of projected heads: (R14) of docs/operators/requantization.md."""

from analysis.proof.divergence.element import Element
from analysis.proof.divergence.stage import Stage
from hwsim.formats import Accumulator, Granularity, Overflow
from hwsim.program.operations import ProjectHeads


def project_heads(operation: ProjectHeads, at: Element) -> Stage | None:
    """A head's code by the ratio of that head; their sum is exact."""
    if at.site == operation.output:
        return None
    batch, head, position, column = at.index
    context = at.values[operation.input][batch, head, position]
    zero, d_head = at.program.tensors[operation.input].zero_point, len(context)
    weight = at.program.constants[operation.weight][column, head * d_head : (head + 1) * d_head]
    products = [(int(x) - zero) * int(w) for x, w in zip(context, weight, strict=True)]
    bias = 0 if head or operation.bias is None else at.parameter(operation.bias)
    scheme = operation.requantization
    multiplier, shift = at.constant(scheme.multiplier, head), at.constant(scheme.shift, head)
    return at.stage(_sum(bias, products, operation.accumulator), multiplier, shift, scheme.scaling.name.lower())


def _sum(bias: int, products: list[int], accumulator: Accumulator) -> int:
    """(A1) to (A3) of docs/operators/accumulator.md."""
    sizes = {Granularity.MAC: 1, Granularity.TILE: accumulator.tile, Granularity.END: max(1, len(products))}
    size, total = sizes[accumulator.granularity], _fit(bias, accumulator)
    for start in range(0, len(products), size):
        total = _fit(total + sum(products[start : start + size]), accumulator)
    return total


def _fit(value: int, accumulator: Accumulator) -> int:
    if accumulator.overflow is Overflow.WRAP:
        return (value - accumulator.min) % (1 << accumulator.bits) + accumulator.min
    return min(max(value, accumulator.min), accumulator.max)
