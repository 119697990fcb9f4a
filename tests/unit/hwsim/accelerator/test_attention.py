"""Fused attention: capacity, traffic and blocks of queries by hand, and against every number of blocks tried."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hwsim.accelerator.cost.attention import Fused, fused_attention
from hwsim.accelerator.cost.counts import Run
from hwsim.accelerator.cost.products import Mapping, product_run, tile_costs
from hwsim.accelerator.events import Component, Operand
from hwsim.accelerator.hardware import Dataflow, Hardware
from hwsim.accelerator.layers import Layer, Product
from hwsim.accelerator.options import Attention, Objective, Options
from hwsim.accelerator.tiling import DoesNotFit
from hwsim.accelerator.workloads import blocks
from hwsim.accelerator.workloads.sizes import Shape, Widths
from tests.oracle.accelerator import rows as oracle
from tests.unit.hwsim.accelerator.test_oracle_against_tiling import PLAIN, PRICES, Setting, hardware
from tests.unit.hwsim.accelerator.test_vectors import DRAM, READ, SMALL, WRITE, counted, plain_unit, with_sram

FUSED, RECOMPUTE = Attention.FUSED, Attention.RECOMPUTE
Layers = tuple[Layer, Layer, Layer]


def attention(queries: int, keys: int, head: int = 4, heads: int = 2, bits: int = 8, **more: Any) -> Layers:
    """Heads of one sequence; scores have up to 12 bits."""
    widths = Widths(activation=bits)
    shape = Shape(d_model=heads * head, n_heads=heads, d_ff=1)
    return blocks.attention("a", 1, queries, keys, shape, widths, **more)


WIDE = replace(SMALL, array=replace(SMALL.array, macs_per_cycle={16: 1.0}))


def mapping(capacity: int, machine: Hardware = WIDE, kind: Attention = FUSED, **options: Any) -> Mapping:
    machine = with_sram(machine, capacity_bytes=capacity)
    return Mapping(machine, Options(attention=kind, **options), PRICES, capacity)


def fused(layers: Layers, onto: Mapping) -> Fused:
    return fused_attention(*layers, onto)


def product(layer: Layer, **changes: Any) -> Product:
    assert layer.product is not None
    return replace(layer.product, **changes)


def test_scores_and_probabilities_never_reach_dram() -> None:
    """Queries are read once, keys and values once, contexts written; of the softmax nothing moves."""
    result = fused(attention(12, 10), mapping(1 << 16))
    assert result.queries == 12
    for run, read, written in ((result.scores, 2 * (12 + 10) * 4, 0), (result.context, 2 * 10 * 4, 2 * 12 * 4)):
        assert counted(run.counts, DRAM, READ) == read
        assert counted(run.counts, DRAM, WRITE) == written
        assert counted(run.counts, DRAM, Operand.ACCUMULATOR) == 0
    assert counted(result.softmax.counts, DRAM) == counted(result.softmax.counts, Component.SRAM_TRANSFER) == 0
    assert result.softmax.cycles.total == result.softmax.cycles.vector > 0


def least(first: Product, then: Product, machine: Hardware) -> int:
    """Room of the smallest tiles of one query."""
    needed = []
    for one in (replace(first, m=1, output_on_chip=True), replace(then, m=1, a_on_chip=True)):
        with pytest.raises(DoesNotFit) as refused:
            product_run(one, Mapping(machine, Options(), PRICES, 1))
        needed.append(refused.value.needed)
    return max(needed)


@pytest.mark.parametrize("kind", [FUSED, RECOMPUTE])
@pytest.mark.parametrize("bits", [8, 16])
def test_one_query_takes_its_row_of_scores_and_of_probabilities(kind: Attention, bits: int) -> None:
    """20 codes of each, or 8 bytes: one byte less than that and the smallest tiles, and nothing fits."""
    layers = attention(6, 20, bits=bits)
    row = 8 if kind is RECOMPUTE else {8: 20 + 20, 16: 30 + 40}[bits]
    needed = row + least(product(layers[0]), product(layers[2]), WIDE)
    assert fused(layers, mapping(needed, kind=kind)).queries == 1
    for capacity in (needed - 1, row, 1):
        with pytest.raises(DoesNotFit):
            fused(layers, mapping(capacity, kind=kind))


def test_recompute_does_the_scores_twice() -> None:
    """With room for all, in one block: MACs, cycles and traffic of the scores double, the context's do not."""
    once, twice = (fused(attention(6, 7), mapping(1 << 16, kind=kind)) for kind in (FUSED, RECOMPUTE))
    assert twice.queries == once.queries == 6
    assert twice.context == once.context
    assert twice.scores.cycles == once.scores.cycles.times(2)
    assert twice.scores.counts == {kind: 2 * count for kind, count in once.scores.counts.items()}


def test_recompute_needs_no_rows() -> None:
    """Of 500 keys no row of 1000 bytes fits beside the tiles; 8 bytes do."""
    layers = attention(4, 500)
    with pytest.raises(DoesNotFit):
        fused(layers, mapping(900))
    assert fused(layers, mapping(900, kind=RECOMPUTE)).queries == 4


def test_whole_blocks_and_the_ragged_last_are_added() -> None:
    """5 queries in blocks of 2: capacity for two rows of scores and probabilities and their tiles, not for three."""
    layers = attention(5, 40, heads=1)
    capacity = 2 * 80 + 200
    result = fused(layers, mapping(capacity, objective=Objective.DRAM))
    inner = mapping(capacity)._replace(capacity_bytes=capacity - result.queries * 80)
    whole, rest = divmod(5, result.queries)
    once = product(layers[0], output_on_chip=True)
    parts = [(replace(once, m=result.queries), whole), (replace(once, m=rest), 1)] if rest else [(once, 1)]
    alone = [(product_run(part, inner), times) for part, times in parts]
    assert result.queries in (2, 3)
    assert rest
    assert result.scores.cycles.total == sum(run.cycles.total * times for run, times in alone)
    assert counted(result.scores.counts, DRAM) == sum(counted(run.counts, DRAM) * times for run, times in alone)


@st.composite
def attentions(draw: st.DrawFn) -> tuple[Layers, Mapping]:
    layers = attention(
        draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(1, 2)),
        draw(st.sampled_from([6, 8, 16])), fresh=draw(st.booleans()),
    )  # fmt: skip
    options = {"objective": draw(st.sampled_from(Objective)), "kind": draw(st.sampled_from([FUSED, RECOMPUTE]))}
    return layers, mapping(draw(st.integers(60, 400)), draw(hardware()), **options)


def expected(layers: Layers, onto: Mapping) -> oracle.Attention | None:
    first, then = (Setting(product(layers[i]), onto.hardware, onto.options) for i in (0, 2))
    machine = oracle.Machine(
        first.array, first.memory, onto.capacity_bytes, PLAIN, onto.options.objective.value,
        recompute=onto.options.attention is RECOMPUTE, unit=plain_unit(onto.hardware.vector),
        passes=(layers[0].vectors.passes, layers[2].vectors.passes),
    )  # fmt: skip
    return oracle.attention(first.what, then.what, machine)


@settings(deadline=None, max_examples=40)
@given(attentions())
def test_the_block_of_queries_is_the_best_of_all(drawn: tuple[Layers, Mapping]) -> None:
    check_block(*drawn)


@pytest.mark.parametrize(("objective", "queries"), [(Objective.DRAM, 3), (Objective.LATENCY, 4), (Objective.ENERGY, 2)])
def test_objectives_differ(objective: Objective, queries: int) -> None:
    """7 queries by 5 keys in 91 bytes; blocks of 3, 3 and 1, of 4 and 3, or of 2, 2, 2 and 1."""
    array = replace(WIDE.array, rows=1, cols=1, dataflow=Dataflow.IS)
    dram = replace(WIDE.dram, bandwidth_bytes_per_second=20, latency_cycles=5)
    layers = attention(7, 5, 5, heads=1)
    onto = mapping(91, replace(WIDE, array=array, dram=dram), objective=objective)
    assert fused(layers, onto).queries == queries
    check_block(layers, onto)


def with_long_passes() -> tuple[Layers, Mapping]:
    """7 queries by 5 keys in 91 bytes, each pass of an epilogue with 50 cycles of latency."""
    array = replace(WIDE.array, rows=1, cols=1, dataflow=Dataflow.IS)
    dram = replace(WIDE.dram, bandwidth_bytes_per_second=20, latency_cycles=0)
    machine = replace(WIDE, array=array, dram=dram, vector=replace(WIDE.vector, lanes=2, latency_cycles=50))
    return attention(7, 5, 5, heads=1), mapping(91, machine, objective=Objective.LATENCY)


def test_exposed_epilogues_decide_about_blocks() -> None:
    """Each block has their latency: 4 and 3 queries are faster than the 2, 2, 2 and 1 that array and DRAM prefer."""
    layers, onto = with_long_passes()
    assert fused(layers, onto).queries == 4
    without = onto._replace(hardware=replace(onto.hardware, vector=replace(WIDE.vector, lanes=1000, latency_cycles=0)))
    assert fused(layers, without).queries == 2
    for each in (onto, without):
        check_block(layers, each)


def check_block(layers: Layers, onto: Mapping) -> None:
    """The interpreter's number of queries, at the interpreter's cost."""
    best = expected(layers, onto)
    if best is None:
        with pytest.raises(DoesNotFit):
            fused(layers, onto)
        return
    result = fused(layers, onto)
    assert result.queries == best.tq
    assert key(result, onto) == tuple(product(layers[0]).count * part for part in best.key)


def key(result: Fused, onto: Mapping) -> tuple[int, ...]:
    """(8) of both products, in the order of the objective."""
    runs: tuple[Run, ...] = (result.scores, result.context)
    dram, sram, energy = (sum(parts) for parts in zip(*(tile_costs(run, onto) for run in runs), strict=True))
    cycles = sum(run.cycles.total for run in runs)
    return {
        Objective.DRAM: (dram, cycles, sram),
        Objective.LATENCY: (cycles, dram, sram),
        Objective.ENERGY: (energy, dram, cycles, sram),
    }[onto.options.objective]
