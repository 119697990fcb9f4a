"""Caches on a worker's memory: new positions behind old ones, beside each other or packed in the state."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.kernels.operands import Packing, Slots, slot
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, flat, matrix, numbers_at
from hwsim.machine.record import Words, record
from hwsim.operators.gemm import engines
from hwsim.program.operations import Append


class _Stored(NamedTuple):
    """New positions (batch, heads, length, width), how many there were before, and where the cache lies."""

    batch: int
    length: int
    width: int
    past: int
    new: int
    new_zero: int
    slots: Slots


class _Joined(NamedTuple):
    """Rows, numbers of a row in each tensor, and where the tensors lie."""

    rows: int
    past_width: int
    new_width: int
    past: int
    new: int
    output: int


def append(b: Builder, op: Append) -> Instructions:
    if op.output in b.resident:
        return [stored(b, op.output, op.input, b.dims(op.past)[2])]
    *lead, past, width = b.dims(op.past)
    fields = _Joined(
        rows=b.sizes.of(lead),
        past_width=b.sizes.of([past, width]),
        new_width=b.sizes.of([b.dims(op.input)[2], width]),
        past=b.at(op.past),
        new=b.at(op.input),
        output=b.at(op.output),
    )
    return [Instruction(joined(b.dtype(op.past), b.dtype(op.input), b.dtype(op.output)), fields)]


@cache
def joined(past_type: NumberType, new_type: NumberType, result_type: NumberType) -> Kernel:
    """Each row of one tensor behind the same row of another."""

    @njit(cache=True, nogil=True)
    @named(past_type, new_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Joined)
        rows, left, right = sizes[of.rows], sizes[of.past_width], sizes[of.new_width]
        past, new = matrix(memory, of.past, rows, left, past_type), matrix(memory, of.new, rows, right, new_type)
        result = matrix(memory, of.output, rows, left + right, result_type)
        for i in range(rows):
            for j in range(left):
                result[i, j] = past[i, j]
            for j in range(right):
                result[i, left + j] = new[i, j]

    return step


def stored(b: Builder, name: str, new: str, past: str | int) -> Instruction:
    """New positions of the resident cache `name`, written where products read them, behind `past` others."""
    batch, _, length, width = (b.sizes.of([dim]) for dim in b.dims(new))
    before = b.sizes.of([past])
    fields = _Stored(batch, length, width, before, b.at(new), b.zero(new), b.slots_of(name))
    held = b.resident[name]
    return Instruction(put(b.dtype(new), held.deep, held.packing), fields)


@cache
def put(x_type: NumberType, deep: bool, packing: Packing) -> Kernel:
    """Codes less their zero point into the packed form of `Resident`."""
    dtype, size = packing

    @njit(cache=True, nogil=True)
    @named(x_type, deep, dtype)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Stored)
        slots, batch, length, first = of.slots, sizes[of.batch], sizes[of.length], sizes[of.past]
        x = numbers_at(memory, of.new, (batch, slots.heads, length, sizes[of.width]), x_type)
        numbers = flat(memory, slots.numbers, batch, np.int64)
        for i in range(batch):
            for head in range(slots.heads):
                packed = slot(state, slots, numbers[i], head, size, dtype)
                for p in range(length):
                    if deep:
                        engines.put_depth(packed, first + p, x[i, head, p], of.new_zero)
                    else:
                        engines.put_column(packed, first + p, x[i, head, p], of.new_zero)

    return step
