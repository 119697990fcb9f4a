"""Tiles: what other tools find best, candidates and room by hand, what is refused."""

from collections import Counter
from typing import Any

import pytest

from hwsim.accelerator.events import Operand
from hwsim.accelerator.hardware import Hardware, Packing
from hwsim.accelerator.options import Objective, Options, Sparsity, Tiles
from hwsim.accelerator.tiling import DoesNotFit, Plan, TilePrices, Tiling, plan, search
from hwsim.accelerator.tiling.candidates import divisors, multiples
from hwsim.accelerator.tiling.nest import ORDERS, classes, nest_of, walk
from tests.unit.hwsim.accelerator.machine import array, gemm, golden, machine

FREE = TilePrices()
PUBLISHED = Options(tiles=Tiles.DIVISORS, psum_bits=8)
WS32 = machine(array(32, 32))
BYTES = 1 << 40


def moved(result: Plan) -> dict[tuple[str, str], tuple[int, int]]:
    return {(move.stream, move.direction): (move.bytes, move.transfers) for move in result.moves}


def published(row: dict[str, str]) -> Plan:
    size = (int(row["m"]), int(row["k"]), int(row["n"]))
    return search(gemm(*size), WS32, PUBLISHED, FREE, int(row["buffer_kib"]) * 1024)


@pytest.mark.parametrize("row", golden("accelforge_dram.csv"), ids=lambda row: "-".join(row.values()))
def test_least_dram_bytes_are_the_published_ones(row: dict[str, str]) -> None:
    assert published(row).dram_bytes == int(row["optimal_dram_bytes"])


@pytest.mark.parametrize("row", golden("accelforge_levels.csv"), ids=lambda row: "-".join(row.values()))
def test_accesses_of_each_level_are_the_published_ones(row: dict[str, str]) -> None:
    result = published(row)
    counts, bytes_of = result.counts, {key: size for key, (size, _) in moved(result).items()}
    stored = bytes_of["output", "write"] + bytes_of.get(("partial", "write"), 0)
    elements = {
        ("GlobalBuffer", "ifmap", "read"): counts.ifmap_reads,
        ("GlobalBuffer", "ifmap", "write"): bytes_of["a", "read"],
        ("GlobalBuffer", "ofmap", "read"): counts.psum_reads + counts.drain_reads,
        ("GlobalBuffer", "ofmap", "write"): counts.psum_writes,
        ("Register", "filter", "read"): result.macs,
        ("Register", "filter", "write"): counts.filter_reads,
        ("MainMemory", "ifmap", "read"): bytes_of["a", "read"],
        ("MainMemory", "filter", "read"): bytes_of["b", "read"],
        ("MainMemory", "ofmap", "read"): bytes_of.get(("partial", "read"), 0),
        ("MainMemory", "ofmap", "write"): stored,
    }
    written_back = 0  # operands are never written to main memory
    assert elements.get((row["level"], row["operand"], row["action"]), written_back) == int(row["elements"])


@pytest.mark.parametrize(("kib", "least"), [(16, 819200), (32, 557056), (64, 425984), (128, 327680)])
def test_array_sizes_and_double_buffers(kib: int, least: int) -> None:
    result = search(gemm(64, 512, 512), WS32, Options(), FREE, kib * 1024)
    assert result.dram_bytes == least
    assert result.room_bytes <= kib * 1024


def test_orders_and_walks() -> None:
    for order in ORDERS:
        size = {"m": 2, "k": 3, "n": 4}
        nest = nest_of((2, 3, 4), (1, 1, 1), tuple(order.index(name) for name in "mkn"))
        indices = list(walk(nest))
        assert len(set(indices)) == 24
        inner, outer = "mkn".index(order[2]), "mkn".index(order[0])
        assert [at[inner] for at in indices[: size[order[2]]]] == list(range(size[order[2]]))
        assert [at[outer] for at in indices] == sorted(at[outer] for at in indices)
        for here, there in zip(indices, indices[1:] + indices[:1], strict=True):
            assert nest.neighbour(here, 1) == there and nest.neighbour(there, -1) == here


@pytest.mark.parametrize(("trips", "expected"), [(1, [(0, 1)]), (3, [(0, 1), (1, 1), (2, 1)])])
def test_classes(trips: int, expected: list[tuple[int, int]]) -> None:
    assert classes(trips) == expected
    assert classes(9) == [(0, 1), (1, 6), (7, 1), (8, 1)]


def test_sizes_by_hand() -> None:
    # 10 in threes: 3 (4 tiles), 6 (2), 10 (1); 9 has 2 tiles like 6.
    assert multiples(10, 3).tolist() == [3, 6, 10]
    assert multiples(10, 1).tolist() == [1, 2, 3, 4, 5, 10]
    assert multiples(3, 16).tolist() == [3]
    assert multiples(100, 32).tolist() == [32, 64, 100]
    assert divisors(12).tolist() == [1, 2, 3, 4, 6, 12]


# (5, 6, 4) in tiles of (2, 4, 2): trips 3, 2, 2; 3 column bytes, a residual of 16 bits, 2 bytes a partial sum.
RICH = gemm(5, 6, 4, a_bits=6, output_bits=4, column_bytes=3, residual_bits=16)
RICH_OPTIONS = Options(psum_bits=16)
# Rows of a: 3 and 2 bytes, so 5 rows of 5; of b: 4 rows of 6; of O: 1 a row and tile; of E: 4.
A, B, CONSTANTS, SUMS, RESULTS, RESIDUAL = 25, 24, 12, 40, 10, 40


@pytest.mark.parametrize(
    ("order", "f_a", "f_b", "f_q", "f_o"),
    [
        ("mkn", 1, 3, 6, 2),
        ("mnk", 2, 3, 3, 1),
        ("kmn", 1, 3, 6, 2),
        ("knm", 2, 1, 2, 2),
        ("nmk", 2, 3, 1, 1),
        ("nkm", 2, 1, 1, 2),
    ],
)
def test_refetches_by_hand(order: str, f_a: int, f_b: int, f_q: int, f_o: int) -> None:
    result = plan(RICH, machine(array(2, 2)), RICH_OPTIONS, Tiling(tm=2, tk=4, tn=2, order=order))
    bytes_of = {key: size for key, (size, _) in moved(result).items()}
    partial = {("partial", "read"): SUMS, ("partial", "write"): SUMS} if f_o == 2 else {}
    assert bytes_of == {
        ("a", "read"): f_a * A,
        ("b", "read"): f_b * B,
        ("constants", "read"): f_q * CONSTANTS,
        ("residual", "read"): RESIDUAL,
        ("output", "write"): RESULTS,
        **partial,
    }
    assert result.trips == (3, 2, 2)
    # 2*(2*3 + 2*4 + 6) + 2*2*2 + 2*1 + 2*(2*4), and partial sums in transfer.
    assert result.room_bytes == 66 + (8 if f_o > 1 else 0)


def test_rooms_are_whole_words() -> None:
    result = plan(RICH, machine(array(2, 2), word=4), RICH_OPTIONS, Tiling(tm=2, tk=4, tn=2, order="mnk"))
    # Rows of 3, 4, 6, 1 and 4 bytes take 4, 4, 8, 4 and 4; sums are 2*2*2.
    assert result.room_bytes == 2 * (2 * 4 + 2 * 4 + 8) + 8 + 2 * 4 + 2 * (2 * 4)


def test_what_is_on_chip_does_not_move() -> None:
    tiling = Tiling(tm=2, tk=4, tn=2, order="mkn")
    hardware = machine(array(2, 2))
    for name, streams, room in (
        ("a_on_chip", {"a"}, 2 * 6),
        ("b_on_chip", {"b"}, 2 * 8),
        ("output_on_chip", {"output", "partial"}, 2),  # its partial sums keep their room
        ("residual_on_chip", {"residual"}, 2 * 8),
    ):
        full = plan(RICH, hardware, RICH_OPTIONS, tiling)
        some = plan(gemm(5, 6, 4, **changes(RICH), **{name: True}), hardware, RICH_OPTIONS, tiling)
        assert {move.stream for move in full.moves} - {move.stream for move in some.moves} == streams, name
        assert full.room_bytes - some.room_bytes == room, name
        assert full.array_words == some.array_words


def changes(product: Any) -> dict[str, Any]:
    return {name: getattr(product, name) for name in ("a_bits", "output_bits", "column_bytes", "residual_bits")}


def test_a_fresh_column_is_not_fetched() -> None:
    """Of 5 columns in tiles of 2 the last tile has one, which is the fresh one: it has no transfer."""
    hardware, options, tiling = machine(array(2, 2)), Options(), Tiling(tm=1, tk=4, tn=2, order="mnk")
    kv = {"b": Operand.KV_CACHE}
    full = moved(plan(gemm(1, 4, 5, **kv), hardware, options, tiling))
    fresh = moved(plan(gemm(1, 4, 5, fresh=1, **kv), hardware, options, tiling))
    assert (full["b", "read"], fresh["b", "read"]) == ((20, 3), (16, 2))
    assert plan(gemm(1, 4, 1, fresh=1, **kv), hardware, options, tiling).dram_bytes == 5


def test_a_fresh_row_is_not_fetched() -> None:
    """Values lie along n: 5 rows of 3 codes of 4 bits are 2 bytes each, the fifth has no transfer."""
    hardware, options, tiling = machine(array(2, 2)), Options(), Tiling(tm=1, tk=2, tn=3, order="mnk")
    product = gemm(1, 5, 3, b=Operand.KV_CACHE, b_bits=4, fresh=1, fresh_along="k")
    assert moved(plan(product, hardware, options, tiling))["b", "read"] == (8, 2)
    search(product, hardware, options, FREE, BYTES)


def test_sparse_weights_are_shorter() -> None:
    """2:4 of tiles of 8 and 2 along k keeps 4 and 2, each weight of 8 bits with an index of 2."""
    hardware, tiling = machine(array(2, 2)), Tiling(tm=3, tk=8, tn=4, order="mkn")
    options = Options(sparsity=Sparsity(2, 4))
    sparse, dense = (plan(gemm(3, 10, 4), hardware, one, tiling) for one in (options, Options()))
    assert sparse.macs == 3 * 6 * 4 and dense.macs == 3 * 10 * 4
    assert moved(sparse)["b", "read"] == (4 * (5 + 3), 2)
    assert moved(sparse)["a", "read"] == moved(dense)["a", "read"] == (30, 2)
    assert sparse.room_bytes == dense.room_bytes
    assert sparse.counts.ifmap_reads == 3 * 6 * 2 and sparse.counts.filter_reads == 6 * 4
    # Folds along k: 2 + 1 in place of 4 + 1.
    assert (sparse.streaming_cycles, dense.streaming_cycles) == (3 * 2 * 3, 5 * 2 * 3)
    activations = gemm(3, 10, 4, b=Operand.ACTIVATION)
    assert plan(activations, hardware, options, tiling) == plan(activations, hardware, Options(), tiling)


def test_padded_codes() -> None:
    hardware = machine(array(2, 2), packing=Packing.PADDED)
    result = plan(gemm(3, 5, 2, a_bits=6, output_bits=3), hardware, Options(), Tiling(tm=3, tk=5, tn=2, order="mkn"))
    assert moved(result) == {("a", "read"): (15, 1), ("b", "read"): (10, 1), ("output", "write"): (3, 1)}


def test_words_at_both_sides() -> None:
    """One tile of (3, 5, 2) on 4 rows and 2 columns, words of 4 bytes: every stream is rounded up."""
    result = plan(gemm(3, 5, 2), machine(array(4, 2), word=4), Options(), Tiling(tm=3, tk=5, tn=2, order="mkn"))
    # a 15 bytes, b 10; 2 folds: sums of 24 bytes written twice, read back once, drained once; results 6.
    assert result.array_words == (4, 3, 6, 6, 12, 2)
    assert [(move.stream, move.words) for move in result.moves] == [("a", 4), ("b", 3), ("output", 2)]
    assert (result.dma_read_words, result.dma_write_words, result.sram_words) == (2, 7, 42)


def test_ports_stall_the_array() -> None:
    tiling = Tiling(tm=3, tk=5, tn=2, order="mkn")
    array_only = plan(gemm(3, 5, 2), machine(array(4, 2), word=4), Options(), tiling).cycles
    for ports in (1, 2):
        cycles = plan(gemm(3, 5, 2), machine(array(4, 2), word=4, ports=ports), Options(), tiling).cycles
        busy = array_only.compute + array_only.fill_drain
        assert cycles.sram == max(0, -(-33 // ports) - busy)
        assert cycles[:2] == array_only[:2]


def test_energy_is_what_depends_on_the_tile() -> None:
    prices = TilePrices(sram_read_word_aj=3, sram_write_word_aj=5, dram_byte_aj=7, leakage_cycle_aj=11)
    hardware, tiling = machine(array(4, 2), word=4), Tiling(tm=3, tk=5, tn=2, order="mkn")
    result = plan(gemm(3, 5, 2), hardware, Options(), tiling, prices)
    read, written = 4 + 3 + 6 + 6 + 2, 12 + 2 + 4 + 3
    assert result.energy_aj == 3 * read + 5 * written + 7 * 31 + 11 * result.cycles.total


def test_what_does_not_fit_says_how_much_it_needs() -> None:
    """The smallest tile is (1, 2, 3): 2*(2 + 6) of operands, 4*3 of sums, 3 of results."""
    hardware, product = machine(array(2, 3)), gemm(64, 64, 64)
    with pytest.raises(DoesNotFit, match="needs 31 bytes of scratchpad; 30 are there") as refused:
        search(product, hardware, Options(), FREE, 30)
    assert (refused.value.needed, refused.value.available) == (31, 30)
    assert search(product, hardware, Options(), FREE, 31).room_bytes == 31


@pytest.mark.parametrize("objective", Objective)
def test_ties_are_broken_by_the_first_order(objective: Objective) -> None:
    result = search(gemm(4, 4, 4), machine(array(4, 4), latency=1000), Options(objective=objective), FREE, BYTES)
    assert result.tiling == Tiling(tm=4, tk=4, tn=4, order="mkn")


def test_more_scratchpad_can_be_slower_under_dram() -> None:
    """The laws hold for what an objective puts first: fewer bytes may take longer."""
    hardware, product = machine(array(4, 4), bandwidth=4), gemm(16, 16, 16)
    small, large = (search(product, hardware, Options(), FREE, size) for size in (160, 180))
    assert large.dram_bytes < small.dram_bytes and large.cycles.total > small.cycles.total
    small, large = (search(product, hardware, Options(objective=Objective.LATENCY), FREE, size) for size in (160, 180))
    assert large.cycles.total <= small.cycles.total


def test_large_products_are_exact_or_refused() -> None:
    """The machine with one element would count partial sums beyond 63 bits."""
    large = gemm(1 << 20, 1 << 20, 1 << 20, accumulator_bits=64)
    result = search(large, machine(array(256, 256), word=32), Options(), FREE, 1 << 18)
    assert result.macs == 1 << 60
    assert result.counts.psum_writes == 1 << 52
    with pytest.raises(ValueError, match="do not fit in 63 bits"):
        search(large, machine(array(1, 1)), Options(), FREE, 64)


def test_transfers_beyond_63_bits_are_refused() -> None:
    hardware = machine(array(4, 4))
    slow = Hardware(**{name: getattr(hardware, name) for name in hardware.__struct_fields__} | {"clock_hz": 10**18 + 9})
    with pytest.raises(ValueError, match="do not fit in 63 bits"):
        search(gemm(4, 4, 4), slow, Options(), FREE, BYTES)


def test_unsupported_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="supports up to 8 bits"):
        search(gemm(4, 4, 4, a_bits=9), WS32, Options(), FREE, BYTES)


@pytest.mark.parametrize(("field", "value"), [("order", "mnm"), ("tm", 0)])
def test_tilings_are_checked(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=str(value)):
        Tiling(**{"tm": 1, "tk": 1, "tn": 1, "order": "mkn", field: value})


def test_equal_products_are_searched_once() -> None:
    first, again = (search(gemm(7, 8, 9, count=count), WS32, Options(), FREE, BYTES) for count in (1, 12))
    assert first is again
    assert Counter(move.stream for move in first.moves) == {"a": 1, "b": 1, "output": 1}
