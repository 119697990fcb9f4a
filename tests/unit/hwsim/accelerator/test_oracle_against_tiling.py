"""The closed forms of `hwsim.accelerator.tiling` against loops that are walked: every figure, and every choice."""

from fractions import Fraction
from itertools import product
from math import floor
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from hwsim.accelerator import array, tiling
from hwsim.accelerator.events import Operand
from hwsim.accelerator.hardware import Array, ArrayKind, Dataflow, Dram, FoldMode, Hardware, Packing, Sram, Vector
from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Objective, Options, Sparsity, Tiles
from hwsim.accelerator.tiling.plans import plan_of
from hwsim.accelerator.tiling.problem import problem_of
from tests.oracle.accelerator import array_walk, brute, tile_loop
from tests.oracle.accelerator.tile_loop import ORDERS, Run

PRICES = tiling.TilePrices(sram_read_word_aj=7, sram_write_word_aj=11, dram_byte_aj=150, leakage_cycle_aj=3)
PLAIN = brute.Prices(*PRICES)
COUNTS = ("ifmap_reads", "filter_reads", "psum_writes", "psum_reads", "drain_reads", "result_writes")


class Setting(NamedTuple):
    """One product on one machine, as the cost model takes it, and the cycles of its epilogue."""

    product: Product
    hardware: Hardware
    options: Options
    vector_cycles: int = 0

    @property
    def array(self) -> array_walk.Array:
        """The oracle's."""
        array = self.hardware.array
        widths = [bits for bits in array.macs_per_cycle if bits >= max(self.product.a_bits, self.product.b_bits)]
        rate = Fraction(array.macs_per_cycle[min(widths)]).limit_denominator(100)
        serial = array.fold_mode is FoldMode.SERIAL
        return array_walk.Array(array.rows, array.cols, array.dataflow.value, rate, array.kind.value, serial)

    @property
    def memory(self) -> tile_loop.Memory:
        sram, dram = self.hardware.sram, self.hardware.dram
        bandwidth = Fraction(dram.bandwidth_bytes_per_second, self.hardware.clock_hz)
        padded = self.hardware.packing is Packing.PADDED
        return tile_loop.Memory(sram.word_bytes, sram.ports, dram.burst_bytes, dram.latency_cycles, bandwidth, padded)

    @property
    def what(self) -> tile_loop.Product:
        p, sparsity = self.product, self.options.sparsity
        skips = sparsity is not None and p.b is Operand.WEIGHT
        psum_bits = self.options.psum_bits or p.accumulator_bits
        return tile_loop.Product(
            *(p.m, p.k, p.n, p.a_bits, p.b_bits, p.output_bits),
            psum_bytes=-(-psum_bits // 8), column_bytes=p.column_bytes, residual_bits=p.residual_bits, fresh=p.fresh,
            fresh_along=p.fresh_along, a_on_chip=p.a_on_chip, output_on_chip=p.output_on_chip,
            b_on_chip=p.b_on_chip, residual_on_chip=p.residual_on_chip,
            sparsity=(sparsity.kept, sparsity.group) if skips and sparsity else None,
            accumulator_bits=p.accumulator_bits,
            b_along_n=p.fresh_along == "k" and p.b is not Operand.WEIGHT,
            a_heads=p.a_heads, output_heads=p.output_heads,
        )  # fmt: skip

    def plan(self, tile: tile_loop.Tiling) -> tiling.Plan:
        chosen = tiling.Tiling(tm=tile.tm, tk=tile.tk, tn=tile.tn, order=ORDERS[tile.order])
        return plan_of(problem_of(self.product, self.hardware, self.options, self.vector_cycles), chosen, PRICES)

    def run(self, tile: tile_loop.Tiling) -> Run:
        return tile_loop.run(self.what, self.array, self.memory, tile, self.vector_cycles)


@st.composite
def hardware(draw) -> Hardware:
    dataflow = draw(st.sampled_from(Dataflow))
    kind = ArrayKind.SYSTOLIC if dataflow is Dataflow.OS else draw(st.sampled_from(ArrayKind))
    rates = draw(st.sampled_from([{16: 1.0}, {16: 1.0}, {4: 4.0, 8: 2.0, 16: 1.0}, {4: 3.0, 8: 1.0, 16: 1 / 3}]))
    return Hardware(
        name="drawn",
        array=Array(
            kind=kind, rows=draw(st.integers(1, 4)), cols=draw(st.integers(1, 4)), dataflow=dataflow,
            fold_mode=draw(st.sampled_from(FoldMode)), macs_per_cycle=rates,
        ),
        vector=Vector(
            lanes=draw(st.integers(1, 4)), latency_cycles=draw(st.sampled_from([0, 3, 50])), dividers=1,
            divide_cycles=1, root_cycles=1,
        ),
        sram=Sram(
            capacity_bytes=1 << 20, word_bytes=draw(st.sampled_from([1, 4, 16])), ports=draw(st.integers(1, 3))
        ),
        dram=Dram(
            type="drawn", bandwidth_bytes_per_second=draw(st.sampled_from([10, 7, 64, 1000])),
            burst_bytes=draw(st.sampled_from([1, 8, 64])), latency_cycles=draw(st.sampled_from([0, 0, 3, 40])),
        ),
        clock_hz=draw(st.sampled_from([1, 3, 10])), voltage=1.0, energy_table="none",
        packing=draw(st.sampled_from(Packing)),
    )  # fmt: skip


MACHINE = Hardware(
    name="pinned",
    array=Array(rows=2, cols=2, dataflow=Dataflow.OS, macs_per_cycle={16: 1.0}),
    vector=Vector(lanes=1, latency_cycles=0, dividers=1, divide_cycles=1, root_cycles=1),
    sram=Sram(capacity_bytes=1 << 20, word_bytes=4, ports=2),
    dram=Dram(type="pinned", bandwidth_bytes_per_second=2, burst_bytes=8, latency_cycles=3),
    clock_hz=1, voltage=1.0, energy_table="none",
)  # fmt: skip
CODES, WHOLE_BYTES = st.integers(2, 16), st.sampled_from([8, 16])
SKIPPING = st.sampled_from([None, None, Sparsity(2, 4), Sparsity(1, 3), Sparsity(3, 8)])
KINDS_OF_B = st.sampled_from(
    [(Operand.WEIGHT, "n"), (Operand.WEIGHT, "k"), *product((Operand.ACTIVATION, Operand.KV_CACHE), "nk")]
)
SOME, YES = st.sampled_from([False, False, True]), st.just(True)


@st.composite
def drawn(
    draw, most: int = 8, codes: st.SearchStrategy[int] = CODES, sparsity=SKIPPING, output_on_chip=SOME
) -> Setting:
    m = draw(st.sampled_from([1, None])) or draw(st.integers(1, most))
    b, fresh_along = draw(KINDS_OF_B)
    made = Product(
        count=draw(st.integers(1, 3)), m=m, k=draw(st.integers(1, most)), n=draw(st.integers(1, most)),
        a_bits=draw(codes), b_bits=draw(codes), accumulator_bits=draw(st.sampled_from([32, 32, 26, 48])),
        output_bits=draw(codes), b=b, column_bytes=draw(st.sampled_from([0, 7])),
        residual_bits=draw(st.sampled_from([0, 8, 16, 5])) if codes is CODES else draw(st.sampled_from([0, 8])),
        fresh=0 if b is Operand.WEIGHT else draw(st.integers(0, 1)), fresh_along=fresh_along,
        a_on_chip=draw(st.booleans()), output_on_chip=draw(output_on_chip),
        b_on_chip=draw(SOME), residual_on_chip=draw(st.booleans()),
    )  # fmt: skip
    heads = st.sampled_from([1, 1, 2, 3])
    a_heads, output_heads = (1 if size % (of := draw(heads)) else of for size in (made.k, made.n))
    made = structs.replace(made, a_heads=a_heads, output_heads=output_heads)
    psum_bits = draw(st.sampled_from([None, None, 8, 20]))
    vector_cycles = draw(st.just(0) | st.integers(1, 100) | st.integers(1, 1500))
    return Setting(made, draw(hardware()), Options(sparsity=draw(sparsity), psum_bits=psum_bits), vector_cycles)


@st.composite
def tiled(draw) -> tuple[Setting, tile_loop.Tiling]:
    setting = draw(drawn())
    free = setting.array._replace(rows=1, cols=1)
    sizes = brute.array_sizes(setting.what, free, setting.memory)
    sizes["k"] = brute.whole_groups(setting.what, sizes["k"])
    return setting, tile_loop.Tiling(*(draw(st.sampled_from(sizes[dim])) for dim in "mkn"), draw(st.integers(0, 5)))


def check(setting: Setting, tile: tile_loop.Tiling) -> None:
    """Every figure of a plan."""
    plan, run, word = setting.plan(tile), setting.run(tile), setting.memory.word
    assert {(move.stream, move.direction): (move.bytes, move.transfers) for move in plan.moves} == run.moves
    assert {name: getattr(plan.counts, name) for name in COUNTS} == {name: run.counts[name] for name in COUNTS}
    causes = {cause: getattr(plan.cycles, cause) for cause in run.cycles}
    assert causes == run.cycles
    assert sum(causes.values()) == run.total_cycles
    assert plan.room_bytes == run.room_double
    assert plan.registers == run.registers
    assert (plan.macs, plan.streaming_cycles) == (run.counts["macs"], run.streaming_cycles)
    assert plan.padded_macs == floor(run.counts["slots"] - run.counts["macs"])
    words = plan.array_words
    fetched = sum(move.words for move in plan.moves if move.direction == "read")
    stored = sum(move.words for move in plan.moves if move.direction == "write")
    read = words.a_read + words.b_read + words.psum_read + words.drain_read + stored
    written = words.psum_write + words.result_write + fetched
    assert (read * word, written * word) == (run.sram_read_bytes, run.sram_write_bytes)
    assert plan.energy_aj == brute.key(run, "energy", setting.memory, PLAIN)[0]


@settings(deadline=None, max_examples=300)
@given(tiled())
def test_a_plan_is_what_the_loops_do(case: tuple[Setting, tile_loop.Tiling]) -> None:
    check(*case)


@settings(deadline=None, max_examples=100)
@given(tiled())
def test_the_schedule_is_what_the_loops_do(case: tuple[Setting, tile_loop.Tiling]) -> None:
    """Transfers step by step: between the loads of the first tile and the stores of the last each step has both."""
    setting, tile = case
    chosen = tiling.Tiling(tm=tile.tm, tk=tile.tk, tn=tile.tn, order=ORDERS[tile.order])
    steps = list(tiling.steps(setting.product, setting.hardware, setting.options, chosen))
    walked = setting.run(tile).steps
    assert len(steps) == len(walked) + 2
    came = [[(move.stream, move.bytes, move.cycles) for move in step.fetched] for step in walked]
    went = [[(move.stream, move.bytes, move.cycles) for move in step.stored] for step in walked]
    assert [sorted((x.stream, x.bytes, x.cycles) for x in step.loads) for step in steps] == [
        *map(sorted, came), [], []
    ]  # fmt: skip
    assert [[(x.stream, x.bytes, x.cycles) for x in step.stores] for step in steps] == [[], [], *went]
    busy = [step.compute + step.fill_drain + step.sram for step in walked]
    assert [step.busy for step in steps] == [0, *busy, 0]


@settings(deadline=None, max_examples=100)
@given(drawn(most=9, sparsity=st.none()))
def test_a_product_without_a_scratchpad_is_one_tile(setting: Setting) -> None:
    cycles, counts = array.untiled(setting.product, setting.hardware.array)
    work = array_walk.walk(*setting.what[:3], True, True, setting.array)
    index_of_last = setting.array.serial and setting.array.kind == "systolic"  # SCALE-Sim's total is one less
    assert cycles.compute + cycles.fill_drain + index_of_last == sum(
        array_walk.tile_cycles(work, setting.array, True, True)
    )
    assert {name: getattr(counts, name) for name in COUNTS} == {name: getattr(work, name) for name in COUNTS}


# --- the search -------------------------------------------------------------------------------------------------------


def chosen(setting: Setting, tiles: Tiles, objective: Objective, capacity: int) -> tiling.Plan | brute.Refusal:
    options = Options(
        objective=objective, tiles=tiles, sparsity=setting.options.sparsity, psum_bits=setting.options.psum_bits
    )
    try:
        return tiling.search(
            setting.product, setting.hardware, options, PRICES, capacity, vector_cycles=setting.vector_cycles
        )
    except tiling.DoesNotFit as error:
        return brute.Refusal(error.needed)


def best(
    setting: Setting, tiles: Tiles, objective: Objective, capacity: int, smallest: bool
) -> brute.Choice | brute.Refusal:
    mode = (capacity, tiles.value, objective.value, PLAIN, smallest)
    return brute.search(setting.what, setting.array, setting.memory, *mode, vector_cycles=setting.vector_cycles)


Search = tuple[Setting, Objective, int]


@st.composite
def searches(draw, tiles: Tiles, settings_of: st.SearchStrategy[Setting]) -> Search:
    """A capacity from just below what the smallest tile needs to what the whole product needs."""
    setting = draw(settings_of)
    tried = brute.candidates(setting.what, setting.array, setting.memory, tiles.value)
    rooms = [tile_loop.rooms(setting.what, setting.memory, tile)[tiles is Tiles.DIVISORS] for tile in tried]
    fits = st.integers(min(rooms), max(rooms))
    return (
        setting,
        draw(st.sampled_from(Objective)),
        draw(st.just(min(rooms) - 1) | fits | fits | fits),
    )


def same_choice(case: Search, tiles: Tiles, smallest: bool) -> set[str]:
    """The same tiling on both sides, or the same refusal; of what kind it is."""
    setting, objective, capacity = case
    plan, choice = chosen(setting, tiles, objective, capacity), best(setting, tiles, objective, capacity, smallest)
    if isinstance(plan, brute.Refusal) or isinstance(choice, brute.Refusal):
        assert plan == choice
        return {"refused"}
    tile = plan.tiling
    assert (tile.tm, tile.tk, tile.tn, ORDERS.index(tile.order)) == choice.tiling
    ragged = any(size % part for size, part in zip(setting.what, choice.tiling[:3], strict=False))
    kinds = {"whole": plan.trips == (1, 1, 1), "spills": ("partial", "read") in choice.cost.moves, "ragged": ragged}
    return {kind for kind, is_so in kinds.items() if is_so}


def pinned(tiles: Tiles, smallest: bool, output_on_chip: bool = False, vector_cycles: int = 0) -> set[str]:
    """What kinds of choices there are at many capacities."""
    met = set[str]()
    for sizes, capacity, objective in product(((6, 4, 6), (7, 5, 3)), (5, 18, 98, 999), Objective):
        what = dict(zip("mkn", sizes, strict=True), a_bits=16, b_bits=16, column_bytes=7, residual_bits=8)
        made = Product(output_bits=8, output_on_chip=output_on_chip, **what)
        setting = Setting(made, MACHINE, Options(psum_bits=8), vector_cycles)
        met |= same_choice((setting, objective, capacity), tiles, smallest)
    return met


@settings(deadline=None, max_examples=60)
@given(searches(Tiles.DIVISORS, drawn(most=6)))
def test_divisors_choose_what_brute_force_chooses(case: Search) -> None:
    same_choice(case, Tiles.DIVISORS, smallest=False)


@settings(deadline=None, max_examples=60)
@given(searches(Tiles.ARRAY, drawn(most=7)))
def test_array_sizes_choose_what_brute_force_chooses(case: Search) -> None:
    """Among the smallest sizes of each number of trips, which are all that section 4 counts."""
    same_choice(case, Tiles.ARRAY, smallest=True)


@pytest.mark.parametrize("tiles", Tiles)
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_results_on_chip_are_never_spilled(tiles: Tiles, data: st.DataObject) -> None:
    case = data.draw(searches(tiles, drawn(most=6, output_on_chip=YES)))
    same_choice(case, tiles, smallest=tiles is Tiles.ARRAY)


def test_pinned_choices_are_those_of_brute_force() -> None:
    assert pinned(Tiles.DIVISORS, smallest=False) == {"refused", "whole", "spills"}
    assert pinned(Tiles.ARRAY, smallest=True) == {"refused", "spills", "ragged"}  # a whole one has no overlap
    for tiles in Tiles:
        pinned(tiles, smallest=tiles is Tiles.ARRAY, output_on_chip=True)


@pytest.mark.parametrize("vector_cycles", [30, 150])
def test_pinned_choices_with_an_epilogue(vector_cycles: int) -> None:
    pinned(Tiles.ARRAY, smallest=True, vector_cycles=vector_cycles)


EPILOGUES = [
    (Objective.DRAM, 64, (3, 6, 4)),
    (Objective.LATENCY, 64, (3, 6, 4)),
    (Objective.DRAM, 98, (5, 4, 3)),
    (Objective.LATENCY, 98, (4, 5, 4)),
]


@pytest.mark.parametrize(("objective", "capacity", "sizes"), EPILOGUES)
def test_an_epilogue_makes_other_tiles_the_best(objective: Objective, capacity: int, sizes: tuple[int, ...]) -> None:
    """It hides a busier array; brute force chooses likewise."""
    made = Product(**dict(zip("mkn", sizes, strict=True)), a_bits=8, b_bits=8, output_bits=8, column_bytes=7)
    plain = Setting(made, MACHINE, Options())
    tilings = set()
    for setting in (plain, plain._replace(vector_cycles=100)):
        same_choice((setting, objective, capacity), Tiles.DIVISORS, smallest=False)
        found = chosen(setting, Tiles.DIVISORS, objective, capacity)
        assert isinstance(found, tiling.Plan)
        tilings.add((found.tiling.tm, found.tiling.tk, found.tiling.tn, found.tiling.order))
    assert len(tilings) == 2


FULL = drawn(most=6, codes=WHOLE_BYTES, sparsity=st.none())


@settings(deadline=None, max_examples=40)
@given(searches(Tiles.ARRAY, FULL))
def test_no_other_size_of_the_array_moves_fewer_bytes(case: Search) -> None:
    """Of codes that fill their bytes; where they do not, a greater tile may pack better."""
    setting, _, capacity = case
    plan = chosen(setting, Tiles.ARRAY, Objective.DRAM, capacity)
    choice = best(setting, Tiles.ARRAY, Objective.DRAM, capacity, smallest=False)
    if isinstance(plan, brute.Refusal) or isinstance(choice, brute.Refusal):
        assert plan == choice
        return
    assert sum(move.bytes for move in plan.moves) == choice.cost.dram_bytes
