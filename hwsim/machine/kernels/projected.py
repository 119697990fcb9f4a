"""Projected heads on a worker's memory: head by head a product, its codes, and the sum that they are added to."""

from functools import cache, partial
from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.formats import Overflow
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.kernels.operands import Matrix, Scale, Vector, vector_at
from hwsim.machine.kernels.ordered import Left, Made, Rows, in_order
from hwsim.machine.kernels.products import Factor, by_engine
from hwsim.machine.layout import NumberType, fits
from hwsim.machine.native import Bytes, Kernel, events, matrix, numbers_at
from hwsim.machine.record import Words, record
from hwsim.operators.arguments import INT64_MIN, Accumulators
from hwsim.operators.quotients import Held
from hwsim.operators.rescale import rescale_rows
from hwsim.program.operations import ProjectHeads
from hwsim.program.proofs import centred


class _Gathered(NamedTuple):
    """Rows of one of several heads in a batch: so many bytes of each element of it, and where they go."""

    input: int
    batch: int
    heads: int
    head: int
    run: int
    output: int


class _Added(NamedTuple):
    """Sums of a head (b, n, d), its ratio in the constants, its codes (b, h, n, d), and the total (b, n, d)."""

    sums: int
    batch: int
    length: int
    width: int
    heads: int
    head: int
    scale: Scale
    lo: int
    hi: int
    codes: int
    total: int
    events: int


def project_heads(b: Builder, op: ProjectHeads) -> Instructions:
    batch, _, length, d_head = b.dims(op.input)
    kind, form = b.dtype(op.input), b.format(op.heads)
    place = b.scratch([batch, length, d_head], kind)
    rows, run = b.sizes.of([batch, length]), b.sizes.of([length, d_head, np.dtype(kind).itemsize])
    zero, weights, accumulator = b.zero(op.input), b.workspace.head_weights(op), b.workspace.effective(op)
    words = cache(partial(b.scratch, [batch, length, d_head], np.int16))
    factor = Factor(Matrix(place, rows, b.sizes.of([d_head])), kind, b.format(op.input), zero, words)
    left = Left(Rows(place, rows, int(d_head), zero), kind, centred(b.format(op.input), zero).magnitude)
    narrow = accumulator.bits <= 32 or fits(*b.workspace.product_reach(op), 32)
    dims, sums_type = b.dims(op.output), np.int32 if narrow else np.int64
    engine = narrow and accumulator.overflow is Overflow.PROVEN
    made = Made(b.scratch(dims, sums_type), sums_type)
    add = head_added(int(op.requantization.scaling), sums_type, b.dtype(op.heads), b.dtype(op.output))
    sizes = [b.sizes.of([dim]) for dim in dims]
    shape = sizes[0], sizes[1], sizes[2], len(weights)
    instructions = []
    for head, weight in enumerate(weights):
        gather = _Gathered(b.at(op.input), shape[0], len(weights), head, run, place)
        results = form.min, form.max, b.at(op.heads), b.at(op.output), b.events(op.output)
        added = _Added(made.place, *shape, head, _ratio(b, op, head), *results)
        key, bias = f"{op.output} of head {head}", b.bias(None if head else op.bias)
        product = by_engine(b, factor, weight, bias, made.place, (key, key)) if engine else None
        if product is None:
            start = np.resize(bias, weight.shape[0])
            product = in_order(b, left, weight, start, accumulator, made, key, b.events(op.output))
        instructions += [Instruction(gathered, gather), product, Instruction(add, added)]
    return instructions


def _ratio(b: Builder, op: ProjectHeads, head: int) -> Scale:
    """Multiplier and shift of a head: one for all, or one a head."""
    word = np.dtype(np.int64).itemsize
    return Scale(*(Vector(of.start + word * (head % of.length), 1) for of in b.scale(op.requantization)))


@njit(cache=True, nogil=True)
def gathered(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
    """The rows of one head, one behind the other, as bytes."""
    of = record(args, _Gathered)
    batch, run = sizes[of.batch], sizes[of.run]
    given, made = (
        matrix(memory, of.input, batch * of.heads, run, np.uint8),
        matrix(memory, of.output, batch, run, np.uint8),
    )
    for i in range(batch):
        for j in range(run):
            made[i, j] = given[i * of.heads + of.head, j]


@cache
def head_added(rule: int, sums_type: NumberType, code_type: NumberType, total_type: NumberType) -> Kernel:
    """(R14) of one head after its product."""

    @njit(cache=True, nogil=True)
    @named(rule, sums_type, code_type, total_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Added)
        batch, length, n = sizes[of.batch], sizes[of.length], sizes[of.width]
        sums = numbers_at(memory, of.sums, (batch, length, n), sums_type)
        codes = numbers_at(memory, of.codes, (batch, of.heads, length, n), code_type)
        total = numbers_at(memory, of.total, (batch, length, n), total_type)
        m, e = vector_at(constants, of.scale.multiplier), vector_at(constants, of.scale.shift)
        counted = events(counters, of.events)
        for i in range(batch):
            made = codes[i, of.head]
            rescale_rows(rule, sums[i], m, e, 0, of.lo, of.hi, INT64_MIN, made, counted)
            _add(made, of.head == 0, total[i])

    return step


@njit(cache=True, nogil=True)
def _add(codes: Held, first: bool, total: Accumulators) -> None:
    """Codes (n, d) of a head added to those before it."""
    for i in range(codes.shape[0]):
        if first:
            for j in range(codes.shape[1]):
                total[i, j] = codes[i, j]
        else:
            for j in range(codes.shape[1]):
                total[i, j] += codes[i, j]
