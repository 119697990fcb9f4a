"""Rows of heads: what is appended, written and read of keys, values, queries and contexts, packed head by head."""

import pytest

from hwsim.accelerator.cost.estimate import LayerCost, estimate
from hwsim.accelerator.cost.products import resident
from hwsim.accelerator.events import Direction, Level, Operand
from hwsim.accelerator.hardware import Hardware, Packing
from hwsim.accelerator.layers import Layer, Phase, Product, Workload
from hwsim.accelerator.options import Options, Sparsity, Tiles
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.tiling import Tiling, plan
from hwsim.accelerator.tiling.candidates import axes
from hwsim.accelerator.tiling.problem import problem_of
from hwsim.accelerator.workloads import workload
from hwsim.accelerator.workloads.bert import MobileBert
from hwsim.accelerator.workloads.blocks import attend, key_value
from hwsim.accelerator.workloads.gpt2 import Gpt2
from hwsim.accelerator.workloads.sizes import SCHEMES, Shape, Sizes
from tests.unit.hwsim.accelerator.machine import array, gemm, machine
from tests.unit.hwsim.accelerator.test_vectors import SMALL, with_sram

INT4 = SCHEMES["int4"]
EDGE = hardware("edge-256")
KEY_BYTES = 2
"""Of a head of 3 codes of 4 bits."""


def moved(layer: LayerCost, operand: Operand, direction: Direction) -> int:
    return sum(e.count for e in layer.events if (e.level, e.operand, e.direction) == (Level.DRAM, operand, direction))


def priced(*layers: Layer) -> dict[str, LayerCost]:
    work = Workload(name="w", scheme="int4", phases=(Phase(name="forward", tokens=1, layers=layers),))
    return {layer.name: layer for layer in estimate(work, EDGE).total.layers}


def test_two_heads_of_one_value_append_four_bytes_a_step() -> None:
    """4 bits: a byte a head, of keys and of values."""
    model = Gpt2(layers=1, d_model=2, n_heads=2, d_ff=2, vocabulary=3)
    sizes = Sizes(batch=1, source_length=1, target_length=3, context=1, beam=1)
    _, decode = model.phases(sizes, INT4)
    work = Workload(name="w", scheme="int4", phases=(decode,))
    parts = {layer.name: layer for layer in estimate(work, EDGE).total.layers}
    for part in ("key", "value"):
        assert moved(parts[f"decoder.0.self_attention.{part}"], Operand.KV_CACHE, Direction.WRITE) == 3 * 2
    for part in ("scores", "context"):  # 1, 2 and 3 earlier positions
        assert moved(parts[f"decoder.0.self_attention.{part}"], Operand.KV_CACHE, Direction.READ) == 2 * (1 + 2 + 3)


def test_what_is_written_is_what_is_read() -> None:
    """4 heads of 3 codes of 4 bits, 5 positions that attend to 5: 2 bytes a head and position; 6 in one row."""
    shape = Shape(d_model=12, n_heads=4, d_ff=8)
    layers = (*key_value("a", 5, shape, INT4), *attend("a", 1, 5, 5, shape, INT4, residual_bits=4))
    parts = priced(*layers)
    whole = 5 * 4 * KEY_BYTES
    for part in ("query", "key", "value", "context"):
        assert moved(parts[f"a.{part}"], Operand.ACTIVATION, Direction.WRITE) == whole
    assert moved(parts["a.scores"], Operand.ACTIVATION, Direction.READ) == 2 * whole
    assert moved(parts["a.output"], Operand.ACTIVATION, Direction.READ) == whole + 5 * 6  # and the residual's rows
    for part in ("query", "key"):
        assert moved(parts[f"a.{part}"], Operand.ACTIVATION, Direction.READ) == 5 * 6  # of no heads


def test_grouped_queries_share_keys() -> None:
    """4 query heads, 2 of keys: a query row has 4 heads, what is appended 2."""
    shape = Shape(d_model=12, n_heads=4, n_kv_heads=2, d_ff=8)
    parts = priced(*key_value("a", 1, shape, INT4, cached=True), *attend("a", 1, 1, 1, shape, INT4, residual_bits=4))
    assert moved(parts["a.key"], Operand.KV_CACHE, Direction.WRITE) == 2 * KEY_BYTES
    assert moved(parts["a.query"], Operand.ACTIVATION, Direction.WRITE) == 4 * KEY_BYTES


def test_mobilebert_projects_into_heads() -> None:
    inner = Shape(d_model=12, n_heads=4, d_ff=8)
    model = MobileBert(layers=1, d_model=16, d_embedding=4, feed_forwards=1, inner=inner)
    (phase,) = model.phases(Sizes(batch=1, source_length=2, target_length=1, context=0, beam=1), INT4)
    heads = {x.name.rpartition(".")[2]: x.product.output_heads for x in phase.layers if x.product}
    assert (heads["key"], heads["value"], heads["query"], heads["hidden"]) == (4, 4, 4, 1)


@pytest.mark.parametrize("name", ["bert-base", "gpt2-small", "transformer-base", "mobilebert"])
def test_products_of_a_model_write_as_many_bytes_as_attention_reads(name: str) -> None:
    """In every model: heads of the projections are those of scores and context."""
    for phase in workload(name).phases:
        named = {layer.name: layer.product for layer in phase.layers if layer.product}
        for site, scores in named.items():
            stem, _, last = site.rpartition(".")
            if last == "scores" and f"{stem}.query" in named:
                query, context, output = (named[f"{stem}.{part}"] for part in ("query", "context", "output"))
                codes = query.n // query.output_heads
                assert (codes, query.m * query.output_heads) == (scores.k, scores.count * scores.m)
                assert (output.k // output.a_heads, output.m * output.a_heads) == (context.n, context.count * context.m)


# --- tiles --------------------------------------------------------------------------------------------------------


def along(product: Product, of: Hardware, tiles: Tiles = Tiles.ARRAY) -> tuple[list[int], list[int]]:
    """Sizes that are tried along k and n."""
    _, k, n = axes(problem_of(product, of, Options(tiles=tiles)))
    return k.tolist(), n.tolist()


HEADS = gemm(2, 36, 36, a_bits=4, output_bits=4, a_heads=4, output_heads=4)
"""9 codes of 4 bits a head: 4 bits are empty behind each."""


def test_tiles_are_whole_heads_or_parts_of_one() -> None:
    """ws, 3 rows and 2 columns: 3 divides a head of 9, no multiple of 2 does."""
    of = machine(array(3, 2, "ws"))
    assert along(HEADS, of) == ([3, 9, 18, 36], [9, 18, 36])
    assert along(HEADS, of, Tiles.DIVISORS) == ([1, 3, 9, 18, 36], [1, 3, 9, 18, 36])
    without = gemm(2, 36, 36, a_bits=4, output_bits=4)
    assert along(without, of) == ([3, 6, 9, 12, 18, 36], [2, 4, 6, 8, 10, 12, 18, 36])
    padded = machine(array(3, 2, "ws"), packing=Packing.PADDED)
    for full in (gemm(2, 36, 36, a_heads=4, output_heads=4), gemm(2, 36, 36, a_heads=2, output_heads=2)):
        assert along(full, of) == along(without, of)  # bytes are full: no gap
    six = gemm(2, 36, 36, a_bits=6, output_bits=6, a_heads=4, output_heads=4)
    assert along(six, of) == along(HEADS, of) and along(six, padded) == along(without, of)


def test_bytes_of_tiles_of_heads() -> None:
    """Rows of A and of O: 4 heads of 5 bytes; in parts of 3 codes 2 bytes each, 12 of them."""
    of, options = machine(array(3, 3, "ws")), Options()
    for size, row in ((36, 20), (18, 20), (9, 20), (3, 24)):
        found = plan(HEADS, of, options, Tiling(tm=2, tk=size, tn=size, order="mnk"))
        read = {(move.stream, move.direction): move.bytes for move in found.moves}
        assert read["output", "write"] == 2 * row
        assert read["a", "read"] == 2 * row * (36 // size)  # once for each tile along n


def test_room_and_reads_of_rows_of_heads() -> None:
    """2 rows of 20 bytes, read for each of 12 folds along n; at 1:3 12 codes of a row, 6 bytes without gaps."""
    of, tile = machine(array(3, 3, "ws")), Tiling(tm=2, tk=36, tn=36, order="mnk")
    found, sparse = (plan(HEADS, of, Options(sparsity=one), tile) for one in (None, Sparsity(1, 3)))
    assert found.room_bytes == sparse.room_bytes == 2 * (2 * 20 + 36 * 36) + 4 * 2 * 36 + 2 * 20
    assert (found.array_words.a_read, sparse.array_words.a_read) == (12 * 2 * 20, 12 * 2 * 6)
    assert found.array_words.result_write == sparse.array_words.result_write == 2 * 20


@pytest.mark.parametrize(
    ("tk", "tn", "message"),
    [
        (12, 9, "tiles of 12 along k cut heads of 9 codes; allowed are whole heads, equal parts of one, and 36"),
        (9, 5, "tiles of 5 along n cut heads of 9 codes; allowed are whole heads, equal parts of one, and 36"),
    ],
)
def test_a_tile_that_cuts_a_head_is_refused(tk: int, tn: int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        plan(HEADS, machine(array(3, 2)), Options(), Tiling(tm=1, tk=tk, tn=tn, order="mkn"))
    assert str(caught.value) == message


def test_heads_are_of_one_size() -> None:
    for changes, message in (
        ({"a_heads": 3}, "a: rows of 10 codes are not 3 heads of one size"),
        ({"output_heads": 5}, "output: rows of 9 codes are not 5 heads of one size"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            gemm(1, 10, 9, **changes)


def test_what_stays_on_chip_is_packed_by_heads() -> None:
    """128 rows of 4 heads of 2 bytes are 1 KiB, half of 2 KiB; in one row they would be 768 bytes."""
    of = with_sram(SMALL, capacity_bytes=4096, resident_kib=2)
    for rows, stays in ((128, True), (129, False)):
        found = resident(gemm(rows, 12, 12, a_bits=4, output_bits=4, a_heads=4, output_heads=4), of)
        assert (found.a_on_chip, found.output_on_chip) == (stays, stays)
