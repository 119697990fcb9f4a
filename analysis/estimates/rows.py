"""Layers as rows of a table for people: like layers of several blocks, and of several decode steps, are one row."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from hwsim.accelerator.cost.energy import Cost, summed
from hwsim.accelerator.cost.estimate import LayerCost
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.layers import Product

_BLOCK = re.compile(r"(?<=\.)\d+(?=\.)")
_STEP = re.compile(r"@\d+$")
LONGEST_NAME = 42


class Row(NamedTuple):
    """Some layers of a phase, summed; their product is the one of most MACs."""

    phase: str
    name: str
    operation: str
    layers: int
    runs: int
    product: Product | None
    cycles: Cycles
    cost: Cost
    utilization: float

    @property
    def bound(self) -> str:
        return self.cycles.bound()

    @property
    def shape(self) -> str:
        """`128x768x3072 x12`: m by k by n, the largest, and how many there are; of rows how often they run."""
        if self.product is None:
            return f"{self.operation}{_times(self.runs)}"
        return f"{shape(self.product)}{_times(self.product.count * self.runs)}"


def shape(product: Product) -> str:
    """m by k by n, and the sparsity that its table states: `3x16x5 2:4`."""
    stated = "" if product.sparsity is None else f" {product.sparsity}"
    return f"{product.m}x{product.k}x{product.n}{stated}"


def _times(count: int) -> str:
    return f" x{count}" if count > 1 else ""


def rows(layers: Iterable[LayerCost], together: bool) -> list[Row]:
    """One row a layer, or one for all of a phase that differ only in the numbers of block and step."""
    groups: dict[tuple[str, str, str], list[LayerCost]] = {}
    for layer in layers:
        name = _site(layer.name) if together else layer.name
        groups.setdefault((layer.phase, name, layer.operation), []).append(layer)
    return [_row(group, name if len(group) > 1 else group[0].name) for (_, name, _), group in groups.items()]


def _site(name: str) -> str:
    """`encoder.*.self_attention.scores`."""
    return _STEP.sub("@*", _BLOCK.sub("*", name))


def _row(layers: list[LayerCost], name: str) -> Row:
    first = layers[0]
    cycles = Cycles()
    for layer in layers:
        cycles = cycles.added(layer.cycles)
    possible = sum(layer.peak_macs_per_cycle * layer.cycles.total for layer in layers)
    cost = summed(layer.cost for layer in layers)
    products = [layer.product for layer in layers if layer.product is not None]
    return Row(
        phase=first.phase,
        name=name,
        operation=first.operation,
        layers=len(layers),
        runs=sum(layer.runs for layer in layers),
        product=max(products, key=lambda product: product.macs, default=None),
        cycles=cycles,
        cost=cost,
        utilization=cost.executed_macs / possible if possible else 0.0,
    )


def shortened(name: str) -> str:
    """A name with its middle left out if it is long."""
    if len(name) <= LONGEST_NAME:
        return name
    kept = (LONGEST_NAME - 3) // 2
    return f"{name[:kept]}...{name[-kept:]}"
