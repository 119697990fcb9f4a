"""One scratchpad tile on the array (docs/accelerator.md, section 3): every fold is walked, every element counted."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import ceil, floor
from typing import NamedTuple


class Array(NamedTuple):
    """`rate` is p, MACs of an element a cycle; `serial` folds wait for each other."""

    rows: int
    cols: int
    dataflow: str
    rate: Fraction = Fraction(1)
    kind: str = "systolic"
    serial: bool = False


class Work(NamedTuple):
    """What a tile does: elements at the scratchpad's array side, how often a row is read, folds and their stream."""

    folds: int
    stream: int
    ifmap_reads: int
    filter_reads: int
    a_rows_read: int
    b_rows_read: int
    psum_writes: int
    psum_reads: int
    drain_reads: int
    result_writes: int
    macs: int
    slots: Fraction
    """What the array could have done in its streaming cycles."""
    b_rows_along_k_read: int
    """Where rows of b lie along k; `b_rows_read` where they lie along n."""


def blocks(size: int, step: int) -> list[range]:
    """0..size-1 in ranges of `step`, the last one ragged."""
    return [range(start, min(start + step, size)) for start in range(0, size, step)]


def k_folds(k: int, array: Array) -> list[list[int]]:
    """The elements of k whose first row of the array lies in each fold of K' rows; some folds may have none."""
    folds: list[list[int]] = [[] for _ in blocks(ceil(k / array.rate), array.rows)]
    for element in range(k):
        folds[floor(element / array.rate) // array.rows].append(element)
    return folds


def stream_cycles(m: int, k: int, n: int, array: Array) -> int:
    """T of a fold, by the table."""
    return {"os": ceil(k / array.rate), "ws": m, "is": n}[array.dataflow]


Reads = tuple[list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int]]]


def folds_of(m: int, k: int, n: int, array: Array) -> Iterator[Reads]:
    """Of each fold the elements (i, k) of a and (j, k) of b that are read, and the results (i, j) that it adds to."""
    if array.dataflow == "os":
        for rows, cols in product(blocks(m, array.rows), blocks(n, array.cols)):
            yield list(product(rows, range(k))), list(product(cols, range(k))), list(product(rows, cols))
        return
    moving, held = (range(m), n) if array.dataflow == "ws" else (range(n), m)
    for ks, cols in product(k_folds(k, array), blocks(held, array.cols)):
        streamed, stays = list(product(moving, ks)), list(product(cols, ks))
        if array.dataflow == "ws":
            yield streamed, stays, list(product(moving, cols))
        else:
            yield stays, streamed, list(product(cols, moving))


@lru_cache(maxsize=100_000)
def walk(m: int, k: int, n: int, first: bool, last: bool, array: Array) -> Work:
    """Walk the folds of a tile; `first` and `last` of the tiles along k."""
    reads: Counter[tuple[str, int, int]] = Counter()
    passes: Counter[tuple[int, int]] = Counter(dict.fromkeys(product(range(m), range(n)), 0 if first else 1))
    moved: Counter[str] = Counter()
    folds = 0
    for a_read, b_read, touched in folds_of(m, k, n, array):
        folds += 1
        reads.update(("a", *element) for element in a_read)
        reads.update(("b", *element) for element in b_read)
        for result in touched:
            moved["psum_reads"] += passes[result] > 0
            passes[result] += 1
            moved["psum_writes"] += array.dataflow != "os" or not last
    if last:
        moved["drain_reads"] = len(passes) if array.dataflow != "os" else 0
        moved["result_writes"] = len(passes)
    stream = stream_cycles(m, k, n, array)
    slots = array.rows * array.cols * array.rate * folds * stream
    return Work(
        folds=folds, stream=stream,
        ifmap_reads=sum(count for (operand, _, _), count in reads.items() if operand == "a"),
        filter_reads=sum(count for (operand, _, _), count in reads.items() if operand == "b"),
        a_rows_read=sum(reads["a", i, 0] for i in range(m)),
        b_rows_read=sum(reads["b", j, 0] for j in range(n)),
        psum_writes=moved["psum_writes"], psum_reads=moved["psum_reads"],
        drain_reads=moved["drain_reads"], result_writes=moved["result_writes"],
        macs=sum(1 for _ in product(range(m), range(k), range(n))), slots=slots,
        b_rows_along_k_read=sum(reads["b", 0, i] for i in range(k)),
    )  # fmt: skip


class Registers(NamedTuple):
    """Bits written to and read from registers of the elements, and bits that go from one element to the next."""

    written: int
    read: int
    hops: int


@lru_cache(maxsize=100_000)
def registers(work: Work, array: Array, a_bits: int, b_bits: int, accumulator_bits: int) -> Registers:
    """MAC by MAC, and read by read where an operand stays or a row of elements shares it."""
    systolic, stationary = array.kind == "systolic", array.dataflow != "os"
    a_moves, b_moves = array.dataflow != "is", array.dataflow != "ws"
    written = read = hops = 0
    for _ in range(work.macs):
        read += a_bits + b_bits
        if systolic:
            moving = a_moves * a_bits + b_moves * b_bits
            written += moving + accumulator_bits
            read += accumulator_bits
            hops += moving + stationary * accumulator_bits
    for reads, bits, moves in ((work.ifmap_reads, a_bits, a_moves), (work.filter_reads, b_bits, b_moves)):
        for _ in range(reads if not (systolic and moves) else 0):
            written += bits
    for _ in range(0 if systolic else work.psum_writes):
        written += accumulator_bits
        read += accumulator_bits
    return Registers(written, read, hops)


def tile_cycles(work: Work, array: Array, first: bool, last: bool) -> tuple[int, int]:
    """(compute, fill_drain) of a tile, fold by fold, by (1), (3) or (2) with (4); `first` and `last` of all tiles."""
    r, c, stationary = array.rows, array.cols, array.dataflow != "os"
    pipelined = array.kind == "systolic" and not array.serial
    t = max(work.stream, 4) if pipelined and stationary else work.stream
    spent = 0
    for fold in range(work.folds):
        if array.kind == "dot_product":
            spent += t
        elif array.serial:
            spent += t + (2 * r if stationary else r) + c - 2
        elif last and fold == work.folds - 1:
            spent += r + c - 2 + t if stationary else t + 2 * r + c - 2
        else:
            spent += max(t, r)
    if first and stationary and pipelined:
        spent += 2 * r - 1
    return work.folds * t, spent - work.folds * t
