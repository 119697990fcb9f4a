"""The interpreter of tiles: cases worked by hand, and the equations of docs/accelerator.md that it must add up to."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.accelerator.array_walk import Array, tile_cycles, walk
from tests.oracle.accelerator.tile_loop import ORDERS, Memory, Product, Tiling, gaps, kept, laid, packed, run

SETTINGS = settings(deadline=None, max_examples=80)
OS, WS, IS = (Array(rows=2, cols=2, dataflow=dataflow) for dataflow in ("os", "ws", "is"))
PLAIN = Memory(word=1, ports=1000, burst=1, latency=0, bandwidth=Fraction(1))
SMALL = Product(m=2, k=3, n=2)
WHOLE = Tiling(2, 3, 2, 0)


# --- the array, by hand -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "compute", "fill_drain"),
    [
        (OS._replace(serial=True), 3, 2),  # one fold of 3, 2 + 2 - 2
        (WS._replace(serial=True), 2 * 2, 2 * 4),  # two folds of 2, each 2*2 + 2 - 2
        (IS._replace(serial=True), 2 * 2, 2 * 4),
        (OS, 3, 4),  # tail 3 + 2*2 + 2 - 2
        (WS, 2 * 4, 3 + 4 + 6 - 8),  # start 3, a fold of max(4, 2), tail 2 + 2 - 2 + 4
        (IS, 2 * 4, 5),
        (WS._replace(kind="dot_product"), 4, 0),
        (IS._replace(kind="dot_product", serial=True), 4, 0),
        (WS._replace(rate=Fraction(2), kind="dot_product"), 2, 0),  # K' = 2, one fold
        (WS._replace(rate=Fraction(1, 2), kind="dot_product"), 6, 0),  # K' = 6, three folds
        (OS._replace(rate=Fraction(1, 2), serial=True), 6, 2),
    ],
)
def test_cycles_of_2_by_3_by_2_on_2_by_2(array: Array, compute: int, fill_drain: int) -> None:
    work = walk(2, 3, 2, True, True, array)
    assert tile_cycles(work, array, True, True) == (compute, fill_drain)
    stream = {"os": ceil(3 / array.rate), "ws": 2, "is": 2}[array.dataflow]  # not raised to 4
    assert work.slots == 4 * array.rate * work.folds * stream


def test_start_and_tail_come_once() -> None:
    """Four tiles of one fold each: 3 + 4, 4, 4, 6."""
    tiles = [tile_cycles(walk(2, 2, 2, True, True, WS), WS, i == 0, i == 3) for i in range(4)]
    assert tiles == [(4, 3), (4, 0), (4, 0), (4, 2)]


@pytest.mark.parametrize(
    ("array", "counts"),
    [  # ifmap, filter, psums written, read back, drained, results
        (OS, (5 * 3 * 2, 3 * 3 * 3, 0, 0, 0, 15)),
        (WS, (5 * 3 * 2, 3 * 3, 15 * 2, 15, 15, 15)),
        (IS, (5 * 3, 3 * 3 * 3, 15 * 2, 15, 15, 15)),
    ],
)
def test_operands_of_5_by_3_by_3_on_2_by_2(array: Array, counts: tuple[int, ...]) -> None:
    assert walk(5, 3, 3, True, True, array)[6:10] == counts[2:]
    assert walk(5, 3, 3, True, True, array)[2:4] == counts[:2]


# --- tiles, by hand ---------------------------------------------------------------------------------------------------


def test_one_tile() -> None:
    """6 bytes in for a, 6 for b, 5 cycles, 4 bytes out."""
    got = run(SMALL, OS._replace(serial=True), PLAIN, WHOLE)
    assert got.moves == {("a", "read"): (6, 1), ("b", "read"): (6, 1), ("output", "write"): (4, 1)}
    assert (got.total_cycles, got.dram_bytes) == (12 + 5 + 4, 16)
    assert got.cycles == {"dma_in": 12, "dma_out": 4, "compute": 3, "fill_drain": 2, "sram": 0, "vector": 0}
    assert (got.sram_read_bytes, got.sram_write_bytes) == (6 + 6 + 4, 6 + 6 + 4)
    assert (got.room_double, got.room_single) == (2 * 12 + 16 + 4, 12 + 16)
    residual = run(SMALL._replace(residual_bits=16), OS, PLAIN, WHOLE)
    assert (residual.room_double, residual.room_single) == (2 * 12 + 16 + 4 + 2 * 8, 12 + 16)


def test_two_tiles_overlap_with_their_transfers() -> None:
    """in 9, then max(5, 3 + 0), max(5, 0 + 2), out 2."""
    got = run(SMALL, OS._replace(serial=True), PLAIN, Tiling(2, 3, 1, ORDERS.index("mkn")))
    assert got.moves == {("a", "read"): (6, 1), ("b", "read"): (6, 2), ("output", "write"): (4, 2)}
    assert got.total_cycles == 9 + 5 + 5 + 2


def test_who_is_waited_for() -> None:
    """Steps of 5 cycles: of what is beyond them, first what goes out is charged for, and the rest to what comes in."""
    slow = PLAIN._replace(latency=10)
    got = run(Product(m=1, k=3, n=3), OS._replace(serial=True), slow, Tiling(1, 3, 1, 0))
    came, went = 13, 11  # a column of b and one result
    assert got.cycles["dma_in"] == 26 + (came - 5) + (came + went - 5 - (went - 5))
    assert got.cycles["dma_out"] == (went - 5) + (went - 5) + went
    assert got.total_cycles == 26 + came + (came + went) + went + went


def test_partial_sums_come_and_go() -> None:
    """Tiles (k0 m0), (k0 m1), (k1 m0), (k1 m1): two sums of 8 bytes go out and come back."""
    got = run(Product(m=2, k=4, n=2), WS, PLAIN, Tiling(1, 2, 2, ORDERS.index("kmn")))
    assert got.moves == {
        ("a", "read"): (8, 4),
        ("b", "read"): (8, 2),
        ("partial", "write"): (16, 2),
        ("partial", "read"): (16, 2),
        ("output", "write"): (4, 2),
    }
    assert got.counts["psum_writes"] == 8
    assert got.counts["psum_reads"] == 4
    assert got.room_double == 2 * (2 + 4) + 8 + 2 + 8


def test_transfers_are_bursts_and_rows_are_words() -> None:
    """6 bytes are two bursts of 4 at 3 bytes a cycle; a row of 3 bytes takes a word of 4."""
    memory = Memory(word=4, ports=1, burst=4, latency=10, bandwidth=Fraction(3))
    got = run(SMALL, OS._replace(serial=True), memory, WHOLE)
    read, written, array = 8 + 8, 4, 5
    assert got.cycles["dma_in"] == 2 * (10 + 3)
    assert got.cycles["dma_out"] == 10 + 2
    assert got.cycles["sram"] == max(0, (read + written) // 4 - array)
    assert got.sram_read_bytes == read + 4
    assert got.room_double == 2 * (8 + 8) + 16 + 8


def test_residuals_columns_fresh_rows_and_what_is_on_chip() -> None:
    what = Product(m=2, k=4, n=2, column_bytes=7, residual_bits=16, fresh=1, fresh_along="k")
    tiling = Tiling(1, 2, 2, ORDERS.index("mnk"))
    got = run(what, OS, PLAIN, tiling)
    assert got.moves[("constants", "read")] == (14, 1)
    assert got.moves[("residual", "read")] == (8, 2)
    assert got.moves[("b", "read")] == (2 * (4 + 2), 4)  # of the second tile only one row of two
    column = run(what._replace(fresh_along="n"), OS, PLAIN, tiling)
    assert column.moves[("b", "read")] == (2 * (2 + 2), 4)
    assert run(Product(m=1, k=4, n=1, fresh=1), OS, PLAIN, Tiling(1, 4, 1, 0)).moves.keys() == {
        ("a", "read"),
        ("output", "write"),
    }
    inside = run(what._replace(a_on_chip=True, output_on_chip=True), OS, PLAIN, tiling)
    assert {stream for stream, _ in inside.moves} == {"b", "constants", "residual"}
    assert got.room_double - inside.room_double == 2 * 2 + 2
    assert inside.counts == got.counts


@pytest.mark.parametrize(("array", "times"), [(OS, 2), (WS, 1), (IS, 2)])
def test_rows_of_values_lie_along_k(array: Array, times: int) -> None:
    """Of b 2 rows of 3 codes of 4 bits, 2 bytes each; of the same b along n 3 rows of one byte."""
    values = Product(m=3, k=2, n=3, b_bits=4, fresh_along="k", b_along_n=True)
    tiling, a = Tiling(3, 2, 3, 0), 6
    for what, size in ((values, 2 * 2), (values._replace(b_along_n=False), 3 * 1)):
        got, without = run(what, array, PLAIN, tiling), run(what._replace(b_on_chip=True), array, PLAIN, tiling)
        assert got.moves[("b", "read")] == (size, 1)
        assert got.room_single == a + size + 4 * 9
        assert got.room_double - without.room_double == 2 * size
        other_reads = a * (1 if array is IS else 2) + 9 * 4 * (0 if array is OS else 1) + 9  # drained; stored
        assert got.sram_read_bytes == times * size + other_reads
    fresh = run(values._replace(fresh=1), array, PLAIN, Tiling(3, 1, 3, 0))
    assert fresh.moves[("b", "read")] == (2, 1)  # the second row is there


def test_skipping_streams_fewer_and_stores_an_index() -> None:
    """2 of 4: of 6 entries 4 are kept, 8 + 2 bits each: 40 bits are 5 bytes a column."""
    got = run(Product(m=2, k=6, n=2, sparsity=(2, 4)), OS._replace(serial=True), PLAIN, Tiling(2, 6, 2, 0))
    assert got.moves[("a", "read")] == (12, 1)
    assert got.moves[("b", "read")] == (10, 1)
    assert got.cycles["compute"] == 4
    assert (got.counts["macs"], got.counts["ifmap_reads"], got.counts["filter_reads"]) == (16, 8, 8)
    assert got.room_single == 12 + 12 + 16


@pytest.mark.parametrize(
    ("entries", "sparsity", "most"),
    [  # a group and 2 of the next; 2; 3 of which 2; a group and 36; a tile from within a group to within the next
        (range(6), (2, 4), 4), (range(2), (2, 4), 2), (range(3), (2, 4), 2), (range(100), (8, 64), 16),
        (range(3, 7), (2, 4), 2), (range(4, 8), (2, 4), 2), (range(9), None, 9),
    ],
)  # fmt: skip
def test_what_a_weight_keeps(entries: range, sparsity: tuple[int, int] | None, most: int) -> None:
    assert kept(entries, SMALL._replace(sparsity=sparsity)) == most


@pytest.mark.parametrize(
    ("codes", "heads", "bits", "padded", "size"),
    [  # of 6 codes: heads of 3 of 4 bits take 2 bytes, with a gap; of 2 there is none
        (range(6), 2, 4, False, 4), (range(6), 1, 4, False, 3), (range(6), 3, 4, False, 3),
        (range(3, 6), 2, 4, False, 2), (range(2, 4), 2, 4, False, 2), (range(1), 2, 4, False, 1),
        (range(6), 2, 6, False, 6), (range(6), 2, 6, True, 6), (range(6), 1, 6, False, 5), (range(0), 2, 4, False, 0),
    ],
)  # fmt: skip
def test_heads_begin_at_bytes(codes: range, heads: int, bits: int, padded: bool, size: int) -> None:
    assert laid(codes, 6, heads, bits, PLAIN._replace(padded=padded)) == size
    gap = gaps(6, heads, bits, PLAIN._replace(padded=padded))
    assert gap == (3 if heads == 2 and not padded else None)


@pytest.mark.parametrize(("codes", "bits", "padded", "size"), [(3, 6, False, 3), (3, 6, True, 3), (5, 3, False, 2)])
def test_packed_rows(codes: int, bits: int, padded: bool, size: int) -> None:
    assert packed(codes, bits, PLAIN._replace(padded=padded)) == size
    assert packed(5, 3, PLAIN._replace(padded=True)) == 3


def test_registers_by_hand() -> None:
    """2 MACs of 8 by 4 bits into 32: a moves under `ws`, b stays and is read once."""
    what, tiling = Product(2, 1, 1, b_bits=4), Tiling(2, 1, 1, 0)
    assert run(what, WS, PLAIN, tiling).registers == (2 * (8 + 32) + 4, 2 * (8 + 4 + 32), 2 * (8 + 32))
    assert run(what, OS, PLAIN, tiling).registers == (2 * (8 + 4 + 32), 2 * (8 + 4 + 32), 2 * (8 + 4))
    dot = IS._replace(kind="dot_product")  # two a stay, b is read once and passes both
    assert run(what, dot, PLAIN, tiling).registers == (2 * 8 + 4 + 2 * 32, 2 * (8 + 4) + 2 * 32, 0)


# --- laws -------------------------------------------------------------------------------------------------------------


@st.composite
def machines(draw) -> tuple[Array, Memory]:
    dataflow = draw(st.sampled_from(["os", "ws", "is"]))
    kind = "systolic" if dataflow == "os" else draw(st.sampled_from(["systolic", "dot_product"]))
    rate = draw(st.sampled_from([Fraction(1), Fraction(1), Fraction(2), Fraction(1, 3)]))
    array = Array(draw(st.integers(1, 4)), draw(st.integers(1, 4)), dataflow, rate, kind, draw(st.booleans()))
    memory = Memory(
        word=draw(st.sampled_from([1, 4, 8])),
        ports=draw(st.integers(1, 3)),
        burst=draw(st.sampled_from([1, 16])),
        latency=draw(st.integers(0, 20)),
        bandwidth=Fraction(draw(st.integers(1, 40)), draw(st.integers(1, 4))),
        padded=draw(st.booleans()),
    )
    return array, memory


@st.composite
def products(draw) -> tuple[Product, Tiling]:
    sizes = [draw(st.integers(1, 7)) for _ in range(3)]
    fresh = draw(st.integers(0, 1))
    what = Product(
        *sizes, draw(st.integers(2, 16)), draw(st.integers(2, 16)), draw(st.integers(2, 16)), draw(st.integers(1, 5)),
        draw(st.integers(0, 7)), draw(st.sampled_from([0, 8, 6])), fresh, draw(st.sampled_from("nk")),
        *(draw(st.booleans()) for _ in range(4)), None if fresh else draw(st.sampled_from([None, (2, 4), (1, 3)])),
    )  # fmt: skip
    what = what._replace(b_along_n=what.fresh_along == "k" and what.sparsity is None and draw(st.booleans()))
    return what, Tiling(*(draw(st.integers(1, size)) for size in sizes), draw(st.integers(0, 5)))


def refetched(relevant: str, what: Product, tiling: Tiling) -> int:
    """The paragraph "Refetch" of section 4."""
    trips = {dim: ceil(size / tile) for dim, size, tile in zip("mkn", what[:3], tiling[:3], strict=True)}
    order = ORDERS[tiling.order]
    inner = [i for i, dim in enumerate(order) if dim in relevant and trips[dim] > 1]
    factor = 1
    for dim in order[: inner[-1]] if inner else "":
        factor *= 1 if dim in relevant else trips[dim]
    return factor


@SETTINGS
@given(products(), machines())
def test_bytes_are_those_of_6(drawn: tuple[Product, Tiling], machine: tuple[Array, Memory]) -> None:
    what, tiling = drawn
    got, memory = run(what, *machine, tiling), machine[1]
    assert got.moves.get(("a", "read"), (0, 0))[0] % refetched("mk", what, tiling) == 0
    once = dict(zip("mkn", tiling[:3], strict=True))
    sides = {
        dim: [min(once[dim], size - at) for at in range(0, size, once[dim])]
        for dim, size in zip("mkn", what[:3], strict=True)
    }
    a = sum(m * packed(k, what.a_bits, memory) for m in sides["m"] for k in sides["k"])
    output, residual = (
        sum(m * packed(n, bits, memory) for m in sides["m"] for n in sides["n"])
        for bits in (what.output_bits, what.residual_bits or 8)
    )
    f = refetched("mn", what, tiling)
    shown = {name: size for name, (size, _) in got.moves.items()}
    expected = {
        ("a", "read"): refetched("mk", what, tiling) * a * (not what.a_on_chip),
        ("constants", "read"): refetched("n", what, tiling) * what.n * what.column_bytes,
        ("residual", "read"): residual * (what.residual_bits > 0) * (not what.residual_on_chip),
        ("output", "write"): output * (not what.output_on_chip),
    }
    for direction in ("read", "write"):
        expected["partial", direction] = (f - 1) * what.m * what.n * what.psum_bytes * (not what.output_on_chip)
    assert {name: shown.get(name, 0) for name in expected} == expected
    if not what.sparsity:
        sides[what.fresh_along][-1] -= what.fresh
        rows, codes = ("k", "n") if what.b_along_n else ("n", "k")
        b = sum(row * packed(code, what.b_bits, memory) for row in sides[rows] for code in sides[codes])
        assert shown.get(("b", "read"), 0) == refetched("kn", what, tiling) * b * (not what.b_on_chip)
    assert got.dram_bytes == sum(shown.values())


@SETTINGS
@given(products(), machines())
def test_counts_are_those_of_the_table(drawn: tuple[Product, Tiling], machine: tuple[Array, Memory]) -> None:
    what, tiling = drawn[0]._replace(sparsity=None), drawn[1]
    array, got = machine[0], run(what, *machine, tiling)
    r, c, parts = array.rows, array.cols, {"a": 0, "b": 0}
    passes = 0
    for at in range(0, what.k, tiling.tk):
        k = min(tiling.tk, what.k - at)
        passes += 1 if array.dataflow == "os" else ceil(ceil(k / array.rate) / r)
    for m in [min(tiling.tm, what.m - at) for at in range(0, what.m, tiling.tm)]:
        for n in [min(tiling.tn, what.n - at) for at in range(0, what.n, tiling.tn)]:
            parts["a"] += m * what.k * (1 if array.dataflow == "is" else ceil(n / c))
            parts["b"] += what.k * n * {"os": ceil(m / r), "ws": 1, "is": ceil(m / c)}[array.dataflow]
    results, stationary = what.m * what.n, array.dataflow != "os"
    assert got.counts["ifmap_reads"] == parts["a"]
    assert got.counts["filter_reads"] == parts["b"]
    assert got.counts["psum_writes"] == results * (passes - (not stationary))
    assert got.counts["psum_reads"] == results * (passes - 1)
    assert got.counts["drain_reads"] == results * stationary
    assert got.counts["result_writes"] == results
    assert got.counts["macs"] == what.m * what.k * what.n <= got.counts["slots"]


@SETTINGS
@given(products(), machines(), st.integers(1, 5))
def test_every_cycle_has_one_cause_and_none_comes_from_bandwidth(drawn, machine, faster) -> None:
    what, tiling = drawn
    array, memory = machine
    got = run(what, array, memory, tiling, vector_cycles=30)
    assert sum(got.cycles.values()) == got.total_cycles
    assert all(count >= 0 for count in got.cycles.values())
    quick = run(what, array, memory._replace(bandwidth=memory.bandwidth * faster), tiling, vector_cycles=30)
    assert quick.total_cycles <= got.total_cycles
    assert quick._replace(cycles={}, total_cycles=0, steps=()) == got._replace(cycles={}, total_cycles=0, steps=())
