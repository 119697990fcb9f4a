"""Laws of tiles for any product and machine: sums, bounds, capacity, bandwidth, choice (docs/accelerator.md, 4, 5)."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwsim.accelerator.array import ArrayCounts
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.events import Operand
from hwsim.accelerator.hardware import Array, ArrayKind, Dataflow, Dram, FoldMode, Hardware, Packing, Sram, Vector
from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Objective, Options, Sparsity, Tiles
from hwsim.accelerator.storage import ceil_div
from hwsim.accelerator.tiling import DoesNotFit, Plan, TilePrices, Tiling, choice, plan, search, steps
from hwsim.accelerator.tiling.candidates import axes
from hwsim.accelerator.tiling.nest import ORDERS
from hwsim.accelerator.tiling.plans import plan_of
from hwsim.accelerator.tiling.problem import problem_of

EFFORT = settings(deadline=None, max_examples=150)
PRICES = TilePrices(sram_read_word_aj=900, sram_write_word_aj=1100, dram_byte_aj=40_000, leakage_cycle_aj=300)
RATES: dict[int, float] = {2: 4.0, 8: 1.0, 16: 0.25}

sizes = st.one_of(st.sampled_from((1, 1, 2, 128)), st.integers(1, 40), st.integers(1, 300))
widths = st.integers(2, 16)


@st.composite
def arrays(draw: Any) -> Array:
    kind = draw(st.sampled_from(ArrayKind))
    flows = [flow for flow in Dataflow if kind is ArrayKind.SYSTOLIC or flow is not Dataflow.OS]
    return Array(
        kind=kind,
        rows=draw(st.sampled_from((1, 3, 8, 16, 32))),
        cols=draw(st.sampled_from((1, 4, 8, 16, 32))),
        dataflow=draw(st.sampled_from(flows)),
        fold_mode=draw(st.sampled_from(FoldMode)),
        macs_per_cycle=RATES,
    )


@st.composite
def machines(draw: Any) -> Hardware:
    return Hardware(
        name="drawn",
        array=draw(arrays()),
        vector=Vector(lanes=1, latency_cycles=0, dividers=1, divide_cycles=1, root_cycles=1),
        sram=Sram(
            capacity_bytes=1 << 20,
            word_bytes=draw(st.sampled_from((1, 8, 32))),
            ports=draw(st.sampled_from((1, 2, 64))),
        ),
        dram=Dram(
            type="any",
            bandwidth_bytes_per_second=draw(st.integers(1, 100)) * 1000,
            burst_bytes=draw(st.sampled_from((1, 32, 64))),
            latency_cycles=draw(st.sampled_from((0, 0, 1, 100))),
        ),
        clock_hz=draw(st.sampled_from((1000, 1700, 9973))),
        voltage=1.0,
        energy_table="any",
        packing=draw(st.sampled_from(Packing)),
    )


@st.composite
def products(draw: Any) -> Product:
    b = draw(st.sampled_from((Operand.WEIGHT, Operand.ACTIVATION, Operand.KV_CACHE)))
    on_chip = [name for name in ("a", "b", "output", "residual") if draw(st.integers(0, 7)) == 0]
    return Product(
        m=draw(sizes),
        k=draw(sizes),
        n=draw(sizes),
        a_bits=draw(widths),
        b_bits=draw(widths),
        output_bits=draw(widths),
        accumulator_bits=draw(st.sampled_from((20, 32, 40))),
        b=b,
        column_bytes=draw(st.sampled_from((0, 0, 7))),
        residual_bits=draw(st.sampled_from((0, 0, 8))),
        fresh=draw(st.integers(0, 1)) if b is Operand.KV_CACHE else 0,
        fresh_along=draw(st.sampled_from("nk")),
        **{f"{name}_on_chip": True for name in on_chip},
    )


options_of = st.builds(
    Options,
    objective=st.sampled_from(Objective),
    tiles=st.sampled_from((Tiles.ARRAY, Tiles.ARRAY, Tiles.DIVISORS)),
    psum_bits=st.sampled_from((None, 8, 16)),
    sparsity=st.sampled_from((None, None, Sparsity(2, 4), Sparsity(1, 3))),
)
capacities = st.integers(8, 256).map(lambda kib: kib * 1024)
epilogues = st.just(0) | st.integers(0, 18).map(lambda bits: 1 << bits)


def found(product: Product, hardware: Hardware, options: Options, capacity: int, vector: int = 0) -> Plan:
    """The best plan with an epilogue of so many cycles; what does not fit is another example's matter."""
    try:
        return search(product, hardware, options, PRICES, capacity, vector_cycles=vector)
    except DoesNotFit:
        assume(False)
        raise


def key(result: Plan, objective: Objective) -> tuple[int, ...]:
    figures = (result.dram_bytes, result.cycles.total, result.sram_words)
    tile = result.tiling
    last = (tile.tm, tile.tk, tile.tn, ORDERS.index(tile.order))
    if objective is Objective.LATENCY:
        return (figures[1], figures[0], figures[2], *last)
    return (result.energy_aj, *figures, *last) if objective is Objective.ENERGY else (*figures, *last)


def spills(product: Product, hardware: Hardware, options: Options, tiling: Tiling) -> bool:
    """f_O > 1: no candidate where results are on chip."""
    stored = msgspec.structs.replace(product, output_on_chip=False)
    return any(move.stream == "partial" for move in plan(stored, hardware, options, tiling).moves)


def faster(hardware: Hardware, factor: int) -> Hardware:
    rate = hardware.dram.bandwidth_bytes_per_second * factor // 4
    dram = msgspec.structs.replace(hardware.dram, bandwidth_bytes_per_second=rate)
    return msgspec.structs.replace(hardware, dram=dram)


@st.composite
def tilings(draw: Any, product: Product, options: Options, most: int = 7) -> Tiling:
    """At most so many tiles along each dimension."""
    trips = (draw(st.integers(1, most)) for _ in range(3))
    tm, tk, tn = (
        int(ceil_div(extent, count)) for extent, count in zip((product.m, product.k, product.n), trips, strict=True)
    )
    if options.sparsity is not None:  # no tile cuts a group
        tk = min(product.k, options.sparsity.group * ceil_div(tk, options.sparsity.group))
    return Tiling(tm=tm, tk=tk, tn=tn, order=draw(st.sampled_from(ORDERS)))


@EFFORT
@given(st.data(), products(), machines(), options_of)
def test_a_plan_is_the_sum_of_its_steps(data: Any, product: Product, hardware: Hardware, options: Options) -> None:
    tiling = data.draw(tilings(product, options))
    result = plan(product, hardware, options, tiling)
    total, moved, transfers = Cycles(), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    clock = 0
    for step in steps(product, hardware, options, tiling):
        assert step.start == clock
        assert step.cycles.compute + step.cycles.fill_drain + step.cycles.sram == step.busy
        assert step.cycles.total == max(step.busy, sum(one.cycles for one in (*step.loads, *step.stores)))
        assert min(step.cycles) >= 0 and step.room_bytes <= result.room_bytes
        clock, total = step.end, total.added(step.cycles)
        for one in (*step.loads, *step.stores):
            moved[one.stream, one.direction] += one.bytes
            transfers[one.stream, one.direction] += 1
    assert total == result.cycles and clock == result.cycles.total
    assert {(move.stream, move.direction): move.bytes for move in result.moves} == moved
    assert {(move.stream, move.direction): move.transfers for move in result.moves} == transfers


@EFFORT
@given(st.data(), products(), machines(), options_of)
def test_counts_follow_the_table(data: Any, product: Product, hardware: Hardware, options: Options) -> None:
    """Sums over tiles, written with the sizes along one dimension at a time."""
    tiling, array = data.draw(tilings(product, options)), hardware.array
    result, problem = plan(product, hardware, options, tiling), problem_of(product, hardware, options)

    def parts(extent: int, size: int) -> list[int]:
        return [min(size, extent - first) for first in range(0, extent, size)]

    m, n = parts(product.m, tiling.tm), parts(product.n, tiling.tn)
    k = [problem.streamed(part) for part in parts(product.k, tiling.tk)]
    results, kept = product.m * product.n, sum(k)
    along_rows = sum(
        ceil_div(ceil_div(part * problem.rate.denominator, problem.rate.numerator), array.rows) for part in k
    )
    columns = sum(ceil_div(part, array.cols) for part in n)
    if array.dataflow is Dataflow.OS:
        reads = product.m * kept * columns, product.n * kept * sum(ceil_div(part, array.rows) for part in m)
        sums = results * (len(k) - 1), results * (len(k) - 1), 0
    else:
        held = sum(ceil_div(part, array.cols) for part in m)
        ws = array.dataflow is Dataflow.WS
        reads = product.m * kept * (columns if ws else len(n)), product.n * kept * (len(m) if ws else held)
        sums = results * along_rows, results * (along_rows - 1), results
    assert result.counts == ArrayCounts(*reads, *sums, results)
    assert result.macs == results * kept and result.padded_macs >= 0
    capable = array.rows * array.cols * problem.rate * result.streaming_cycles
    assert 0 <= capable - (result.macs + result.padded_macs) < 1


@EFFORT
@given(products(), machines(), options_of, capacities, epilogues)
def test_no_layer_is_faster_than_array_and_memory(
    product: Product, hardware: Hardware, options: Options, capacity: int, vector: int
) -> None:
    result = found(product, hardware, options, capacity, vector)
    cycles = result.cycles
    assert result.room_bytes <= capacity
    assert cycles.total >= cycles.compute + cycles.fill_drain + cycles.sram
    assert cycles.compute >= result.streaming_cycles
    bandwidth, clock = hardware.dram.bandwidth_bytes_per_second, hardware.clock_hz
    assert cycles.total * bandwidth >= result.dram_bytes * clock
    words = result.array_words.read + result.array_words.write
    assert cycles.total * hardware.sram.ports >= words
    assert cycles.total >= vector


@EFFORT
@given(products(), machines(), options_of, capacities, epilogues)
def test_a_found_plan_is_that_of_its_tiling(
    product: Product, hardware: Hardware, options: Options, capacity: int, vector: int
) -> None:
    result = found(product, hardware, options, capacity, vector)
    assert plan_of(problem_of(product, hardware, options, vector), result.tiling, PRICES) == result
    alone = plan(product, hardware, options, result.tiling, PRICES)
    busy = alone.cycles.compute + alone.cycles.fill_drain + alone.cycles.sram
    assert result.cycles == alone.cycles._replace(vector=max(0, vector - busy))
    assert result.energy_aj == alone.energy_aj + result.cycles.vector * PRICES.leakage_cycle_aj


@EFFORT
@given(st.data(), products(), machines(), options_of, capacities, epilogues)
def test_no_other_tiling_is_better(
    data: Any, product: Product, hardware: Hardware, options: Options, capacity: int, vector: int
) -> None:
    best = found(product, hardware, options, capacity, vector)
    tm, tk, tn = (int(data.draw(st.sampled_from(list(axis)))) for axis in axes(problem_of(product, hardware, options)))
    assume(ceil_div(product.m, tm) * ceil_div(product.k, tk) * ceil_div(product.n, tn) < 1 << 40)
    tiling = Tiling(tm=tm, tk=tk, tn=tn, order=data.draw(st.sampled_from(ORDERS)))
    other = plan_of(problem_of(product, hardware, options, vector), tiling, PRICES)
    assume(other.room_bytes <= capacity)
    assume(not (product.output_on_chip and spills(product, hardware, options, tiling)))
    assert key(best, options.objective) <= key(other, options.objective)


@settings(EFFORT, max_examples=20)  # each evaluates every tiling
@given(products(), machines(), options_of, capacities, epilogues)
def test_bounds_leave_out_no_tiling_that_is_best(
    product: Product, hardware: Hardware, options: Options, capacity: int, vector: int
) -> None:
    case = problem_of(product, hardware, options, vector), options.objective, PRICES, capacity
    uncached = choice._search.__wrapped__
    plans = []
    for chunk in (1, 1 << 40):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(choice, "FIRST_CHUNK", chunk)
            try:
                plans.append(uncached(*case))
            except DoesNotFit:
                assume(False)
    assert plans[0] == plans[1]


@EFFORT
@given(products(), machines(), options_of, capacities, epilogues, st.integers(0, 128 * 1024))
def test_more_scratchpad(
    product: Product, hardware: Hardware, options: Options, capacity: int, vector: int, more: int
) -> None:
    """The objective's own figure never grows: every tiling that fitted fits."""
    small, large = (found(product, hardware, options, size, vector) for size in (capacity, capacity + more))
    assert key(large, options.objective) <= key(small, options.objective)


@EFFORT
@given(products(), machines(), options_of, capacities, epilogues, st.integers(5, 64))
def test_more_bandwidth(
    product: Product, hardware: Hardware, options: Options, capacity: int, vector: int, factor: int
) -> None:
    slow, fast = (found(product, one, options, capacity, vector) for one in (hardware, faster(hardware, factor)))
    if options.objective is Objective.DRAM:
        assert fast.dram_bytes == slow.dram_bytes
    if options.objective is not Objective.ENERGY:
        assert fast.cycles.total <= slow.cycles.total
    else:
        assert fast.energy_aj <= slow.energy_aj


@EFFORT
@given(products(), machines(), options_of, capacities, epilogues)
def test_each_objective_is_best_at_its_own(
    product: Product, hardware: Hardware, options: Options, capacity: int, vector: int
) -> None:
    by = {
        objective: found(product, hardware, msgspec.structs.replace(options, objective=objective), capacity, vector)
        for objective in Objective
    }
    assert by[Objective.DRAM].dram_bytes == min(result.dram_bytes for result in by.values())
    assert by[Objective.LATENCY].cycles.total == min(result.cycles.total for result in by.values())
    assert by[Objective.ENERGY].energy_aj == min(result.energy_aj for result in by.values())
