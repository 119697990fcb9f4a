"""Matrix products on a worker's memory: with weights, of activations, and with caches that lie packed in the state."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import named
from hwsim.formats import IntFormat, Overflow
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.kernels.operands import PAIRS, QUADS, Matrix, Packing, Slots, slot
from hwsim.machine.layout import NumberType, fits
from hwsim.machine.native import Bytes, Kernel, flat, matrix, numbers_at
from hwsim.machine.record import Words, record
from hwsim.machine.steps.workspace import Workspace
from hwsim.operators.gemm import engines
from hwsim.operators.gemm.operand import Prepared, narrow
from hwsim.program.operations import MatMul


def matmul(b: Builder, op: MatMul) -> Instructions:
    if not _is_proven(b.workspace, op):
        return None
    b.events(op.output)
    return _weights(b, op) if op.b in b.program.constants else _activations(b, op)


def _is_proven(workspace: Workspace, op: MatMul) -> bool:
    """Whether sums are modulo 2^32: nothing else can come of an accumulator that holds every sum, all of 32 bits."""
    accumulator = workspace.effective(op)
    return accumulator.overflow is Overflow.PROVEN and (accumulator.bits <= 32 or workspace.fits_word(op.output))


def packing_of(workspace: Workspace, op: MatMul) -> Packing | None:
    """How the second operand of a product of activations is packed: in 8 bits where both operands are, or in 16."""
    if op.b in workspace.program.constants or not _is_proven(workspace, op):
        return None
    in_bytes = workspace.format(op.a).bits <= 8 and op.a not in workspace.accumulators
    plain = in_bytes and workspace.zero(op.a) == 0
    if engines.EIGHT_BITS == "quads" and plain and _fits(workspace, op.b, 8):
        return QUADS
    return PAIRS if _fits(workspace, op.a, 16) and _fits(workspace, op.b, 16) else None


def _fits(workspace: Workspace, name: str, bits: int) -> bool:
    """Whether codes less their zero point are signed numbers of so many bits."""
    form, zero = workspace.format(name), workspace.zero(name)
    return fits(form.min - zero, form.max - zero, bits)


# --- weights --------------------------------------------------------------------------------------------------------


class _Weighted(NamedTuple):
    """A matrix, a packed weight of n rows, bias, result; for pairs the zero point of a and room for words."""

    a: Matrix
    packed: int
    n: int
    bias: int
    output: int
    a_zero: int
    words: int


class Factor(NamedTuple):
    """First operands: where they lie, as what, their format and zero point, and room for words of them, if wanted."""

    place: Matrix
    kind: NumberType
    form: IntFormat
    zero: int
    words: Callable[[], int]


def _weights(b: Builder, op: MatMul) -> Instructions:
    words = cache(partial(b.scratch, b.dims(op.a), np.int16))
    a = Factor(b.matrix(op.a), b.dtype(op.a), b.format(op.a), b.zero(op.a), words)
    made = by_engine(b, a, b.workspace.operand(op.b), b.bias(op.bias), b.at(op.output), (op.b, op.output))
    return None if made is None else [made]


def by_engine(
    b: Builder, a: Factor, weight: Prepared, bias: NDArray[np.int64] | int, output: int, keys: tuple[str, str]
) -> Instruction | None:
    """A proven product with a weight, the keys of whose constants begin so; None if no engine takes its codes."""
    n = weight.shape[0]
    if np.dtype(a.kind).itemsize == 1 and weight.has_quads:
        packed = b.constants.place(f"{keys[0]} quads", lambda: weight.packed(np.int8))
        folded = b.constants.place(f"{keys[1]} folded bias", lambda: _words(bias - a.zero * weight.column_sums[0], n))
        return Instruction(weight_quads(a.kind), _Weighted(a.place, packed, n, folded, output, 0, 0))
    if not fits(a.form.min - a.zero, a.form.max - a.zero, 16) or not weight.has_pairs:
        return None
    packed = b.constants.place(f"{keys[0]} pairs", lambda: weight.packed(np.int16))
    start = b.constants.place(f"{keys[1]} bias", lambda: _words(bias, n))
    return Instruction(weight_pairs(a.kind), _Weighted(a.place, packed, n, start, output, a.zero, a.words()))


def _words(bias: NDArray[np.int64] | int, n: int) -> NDArray[np.int32]:
    """What every sum of a column starts from, modulo 2^32."""
    return np.resize(bias, n).astype(np.int32)


@cache
def weight_quads(a_type: NumberType) -> Kernel:
    """Codes of 8 bits times a weight."""

    @njit(cache=True, nogil=True)
    @named(a_type)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Weighted)
        rows, k = sizes[of.a.rows], sizes[of.a.width]
        packed = numbers_at(constants, of.packed, engines.quads_shape(of.n, k), np.int8)
        bias, result = flat(constants, of.bias, of.n, np.int32), matrix(memory, of.output, rows, of.n, np.int32)
        engines.multiply_quads(matrix(memory, of.a.start, rows, k, a_type), packed, bias, of.n, result)

    return product


@cache
def weight_pairs(a_type: NumberType) -> Kernel:
    """Codes of up to 16 bits less their zero point times a weight."""

    @njit(cache=True, nogil=True)
    @named(a_type)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Weighted)
        rows, k = sizes[of.a.rows], sizes[of.a.width]
        words = matrix(memory, of.words, rows, k, np.int16)
        narrow(matrix(memory, of.a.start, rows, k, a_type), of.a_zero, words)
        packed = numbers_at(constants, of.packed, engines.pairs_shape(of.n, k), np.int16)
        bias, result = flat(constants, of.bias, of.n, np.int32), matrix(memory, of.output, rows, of.n, np.int32)
        engines.multiply_pairs(words, packed, bias, of.n, result)

    return product


# --- activations ----------------------------------------------------------------------------------------------------


class _Batched(NamedTuple):
    """A batch of products (m, k) by (k, n): sizes, the first operand, room for its words, a bias of 0, the result."""

    batch: int
    m: int
    k: int
    n: int
    a: int
    a_zero: int
    words: int
    bias: int
    output: int


class _BothGiven(NamedTuple):
    """The second operand where it was made, and room for it in packed form; `deep` if it is (k, n), not (n, k)."""

    of: _Batched
    b: int
    b_zero: int
    packed: int
    deep: int


class _OneKept(NamedTuple):
    """Second operands that lie packed in their slots."""

    of: _Batched
    slots: Slots


def _activations(b: Builder, op: MatMul) -> Instructions:
    packing = packing_of(b.workspace, op)
    if packing is None:
        return None
    *lead, m, k = b.dims(op.a)
    n = b.dims(op.output)[-1]
    of = _Batched(
        batch=b.sizes.of(lead),
        m=b.sizes.of([m]),
        k=b.sizes.of([k]),
        n=b.sizes.of([n]),
        a=b.at(op.a),
        a_zero=b.zero(op.a),
        words=b.scratch([m, k], np.int16) if packing == PAIRS else 0,
        bias=b.zeros(n, np.int32),
        output=b.at(op.output),
    )
    if op.b in b.resident:
        return [Instruction(cached_product(b.dtype(op.a), packing), _OneKept(of, b.slots_of(op.b)))]
    room = engines.packed_shape(b.most(n), b.most(k), packing.size)
    fields = _BothGiven(of, b.at(op.b), b.zero(op.b), b.scratch(room, packing.dtype), int(op.transpose_b))
    return [Instruction(activation_product(b.dtype(op.a), b.dtype(op.b), packing), fields)]


@cache
def activation_product(a_type: NumberType, b_type: NumberType, packing: Packing) -> Kernel:
    """A batch of products of activations; each second operand is packed for its own product."""
    dtype, size, quads = *packing, packing == QUADS

    @njit(cache=True, nogil=True)
    @named(a_type, b_type, dtype)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        given = record(args, _BothGiven)
        of = given.of
        batch, m, k, n = sizes[of.batch], sizes[of.m], sizes[of.k], sizes[of.n]
        a, words = numbers_at(memory, of.a, (batch, m, k), a_type), matrix(memory, of.words, m, k, np.int16)
        rows = numbers_at(memory, given.b, (batch, n, k), b_type)
        columns = numbers_at(memory, given.b, (batch, k, n), b_type)
        packed = numbers_at(memory, given.packed, engines.packed_shape(n, k, size), dtype)
        bias, result = flat(constants, of.bias, n, np.int32), numbers_at(memory, of.output, (batch, m, n), np.int32)
        for i in range(batch):
            if given.deep:
                engines.pack_centred(columns[i].T, given.b_zero, packed)
            else:
                engines.pack_centred(rows[i], given.b_zero, packed)
            if quads:
                engines.multiply_quads(a[i], packed, bias, n, result[i])
            else:
                narrow(a[i], of.a_zero, words)
                engines.multiply_pairs(words, packed, bias, n, result[i])

    return product


@cache
def cached_product(a_type: NumberType, packing: Packing) -> Kernel:
    """The same with second operands that are packed already."""
    dtype, size, quads = *packing, packing == QUADS

    @njit(cache=True, nogil=True)
    @named(a_type, dtype)
    def product(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        kept = record(args, _OneKept)
        of, slots = kept.of, kept.slots
        batch, m, k, n = sizes[of.batch], sizes[of.m], sizes[of.k], sizes[of.n]
        a, words = numbers_at(memory, of.a, (batch, m, k), a_type), matrix(memory, of.words, m, k, np.int16)
        bias, result = flat(constants, of.bias, n, np.int32), numbers_at(memory, of.output, (batch, m, n), np.int32)
        numbers = flat(memory, slots.numbers, batch // slots.heads, np.int64)
        for i in range(batch):
            packed = slot(state, slots, numbers[i // slots.heads], i % slots.heads, size, dtype)
            if quads:
                engines.multiply_quads(a[i], packed, bias, n, result[i])
            else:
                narrow(a[i], of.a_zero, words)
                engines.multiply_pairs(words, packed, bias, n, result[i])

    return product
