"""One product on one machine: bytes, words and cycles of a tile (docs/accelerator.md, sections 3, 4, 9, 10).

Formulas hold for Python ints and for arrays of integers alike, one entry a candidate or a step.
"""

from fractions import Fraction
from math import gcd
from typing import NamedTuple

from hwsim.accelerator.array import Widths, array_cycles, operand_passes, psum_passes
from hwsim.accelerator.events import Operand
from hwsim.accelerator.hardware import ArrayKind, Dataflow, FoldMode, Hardware
from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Options, Sparsity, Tiles
from hwsim.accelerator.storage import (
    Ints,
    ceil_div,
    positive,
    psum_bytes,
    round_up,
    row_bytes,
    stored_bits,
    transfer_cycles,
)


class Geometry(NamedTuple):
    """The part of an array that decides cycles, hashable."""

    kind: ArrayKind
    rows: int
    cols: int
    dataflow: Dataflow
    fold_mode: FoldMode


class Accesses(NamedTuple):
    """What a tile reads and writes at the scratchpad's array side, in bytes or in words."""

    a_read: Ints
    b_read: Ints
    psum_read: Ints
    drain_read: Ints
    psum_write: Ints
    result_write: Ints

    @property
    def read(self) -> Ints:
        return self.a_read + self.b_read + self.psum_read + self.drain_read

    @property
    def write(self) -> Ints:
        return self.psum_write + self.result_write


class Problem(NamedTuple):
    """All that decides a tile's cost, hashable; of a product and a machine nothing else.

    Attributes
    ----------
    a_row_bits, b_row_bits, output_row_bits, residual_row_bits
        Bits that a code takes in a packed row; 0 for a residual that is none or is on chip.
    a_head, output_head
        Codes of a head, whose last byte is not full, so that a row has a gap behind each; the whole row if it has none.
    b_index_bits
        Beside a kept weight.
    sparsity
        N:M skipping of b, a weight.
    fresh_k, fresh_n
        By how much the last tile of b is short.
    b_along_n
        Whether rows of b lie along n, not along k.
    clock, bandwidth
        Cycles and bytes a second, without their common factor.
    vector
        Cycles of the epilogue of one product.
    single
        Buffers are single and only a, b and the sums have room: the mode of the published tables.
    """

    m: int
    k: int
    n: int
    array: Geometry
    rate: Fraction
    widths: Widths
    a_row_bits: int
    b_row_bits: int
    b_index_bits: int
    output_row_bits: int
    residual_row_bits: int
    a_head: int
    output_head: int
    psum_bytes: int
    column_bytes: int
    sparsity: Sparsity | None
    fresh_k: int
    fresh_n: int
    b_along_n: bool
    a_on_chip: bool
    b_on_chip: bool
    output_on_chip: bool
    word: int
    ports: int
    latency: int
    burst: int
    clock: int
    bandwidth: int
    vector: int
    single: bool

    def streamed(self, k: Ints) -> Ints:
        """Entries along k that the array sees."""
        return k if self.sparsity is None else self.sparsity.keeps(k)

    def a_row(self, k: Ints) -> Ints:
        """Of a tile along k: heads or a part of one, each packed by itself."""
        return _heads_bytes(k, self.a_head, self.a_row_bits)

    def a_read(self, k: Ints) -> Ints:
        """What the array reads of a row: with N:M sparsity some of its codes, packed as one row."""
        return self.a_row(k) if self.sparsity is None else row_bytes(self.streamed(k), self.a_row_bits)

    def b_bytes(self, k: Ints, n: Ints) -> Ints:
        """A tile of b: along k kept weights, each with its index; along n values as their cache has them."""
        if self.b_along_n:
            return k * row_bytes(n, self.b_row_bits)
        return n * row_bytes(self.streamed(k), self.b_row_bits + self.b_index_bits)

    def output_row(self, n: Ints) -> Ints:
        return _heads_bytes(n, self.output_head, self.output_row_bits)

    def residual_row(self, n: Ints) -> Ints:
        return row_bytes(n, self.residual_row_bits)

    def check_cuts(self, k: int, n: int) -> None:
        """Refuse a tile that cuts a group of N:M sparsity, or heads with gaps between them (section 4)."""
        group = self.sparsity.group if self.sparsity is not None else 1
        if k % group and k < self.k:
            raise ValueError(f"tiles of {k} along k cut groups of {group} weights; allowed are multiples and {self.k}")
        for along, size, head, whole in (("k", k, self.a_head, self.k), ("n", n, self.output_head, self.n)):
            if head < whole and size % head and head % size:
                raise ValueError(
                    f"tiles of {size} along {along} cut heads of {head} codes; allowed are whole heads, equal parts"
                    f" of one, and {whole}"
                )

    def room(self, m: Ints, k: Ints, n: Ints) -> Ints:
        """Left side of equation (7) without its bracket."""
        operands = self.a_room(m, k) + self.b_room(k, n)
        if self.single:
            return operands + self.psum_bytes * m * n
        return 2 * (operands + self.constants_room(n)) + self.results_room(m, n)

    def a_room(self, m: Ints, k: Ints) -> Ints:
        return 0 * (m + k) if self.a_on_chip else m * round_up(self.a_row(k), self.word)

    def b_room(self, k: Ints, n: Ints) -> Ints:
        """All of k, kept or not."""
        if self.b_on_chip:
            return 0 * (k + n)
        rows, length = (k, n) if self.b_along_n else (n, k)
        return rows * round_up(row_bytes(length, self.b_row_bits), self.word)

    def constants_room(self, n: Ints) -> Ints:
        return round_up(n * self.column_bytes, self.word)

    def results_room(self, m: Ints, n: Ints) -> Ints:
        """Sums, results and residual of a tile."""
        room = self.psum_bytes * m * n
        if not self.output_on_chip:
            room = room + m * round_up(self.output_row(n), self.word)
        if self.residual_row_bits:
            room = room + 2 * m * round_up(self.residual_row(n), self.word)
        return room

    def partial_room(self, m: Ints, n: Ints) -> Ints:
        """The bracket of (7): partial sums of a result that is left and taken up again."""
        return 0 * m * n if self.single else self.psum_bytes * m * n

    def cycles(self, m: Ints, k: Ints, n: Ints, first: Ints, last: Ints) -> tuple[Ints, Ints]:
        """Streaming, and filling and draining of a tile, `first` or `last` of its product."""
        return array_cycles(m, self.streamed(k), n, self.array, self.rate, first, last)

    def accesses(self, m: Ints, k: Ints, n: Ints, first: Ints, last: Ints) -> Accesses:
        """Words of a tile, `first` or `last` along k of its results; each stream is whole words."""
        a_passes, b_passes = operand_passes(m, n, self.array)
        streamed, sums = self.streamed(k), m * n * self.psum_bytes
        written, read, drained = psum_passes(streamed, self.array, self.rate, first, last)
        return Accesses(
            self.words(m * self.a_read(k) * a_passes),
            self.words(self.b_bytes(k, n) * b_passes),
            self.words(sums * read),
            self.words(sums * drained),
            self.words(sums * written),
            self.words(m * self.output_row(n) * last),
        )

    def words(self, size: Ints) -> Ints:
        return ceil_div(size, self.word)

    def stall(self, words: Ints, cycles: Ints) -> Ints:
        """Equation (5)."""
        return positive(ceil_div(words, self.ports) - cycles)

    def transfer_cycles(self, size: Ints) -> Ints:
        """Equation (9)."""
        return transfer_cycles(size, self.latency, self.burst, self.clock, self.bandwidth)


def _heads_bytes(codes: Ints, head: int, bits: int) -> Ints:
    return codes // head * row_bytes(head, bits) + row_bytes(codes % head, bits)


def sparsity_of(product: Product, options: Options) -> Sparsity | None:
    """The N:M skipping that a product has, its own or the mapping's: only weights are skipped.

    Raises
    ------
    ValueError
        If it has one, and the mapping another.
    """
    if product.b is not Operand.WEIGHT:
        return None
    if product.sparsity is not None and options.sparsity not in (None, product.sparsity):
        raise ValueError(f"its weights are {product.sparsity} sparse, but the mapping skips {options.sparsity}")
    return product.sparsity or options.sparsity


def problem_of(product: Product, hardware: Hardware, options: Options, vector_cycles: int = 0) -> Problem:
    """What of a product, a machine and a mapping decides the cost of one instance, whose epilogue takes so long.

    Raises
    ------
    ValueError
        If the array does not support the operands' widths, or the mapping another sparsity.
    """
    array, sram, dram = hardware.array, hardware.sram, hardware.dram
    sparsity = sparsity_of(product, options)
    per_second = gcd(hardware.clock_hz, dram.bandwidth_bytes_per_second)

    residual = product.residual_bits and not product.residual_on_chip

    def row_bits(bits: int) -> int:
        return stored_bits(bits, hardware.packing)

    def head(codes: int, heads: int, bits: int) -> int:
        return codes // heads if codes // heads * row_bits(bits) % 8 else codes

    return Problem(
        m=product.m,
        k=product.k,
        n=product.n,
        array=Geometry(array.kind, array.rows, array.cols, array.dataflow, array.fold_mode),
        rate=array.rate(product.a_bits, product.b_bits),
        widths=Widths(product.a_bits, product.b_bits, product.accumulator_bits),
        a_row_bits=row_bits(product.a_bits),
        b_row_bits=row_bits(product.b_bits),
        b_index_bits=sparsity.index_bits if sparsity else 0,
        output_row_bits=row_bits(product.output_bits),
        residual_row_bits=row_bits(product.residual_bits) if residual else 0,
        a_head=head(product.k, product.a_heads, product.a_bits),
        output_head=head(product.n, product.output_heads, product.output_bits),
        psum_bytes=psum_bytes(product.accumulator_bits, options.psum_bits),
        column_bytes=product.column_bytes,
        sparsity=sparsity,
        fresh_k=product.fresh if product.fresh_along == "k" else 0,
        fresh_n=product.fresh if product.fresh_along == "n" else 0,
        b_along_n=product.fresh_along == "k" and product.b is not Operand.WEIGHT,
        a_on_chip=product.a_on_chip,
        b_on_chip=product.b_on_chip,
        output_on_chip=product.output_on_chip,
        word=sram.word_bytes,
        ports=sram.ports,
        latency=dram.latency_cycles,
        burst=dram.burst_bytes,
        clock=hardware.clock_hz // per_second,
        bandwidth=dram.bandwidth_bytes_per_second // per_second,
        vector=vector_cycles,
        single=options.tiles is Tiles.DIVISORS,
    )
