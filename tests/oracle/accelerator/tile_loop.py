"""An interpreter of sections 4 and 5 of docs/accelerator.md: the loops over tiles are run, with explicit buffers."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise, product
from math import ceil
from typing import NamedTuple

from .array_walk import Array, Registers, Work, registers, tile_cycles, walk

COUNTED = ("ifmap_reads", "filter_reads", "psum_writes", "psum_reads", "drain_reads", "result_writes", "macs", "slots")
ORDERS = ("mkn", "mnk", "kmn", "knm", "nmk", "nkm")


class Product(NamedTuple):
    """An (m, k) by a (k, n) product; `psum_bytes` is w, `sparsity` (N, M) of the weight b.

    Rows of b lie along n and are packed along k; with `b_along_n` they lie along k and are packed along n.
    """

    m: int
    k: int
    n: int
    a_bits: int = 8
    b_bits: int = 8
    output_bits: int = 8
    psum_bytes: int = 4
    column_bytes: int = 0
    residual_bits: int = 0
    fresh: int = 0
    fresh_along: str = "n"
    a_on_chip: bool = False
    output_on_chip: bool = False
    b_on_chip: bool = False
    residual_on_chip: bool = False
    sparsity: tuple[int, int] | None = None
    accumulator_bits: int = 32
    b_along_n: bool = False
    a_heads: int = 1
    output_heads: int = 1


class Memory(NamedTuple):
    """Scratchpad and DRAM; bandwidth in bytes a cycle."""

    word: int
    ports: int
    burst: int
    latency: int
    bandwidth: Fraction
    padded: bool = False


class Tiling(NamedTuple):
    """Sizes of a tile and the number of the order of its loops."""

    tm: int
    tk: int
    tn: int
    order: int


class Transfer(NamedTuple):
    """One DMA transfer, direction as DRAM sees it."""

    stream: str
    direction: str
    bytes: int
    sram_bytes: int
    cycles: int


class Step(NamedTuple):
    """One tile on the array, what came in for it and what went out after it."""

    fetched: tuple[Transfer, ...]
    stored: tuple[Transfer, ...]
    work: Work
    compute: int
    fill_drain: int
    sram: int
    sram_read: int
    sram_written: int
    """Bytes at the array side, in whole words."""


class Run(NamedTuple):
    """Totals of one product."""

    moves: dict[tuple[str, str], tuple[int, int]]
    """(stream, direction) -> bytes, transfers."""
    counts: dict[str, int | Fraction]
    cycles: dict[str, int]
    total_cycles: int
    dram_bytes: int
    sram_read_bytes: int
    sram_write_bytes: int
    """Both sides."""
    room_double: int
    """(7)"""
    room_single: int
    steps: tuple[Step, ...]
    registers: Registers
    streaming_cycles: int


def padded_bits(bits: int) -> int:
    return next((width for width in (2, 4, 8, 16, 32) if width >= bits), bits)


def packed(codes: int, bits: int, memory: Memory, index_bits: int = 0) -> int:
    """Bytes of a row: codes are laid bit after bit, an index (section 10) behind each (section 9)."""
    width = (padded_bits(bits) if memory.padded else bits) + index_bits
    return ceil(Fraction(codes * width, 8))


def words_of(size: int, memory: Memory) -> int:
    return ceil(Fraction(size, memory.word))


def laid(codes: range, whole: int, heads: int, bits: int, memory: Memory) -> int:
    """Bytes of some neighbours of a row of so many heads, each of which begins at a byte (section 9)."""
    width, length = padded_bits(bits) if memory.padded else bits, whole // heads
    at = [code // length * 8 * packed(length, bits, memory) + code % length * width for code in codes]
    return ceil(Fraction(at[-1] + width - at[0], 8)) if at else 0


def gaps(whole: int, heads: int, bits: int, memory: Memory) -> int | None:
    """Codes of a head where some bits behind it are empty."""
    length, width = whole // heads, padded_bits(bits) if memory.padded else bits
    return length if heads > 1 and 8 * packed(length, bits, memory) > length * width else None


def kept(entries: range, what: Product) -> int:
    """Of entries along K those that a legal weight keeps at most: of each group its first ones, say (section 10)."""
    if what.sparsity is None:
        return len(entries)
    n, m = what.sparsity
    return sum(entry % m < n for entry in entries)


def index_bits(what: Product) -> int:
    return 0 if what.sparsity is None else (what.sparsity[1] - 1).bit_length()


def ranges(size: int, step: int) -> list[range]:
    return [range(start, min(start + step, size)) for start in range(0, size, step)]


class Place(NamedTuple):
    """A step's tile: its ranges, and where it is among those along k."""

    m: range
    k: range
    n: range
    k_first: bool
    k_last: bool

    def index(self, operand: str) -> tuple[int, ...]:
        """Of the tile of an operand: where its relevant dimensions start."""
        dims = {"a": "mk", "b": "kn", "constants": "n", "output": "mn"}[operand]
        return tuple(getattr(self, dim).start for dim in dims)


def places(what: Product, tiling: Tiling) -> list[Place]:
    """All tiles in loop order."""
    of = {"m": ranges(what.m, tiling.tm), "k": ranges(what.k, tiling.tk), "n": ranges(what.n, tiling.tn)}
    dims = ORDERS[tiling.order]
    made = []
    for tile in product(*(of[dim] for dim in dims)):
        at = dict(zip(dims, tile, strict=True))
        made.append(Place(at["m"], at["k"], at["n"], at["k"] == of["k"][0], at["k"] == of["k"][-1]))
    return made


def b_rows(k: int, n: int, what: Product) -> tuple[int, int]:
    """Rows of a tile of b, and codes in each."""
    return (k, n) if what.b_along_n else (n, k)


def b_bytes(place: Place, what: Product, memory: Memory) -> int:
    """What is fresh is not fetched."""
    along = {"n": place.n, "k": place.k}
    limit = {"n": what.n, "k": what.k}[what.fresh_along]
    if what.fresh and along[what.fresh_along].stop == limit:
        along[what.fresh_along] = along[what.fresh_along][:-1]
    rows, codes = b_rows(kept(along["k"], what), len(along["n"]), what)
    return rows * packed(codes, what.b_bits, memory, index_bits(what))


def bytes_of(operand: str, place: Place, what: Product, memory: Memory) -> int:
    """DRAM bytes of the tile of an operand."""
    m, n = len(place.m), len(place.n)
    match operand:
        case "a":
            return 0 if what.a_on_chip else m * laid(place.k, what.k, what.a_heads, what.a_bits, memory)
        case "b":
            return 0 if what.b_on_chip else b_bytes(place, what, memory)
        case "constants":
            return n * what.column_bytes
        case "residual":
            return 0 if what.residual_on_chip else m * packed(n, what.residual_bits, memory)
        case "partial":
            return 0 if what.output_on_chip else m * n * what.psum_bytes
    return 0 if what.output_on_chip else m * laid(place.n, what.n, what.output_heads, what.output_bits, memory)


def transfer(stream: str, direction: str, place: Place, what: Product, memory: Memory) -> Iterator[Transfer]:
    """(9); nothing at all of 0 bytes."""
    size = bytes_of(stream, place, what, memory)
    if size > 0:
        bursts = ceil(Fraction(size, memory.burst)) * memory.burst
        cycles = memory.latency + ceil(bursts / memory.bandwidth)
        yield Transfer(stream, direction, size, words_of(size, memory) * memory.word, cycles)


def fetch(place: Place, buffers: dict[str, tuple[int, ...]], what: Product, memory: Memory) -> Iterator[Transfer]:
    """What is needed for a step and not in its buffer; buffers then hold it."""
    for stream in ("a", "b", "constants"):
        if buffers.get(stream) != place.index(stream):
            yield from transfer(stream, "read", place, what, memory)
        buffers[stream] = place.index(stream)
    if buffers.get("output") != place.index("output") and not place.k_first:
        yield from transfer("partial", "read", place, what, memory)
    buffers["output"] = place.index("output")
    if place.k_last and what.residual_bits:
        yield from transfer("residual", "read", place, what, memory)


def array_side(work: Work, place: Place, what: Product, memory: Memory) -> tuple[int, int]:
    """Words that the array reads and writes: every stream of a tile in whole words."""
    k, n = kept(place.k, what), len(place.n)
    whole_row = laid(place.k, what.k, what.a_heads, what.a_bits, memory)
    a = work.a_rows_read * (whole_row if what.sparsity is None else packed(k, what.a_bits, memory))
    b_rows_read = work.b_rows_along_k_read if what.b_along_n else work.b_rows_read
    b = b_rows_read * packed(b_rows(k, n, what)[1], what.b_bits, memory, index_bits(what))
    row = laid(place.n, what.n, what.output_heads, what.output_bits, memory)
    results = len(place.m) * row if work.result_writes else 0
    partial = [count * what.psum_bytes for count in (work.psum_reads, work.drain_reads, work.psum_writes)]
    read = sum(words_of(size, memory) for size in (a, b, *partial[:2]))
    return read, sum(words_of(size, memory) for size in (partial[2], results))


def steps(what: Product, array: Array, memory: Memory, tiling: Tiling) -> list[Step]:
    """Run the loops."""
    walked, buffers, made = places(what, tiling), dict[str, tuple[int, ...]](), []
    for i, place in enumerate(walked):
        fetched = tuple(fetch(place, buffers, what, memory))
        work = walk(len(place.m), kept(place.k, what), len(place.n), place.k_first, place.k_last, array)
        compute, fill_drain = tile_cycles(work, array, i == 0, i == len(walked) - 1)
        read, written = array_side(work, place, what, memory)
        waiting = max(0, ceil(Fraction(read + written, memory.ports)) - compute - fill_drain)
        stored: tuple[Transfer, ...] = ()
        if i == len(walked) - 1 or walked[i + 1].index("output") != place.index("output"):
            stored = tuple(transfer("output" if place.k_last else "partial", "write", place, what, memory))
        bytes_read, bytes_written = read * memory.word, written * memory.word
        made.append(Step(fetched, stored, work, compute, fill_drain, waiting, bytes_read, bytes_written))
    return made


def cycles_of(made: list[Step], vector_cycles: int) -> tuple[dict[str, int], int]:
    """Cycles by cause, and the total by (10) with what an epilogue takes beyond all work of the array."""
    came = [sum(move.cycles for move in step.fetched) for step in made] + [0]
    went = [0] + [sum(move.cycles for move in step.stored) for step in made]
    causes: Counter[str] = Counter(dma_in=came[0], dma_out=went[-1])
    total = came[0] + went[-1]
    for i, step in enumerate(made):
        c = step.compute + step.fill_drain + step.sram
        spent = max(c, came[i + 1] + went[i])
        total += spent
        out = max(0, went[i] - c)
        causes.update(compute=step.compute, fill_drain=step.fill_drain, sram=step.sram)
        causes.update(dma_out=out, dma_in=spent - c - out)
    busy = sum(step.compute + step.fill_drain + step.sram for step in made)
    causes["vector"] = max(0, vector_cycles - busy)
    return dict(causes), total + causes["vector"]


def spills(what: Product, tiling: Tiling) -> bool:
    """Whether partial sums ever leave."""
    return any(not x.k_last and x.index("output") != y.index("output") for x, y in pairwise(places(what, tiling)))


def rooms(what: Product, memory: Memory, tiling: Tiling) -> tuple[int, int]:
    """Room by (7), and that of single buffers: rows in whole words, entries along K all there (section 10)."""

    def room(rows: int, size: int) -> int:
        return rows * words_of(size, memory) * memory.word

    a_row = laid(range(min(tiling.tk, what.k)), what.k, what.a_heads, what.a_bits, memory)
    a = 0 if what.a_on_chip else room(tiling.tm, a_row)
    rows, codes = b_rows(tiling.tk, tiling.tn, what)
    b = 0 if what.b_on_chip else room(rows, packed(codes, what.b_bits, memory))
    q = room(1, tiling.tn * what.column_bytes)
    sums = what.psum_bytes * tiling.tm * tiling.tn
    o_row = laid(range(min(tiling.tn, what.n)), what.n, what.output_heads, what.output_bits, memory)
    o = 0 if what.output_on_chip else room(tiling.tm, o_row)
    has_residual = what.residual_bits and not what.residual_on_chip
    e = room(tiling.tm, packed(tiling.tn, what.residual_bits, memory)) if has_residual else 0
    return 2 * (a + b + q) + sums + o + 2 * e + (sums if spills(what, tiling) else 0), a + b + sums


def run(what: Product, array: Array, memory: Memory, tiling: Tiling, vector_cycles: int = 0) -> Run:
    """Everything that one product costs with these tiles, its epilogue taking so many cycles."""
    made = steps(what, array, memory, tiling)
    moved: dict[tuple[str, str], tuple[int, int]] = {}
    near: Counter[str] = Counter()
    for move in (move for step in made for move in (*step.fetched, *step.stored)):
        size, times = moved.get((move.stream, move.direction), (0, 0))
        moved[move.stream, move.direction] = (size + move.bytes, times + 1)
        near[move.direction] += move.sram_bytes
    causes, total = cycles_of(made, vector_cycles)
    widths = (what.a_bits, what.b_bits, what.accumulator_bits)
    double, single = rooms(what, memory, tiling)
    return Run(
        moves=moved,
        counts={field: sum(getattr(step.work, field) for step in made) for field in COUNTED},
        cycles=causes,
        total_cycles=total,
        dram_bytes=sum(size for size, _ in moved.values()),
        sram_read_bytes=near["write"] + sum(step.sram_read for step in made),
        sram_write_bytes=near["read"] + sum(step.sram_written for step in made),
        room_double=double,
        room_single=single,
        steps=tuple(made),
        registers=Registers(*map(sum, zip(*(registers(step.work, array, *widths) for step in made), strict=True))),
        streaming_cycles=sum(step.work.folds * step.work.stream for step in made),
    )
