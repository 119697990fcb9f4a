"""Sums over the layers of a workload."""

from collections import Counter
from collections.abc import Iterable

from hwsim.accelerator.events import Component
from hwsim.accelerator.layers import Layer, Phase

Kind = tuple[Component, int, int]


def macs(phase: Phase) -> int:
    return sum(layer.repeat * layer.product.macs for layer in phase.layers if layer.product)


def summed(layers: Iterable[Layer]) -> Counter[Kind]:
    counts: Counter[Kind] = Counter()
    for layer in layers:
        for term in layer.terms:
            counts[term.component, term.bits, term.second_bits] += layer.repeat * term.count
    return counts


def times(counts: Counter[Kind], factor: int) -> dict[Kind, int]:
    return {kind: factor * count for kind, count in counts.items()}
