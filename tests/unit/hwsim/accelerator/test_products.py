"""Product layers: epilogues, sparsity and residents by hand, memories against loops that are walked."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hwsim.accelerator.cost import products
from hwsim.accelerator.cost.counts import Counts, Kind, Run, total
from hwsim.accelerator.cost.products import Mapping, product_run, resident
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.events import Component, Direction, Operand
from hwsim.accelerator.hardware import Array, ArrayKind, Dataflow, Hardware, Packing
from hwsim.accelerator.layers import Layer, Product, Term
from hwsim.accelerator.options import Objective, Options, Sparsity
from hwsim.accelerator.tiling import TilePrices, plan
from tests.oracle.accelerator import rows as oracle
from tests.oracle.accelerator.tile_loop import ORDERS, Tiling
from tests.unit.hwsim.accelerator.test_oracle_against_tiling import Setting, drawn
from tests.unit.hwsim.accelerator.test_vectors import (
    ACCESS,
    DRAM,
    READ,
    SMALL,
    TRANSFER,
    WRITE,
    counted,
    plain_unit,
    with_sram,
)

ROOMY = with_sram(SMALL, capacity_bytes=1 << 16)
PRODUCT = Product(count=3, m=5, k=6, n=4, a_bits=8, b_bits=8, output_bits=8)
MULTIPLIED, ADDED = (
    Kind(component, bits=bits, second_bits=second)
    for component, bits, second in ((Component.MAC_MULTIPLY, 8, 8), (Component.MAC_ADD, 32, 0))
)


def mapping(hardware: Hardware = ROOMY, **options: Any) -> Mapping:
    return Mapping(hardware, Options(**options), TilePrices(), hardware.sram.tile_bytes)


def layer(product: Product = PRODUCT, **changes: Any) -> Layer:
    """A product with its MACs, and a bias that no sparsity touches."""
    terms = (
        Term(Component.MAC_MULTIPLY, product.a_bits, product.b_bits, product.macs),
        Term(Component.MAC_ADD, 32, 0, product.macs),
        Term(Component.BIAS_ADD, 32, 0, product.count * product.m * product.n),
    )
    return Layer(name="layer", operation="matmul", product=product, terms=terms, **changes)


# --- epilogue -----------------------------------------------------------------------------------------------------


TINY = Product(m=2, k=2, n=2, a_bits=8, b_bits=8, output_bits=8)
"""ws 2 by 2, one fold of 3 + 6 cycles and 2 of stalls, see `test_estimate.test_a_product_by_hand`."""


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("passes", "exposed"), [(0, 0), (1, 0), (5, 0), (6, 1), (7, 3), (20, 29)])
def test_an_epilogue_is_exposed_beyond_what_its_own_array_takes(count: int, passes: int, exposed: int) -> None:
    """Of each product passes of cd(4, 4) + 1 cycles against its compute, fill and drain, and stalls: 11."""
    run = product_run(replace(TINY, count=count), mapping(with_sram(SMALL, capacity_bytes=64)), passes)
    hidden = Cycles(compute=4, fill_drain=5, sram=2, dma_in=12, dma_out=6)
    assert run.cycles == hidden._replace(vector=exposed).times(count)


def test_dma_hides_no_epilogue() -> None:
    """A slow DRAM makes the layer longer, and its epilogue no shorter."""
    slow = replace(SMALL, dram=replace(SMALL.dram, latency_cycles=5000))
    run = product_run(TINY, mapping(with_sram(slow, capacity_bytes=64)), 7)
    assert run.cycles == Cycles(compute=4, fill_drain=5, sram=2, dma_in=2 * 5004, dma_out=5004, vector=3)


def test_an_exposed_epilogue_chooses_other_tiles() -> None:
    """Where it takes longer than the array, under `latency` a busier array costs nothing: here it spares transfers."""
    product = Product(m=12, k=8, n=8, a_bits=8, b_bits=8, output_bits=8)
    onto = mapping(with_sram(SMALL, capacity_bytes=300), objective=Objective.LATENCY)
    hidden, exposed = (product_run(product, onto, passes) for passes in (0, 40))
    assert hidden.plan is not None and exposed.plan is not None
    assert hidden.plan.tiling != exposed.plan.tiling
    given = plan(product, onto.hardware, onto.options, hidden.plan.tiling).cycles
    busy = given.compute + given.fill_drain + given.sram
    assert exposed.cycles.total < given.total + 40 * (24 + 1) - busy


def test_the_epilogue_reads_its_residual_once_and_its_constants_once_a_tile_along_m() -> None:
    """Words of 4 bytes: 3 results of 5 rows of 3 bytes make 4 words, 4 columns of 7 bytes make 7 words."""
    product = replace(PRODUCT, residual_bits=6, column_bytes=7)
    run = product_run(product, mapping())
    assert run.plan is not None and run.plan.trips[0] == 1
    assert run.counts[Kind(ACCESS, Operand.ACTIVATION, READ, 6)] == 3 * 16
    assert run.counts[Kind(ACCESS, Operand.WEIGHT, READ, 8)] == 3 * (28 + 4 * run.plan.array_words.b_read)
    tall = replace(product, m=200)
    tiled = product_run(tall, mapping(with_sram(SMALL, capacity_bytes=600)))
    assert tiled.plan is not None and tiled.plan.trips[0] > 1
    words = 7 * tiled.plan.trips[0] + tiled.plan.array_words.b_read
    assert tiled.counts[Kind(ACCESS, Operand.WEIGHT, READ, 8)] == 3 * 4 * words


# --- every figure of a plan ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(drawn(most=6), st.integers(0, 5), st.sampled_from(Operand))
def test_memories_and_cycles_are_those_of_loops_that_are_walked(
    setting: Setting, passes: int, residual: Operand
) -> None:
    product, hardware = replace(setting.product, residual=residual), setting.hardware
    epilogue = oracle.Work(product.m * product.n, passes)
    setting = setting._replace(vector_cycles=oracle.vector_cycles(epilogue, plain_unit(hardware.vector)))
    run = product_run(product, Mapping(hardware, setting.options, TilePrices(), hardware.sram.capacity_bytes), passes)
    assert run.plan is not None
    tiling = run.plan.tiling
    walked = setting.run(Tiling(tiling.tm, tiling.tk, tiling.tn, ORDERS.index(tiling.order)))
    times = product.count
    streams = {
        "a": (product.a, product.a_bits), "b": (product.b, product.b_bits), "constants": (Operand.WEIGHT, 8),
        "partial": (Operand.ACCUMULATOR, product.accumulator_bits), "output": (product.output, product.output_bits),
        "residual": (residual, product.residual_bits),
    }  # fmt: skip
    moved = total(
        ({Kind(DRAM, *streams[name][:1], Direction(direction), streams[name][1]): size}, times)
        for (name, direction), (size, _) in walked.moves.items()
    )
    assert {kind: count for kind, count in run.counts.items() if kind.component is DRAM} == moved
    assert run.cycles._asdict() == {cause: walked.cycles[cause] * times for cause in Cycles._fields}
    assert run.cycles.total == walked.total_cycles * times
    sides = {READ: walked.sram_read_bytes, WRITE: walked.sram_write_bytes}
    extra = _epilogue_bytes(setting, run)
    for direction, size in sides.items():
        near = counted(run.counts, ACCESS, direction) + counted(run.counts, TRANSFER, direction)
        assert near == (size + (extra if direction is READ else 0)) * times
    registers = {direction: counted(run.counts, Component.REGISTER, direction) for direction in (READ, WRITE)}
    assert registers == {READ: walked.registers.read * times, WRITE: walked.registers.written * times}
    assert counted(run.counts, Component.HOP) == walked.registers.hops * times
    check_macs(setting, run)


def _epilogue_bytes(setting: Setting, run: Run) -> int:
    """What the vector unit reads beside the array."""
    product, memory = setting.product, setting.memory
    assert run.plan is not None
    bits = setting.what.residual_bits
    if memory.padded and bits:
        bits = next(width for width in (2, 4, 8, 16, 32) if width >= bits)
    residual = product.m * -(-product.n * bits // 8)
    constants = product.n * product.column_bytes
    return memory.word * (-(-residual // memory.word) + run.plan.trips[0] * -(-constants // memory.word))


def check_macs(setting: Setting, run: Run) -> None:
    """Section 2: useful + padded are what the array could have done while it streamed; skipped ones take no time."""
    assert run.plan is not None
    array, product = setting.array, setting.product
    skipped, padded = (counted(run.counts, one) for one in (Component.MAC_SKIPPED, Component.MAC_PADDED))
    possible = int(array.rows * array.cols * array.rate * run.plan.streaming_cycles)
    assert product.macs - skipped + padded == product.count * possible
    assert run.plan.streaming_cycles * product.count <= run.cycles.compute
    assert (skipped > 0) <= (setting.what.sparsity is not None)


# --- sparsity -----------------------------------------------------------------------------------------------------


def finished(one: Layer, hardware: Hardware, options: Options) -> tuple[Run, Counts]:
    """A layer with its terms, gated as the options say."""
    assert one.product is not None
    run = product_run(one.product, Mapping(hardware, options, TilePrices(), hardware.sram.tile_bytes))
    skipped = run.counts.get(products.skipped_kind(one.product), 0)
    gated = max(0, one.macs_zero - skipped) if options.zero_gating else 0
    gates = products.gated_counts(one.product, gated, hardware.array)
    return run, total([(run.counts, 1), (gates, 1), (products.datapath_counts(one, skipped, gated), 1)])


@pytest.mark.parametrize("kind", ArrayKind)
def test_gated_macs_spare_multiplier_adder_and_the_accumulators_of_a_systolic_array(kind: ArrayKind) -> None:
    """(12): 100 of 360 MACs have a zero; time and traffic stay."""
    machine = replace(ROOMY, array=replace(ROOMY.array, kind=kind))
    (run, plain), (gated_run, gated) = (
        finished(layer(macs_zero=100), machine, Options(zero_gating=on)) for on in (False, True)
    )
    assert gated_run == run
    spared = 100 * 32 if kind is ArrayKind.SYSTOLIC else 0
    changes = {kind: gated.get(kind, 0) - plain.get(kind, 0) for kind in gated.keys() | plain.keys()}
    assert {kind: change for kind, change in changes.items() if change} == {
        MULTIPLIED: -100, ADDED: -100, Kind(Component.MAC_GATED, bits=8, second_bits=8): 100,
        **({Kind(Component.REGISTER, direction=one, bits=1): -spared for one in (READ, WRITE)} if spared else {}),
    }  # fmt: skip


def test_skipping_and_gating_together() -> None:
    """2 of 4 along k = 8: 4 are streamed. Of 400 zero MACs 3*5*4*4 = 240 are skipped, 160 gated, 80 useful."""
    product = replace(PRODUCT, k=8)
    options = Options(zero_gating=True, sparsity=Sparsity(2, 4))
    run, counts = finished(layer(product, macs_zero=400), ROOMY, options)
    assert counted(counts, Component.MAC_SKIPPED) == 240
    assert counted(counts, Component.MAC_GATED) == 160
    assert counts[MULTIPLIED] == counts[ADDED] == 480 - 400
    assert counted(counts, Component.BIAS_ADD) == 60
    # ws on 2 by 2: 2 folds along k, 2 along n, of 5 cycles: 20 cycles of 4 MACs, just what is streamed: 5*4*4.
    assert run.plan is not None and run.plan.streaming_cycles == 20
    assert counted(counts, Component.MAC_PADDED) == 0
    # Columns of 4 kept weights, each with 2 bits of index: 5 bytes; A is whole.
    assert counted(counts, DRAM, Operand.WEIGHT) == 3 * 4 * 5
    assert counted(counts, DRAM, Operand.ACTIVATION, READ) == 3 * 5 * 8


def test_only_weights_are_skipped() -> None:
    for operand in (Operand.ACTIVATION, Operand.KV_CACHE):
        run = product_run(replace(PRODUCT, b=operand), mapping(sparsity=Sparsity(1, 4)))
        assert counted(run.counts, Component.MAC_SKIPPED) == 0


def test_fewer_zeros_than_are_skipped_gate_nothing() -> None:
    """A program that is not pruned, priced as if it were."""
    _, counts = finished(layer(macs_zero=7), ROOMY, Options(zero_gating=True, sparsity=Sparsity(1, 2)))
    assert counted(counts, Component.MAC_GATED) == 0
    assert counts[MULTIPLIED] == 180


def test_padded_macs_by_hand() -> None:
    """ws, 4 by 4 with 2 MACs: K' = 3 in one fold of 5 cycles, n = 4 in one: 4*4*2*5 - 5*6*4 of each product."""
    array = Array(rows=4, cols=4, dataflow=Dataflow.WS, macs_per_cycle={8: 2.0})
    run = product_run(PRODUCT, mapping(replace(ROOMY, array=array)))
    assert counted(run.counts, Component.MAC_PADDED) == 3 * (160 - 120)


@pytest.mark.parametrize("rate", [2.0, 0.25])
def test_macs_of_an_array_of_other_rates(rate: float) -> None:
    array = replace(ROOMY.array, macs_per_cycle={8: rate})
    run = product_run(PRODUCT, mapping(replace(ROOMY, array=array)))
    assert run.plan is not None
    possible = int(4 * Fraction(rate) * run.plan.streaming_cycles)
    assert counted(run.counts, Component.MAC_PADDED) == 3 * (possible - 120) >= 0


# --- residents ----------------------------------------------------------------------------------------------------

HALF = with_sram(SMALL, capacity_bytes=4096, resident_kib=1)
"""Activations of up to 512 bytes stay."""


@pytest.mark.parametrize(
    ("shape", "on_chip"),
    [
        ({"m": 32, "k": 16, "n": 17}, (True, False, False)),
        ({"m": 33, "k": 16, "n": 15}, (False, False, True)),
        ({"m": 16, "k": 32, "n": 16, "count": 2}, (False, False, True)),
        ({"m": 16, "k": 33, "n": 15, "b": Operand.ACTIVATION}, (False, True, True)),
        ({"m": 16, "k": 33, "n": 15, "b": Operand.KV_CACHE}, (False, False, True)),
        ({"m": 16, "k": 33, "n": 15, "output": Operand.KV_CACHE}, (False, False, False)),
    ],
)
def test_activations_of_up_to_half_the_resident_part_stay(shape: dict[str, Any], on_chip: tuple[bool, ...]) -> None:
    placed = resident(replace(PRODUCT, **{"count": 1, **shape}), HALF)
    assert (placed.a_on_chip, placed.b_on_chip, placed.output_on_chip) == on_chip


@pytest.mark.parametrize(("packing", "stays"), [(Packing.DENSE, True), (Packing.PADDED, False)])
def test_residents_are_as_large_as_they_are_packed(packing: Packing, stays: bool) -> None:
    """Section 9: 64 rows of 10 codes of 6 bits are 8 bytes each, 512; padded 10, 640."""
    product = replace(PRODUCT, count=1, m=64, k=10, n=10, a_bits=6, output_bits=6, residual_bits=6)
    placed = resident(product, replace(HALF, packing=packing))
    assert {placed.a_on_chip, placed.output_on_chip, placed.residual_on_chip} == {stays}


def test_rows_of_residents_begin_at_bytes() -> None:
    """Section 9: 512 rows of 1 code of 6 bits are 512 bytes, 513 are 513, not 385."""
    for m, stays in ((512, True), (513, False)):
        product = replace(PRODUCT, count=1, m=m, k=1, n=1, a_bits=6, output_bits=6)
        placed = resident(product, HALF)
        assert placed.a_on_chip is placed.output_on_chip is stays


def test_what_stays_has_no_transfers() -> None:
    product = Product(m=16, k=16, n=16, a_bits=8, b_bits=8, output_bits=8, residual_bits=8)
    run = product_run(resident(product, HALF), mapping(HALF))
    assert counted(run.counts, DRAM) == counted(run.counts, DRAM, Operand.WEIGHT, READ) == 256
    assert counted(run.counts, ACCESS, Operand.ACTIVATION, WRITE) == 256
    assert HALF.sram.tile_bytes == 3072
    assert resident(product, ROOMY) is product


@pytest.mark.parametrize("residual", [Operand.ACTIVATION, Operand.WEIGHT, Operand.KV_CACHE])
def test_a_residual_is_what_the_product_says(residual: Operand) -> None:
    """Only an activation stays; by default it is one. Of weights 256 bytes move, beside the 256 of b."""
    product = Product(m=16, k=16, n=16, a_bits=8, b_bits=8, output_bits=8, residual_bits=8, residual=residual)
    assert replace(product, residual=Product(m=1, k=1, n=1, a_bits=8, b_bits=8, output_bits=8).residual) == replace(
        product, residual=Operand.ACTIVATION
    )
    stays = residual is Operand.ACTIVATION
    placed = resident(product, HALF)
    assert placed.residual_on_chip is stays
    counts = product_run(placed, mapping(HALF)).counts
    assert counted(counts, DRAM) == (256 if stays else 512)
    assert counted(counts, DRAM, residual, READ) == {Operand.ACTIVATION: 0, Operand.WEIGHT: 512}.get(residual, 256)
    assert counts[Kind(ACCESS, residual, READ, 8)] >= 256


@pytest.mark.parametrize(("along", "stays"), [("k", False), ("n", True)])
def test_values_are_packed_along_n(along: str, stays: bool) -> None:
    """Section 4, the context's B: 512 rows of 1 code of 6 bits are 512 bytes, 513 are 513; one of 513 codes is 385."""
    product = replace(PRODUCT, count=1, k=513, n=1, b_bits=6, b=Operand.ACTIVATION, fresh_along=along)
    assert resident(product, HALF).b_on_chip is stays
