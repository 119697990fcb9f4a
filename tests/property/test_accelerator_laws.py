"""Laws that any workload obeys on any machine under any options (docs/accelerator.md, sections 2 to 11)."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hwsim.accelerator.cost.estimate import Estimate, LayerCost, PhaseCost, estimate
from hwsim.accelerator.events import Component, Direction, Level, Operand
from hwsim.accelerator.hardware import (
    Array,
    ArrayKind,
    Boundary,
    Dataflow,
    Dram,
    FoldMode,
    Hardware,
    Packing,
    Sram,
    Vector,
)
from hwsim.accelerator.layers import Layer, Phase, Product, Workload
from hwsim.accelerator.options import Attention, Objective, Options, Sparsity, Tiles
from hwsim.accelerator.prices import Prices, prices_of
from hwsim.accelerator.workloads import blocks
from hwsim.accelerator.workloads.sizes import Shape, Widths

RATES: tuple[dict[int, float], ...] = ({16: 1.0}, {4: 4.0, 8: 2.0, 16: 1.0}, {4: 3.0, 8: 1.0, 16: 0.25})
TABLES = (("edge-22", "LPDDR4"), ("dram", "LPDDR4"), ("horowitz-45", "DDR3"))
SIZES = st.integers(1, 24)
EXAMPLES = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


class Drawn(NamedTuple):
    """What is priced, where, and how."""

    workload: Workload
    hardware: Hardware
    options: Options

    def estimate(self) -> Estimate:
        """Its cost; cases whose smallest tile does not fit are not drawn."""
        try:
            return estimate(self.workload, self.hardware, self.options)
        except ValueError as error:
            assume("the smallest tile needs" not in str(error))
            raise


@st.composite
def machines(draw: st.DrawFn) -> Hardware:
    dataflow = draw(st.sampled_from(Dataflow))
    table, dram = draw(st.sampled_from(TABLES))
    resident = draw(st.sampled_from([0, 0, 0, 1]))
    return Hardware(
        name="drawn",
        array=Array(
            kind=ArrayKind.SYSTOLIC if dataflow is Dataflow.OS else draw(st.sampled_from(ArrayKind)),
            rows=draw(st.integers(1, 6)), cols=draw(st.integers(1, 6)), dataflow=dataflow,
            fold_mode=draw(st.sampled_from(FoldMode)), macs_per_cycle=draw(st.sampled_from(RATES)),
        ),
        vector=Vector(
            lanes=draw(st.integers(1, 8)), latency_cycles=draw(st.integers(0, 9)), dividers=draw(st.integers(1, 3)),
            divide_cycles=draw(st.integers(1, 9)), root_cycles=draw(st.integers(1, 9)),
        ),
        sram=Sram(
            capacity_bytes=resident * 1024 + draw(st.integers(200, 4000)), word_bytes=draw(st.sampled_from([1, 4, 32])),
            ports=draw(st.integers(1, 4)), resident_kib=resident,
        ),
        dram=Dram(
            type=dram, bandwidth_bytes_per_second=draw(st.integers(1, 300)), burst_bytes=draw(st.sampled_from([1, 32])),
            latency_cycles=draw(st.sampled_from([0, 0, 20])),
        ),
        clock_hz=draw(st.integers(1, 30)), voltage=0.8, energy_table=table, boundary=draw(st.sampled_from(Boundary)),
        packing=draw(st.sampled_from(Packing)),
    )  # fmt: skip


@st.composite
def widths(draw: st.DrawFn) -> Widths:
    return Widths(weight=draw(st.sampled_from([2, 4, 8])), activation=draw(st.sampled_from([6, 8, 16])))


@st.composite
def stages(draw: st.DrawFn) -> tuple[Layer, ...]:
    """A linear layer, a row layer, or an attention; some of a product's MACs have a zero operand."""
    used, repeat = draw(widths()), draw(st.sampled_from([1, 1, 3]))
    kind = draw(st.sampled_from(["linear", "linear", "norm", "softmax", "embed", "attention"]))
    m, k, n = draw(SIZES), draw(SIZES), draw(SIZES)
    layers: tuple[Layer, ...]
    if kind == "attention":
        group = draw(st.sampled_from([1, 2]))
        shape = Shape(d_model=2 * k, n_heads=2, d_ff=1, n_kv_heads=2 // group)
        cached = draw(st.booleans())
        layers = blocks.attention("attention", 1, m, n, shape, used, cached=cached, fresh=cached)
    elif kind == "linear":
        layers = (blocks.linear(kind, m, k, n, used, residual_bits=draw(st.sampled_from([0, 8]))),)
    elif kind == "embed":
        layers = (blocks.embedding(kind, m, n, used, 8),)
    else:
        layers = ({"norm": blocks.layernorm, "softmax": blocks.softmax}[kind](kind, m, n, used),)
    share = draw(st.fractions(0, 1))
    return tuple(
        replace(one, repeat=repeat, macs_zero=int(share * one.product.macs) if one.product else 0) for one in layers
    )


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    phases = []
    for i in range(draw(st.integers(1, 2))):
        layers = [
            replace(layer, name=f"{j}.{layer.name}")
            for j, stage in enumerate(draw(st.lists(stages(), min_size=1, max_size=3)))
            for layer in stage
        ]
        phases.append(Phase(name=f"phase{i}", tokens=draw(st.integers(1, 5)), layers=tuple(layers)))
    options = Options(
        objective=draw(st.sampled_from(Objective)),
        tiles=draw(st.sampled_from([Tiles.ARRAY, Tiles.ARRAY, Tiles.DIVISORS])),
        attention=draw(st.sampled_from(Attention)), psum_bits=draw(st.sampled_from([None, None, 24])),
        zero_gating=draw(st.booleans()), sparsity=draw(st.sampled_from([None, Sparsity(2, 4), Sparsity(1, 3)])),
    )  # fmt: skip
    return Drawn(Workload(name="drawn", scheme="drawn", phases=tuple(phases)), draw(machines()), options)


def costs(result: Estimate) -> Iterator[LayerCost | PhaseCost]:
    """Of every layer, every phase, and all."""
    yield from result.total.layers
    yield from result.phases
    yield result.total


def layers_of(result: Estimate) -> Iterator[tuple[Layer, LayerCost]]:
    """What was asked beside what was answered; names are not repeated within a phase."""
    for asked, answered in zip(result.workload.phases, result.phases, strict=True):
        yield from zip(asked.layers, answered.layers, strict=True)


def count(one: LayerCost, *components: Component) -> int:
    return sum(event.count for event in one.events if event.component in components)


def moved(one: LayerCost, *which: Operand | Direction) -> int:
    """DRAM bytes, of all operands and directions or of those named."""
    return sum(
        event.count
        for event in one.events
        if event.level is Level.DRAM and all(part in (event.operand, event.direction) for part in which)
    )


def peak(product: Product, hardware: Hardware) -> Fraction:
    """R*C*p."""
    array = hardware.array
    return array.rows * array.cols * array.rate(product.a_bits, product.b_bits)


# --- the laws -----------------------------------------------------------------------------------------------------


def check_time(result: Estimate) -> None:
    """No layer, no phase is faster than its array or its DRAM; every cycle has one cause."""
    hardware = result.hardware
    for one in costs(result):
        assert one.cycles.total == sum(one.cycles) and min(one.cycles) >= 0
        assert one.cost.dram_bytes * hardware.clock_hz <= one.cycles.total * hardware.dram.bandwidth_bytes_per_second
        parts = [one] if isinstance(one, LayerCost) else one.layers
        bound = sum(part.cost.executed_macs / peak(part.product, hardware) for part in parts if part.product)
        assert bound <= sum(part.cycles.compute for part in parts) <= one.cycles.total
    for one in result.total.layers:
        assert 0 <= one.utilization <= 1
        assert count(one, Component.SRAM_LEAKAGE) == one.cycles.total


def check_macs(result: Estimate) -> None:
    """Useful, gated, padded: what the array could have done in the cycles in which it streamed."""
    for layer, one in layers_of(result):
        useful, gated, padded, skipped, added = (
            count(one, part)
            for part in (Component.MAC_MULTIPLY, Component.MAC_GATED, Component.MAC_PADDED, Component.MAC_SKIPPED,
                         Component.MAC_ADD)
        )  # fmt: skip
        if layer.product is None:
            assert useful == gated == padded == skipped == added == 0
            continue
        twice = 2 if result.options.attention is Attention.RECOMPUTE and layer.part.value == "scores" else 1
        assert useful == added
        assert useful + gated + skipped == layer.product.macs * layer.repeat * twice == one.cost.macs
        assert min(useful, gated, padded, skipped) >= 0
        assert (gated > 0) <= result.options.zero_gating
        executed = gated + useful
        assert executed == one.cost.executed_macs
        if layer.part.value == "" or result.options.attention is Attention.UNFUSED:
            assert one.plan is not None
            slots = int(peak(layer.product, result.hardware) * one.plan.streaming_cycles)
            assert executed + padded == slots * layer.product.count * layer.repeat


def check_events(result: Estimate) -> None:
    """Every byte has level, operand and direction; both ends of a transfer are there."""
    word = result.hardware.sram.word_bytes
    for one in result.total.layers:
        for event in one.events:
            assert event.count > 0
            if event.level in (Level.SRAM, Level.DRAM) and event.component is not Component.SRAM_LEAKAGE:
                assert event.operand is not Operand.NONE and event.direction is not Direction.NONE
            if event.component in (Component.SRAM_ACCESS, Component.SRAM_TRANSFER):
                assert event.count % word == 0
        assert one.cost.dram_bytes == moved(one)
        assert one.cost.sram_bytes == count(one, Component.SRAM_ACCESS, Component.SRAM_TRANSFER)
        for operand in Operand:
            for far, near in ((Direction.READ, Direction.WRITE), (Direction.WRITE, Direction.READ)):
                at_dram = moved(one, operand, far)
                ends = [e for e in one.events if e.component is Component.SRAM_TRANSFER and e.operand is operand]
                at_sram = sum(event.count for event in ends if event.direction is near)
                assert at_dram <= at_sram and (at_dram > 0) == (at_sram > 0)


def check_fused(result: Estimate) -> None:
    """Nothing of scores and probabilities in DRAM."""
    if result.options.attention is Attention.UNFUSED:
        return
    for layer, one in layers_of(result):
        written = moved(one, Direction.WRITE)
        read = moved(one, Operand.ACTIVATION, Direction.READ)
        partial = moved(one, Operand.ACCUMULATOR)
        if layer.part.value == "scores":
            assert written == partial == 0
        elif layer.part.value == "softmax":
            assert written == read == 0
        elif layer.part.value == "context" and layer.product and layer.product.b is Operand.KV_CACHE:
            assert read == 0


def check_energy(result: Estimate) -> None:
    """Breakdowns add up to the last digit, within the boundary and without what is not modelled."""
    inside = {
        Boundary.CORE: {"datapath", "register"},
        Boundary.CHIP: {"datapath", "register", "sram"},
        Boundary.SYSTEM: {"datapath", "register", "sram", "dram"},
    }[result.hardware.boundary]
    prices = prices_of(result.hardware)
    for one in costs(result):
        cost = one.cost
        for breakdown in (cost.by_component, cost.by_level, cost.by_operand):
            assert sum(breakdown.values()) == cost.energy_aj
        assert cost.by_level.keys() <= inside and not cost.outside_aj.keys() & inside
        assert sum(cost.dram_bytes_by_operand.values()) == cost.dram_bytes
    for whole in (*result.phases, result.total):
        assert whole.cost.energy_aj == sum(one.cost.energy_aj for one in whole.layers)
        assert whole.cost.by_level == _sum_of([one.cost.by_level for one in whole.layers])
    for one in result.total.layers:
        _check_layer_energy(one, prices, inside)


def _check_layer_energy(one: LayerCost, prices: Prices, inside: set[str]) -> None:
    """Of each event either a price or a place in the list."""
    priced = [(event, prices.price(event)) for event in one.events]
    known = [(event, energy.nominal) for event, energy in priced if energy is not None]
    unknown = [event for event, energy in priced if energy is None]
    assert one.cost.energy_aj == sum(energy for event, energy in known if event.level.value in inside)
    assert sum(one.cost.outside_aj.values()) == sum(
        energy for event, energy in known if event.level.value not in inside
    )
    listed = {(entry.component, entry.direction, entry.bits): entry.count for entry in one.cost.not_modelled}
    for event in unknown:
        listed[event.component, event.direction, event.bits] -= event.count
    assert not any(listed.values())
    assert len(one.cost.not_modelled) == len(listed) == len({(e.component, e.direction, e.bits) for e in unknown})


def _sum_of(parts: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(part.get(key, 0) for part in parts) for part_of in parts for key in part_of}


LAWS = (check_time, check_macs, check_events, check_fused, check_energy)


@EXAMPLES
@given(drawn())
def test_laws_of_one_estimate(case: Drawn) -> None:
    result = case.estimate()
    for law in LAWS:
        law(result)


@EXAMPLES
@given(drawn(), st.integers(2, 5))
def test_repeats_are_linear_and_like_layers_merge(case: Drawn, times: int) -> None:
    once = case.estimate()
    phases = case.workload.phases
    repeated = [replace(one, layers=tuple(replace(x, repeat=x.repeat * times) for x in one.layers)) for one in phases]
    listed = [replace(one, layers=one.layers * times) for one in phases]
    for changed in (repeated, listed):
        many = case._replace(workload=replace(case.workload, phases=tuple(changed))).estimate()
        assert many.total.cycles == once.total.cycles.times(times)
        assert many.total.cost.energy_aj == once.total.cost.energy_aj * times
        for one, other in zip(once.total.layers, many.total.layers, strict=True):
            assert other.runs == times * one.runs
            assert {replace(e, count=e.count * times) for e in one.events} == set(other.events)


@EXAMPLES
@given(drawn())
def test_gating_changes_energy_alone(case: Drawn) -> None:
    """Time and traffic stay, and what is gated is not priced."""
    off, on = (case._replace(options=replace(case.options, zero_gating=gating)).estimate() for gating in (False, True))
    assert on.total.cycles == off.total.cycles
    assert on.total.cost.dram_bytes == off.total.cost.dram_bytes
    assert on.total.cost.sram_bytes == off.total.cost.sram_bytes
    assert on.total.cost.energy_aj <= off.total.cost.energy_aj
    for layer, one in layers_of(on):
        if layer.product:
            skipped = count(one, Component.MAC_SKIPPED)
            twice = one.cost.macs // layer.product.macs
            assert count(one, Component.MAC_GATED) == max(0, layer.macs_zero * twice - skipped)
