"""Embeddings, matrix products, and what is done to accumulators and caches, on a worker's memory."""

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import named
from hwsim.formats import Overflow, Scaling
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions, Resident
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat, matrix, numbers_at
from hwsim.machine.record import Words
from hwsim.machine.steps.workspace import Workspace
from hwsim.operators.arguments import INT64_MAX, INT64_MIN
from hwsim.operators.embedding import Placement, embed_rows
from hwsim.operators.gemm import engines
from hwsim.operators.gemm.operand import Prepared, narrow
from hwsim.operators.requantize import shift_flat
from hwsim.operators.rescale import rescale_rows
from hwsim.program.catalogue import Dyadic
from hwsim.program.operations import (
    Append,
    Embed,
    MatMul,
    MergeHeads,
    Relu,
    Requantize,
    ShiftRight,
    SplitHeads,
)


def matmul(b: Builder, op: MatMul) -> Instructions:
    if not _is_proven(b.workspace, op):
        return None
    b.events(op.output)
    return _weights(b, op) if op.b in b.program.constants else _activations(b, op)


def _is_proven(workspace: Workspace, op: MatMul) -> bool:
    """Whether sums are modulo 2^32: nothing else can come of an accumulator of 32 bits that holds every sum."""
    accumulator = workspace.effective(op)
    return accumulator.overflow is Overflow.PROVEN and accumulator.bits <= 32


def is_packed(workspace: Workspace, op: MatMul) -> bool:
    """Whether a product of activations runs on int16 codes less their zero points."""
    if op.b in workspace.program.constants or not _is_proven(workspace, op):
        return False
    return _fits_words(workspace, op.a) and _fits_words(workspace, op.b)


def _fits_words(workspace: Workspace, name: str) -> bool:
    """Whether codes less their zero point are int16."""
    form, zero = workspace.format(name), workspace.zero(name)
    return form.min - zero >= -(1 << 15) and form.max - zero < 1 << 15


def _weights(b: Builder, op: MatMul) -> Instructions:
    weight = b.workspace.operand(op.b)
    n = weight.shape[0]
    if b.format(op.a).bits <= 8 and weight.quads is not None:
        packed = b.constants.place(f"{op.b} quads", lambda: weight.quads)
        bias = b.constants.place(f"{op.output} folded bias", lambda: _bias(b, op, weight, b.zero(op.a)))
        kernel = weight_quads(b.dtype(op.a))
        return [Instruction(kernel, [*b.matrix(op.a), packed, n, bias, b.at(op.output)])]
    if not _fits_words(b.workspace, op.a) or weight.pairs is None:
        return None
    packed = b.constants.place(f"{op.b} pairs", lambda: weight.pairs)
    bias = b.constants.place(f"{op.output} bias", lambda: _bias(b, op, weight, 0))
    words = b.scratch(b.dims(op.a), np.int16)
    kernel = weight_pairs(b.dtype(op.a))
    return [Instruction(kernel, [*b.matrix(op.a), packed, n, bias, b.at(op.output), b.zero(op.a), words])]


def _bias(b: Builder, op: MatMul, weight: Prepared, a_zero: int) -> NDArray[np.int32]:
    """The bias, less what a zero point of the first operand adds to every sum."""
    bias = np.zeros(weight.shape[0], np.int64) if op.bias is None else b.program.constants[op.bias].astype(np.int64)
    return (bias - a_zero * weight.column_sums[0]).astype(np.int32)


@njit(cache=True, nogil=True)
def quads_at(memory: Bytes, at: int, n: int, k: int) -> Any:
    """An (n, k) operand in the form of `engines.pack_quads`."""
    panels, groups = (n + 15) // 16, (k + 63) // 64 * 16
    return numbers_at(memory, at, (panels, groups, 16, 4), np.int8)


@njit(cache=True, nogil=True)
def pairs_at(memory: Bytes, at: int, n: int, k: int) -> Any:
    """An (n, k) operand in the form of `engines.pack_pairs`."""
    panels, groups = (n + 15) // 16, (k + 1) // 2
    return numbers_at(memory, at, (panels, groups, 16, 2), np.int16)


@cache
def weight_quads(a_type: NumberType) -> Kernel:
    """Codes of 8 bits times a weight."""

    @njit(cache=True, nogil=True)
    @named(a_type)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        rows, k, n = sizes[args[1]], sizes[args[2]], args[4]
        a, result = matrix(memory, args[0], rows, k, a_type), matrix(memory, args[6], rows, n, np.int32)
        packed, bias = quads_at(constants, args[3], n, k), flat(constants, args[5], n, np.int32)
        engines.multiply_quads(a, packed, bias, n, result)

    return product


@cache
def weight_pairs(a_type: NumberType) -> Kernel:
    """Codes of up to 16 bits less their zero point times a weight."""

    @njit(cache=True, nogil=True)
    @named(a_type)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        rows, k, n = sizes[args[1]], sizes[args[2]], args[4]
        a, words = matrix(memory, args[0], rows, k, a_type), matrix(memory, args[8], rows, k, np.int16)
        packed, bias = pairs_at(constants, args[3], n, k), flat(constants, args[5], n, np.int32)
        narrow(a, args[7], words)
        engines.multiply_pairs(words, packed, bias, n, matrix(memory, args[6], rows, n, np.int32))

    return product


def _activations(b: Builder, op: MatMul) -> Instructions:
    if not is_packed(b.workspace, op):
        return None
    *lead, m, k = b.dims(op.a)
    n = b.dims(op.output)[-1]
    shape = [b.sizes.of(lead), b.sizes.of([m]), b.sizes.of([k]), b.sizes.of([n])]
    most = n if isinstance(n, int) else b.capacity[n]
    zeros = b.constants.place(f"{most} zeros", lambda: np.zeros(most, np.int32))
    places = [b.at(op.a), b.zero(op.a), b.scratch([m, k], np.int16), zeros, b.at(op.output)]
    if op.b in b.resident:
        held = b.resident[op.b]
        _, panels, groups, _, _ = held.shape
        where = [held.start, held.slot_bytes, held.heads, panels, groups, b.slots[held.rows]]
        return [Instruction(cached_product(b.dtype(op.a)), [*shape, *places, *where])]
    packed = b.scratch([_up(b, n, 16), _up(b, k, 2)], np.int16)
    kernel = activation_product(b.dtype(op.a), b.dtype(op.b))
    return [Instruction(kernel, [*shape, *places, b.at(op.b), b.zero(op.b), packed, int(op.transpose_b)])]


def _up(b: Builder, dim: str | int, step: int) -> int:
    """The most of a dimension, rounded up."""
    most = dim if isinstance(dim, int) else b.capacity[dim]
    return -(-most // step) * step


@cache
def activation_product(a_type: NumberType, b_type: NumberType) -> Kernel:
    """A batch of products of activations; each second operand is packed for its own product."""

    @njit(cache=True, nogil=True)
    @named(a_type, b_type)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        batch, m, k, n = sizes[args[0]], sizes[args[1]], sizes[args[2]], sizes[args[3]]
        a, left = numbers_at(memory, args[4], (batch, m, k), a_type), matrix(memory, args[6], m, k, np.int16)
        rows, columns = (
            numbers_at(memory, args[9], (batch, n, k), b_type),
            numbers_at(memory, args[9], (batch, k, n), b_type),
        )
        packed, bias = pairs_at(memory, args[11], n, k), flat(constants, args[7], n, np.int32)
        result = numbers_at(memory, args[8], (batch, m, n), np.int32)
        for i in range(batch):
            narrow(a[i], args[5], left)
            if args[12]:
                engines.pack_centred(columns[i].T, args[10], packed)
            else:
                engines.pack_centred(rows[i], args[10], packed)
            engines.multiply_pairs(left, packed, bias, n, result[i])

    return product


@cache
def cached_product(a_type: NumberType) -> Kernel:
    """The same with second operands that lie packed in their slots."""

    @njit(cache=True, nogil=True)
    @named(a_type)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        batch, m, k, n = sizes[args[0]], sizes[args[1]], sizes[args[2]], sizes[args[3]]
        a, left = numbers_at(memory, args[4], (batch, m, k), a_type), matrix(memory, args[6], m, k, np.int16)
        bias, result = flat(constants, args[7], n, np.int32), numbers_at(memory, args[8], (batch, m, n), np.int32)
        heads, slots = args[11], flat(memory, args[14], batch, np.int64)
        for i in range(batch):
            narrow(a[i], args[5], left)
            start = args[9] + slots[i // heads] * args[10] + (i % heads) * (args[10] // heads)
            packed = pairs_at(state, start, args[12] * 16, args[13] * 2)
            engines.multiply_pairs(left, packed, bias, n, result[i])

    return product


def stored(b: Builder, held: Resident, new: str, past: str | int) -> Instruction:
    """New positions of a cache, written where products read them."""
    batch, heads, length, width = (b.sizes.of([dim]) for dim in b.dims(new))
    first = b.sizes.of([past])
    shape = [batch, heads, length, width, first]
    where = [held.start, held.slot_bytes, held.heads, *held.shape[1:3], b.slots[held.rows]]
    return Instruction(store(b.dtype(new), held.deep), [*shape, b.at(new), b.zero(new), *where])


@cache
def store(x_type: NumberType, deep: bool) -> Kernel:
    """Codes less their zero point into the packed form of `Resident`."""

    @njit(cache=True, nogil=True)
    @named(x_type, deep)
    def put(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        batch, heads, length, width = sizes[args[0]], sizes[args[1]], sizes[args[2]], sizes[args[3]]
        first = sizes[args[4]]
        x, zero = matrix(memory, args[5], batch * heads * length, width, x_type), args[6]
        slots = flat(memory, args[12], batch, np.int64)
        for i in range(batch * heads):
            start = args[7] + slots[i // heads] * args[8] + (i % heads) * (args[8] // heads)
            packed = pairs_at(state, start, args[10] * 16, args[11] * 2)
            for p in range(length):
                row, position = x[i * length + p], first + p
                for j in range(width):
                    code = np.int16(np.int64(row[j]) - zero)
                    if deep:
                        packed[j // 16, position // 2, j % 16, position % 2] = code
                        if position % 2 == 0:
                            packed[j // 16, position // 2, j % 16, 1] = 0
                    else:
                        packed[position // 16, j // 2, position % 16, j % 2] = code

    return put


def append(b: Builder, op: Append) -> Instructions:
    if op.output in b.resident:
        return [stored(b, b.resident[op.output], op.input, b.dims(op.past)[2])]
    if len({b.dtype(name) for name in (op.past, op.input, op.output)}) > 1:
        return None
    itemsize = np.dtype(b.dtype(op.output)).itemsize
    *lead, past, width = b.dims(op.past)
    lengths = [b.sizes.of([*dims, width, itemsize]) for dims in ([past], b.dims(op.input)[2:3])]
    return [Instruction(joined, [b.sizes.of(lead), *lengths, b.at(op.past), b.at(op.input), b.at(op.output)])]


@njit(cache=True, nogil=True)
def joined(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
    """Each row of one tensor behind the same row of another, as bytes."""
    rows, left, right = sizes[args[0]], sizes[args[1]], sizes[args[2]]
    past, new = matrix(memory, args[3], rows, left, np.uint8), matrix(memory, args[4], rows, right, np.uint8)
    result = matrix(memory, args[5], rows, left + right, np.uint8)
    for i in range(rows):
        for j in range(left):
            result[i, j] = past[i, j]
        for j in range(right):
            result[i, left + j] = new[i, j]


def relu(b: Builder, op: Relu) -> Instructions:
    kernel = rectified(b.dtype(op.input), b.dtype(op.output))
    return [Instruction(kernel, [b.at(op.input), b.sizes.of(b.dims(op.input)), b.at(op.output)])]


@cache
def rectified(x_type: NumberType, result_type: NumberType) -> Kernel:
    """max(x, 0)."""

    @njit(cache=True, nogil=True)
    @named(x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        x, result = flat(memory, args[0], sizes[args[1]], x_type), flat(memory, args[2], sizes[args[1]], result_type)
        for i in range(x.size):
            result[i] = max(x[i], 0)

    return step


def requantize(b: Builder, op: Requantize) -> Instructions:
    scheme = op.requantization
    kernel = rescaled(int(scheme.scaling), b.dtype(op.input), b.dtype(op.output))
    places = [*b.matrix(op.input), b.at(op.output), *b.range(op.output), b.events(op.output)]
    return [Instruction(kernel, [*places, *b.scale(scheme)])]


@cache
def rescaled(rule: int, x_type: NumberType, result_type: NumberType) -> Kernel:
    """(R1)."""

    @njit(cache=True, nogil=True)
    @named(rule, x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        rows, n = sizes[args[1]], sizes[args[2]]
        rescale_rows(
            rule,
            matrix(memory, args[0], rows, n, x_type),
            flat(constants, args[8], args[9], np.int64),
            flat(constants, args[10], args[11], np.int64),
            args[4],
            args[5],
            args[6],
            INT64_MIN,
            matrix(memory, args[3], rows, n, result_type),
            events(counters, args[7]),
        )

    return step


def shift_right(b: Builder, op: ShiftRight) -> Instructions:
    if isinstance(op.bias, str):
        return None
    output = b.format(op.output)
    limits = (INT64_MIN, INT64_MAX) if output == b.format(op.input) else (output.min, output.max)
    kernel = shifted(int(Scaling[op.rounding.name]), b.dtype(op.input), b.dtype(op.output))
    count = b.sizes.of(b.dims(op.input))
    return [Instruction(kernel, [b.at(op.input), count, b.at(op.output), op.shift, *limits, b.events(op.output)])]


@cache
def shifted(rule: int, x_type: NumberType, result_type: NumberType) -> Kernel:
    """(3) and (R13)."""

    @njit(cache=True, nogil=True)
    @named(rule, x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        count = sizes[args[1]]
        x, result = flat(memory, args[0], count, x_type), flat(memory, args[2], count, result_type)
        shift_flat(rule, x, args[3], args[4], args[5], result, events(counters, args[6]))

    return step


def embed(b: Builder, op: Embed) -> Instructions:
    scale = b.workspace.scale(Dyadic(multiplier=op.multiplier, shift=op.shift))
    table, positions = (b.workspace.operand(name).codes for name in (op.table, op.positions))
    places = [
        *(b.at(name) for name in (op.ids, op.position, op.output)),
        b.constants.place(f"{op.table} int16", lambda: table.astype(np.int16)),
        b.constants.place(f"{op.positions} int16", lambda: positions.astype(np.int16)),
        *b.words(f"{op.multiplier} as multiplier", scale.multiplier),
    ]
    shapes = [*(b.sizes.of([dim]) for dim in b.dims(op.output)), len(table), len(positions)]
    numbers = [op.position_multiplier, op.shift, *b.range(op.output), b.events(op.output)]
    kernel = embedded(b.dtype(op.ids), b.dtype(op.position), b.dtype(op.output))
    return [Instruction(kernel, [*places, *shapes, *numbers])]


@cache
def embedded(ids_type: NumberType, position_type: NumberType, result_type: NumberType) -> Kernel:
    """(8)."""

    @njit(cache=True, nogil=True)
    @named(ids_type, position_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        rows, n, width = sizes[args[7]], sizes[args[8]], sizes[args[9]]
        first: int = flat(memory, args[1], 1, position_type)[0]
        embed_rows(
            matrix(memory, args[0], rows, n, ids_type),
            matrix(constants, args[3], args[10], width, np.int16),
            flat(constants, args[5], args[6], np.int64),
            matrix(constants, args[4], args[11], width, np.int16),
            Placement(first, args[12], args[13], args[14], args[15], args[16]),
            numbers_at(memory, args[2], (rows, n, width), result_type),
            events(counters, args[17]),
        )

    return step


def split_heads(b: Builder, op: SplitHeads) -> Instructions:
    return _heads(b, op.output, op.input, op.output, splits=True)


def merge_heads(b: Builder, op: MergeHeads) -> Instructions:
    return _heads(b, op.input, op.input, op.output, splits=False)


def _heads(b: Builder, split: str, given: str, made: str, *, splits: bool) -> Instructions:
    """(b, n, h, e) to (b, h, n, e) or back: the two inner dimensions change places."""
    if b.dtype(given) is not b.dtype(made):
        return None
    batch, heads, length, width = b.dims(split)
    outer, inner = (length, heads) if splits else (heads, length)
    run = b.sizes.of([width, np.dtype(b.dtype(split)).itemsize])
    sizes = [b.sizes.of([batch]), b.sizes.of([outer]), b.sizes.of([inner]), run]
    return [Instruction(exchanged, [*sizes, b.at(given), b.at(made)])]


@njit(cache=True, nogil=True)
def exchanged(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
    """(batch, outer, inner, bytes) to (batch, inner, outer, bytes)."""
    batch, outer, inner, run = sizes[args[0]], sizes[args[1]], sizes[args[2]], sizes[args[3]]
    given = matrix(memory, args[4], batch * outer * inner, run, np.uint8)
    made = matrix(memory, args[5], batch * outer * inner, run, np.uint8)
    for i in range(batch):
        for o in range(outer):
            for j in range(inner):
                for byte in range(run):
                    made[(i * inner + j) * outer + o, byte] = given[(i * outer + o) * inner + j, byte]
