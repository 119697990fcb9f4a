"""Row layers, row by row, and attention, block by block (docs/accelerator.md, sections 6 and 7), in plain integers."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from .array_walk import Array
from .brute import Choice, Prices, key, search
from .tile_loop import Memory, Product, packed, words_of


class Unit(NamedTuple):
    """The vector unit: lanes, latency of a pass, dividers, cycles of a division and of a root."""

    lanes: int
    latency: int
    dividers: int
    divide: int
    root: int


class Work(NamedTuple):
    """Vector work: elements, passes over all of them, divisions and roots in all."""

    elements: int
    passes: int
    divisions: int = 0
    roots: int = 0


class Stream(NamedTuple):
    """Codes of a row, or of all constants."""

    operand: str
    codes: int
    bits: int
    on_chip: bool = False


class Rows(NamedTuple):
    """Rows that are read and written; `kept` bytes a row stay between passes."""

    rows: int
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    constants: tuple[Stream, ...] = ()
    kept: int = 0


class Transfer(NamedTuple):
    """Rows of a stream."""

    stream: Stream
    rows: int
    bytes: int


class Block(NamedTuple):
    """Rows that are in the scratchpad together: transfers, and words at the vector unit's side."""

    rows: int
    fetched: tuple[Transfer, ...]
    stored: tuple[Transfer, ...]
    words_read: int
    words_written: int


class Run(NamedTuple):
    """Totals; `moves` by (operand, direction, bits)."""

    blocks: tuple[Block, ...]
    moves: dict[tuple[str, str, int], int]
    cycles: dict[str, int]
    total_cycles: int
    access_read: int
    access_written: int
    transfer_read: int
    transfer_written: int


def issued(operations: int, units: int) -> int:
    """Cycles in which `units` take up so many operations, as many at once as there are units."""
    cycles = 0
    while operations > 0:
        operations -= units
        cycles += 1
    return cycles


def vector_cycles(work: Work, unit: Unit) -> int:
    """(11): pass after pass, then the dividers."""
    cycles = 0
    for _ in range(work.passes):
        cycles += issued(work.elements, unit.lanes) + unit.latency
    cycles += issued(work.divisions, unit.dividers) * unit.divide
    return cycles + issued(work.roots, unit.dividers) * unit.root


def row_words(stream: Stream, memory: Memory) -> int:
    """Words of a row, each begins one."""
    return words_of(packed(stream.codes, stream.bits, memory), memory)


def of_rows(work: Work, rows: int) -> Work:
    """A block's share, from that of one row."""
    return Work(rows * work.elements, work.passes, rows * work.divisions, rows * work.roots)


def row_room(what: Rows, memory: Memory) -> int:
    """Bytes of one row: in and out twice, but for what is on chip; and what is kept."""
    moving = (stream for stream in (*what.inputs, *what.outputs) if not stream.on_chip)
    return 2 * sum(row_words(stream, memory) * memory.word for stream in moving) + what.kept


def equal_blocks(rows: int, number: int) -> list[int]:
    """Rows of each block, cd(rows, number) of them but for the last."""
    size, left, made = ceil(Fraction(rows, number)), rows, []
    while left:
        made.append(min(size, left))
        left -= made[-1]
    return made


def block_choices(what: Rows, memory: Memory, capacity: int) -> list[list[int]]:
    """All that fit, largest blocks first; if no row does, each is a block by itself."""
    room, made = row_room(what, memory), []
    for number in range(1, what.rows + 1):
        sizes = equal_blocks(what.rows, number)
        if sizes[0] * room <= capacity and sizes not in made:
            made.append(sizes)
    return made or [[1] * what.rows]


def moved(streams: tuple[Stream, ...], rows: int, memory: Memory) -> Iterator[Transfer]:
    """Transfers of some rows; none of what is on chip."""
    for stream in streams:
        size = rows * packed(stream.codes, stream.bits, memory)
        if size and not stream.on_chip:
            yield Transfer(stream, rows, size)


def blocks(what: Rows, sizes: list[int], passes: int, memory: Memory, capacity: int) -> list[Block]:
    """What every block of so many rows moves."""
    again = passes if row_room(what, memory) > capacity else 1
    made = []
    for rows in sizes:
        fetched = [move for _ in range(max(again, 1)) for move in moved(what.inputs, rows, memory)]
        if not made:
            fetched = [*moved(what.constants, 1, memory), *fetched]

        kept = words_of(what.kept, memory)
        read = sum(row_words(one, memory) for one in (*(passes * what.inputs), *what.constants)) + kept
        written = sum(row_words(one, memory) for one in what.outputs) + kept
        made.append(Block(rows, tuple(fetched), tuple(moved(what.outputs, rows, memory)), rows * read, rows * written))
    return made


def transfer_cycles(moves: tuple[Transfer, ...], memory: Memory) -> int:
    """(9), transfer after transfer."""
    cycles = 0
    for move in moves:
        bursts = ceil(Fraction(move.bytes, memory.burst))
        cycles += memory.latency + ceil(bursts * memory.burst / memory.bandwidth)
    return cycles


def row_causes(made: list[Block], busy: list[int], memory: Memory) -> dict[str, int]:
    """(10), step by step; what a block works is the vector unit's."""
    came = [transfer_cycles(block.fetched, memory) for block in made] + [0]
    went = [0] + [transfer_cycles(block.stored, memory) for block in made]
    causes = Counter(dma_in=came[0], dma_out=went[-1], vector=sum(busy))
    for i, c in enumerate(busy):
        beyond = max(c, came[i + 1] + went[i]) - c
        out = max(0, went[i] - c)
        causes.update(dma_out=out, dma_in=beyond - out)
    return dict(causes)


def run(what: Rows, work: Work, unit: Unit, memory: Memory, capacity: int) -> Run:
    """Everything that a row layer costs in the fastest blocks, of equals the largest; `work` is that of one row."""
    best: Run | None = None
    for sizes in block_choices(what, memory, capacity):
        tried = run_in_blocks(what, sizes, work, unit, memory, capacity)
        if best is None or tried.total_cycles < best.total_cycles:
            best = tried
    assert best is not None
    return best


def run_in_blocks(what: Rows, sizes: list[int], work: Work, unit: Unit, memory: Memory, capacity: int) -> Run:
    """The cost in blocks of so many rows."""
    made = blocks(what, sizes, work.passes, memory, capacity)
    busy = [vector_cycles(of_rows(work, block.rows), unit) for block in made]
    moves: Counter[tuple[str, str, int]] = Counter()
    near: Counter[str] = Counter()
    for block in made:
        for direction, transfers in (("read", block.fetched), ("write", block.stored)):
            for stream, rows, size in transfers:
                moves[stream.operand, direction, stream.bits] += size
                near[direction] += rows * row_words(stream, memory) * memory.word
    causes = row_causes(made, busy, memory)
    return Run(
        tuple(made), dict(moves), causes, sum(causes.values()),
        sum(block.words_read for block in made) * memory.word,
        sum(block.words_written for block in made) * memory.word,
        near["write"], near["read"],
    )  # fmt: skip


class Machine(NamedTuple):
    """All that the choice of a block of queries looks at."""

    array: Array
    memory: Memory
    capacity: int
    prices: Prices
    objective: str = "dram"
    mode: str = "array"
    recompute: bool = False
    unit: Unit = Unit(1, 0, 1, 1, 1)
    passes: tuple[int, int] = (0, 0)
    """Of the epilogues of scores and context."""


class Attention(NamedTuple):
    """Blocks of queries: rows of the whole ones, how many, rows of the ragged last, and each one's choices."""

    tq: int
    whole: int
    ragged: int
    choices: dict[int, tuple[Choice, Choice]]
    key: tuple[int, ...]


def kept_row(scores: Product, context: Product, machine: Machine) -> int:
    """Bytes that a query keeps in the scratchpad."""
    if machine.recompute:
        return 8
    scored = packed(scores.n, scores.output_bits, machine.memory)
    return scored + packed(context.k, context.a_bits, machine.memory)


def priced_block(
    queries: int, tq: int, scores: Product, context: Product, machine: Machine
) -> tuple[Choice, Choice] | None:
    """The best tiles of both products for some queries beside tq rows, or None if one does not fit."""
    left = machine.capacity - tq * kept_row(scores, context, machine)
    made = []
    both = (scores._replace(m=queries, output_on_chip=True), context._replace(m=queries, a_on_chip=True))
    for what, passes in zip(both, machine.passes, strict=True):
        choice = search(
            what, machine.array, machine.memory, left, machine.mode, machine.objective, machine.prices, smallest=True,
            vector_cycles=vector_cycles(Work(queries * what.n, passes), machine.unit),
        )  # fmt: skip
        if not isinstance(choice, Choice):
            return None
        made.append(choice)
    return made[0], made[1]


def attention(scores: Product, context: Product, machine: Machine) -> Attention | None:
    """Every number of blocks is tried."""
    best: Attention | None = None
    for number in range(1, scores.m + 1):
        tq = ceil(Fraction(scores.m, number))
        whole, ragged = divmod(scores.m, tq)
        priced = {queries: priced_block(queries, tq, scores, context, machine) for queries in {tq, ragged} - {0}}
        if any(pair is None for pair in priced.values()):
            continue
        sums: tuple[int, ...] = ()
        for queries in [tq] * whole + [ragged] * (ragged > 0):
            both = priced[queries]
            assert both is not None
            for choice in (both[0], both[0], both[1]) if machine.recompute else both:
                one = key(choice.cost, machine.objective, machine.memory, machine.prices)
                sums = tuple(x + y for x, y in zip(sums, one, strict=True)) if sums else one
        if best is None or (*sums, tq) < (*best.key, best.tq):
            best = Attention(tq, whole, ragged, {q: pair for q, pair in priced.items() if pair}, sums)
    return best
