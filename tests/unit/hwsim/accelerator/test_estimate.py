"""Workloads: layers, phases and totals by hand, what is merged, what is refused, what options change."""

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from hwsim.accelerator.cost.estimate import Estimate, LayerCost, estimate
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.events import Component, Direction, Event, Level, Operand
from hwsim.accelerator.hardware import Dataflow, Hardware
from hwsim.accelerator.layers import Layer, Part, Phase, Product, Rows, Term, Vectors, Workload
from hwsim.accelerator.options import Attention, Options, Sparsity
from hwsim.accelerator.presets import PRESETS, hardware
from hwsim.accelerator.workloads import blocks, workload
from hwsim.accelerator.workloads.sizes import Shape, Widths
from tests.unit.hwsim.accelerator.test_products import layer
from tests.unit.hwsim.accelerator.test_vectors import SMALL, codes, with_sram

EDGE = hardware("edge-256")
WIDTHS = Widths()
LINEAR = blocks.linear("linear", 20, 48, 40, WIDTHS)
NORM = blocks.layernorm("norm", 20, 40, WIDTHS)
SCORES, SOFTMAX, CONTEXT = blocks.attention("a", 1, 20, 30, Shape(d_model=32, n_heads=2, d_ff=1), WIDTHS)
LAYERS = (LINEAR, SCORES, SOFTMAX, CONTEXT, NORM)


def phase(*layers: Layer, name: str = "forward", tokens: int = 5) -> Phase:
    return Phase(name=name, tokens=tokens, layers=layers)


def cost(*layers: Layer, machine: Hardware = EDGE, **options: Any) -> Estimate:
    phases = (phase(*layers),)
    return estimate(Workload(name="w", scheme="int8", phases=phases), machine, Options(**options))


def only(result: Estimate) -> LayerCost:
    (one,) = result.total.layers
    return one


def events_of(one: LayerCost) -> Counter[Event]:
    """Counts by all else."""
    return Counter({replace(event, count=0): event.count for event in one.events})


def count(one: LayerCost, component: Component, *which: Operand | Direction) -> int:
    return sum(
        event.count
        for event in one.events
        if event.component is component and all(part in (event.operand, event.direction) for part in which)
    )


# --- sums ---------------------------------------------------------------------------------------------------------


def test_a_product_by_hand() -> None:
    """ws 2 by 2, dense 4-byte words: m = n = k = 2 in one fold.

    start 2R - 1 = 3, tail R + C - 2 + T = 2 + 4 with T raised to 4: 9 cycles, 4 of them compute. One port: A and B 4
    bytes each, sums 16 written, none read back, 16 drained, results 4: 11 words, so 2 cycles more. DMA: A in and B
    in take 2 + 4 each, results out as much. Bias of 1 pass: cd(4, 4) + 1 cycles, hidden.
    """
    product = Product(m=2, k=2, n=2, a_bits=8, b_bits=8, output_bits=8)
    one = only(cost(layer(product, vectors=Vectors(elements=4, passes=1)), machine=with_sram(SMALL, capacity_bytes=64)))
    assert one.cycles == Cycles(compute=4, fill_drain=5, sram=2, dma_in=12, dma_out=6)
    assert one.cycles.total == 29
    assert one.bound == "dma"
    assert count(one, Component.MAC_MULTIPLY) == 8
    assert one.utilization == 8 / (4 * 29)
    assert count(one, Component.DRAM_TRANSFER) == 12
    assert count(one, Component.SRAM_ACCESS, Direction.READ) == 4 + 4 + 16
    assert count(one, Component.SRAM_ACCESS, Direction.WRITE) == 16 + 4
    assert count(one, Component.SRAM_TRANSFER) == 12
    assert count(one, Component.SRAM_LEAKAGE) == 29
    assert count(one, Component.REGISTER, Direction.READ) == 8 * (8 + 8 + 32)
    assert count(one, Component.REGISTER, Direction.WRITE) == 8 * (8 + 32) + 4 * 8
    assert count(one, Component.HOP) == 8 * (8 + 32)
    assert count(one, Component.BIAS_ADD) == 4
    assert count(one, Component.MAC_PADDED) == 0


def test_layers_make_phases_and_phases_the_total() -> None:
    first, second = phase(LINEAR, NORM, name="encode", tokens=7), phase(SOFTMAX, LINEAR, name="decode", tokens=3)
    result = estimate(Workload(name="w", scheme="int8", sentences=2, phases=(first, second)), EDGE)
    for whole in (*result.phases, result.total):
        assert whole.cycles == Cycles(*(sum(part) for part in zip(*(one.cycles for one in whole.layers), strict=True)))
        assert whole.cost.energy_aj == sum(one.cost.energy_aj for one in whole.layers)
        assert whole.cost.dram_bytes == sum(count(one, Component.DRAM_TRANSFER) for one in whole.layers)
        assert sum(whole.cost.by_component.values()) == whole.cost.energy_aj
    assert result.total.layers == result.phases[0].layers + result.phases[1].layers
    assert [one.phase for one in result.total.layers] == ["encode", "encode", "decode", "decode"]
    assert result.total.tokens == 3
    assert result.total.per_sentence(10) == 5 and result.phase("encode").per_token(14) == 2
    assert result.seconds == result.total.cycles.total / EDGE.clock_hz
    with pytest.raises(ValueError, match="unknown phase 'train'; the workload has encode, decode"):
        result.phase("train")


@pytest.mark.parametrize("attention", Attention)
def test_repeats_are_linear_and_like_layers_merge(attention: Attention) -> None:
    """Three times each is the same layers thrice, under the same names or others."""
    once = cost(*LAYERS, attention=attention)
    thrice = cost(*(replace(one, repeat=3) for one in LAYERS), attention=attention)
    listed = cost(*(LAYERS * 3), attention=attention)
    for one, three, merged in zip(once.total.layers, thrice.total.layers, listed.total.layers, strict=True):
        assert three.runs == merged.runs == 3
        assert three.cycles == merged.cycles == one.cycles.times(3)
        assert events_of(three) == events_of(merged) == Counter({e: 3 * n for e, n in events_of(one).items()})
        assert three.cost.energy_aj == merged.cost.energy_aj == 3 * one.cost.energy_aj
        assert three.utilization == merged.utilization == one.utilization


def test_layers_of_several_shapes_under_one_name() -> None:
    """Decode steps: the largest is shown, all are summed."""
    shapes = [blocks.linear("step", m, 16, 16, WIDTHS) for m in (3, 9, 5)]
    merged, apart = only(cost(*shapes)), [only(cost(shape)) for shape in shapes]
    assert merged.runs == 3
    assert merged.product == shapes[1].product
    assert merged.plan == apart[1].plan
    assert merged.cycles.total == sum(one.cycles.total for one in apart)
    assert merged.cost.executed_macs == 17 * 256
    assert events_of(merged) == sum((events_of(one) for one in apart), Counter())


def test_names_do_not_change_costs() -> None:
    mine, other = cost(LINEAR, replace(LINEAR, name="other")).total.layers
    assert mine.cost == other.cost and mine.cycles == other.cycles
    assert {event.site for event in other.events} == {"other"}


def test_count_is_linear() -> None:
    """Heads run one after the other, without overlap; each has the epilogue of its own results, here exposed."""
    product = Product(m=20, k=30, n=40, a_bits=8, b_bits=8, output_bits=8, b=Operand.ACTIVATION)

    def heads(count: int) -> LayerCost:
        epilogue = Vectors(elements=count * 800, passes=9)
        return only(cost(layer(replace(product, count=count), vectors=epilogue)))

    one, many = heads(1), heads(7)
    assert one.cycles.vector > 0 and many.plan == one.plan
    assert many.cycles == one.cycles.times(7)
    assert events_of(many) == Counter({event: 7 * times for event, times in events_of(one).items()})


def test_leakage_lasts_as_long_as_the_layer() -> None:
    for one in cost(*LAYERS).total.layers:
        assert count(one, Component.SRAM_LEAKAGE) == one.cycles.total


# --- attention ----------------------------------------------------------------------------------------------------

INNER = {"a.scores", "a.softmax.output", "a.context"}


def test_fused_attention_moves_no_scores() -> None:
    """Scores and probabilities are 2*20*30 bytes each, written and read: 4*1200 bytes less."""
    unfused, fused = (cost(*LAYERS, attention=kind).total for kind in (Attention.UNFUSED, Attention.FUSED))
    assert unfused.cost.dram_bytes - fused.cost.dram_bytes == 4 * 1200
    parts = {one.name: one for one in fused.layers}
    assert parts.keys() > INNER
    assert count(parts["a.scores"], Component.DRAM_TRANSFER, Direction.WRITE) == 0
    assert count(parts["a.softmax.output"], Component.DRAM_TRANSFER) == 0
    assert count(parts["a.context"], Component.DRAM_TRANSFER, Direction.READ) == 2 * 30 * 16
    for one, other in zip(unfused.layers, fused.layers, strict=True):
        assert (one == other) is (one.name not in INNER)
        assert count(one, Component.MAC_MULTIPLY) == count(other, Component.MAC_MULTIPLY)


def test_recompute_has_the_scores_terms_twice() -> None:
    fused, recompute = (cost(*LAYERS, attention=k).total.layers for k in (Attention.FUSED, Attention.RECOMPUTE))
    datapath = [
        [Counter({e: n for e, n in events_of(one).items() if e.level is Level.DATAPATH}) for one in layers]
        for layers in (fused, recompute)
    ]
    for one, same, twice in zip(fused, *datapath, strict=True):
        factor = 2 if one.name == "a.scores" else 1
        assert twice == Counter({event: factor * times for event, times in same.items()})


def test_an_attention_that_is_not_whole_is_not_fused() -> None:
    for layers in ((SCORES, SOFTMAX), (SOFTMAX, CONTEXT), (SCORES, NORM, SOFTMAX, CONTEXT)):
        unfused, fused = (cost(*layers, attention=kind) for kind in (Attention.UNFUSED, Attention.FUSED))
        assert unfused.phases == fused.phases


def test_attentions_with_other_softmaxes_are_other_attentions() -> None:
    """Same shapes, but one pass in place of three: what is known of the first does not serve the second."""
    quick = replace(SOFTMAX, name="b.softmax", vectors=replace(SOFTMAX.vectors, passes=1))
    others = (replace(SCORES, name="b.scores"), quick, replace(CONTEXT, name="b.context"))
    together = cost(SCORES, SOFTMAX, CONTEXT, *others, attention=Attention.FUSED).total.layers
    alone = cost(*others, attention=Attention.FUSED).total.layers
    assert together[3:] == alone
    assert together[4].cycles.vector < together[1].cycles.vector


# --- sparsity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", [Attention.UNFUSED, Attention.RECOMPUTE])
def test_gating_changes_energy_and_nothing_else(attention: Attention) -> None:
    layers = [replace(one, macs_zero=one.product.macs // 3) if one.product else one for one in LAYERS]
    dense, gated = (cost(*layers, attention=attention, zero_gating=on).total for on in (False, True))
    assert gated.cycles == dense.cycles
    assert gated.cost.dram_bytes == dense.cost.dram_bytes
    assert gated.cost.sram_bytes == dense.cost.sram_bytes
    assert (gated.cost.macs, gated.cost.executed_macs) == (dense.cost.macs, dense.cost.executed_macs)
    assert gated.cost.energy_aj < dense.cost.energy_aj
    for one, layer_ in zip(gated.layers, layers, strict=True):
        times = 2 if attention is Attention.RECOMPUTE and one.name == "a.scores" else 1
        assert count(one, Component.MAC_GATED) == times * layer_.macs_zero
        assert count(one, Component.MAC_MULTIPLY) == count(one, Component.MAC_ADD)


def test_like_layers_with_other_zeros_are_not_alike() -> None:
    """Zeros are counted over a run: two layers of one shape have their own."""
    layers = [replace(LINEAR, name=str(zeros), macs_zero=zeros) for zeros in (0, 10, 20)]
    result = cost(*layers, zero_gating=True).total
    assert [count(one, Component.MAC_GATED) for one in result.layers] == [0, 10, 20]
    assert [one.cost.executed_macs for one in result.layers] == [20 * 48 * 40] * 3


def test_skipping_and_gating_of_a_workload() -> None:
    """Every MAC is useful, gated or skipped, those of activations only the first two."""
    layers = [replace(one, macs_zero=one.product.macs * 3 // 4) if one.product else one for one in LAYERS]
    result = cost(*layers, zero_gating=True, sparsity=Sparsity(2, 4)).total
    for one, layer_ in zip(result.layers, layers, strict=True):
        whole = layer_.product.macs if layer_.product else 0
        skipped = whole // 2 if one.name == "linear" else 0
        assert count(one, Component.MAC_SKIPPED) == skipped
        assert count(one, Component.MAC_GATED) == layer_.macs_zero - skipped
        assert count(one, Component.MAC_MULTIPLY) == whole - layer_.macs_zero
        assert one.cost.macs == whole and one.cost.executed_macs == whole - skipped
        assert 0 <= one.utilization <= 1


# --- refusals -----------------------------------------------------------------------------------------------------


def test_errors_name_the_layer() -> None:
    tiny = with_sram(SMALL, capacity_bytes=16)
    wide = blocks.linear("wide", 4, 4, 4, Widths(activation=16))
    with pytest.raises(ValueError, match=r"^layer linear: the smallest tile needs \d+ bytes of scratchpad; 16 are"):
        cost(NORM, LINEAR, machine=tiny)
    with pytest.raises(ValueError, match=r"^layer linear: .* of scratchpad; 16 are there$"):
        cost(LINEAR, machine=with_sram(SMALL, capacity_bytes=1024 + 16, resident_kib=1))
    with pytest.raises(ValueError, match=r"^layer wide: a product of 16 by 8 bits; the array supports up to 8 bits$"):
        cost(LINEAR, wide, machine=with_sram(SMALL, capacity_bytes=1 << 16))
    for kind in (Attention.FUSED, Attention.RECOMPUTE):
        with pytest.raises(ValueError, match=r"^layer a\.scores: the smallest tile needs"):
            cost(SCORES, SOFTMAX, CONTEXT, machine=with_sram(SMALL, capacity_bytes=24), attention=kind)
    with pytest.raises(ValueError, match="unknown energy table"):
        cost(LINEAR, machine=replace(EDGE, energy_table="nothing"))


def test_a_row_layer_always_fits() -> None:
    one = only(cost(NORM, machine=with_sram(SMALL, capacity_bytes=1)))
    assert one.product is None and one.plan is None and one.utilization == 0.0
    assert count(one, Component.DRAM_TRANSFER, Operand.ACTIVATION, Direction.READ) == 3 * 20 * 40 * 2


# --- options and presets ------------------------------------------------------------------------------------------


def test_residents_spare_transfers_between_layers() -> None:
    """200 KiB of 256 stay: of every layer only weights and constants move."""
    machine = with_sram(EDGE, resident_kib=200)
    for one in cost(*LAYERS, machine=machine).total.layers:
        assert count(one, Component.DRAM_TRANSFER) == count(one, Component.DRAM_TRANSFER, Operand.WEIGHT)
    assert cost(*LAYERS).total.cost.dram_bytes > cost(*LAYERS, machine=machine).total.cost.dram_bytes


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("attention", Attention)
def test_every_preset_prices_a_model(name: str, attention: Attention) -> None:
    described = workload("tiny11", source_length=9, target_length=3)
    result = estimate(described, hardware(name), Options(attention=attention))
    assert result.total.cost.energy_aj > 0
    assert all(0 <= one.utilization <= 1 for one in result.total.layers)
    shapes = [one.product.macs * one.repeat for p in described.phases for one in p.layers if one.product]
    again = [
        one.product.macs * one.repeat
        for p in described.phases
        for one in p.layers
        if one.product and one.part is Part.SCORES and attention is Attention.RECOMPUTE
    ]
    assert result.total.cost.macs == sum(shapes) + sum(again)


@pytest.mark.parametrize("dataflow", Dataflow)
def test_every_byte_says_where_what_and_which_way(dataflow: Dataflow) -> None:
    """Memories have level, operand and direction; the datapath has none of them."""
    machine = replace(EDGE, array=replace(EDGE.array, dataflow=dataflow))
    rows = Rows(rows=4, inputs=(codes(8),), outputs=(codes(8),), constants=(codes(8, operand=Operand.WEIGHT),))
    add = Layer(
        name="sum", operation="add", rows=rows, terms=(Term(Component.VECTOR_ADD, 32, 0, 32),),
        vectors=Vectors(elements=32, passes=1),
    )  # fmt: skip
    for one in cost(*LAYERS, add, machine=machine).total.layers:
        for event in one.events:
            moving = event.component in (Component.SRAM_ACCESS, Component.SRAM_TRANSFER, Component.DRAM_TRANSFER)
            assert (event.operand is not Operand.NONE) is moving
            assert (event.direction is not Direction.NONE) is (moving or event.component is Component.REGISTER)
            assert event.count > 0 and (event.site, event.operation) == (one.name, one.operation)
            far = event.component is Component.DRAM_TRANSFER
            assert (event.level is Level.DRAM) is far
