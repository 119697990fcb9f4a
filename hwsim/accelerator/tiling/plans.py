"""A tiling and what a product costs with it: sums over classes of like steps (docs/accelerator.md, section 5).

Python's integers, of any size; `hwsim.accelerator.tiling.time` does the same for many tilings at once.
"""

from itertools import product as combinations
from typing import Literal, NamedTuple, TypeAlias, cast

import msgspec

from hwsim.accelerator.array import (
    ArrayCounts,
    Registers,
    array_counts,
    padded_macs,
    registers,
    streaming_cycles,
)
from hwsim.accelerator.cycles import Cycles, exposed
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Options
from hwsim.accelerator.tiling.nest import DEPTHS, ORDERS, Nest, Triple, classes, nest_of
from hwsim.accelerator.tiling.problem import Accesses, Problem, problem_of
from hwsim.accelerator.tiling.traffic import ALL_CHANGED, LOADS, STORES, changed, loads, stores

Stream: TypeAlias = Literal["a", "b", "constants", "partial", "output", "residual"]
Direction: TypeAlias = Literal["read", "write"]
Index: TypeAlias = tuple[int, int, int]

MOVES: tuple[tuple[Stream, Direction], ...] = (
    *((cast(Stream, stream), "read") for stream in LOADS),
    *((cast(Stream, stream), "write") for stream in STORES),
)


class TilePrices(NamedTuple):
    """Attojoules of what depends on the tile; 0 is not modelled."""

    sram_read_word_aj: int = 0
    sram_write_word_aj: int = 0
    dram_byte_aj: int = 0
    leakage_cycle_aj: int = 0


_NO_PRICES = TilePrices()


class Tiling(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a scratchpad tile, and the order of the loops over tiles, outermost first: "mkn"."""

    tm: int
    tk: int
    tn: int
    order: str

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order {self.order!r}; allowed are {', '.join(ORDERS)}")
        if min(self.tm, self.tk, self.tn) < 1:
            raise ValueError(f"a tile of ({self.tm}, {self.tk}, {self.tn}); sizes are at least 1")


class Move(NamedTuple):
    """One stream of DRAM transfers; `direction` as DRAM sees it; `words` of the scratchpad, whole ones a transfer."""

    stream: Stream
    direction: Direction
    bytes: int
    transfers: int
    words: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A tiling and what one of a layer's `count` products costs with it.

    Attributes
    ----------
    trips
        Numbers of tiles along m, k, n.
    room_bytes
        Left side of equation (7).
    cycles
        By cause; `vector` is what the array does not hide of the epilogue.
    moves
        DRAM traffic by stream and direction, without those of no bytes.
    counts
        Elements at the scratchpad's array side.
    array_words
        Words at the scratchpad's array side.
    streaming_cycles
        Sum of F*T.
    macs, padded_macs
        Executed ones, useful or gated, and those for which the array had no work.
    energy_aj
        What equation (8) compares under `energy`.
    """

    tiling: Tiling
    trips: Index
    room_bytes: int
    cycles: Cycles
    moves: tuple[Move, ...]
    counts: ArrayCounts
    array_words: Accesses
    streaming_cycles: int
    macs: int
    padded_macs: int
    registers: Registers
    energy_aj: int

    @property
    def dram_bytes(self) -> int:
        return sum(move.bytes for move in self.moves)

    @property
    def dma_read_words(self) -> int:
        """Scratchpad words that stores to DRAM read."""
        return sum(move.words for move in self.moves if move.direction == "write")

    @property
    def dma_write_words(self) -> int:
        """Scratchpad words that loads from DRAM write."""
        return sum(move.words for move in self.moves if move.direction == "read")

    @property
    def sram_words(self) -> int:
        """Words of both sides."""
        return self.array_words.read + self.array_words.write + self.dma_read_words + self.dma_write_words


class Walk(NamedTuple):
    """A problem cut into tiles: what is done and transferred at an index."""

    problem: Problem
    nest: Nest

    def first_loads(self) -> tuple[int, ...]:
        return *loads(self.problem, self.nest, self.nest.start, ALL_CHANGED), 0, 0

    def last_stores(self) -> tuple[int, ...]:
        return 0, 0, 0, 0, 0, *stores(self.problem, self.nest, self.nest.end, ALL_CHANGED)

    def transferred(self, index: Triple) -> tuple[int, ...]:
        """Bytes that move while the tile at `index` is worked on: for the next one and of the one before."""
        incoming: tuple[int, ...] = (0, 0, 0, 0, 0)
        outgoing: tuple[int, ...] = (0, 0)
        if index != self.nest.end:
            following = self.nest.neighbour(index, 1)
            incoming = loads(self.problem, self.nest, following, changed(index, following))
        if index != self.nest.start:
            before = self.nest.neighbour(index, -1)
            outgoing = stores(self.problem, self.nest, before, changed(before, index))
        return *incoming, *outgoing

    def worked(self, index: Triple) -> tuple[int, int, int, Accesses]:
        """Streaming cycles, fill and drain, stalls, and words of the tile at `index`."""
        m, k, n = self.nest.tile(index)
        compute, fill_drain = self.problem.cycles(m, k, n, index == self.nest.start, index == self.nest.end)
        words = self.problem.accesses(m, k, n, *self.along_k(index))
        return compute, fill_drain, self.problem.stall(words.read + words.write, compute + fill_drain), words

    def along_k(self, index: Triple) -> tuple[bool, bool]:
        """Whether the tile is the first and the last of its results."""
        return index[1] == 0, index[1] == self.nest.trips[1] - 1

    def room(self) -> int:
        m, k, n = self.nest.size
        return int(self.problem.room(m, k, n)) + self.partial_room(m, n)

    def partial_room(self, m: int, n: int) -> int:
        """Partial sums need more room if k goes round outside a loop over results of several trips: f_O > 1."""
        _, k_depth, _ = self.nest.depth
        inside = any(self.nest.depth[loop] > k_depth and self.nest.trips[loop] > 1 for loop in (0, 2))
        return int(self.problem.partial_room(m, n)) if inside and self.nest.trips[1] > 1 else 0


def walk_of(problem: Problem, tiling: Tiling) -> Walk:
    extents = (problem.m, problem.k, problem.n)
    size = (min(problem.m, tiling.tm), min(problem.k, tiling.tk), min(problem.n, tiling.tn))
    problem.check_cuts(size[1], size[2])
    return Walk(problem, nest_of(extents, size, DEPTHS[ORDERS.index(tiling.order)]))


def causes(compute: int, fill_drain: int, sram: int, loaded: int, stored: int) -> Cycles:
    """Cycles of one step of (10) by cause, its transfers in and out taking `loaded` and `stored` cycles."""
    work = Cycles(compute, fill_drain, sram)
    return work.added(exposed(work.total, loaded, stored))


class _Sums:
    """Sums over steps of a product."""

    def __init__(self, whole: Walk) -> None:
        self.whole = whole
        self.cycles = Cycles()
        self.words = [0] * len(Accesses._fields)
        self.counts = [0] * len(ArrayCounts._fields)
        self.streaming = self.macs = 0
        self.bytes, self.transfers, self.dma_words = ([0] * len(MOVES) for _ in range(3))

    def transfer(self, sizes: tuple[int, ...], times: int) -> tuple[int, int]:
        """Count transfers; cycles that those in and those out take."""
        taken = [0, 0]
        for stream, size in enumerate(sizes):
            if size:
                self.bytes[stream] += size * times
                self.transfers[stream] += times
                self.dma_words[stream] += self.whole.problem.words(size) * times
                taken[stream >= len(LOADS)] += self.whole.problem.transfer_cycles(size)
        return taken[0], taken[1]

    def step(self, index: Index, times: int) -> None:
        """Count `times` steps that are like the one at `index`."""
        compute, fill_drain, sram, words = self.whole.worked(index)
        loaded, stored = self.transfer(self.whole.transferred(index), times)
        self.cycles = self.cycles.added(causes(compute, fill_drain, sram, loaded, stored).times(times))
        self.words = [total + own * times for total, own in zip(self.words, words, strict=True)]

        problem = self.whole.problem
        m, k, n = self.whole.nest.tile(index)
        size = (m, problem.streamed(k), n, problem.array, problem.rate)
        counts = array_counts(*size, *self.whole.along_k(index))
        self.counts = [total + own * times for total, own in zip(self.counts, counts, strict=True)]
        self.streaming += streaming_cycles(*size) * times
        self.macs += m * size[1] * n * times

    def edges(self) -> None:
        """Count the first loads and the last stores."""
        loaded, _ = self.transfer(self.whole.first_loads(), 1)
        _, stored = self.transfer(self.whole.last_stores(), 1)
        self.cycles = self.cycles.added(Cycles(dma_in=loaded, dma_out=stored))

    def moves(self) -> tuple[Move, ...]:
        rows = zip(MOVES, self.bytes, self.transfers, self.dma_words, strict=True)
        return tuple(Move(*kind, size, count, words) for kind, size, count, words in rows if count)


def _summed(whole: Walk) -> _Sums:
    """Equation (10) and all counts, over classes of like steps."""
    sums = _Sums(whole)
    for kinds in combinations(*(classes(count) for count in whole.nest.trips)):
        (m, m_times), (k, k_times), (n, n_times) = kinds
        sums.step((m, k, n), m_times * k_times * n_times)
    sums.edges()
    busy = sums.cycles.compute + sums.cycles.fill_drain + sums.cycles.sram
    sums.cycles = sums.cycles._replace(vector=max(0, whole.problem.vector - busy))
    return sums


def plan_of(problem: Problem, tiling: Tiling, prices: TilePrices) -> Plan:
    """`plan` of a problem."""
    whole = walk_of(problem, tiling)
    sums = _summed(whole)
    counts, words, moves = ArrayCounts(*sums.counts), Accesses(*sums.words), sums.moves()
    read = words.read + sum(move.words for move in moves if move.direction == "write")
    written = words.write + sum(move.words for move in moves if move.direction == "read")
    priced = zip((read, written, sum(sums.bytes), sums.cycles.total), prices, strict=True)
    return Plan(
        tiling=tiling,
        trips=cast(Index, whole.nest.trips),
        room_bytes=whole.room(),
        cycles=sums.cycles,
        moves=moves,
        counts=counts,
        array_words=words,
        streaming_cycles=sums.streaming,
        macs=sums.macs,
        padded_macs=padded_macs(sums.streaming, sums.macs, problem.array, problem.rate),
        registers=registers(counts, sums.macs, problem.widths, problem.array),
        energy_aj=sum(count * price for count, price in priced),
    )


def plan(
    product: Product, hardware: Hardware, options: Options, tiling: Tiling, prices: TilePrices = _NO_PRICES
) -> Plan:
    """What one of the layer's products costs with a given tiling, whether or not it fits.

    Raises
    ------
    ValueError
        If the array does not support the operands' widths, or a tile cuts a group of weights or a head.
    """
    return plan_of(problem_of(product, hardware, options), tiling, prices)
