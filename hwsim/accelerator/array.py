"""Cycles, operand accesses and register bits of a product on the array (docs/accelerator.md, section 3).

Sizes may be Python ints or arrays of integers, and `first` and `last` bools or arrays of them; results are alike.
"""

from fractions import Fraction
from typing import NamedTuple, Protocol

from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.hardware import Array, ArrayKind, Dataflow, FoldMode
from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Sparsity
from hwsim.accelerator.storage import Ints, ceil_div, greater

LEAST_STREAM = 4
"""Cycles that a pipelined fold of a stationary operand streams at least, as ONNXim has it for Gemmini."""


class ArrayShape(Protocol):
    """What of an array decides cycles and counts; `hwsim.accelerator.hardware.Array` has it."""

    @property
    def kind(self) -> ArrayKind: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def dataflow(self) -> Dataflow: ...
    @property
    def fold_mode(self) -> FoldMode: ...


class ArrayCounts(NamedTuple):
    """Elements at the scratchpad's array side."""

    ifmap_reads: Ints = 0
    filter_reads: Ints = 0
    psum_writes: Ints = 0
    psum_reads: Ints = 0
    drain_reads: Ints = 0
    result_writes: Ints = 0


class Registers(NamedTuple):
    """Bits written to and read from the elements' registers, and bits that go from an element to its neighbour."""

    written: int
    read: int
    hops: int


class Widths(NamedTuple):
    """Bits of both operands and of the accumulator."""

    a_bits: int
    b_bits: int
    accumulator_bits: int


def folds(m: Ints, k: Ints, n: Ints, array: ArrayShape, rate: Fraction) -> tuple[Ints, Ints]:
    """F and T, how many folds there are and how many cycles one streams."""
    steps = ceil_div(k * rate.denominator, rate.numerator)
    if array.dataflow is Dataflow.OS:
        return ceil_div(m, array.rows) * ceil_div(n, array.cols), steps
    if array.dataflow is Dataflow.WS:
        return ceil_div(steps, array.rows) * ceil_div(n, array.cols), m
    return ceil_div(steps, array.rows) * ceil_div(m, array.cols), n


def streaming_cycles(m: Ints, k: Ints, n: Ints, array: ArrayShape, rate: Fraction) -> Ints:
    """F*T, the cycles in which operands stream."""
    count, stream = folds(m, k, n, array, rate)
    return count * stream


def array_cycles(
    m: Ints, k: Ints, n: Ints, array: ArrayShape, rate: Fraction, first: Ints = True, last: Ints = True
) -> tuple[Ints, Ints]:
    """Cycles of an (m, k) by (k, n) product, equations (1) to (4).

    Parameters
    ----------
    k
        Streamed entries: with N:M sparsity the kept ones.
    rate
        MACs of an element a cycle.
    first, last
        Whether this is the first and the last scratchpad tile of its product.

    Returns
    -------
    tuple
        `compute` and `fill_drain` cycles.
    """
    count, stream = folds(m, k, n, array, rate)
    if array.kind is ArrayKind.DOT_PRODUCT:
        return count * stream, 0 * count
    stationary = array.dataflow is not Dataflow.OS
    skew = array.rows + array.cols - 2
    if array.fold_mode is FoldMode.SERIAL:
        return count * stream, count * (skew + array.rows * stationary)
    if stationary:
        stream = greater(stream, LEAST_STREAM)
    period = greater(stream, array.rows)
    start = 2 * array.rows - 1 if stationary else 0
    tail = stream + skew + (0 if stationary else array.rows)
    return count * stream, count * (period - stream) + first * start + last * (tail - period)


def operand_passes(m: Ints, n: Ints, array: ArrayShape) -> tuple[Ints, Ints]:
    """How often a tile's ifmap and its filter are read from the scratchpad."""
    if array.dataflow is Dataflow.OS:
        return ceil_div(n, array.cols), ceil_div(m, array.rows)
    if array.dataflow is Dataflow.WS:
        return ceil_div(n, array.cols), 1
    return 1, ceil_div(m, array.cols)


def psum_passes(k: Ints, array: ArrayShape, rate: Fraction, first: Ints, last: Ints) -> tuple[Ints, Ints, Ints]:
    """How often each result of a tile is written, read back and drained as a partial sum."""
    if array.dataflow is Dataflow.OS:
        return 1 - 1 * last, 1 - 1 * first, 0 * last
    passes = ceil_div(ceil_div(k * rate.denominator, rate.numerator), array.rows)
    return passes, passes - first, last


def array_counts(
    m: Ints, k: Ints, n: Ints, array: ArrayShape, rate: Fraction, first: Ints = True, last: Ints = True
) -> ArrayCounts:
    """Elements that a tile reads and writes.

    Parameters
    ----------
    k
        Streamed entries, as in `array_cycles`.
    first, last
        Whether the tile is the first and the last along k of its results.
    """
    a_passes, b_passes = operand_passes(m, n, array)
    written, read_back, drained = psum_passes(k, array, rate, first, last)
    results = m * n
    return ArrayCounts(
        m * k * a_passes, k * n * b_passes, results * written, results * read_back, results * drained, results * last
    )


def registers(counts: ArrayCounts, macs: int, widths: Widths, array: ArrayShape, gated: int = 0) -> Registers:
    """Bits at registers, section 3, "Registers".

    Parameters
    ----------
    counts
        Of all tiles.
    macs
        Executed: useful and gated.
    gated
        Those of them that zero-gating suppresses: in a systolic array they leave the accumulator's register alone.
    """
    a_moves, b_moves = array.dataflow is not Dataflow.IS, array.dataflow is not Dataflow.WS
    kept = (0 if a_moves else counts.ifmap_reads * widths.a_bits) + (
        0 if b_moves else counts.filter_reads * widths.b_bits
    )
    operands = macs * (widths.a_bits + widths.b_bits)
    if array.kind is ArrayKind.DOT_PRODUCT:
        moved = a_moves * counts.ifmap_reads * widths.a_bits + b_moves * counts.filter_reads * widths.b_bits
        sums = counts.psum_writes * widths.accumulator_bits
        return Registers(moved + sums + kept, operands + sums, 0)
    moved = macs * (a_moves * widths.a_bits + b_moves * widths.b_bits)
    sums = (macs - gated) * widths.accumulator_bits
    passed = 0 if array.dataflow is Dataflow.OS else macs * widths.accumulator_bits
    return Registers(moved + sums + kept, operands + sums, moved + passed)


def padded_macs(streaming: int, macs: int, array: ArrayShape, rate: Fraction) -> int:
    """MACs that the array could have done in its streaming cycles beyond the executed ones, rounded down."""
    return array.rows * array.cols * streaming * rate.numerator // rate.denominator - macs


def untiled(product: Product, array: Array, sparsity: Sparsity | None = None) -> tuple[Cycles, ArrayCounts]:
    """One (m, k, n) product as one tile without a scratchpad; with N:M sparsity of b only what is kept is streamed.

    Serial cycles are the index of the last cycle, one less than their number, as SCALE-Sim states them.
    """
    rate = array.rate(product.a_bits, product.b_bits)
    size = product.m, product.k if sparsity is None else sparsity.keeps(product.k), product.n
    compute, fill_drain = array_cycles(*size, array, rate)
    total = compute + fill_drain
    if array.kind is ArrayKind.SYSTOLIC and array.fold_mode is FoldMode.SERIAL:
        total -= 1
    compute = min(compute, total)
    counts = array_counts(*size, array, rate)
    return Cycles(compute=compute, fill_drain=total - compute), counts
