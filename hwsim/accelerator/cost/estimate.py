"""The cost of a workload on a machine: layers, phases, totals."""

from collections.abc import Iterator, Sequence

import msgspec

from hwsim.accelerator.cost.attention import Fused, fused_attention
from hwsim.accelerator.cost.counts import Kind, Run, add, events, joined, total
from hwsim.accelerator.cost.energy import Cost, price, summed
from hwsim.accelerator.cost.products import (
    Mapping,
    datapath_counts,
    gated_counts,
    product_run,
    resident,
    skipped_kind,
)
from hwsim.accelerator.cost.vectors import rows_run
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.energy_tables import EnergyTable, energy_table
from hwsim.accelerator.events import Component, Event
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Layer, Part, Phase, Product, Workload
from hwsim.accelerator.options import Attention, Options
from hwsim.accelerator.prices import prices_of
from hwsim.accelerator.tiling import Plan, TilePrices

COST_MODEL = "hwsim-3"
"""The model of docs/accelerator.md, named in every record: figures of different models do not compare."""


class LayerCost(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of a layer over all its runs in a phase.

    Attributes
    ----------
    runs
        How often it ran.
    product
        Its shape; None of a row layer. Where it ran with several, the largest.
    plan
        How that was tiled.
    peak_macs_per_cycle
        Of the array at the layer's width; 0 of a row layer.
    """

    phase: str
    name: str
    operation: str
    runs: int
    product: Product | None
    plan: Plan | None
    peak_macs_per_cycle: float
    cycles: Cycles
    events: tuple[Event, ...]
    cost: Cost

    @property
    def utilization(self) -> float:
        """Executed MACs over what the array could have done in the same time, 0 to 1."""
        possible = self.peak_macs_per_cycle * self.cycles.total
        return self.cost.executed_macs / possible if possible else 0.0

    @property
    def bound(self) -> str:
        return self.cycles.bound()


class PhaseCost(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of a phase, or of all; `tokens` are those that its figures are divided by."""

    name: str
    tokens: int
    sentences: int
    layers: tuple[LayerCost, ...]
    cycles: Cycles
    cost: Cost

    def per_sentence(self, amount: float) -> float:
        return amount / self.sentences

    def per_token(self, amount: float) -> float:
        return amount / self.tokens


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of a workload; `total` has every layer of every phase, and the tokens of the last one."""

    workload: Workload
    hardware: Hardware
    options: Options
    table: EnergyTable
    phases: tuple[PhaseCost, ...]
    total: PhaseCost

    def phase(self, name: str) -> PhaseCost:
        """A phase by name; the error lists the known ones."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise ValueError(f"unknown phase {name!r}; the workload has {', '.join(p.name for p in self.phases)}")

    @property
    def seconds(self) -> float:
        return self.total.cycles.total / self.hardware.clock_hz


def estimate(workload: Workload, hardware: Hardware, options: Options | None = None) -> Estimate:
    """Cost of a workload.

    Parameters
    ----------
    workload
        Layers in phases.
    hardware
        The machine; its energy table is looked up by name.
    options
        The mapping; default: least DRAM traffic, unfused attention.

    Raises
    ------
    ValueError
        If a layer has operands wider than the array, or its smallest tile does not fit; the message names the layer.
    """
    return _Estimator(hardware, options or Options()).estimate(workload)


class _Estimator:
    """Costs layers; like layers once."""

    def __init__(self, hardware: Hardware, options: Options) -> None:
        self.hardware, self.options = hardware, options
        self.table = energy_table(hardware.energy_table)
        self.prices = prices_of(hardware, self.table)
        near = (self.prices.sram_read_word_aj, self.prices.sram_write_word_aj)
        far = (self.prices.dram_byte_aj, self.prices.leakage_cycle_aj)
        self.mapping = Mapping(hardware, options, TilePrices(*(x or 0 for x in near + far)), hardware.sram.tile_bytes)
        self.known: dict[Layer, Run] = {}
        self.fused: dict[tuple[Layer, ...], Fused] = {}

    def estimate(self, workload: Workload) -> Estimate:
        phases = tuple(self._phase(phase, workload.sentences) for phase in workload.phases)
        layers = tuple(layer for phase in phases for layer in phase.layers)
        return Estimate(
            workload=workload,
            hardware=self.hardware,
            options=self.options,
            table=self.table,
            phases=phases,
            total=_phase_cost("total", phases[-1].tokens, workload.sentences, layers),
        )

    def _phase(self, phase: Phase, sentences: int) -> PhaseCost:
        runs: dict[tuple[str, str], list[tuple[Layer, Run]]] = {}
        for layer, run in self._runs(phase.layers):
            runs.setdefault((layer.name, layer.operation), []).append((layer, run))
        layers = tuple(self._layer(phase.name, parts) for parts in runs.values())
        return _phase_cost(phase.name, phase.tokens, sentences, layers)

    def _runs(self, layers: Sequence[Layer]) -> Iterator[tuple[Layer, Run]]:
        """Every layer with one run of it; the three of a fused attention at once."""
        fused = self.options.attention is not Attention.UNFUSED
        i = 0
        while i < len(layers):
            three = layers[i : i + 3]
            if fused and [layer.part for layer in three] == [Part.SCORES, Part.SOFTMAX, Part.CONTEXT]:
                yield from zip(three, self._attention(*three), strict=True)
                i += 3
            else:
                yield layers[i], self._run(layers[i])
                i += 1

    def _run(self, layer: Layer) -> Run:
        key = _anonymous(layer)
        if key not in self.known:
            try:
                self.known[key] = self._new_run(layer)
            except ValueError as error:
                raise ValueError(f"layer {layer.name}: {error}") from None
        return self.known[key]

    def _new_run(self, layer: Layer) -> Run:
        if layer.rows is not None:
            return self._finish(layer, rows_run(layer.rows, layer.vectors, self.hardware))
        assert layer.product is not None
        product = resident(layer.product, self.hardware)
        return self._finish(layer, product_run(product, self.mapping, layer.vectors.passes))

    def _attention(self, scores: Layer, softmax: Layer, context: Layer) -> tuple[Run, Run, Run]:
        key = tuple(map(_anonymous, (scores, softmax, context)))
        if key not in self.fused:
            try:
                self.fused[key] = fused_attention(scores, softmax, context, self.mapping)
            except ValueError as error:
                raise ValueError(f"layer {scores.name}: {error}") from None
        runs = self.fused[key]
        twice = 2 if self.options.attention is Attention.RECOMPUTE else 1
        return (
            self._finish(scores, runs.scores, twice),
            self._finish(softmax, runs.softmax),
            self._finish(context, runs.context),
        )

    def _finish(self, layer: Layer, run: Run, times: int = 1) -> Run:
        """With datapath and leakage; a layer that is computed twice has its terms twice."""
        parts = [(run.counts, 1)]
        skipped = gated = 0
        if layer.product is not None:
            skipped = run.counts.get(skipped_kind(layer.product), 0) // times
            gated = max(0, layer.macs_zero - skipped) if self.options.zero_gating else 0
            parts.append((gated_counts(layer.product, gated, self.hardware.array), times))
        counts = total([*parts, (datapath_counts(layer, skipped, gated), times)])
        add(counts, Kind(Component.SRAM_LEAKAGE), run.cycles.total)
        return run._replace(counts=counts)

    def _layer(self, phase: str, parts: Sequence[tuple[Layer, Run]]) -> LayerCost:
        """All runs of one layer."""
        layer = parts[0][0]
        whole = joined((run, part.repeat) for part, run in parts)
        largest, its_run = max(parts, key=lambda pair: pair[0].product.macs if pair[0].product else 0)
        counted = events(whole.counts, layer.name, layer.operation)
        return LayerCost(
            phase=phase,
            name=layer.name,
            operation=layer.operation,
            runs=sum(part.repeat for part, _ in parts),
            product=largest.product,
            plan=its_run.plan,
            peak_macs_per_cycle=self._peak(largest.product),
            cycles=whole.cycles,
            events=counted,
            cost=price(counted, self.prices),
        )

    def _peak(self, product: Product | None) -> float:
        array = self.hardware.array
        return array.rows * array.cols * float(array.rate(product.a_bits, product.b_bits)) if product else 0.0


def _anonymous(layer: Layer) -> Layer:
    """All of a layer that decides what one run costs."""
    return msgspec.structs.replace(layer, name="", operation="", repeat=1)


def _phase_cost(name: str, tokens: int, sentences: int, layers: tuple[LayerCost, ...]) -> PhaseCost:
    cycles = Cycles()
    for layer in layers:
        cycles = cycles.added(layer.cycles)
    cost = summed(layer.cost for layer in layers)
    return PhaseCost(name=name, tokens=tokens, sentences=sentences, layers=layers, cycles=cycles, cost=cost)
