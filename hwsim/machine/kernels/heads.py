"""Heads on a worker's memory: the same codes in another order."""

from functools import cache
from typing import NamedTuple

from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.layout import Dims, NumberType
from hwsim.machine.native import Bytes, Kernel, numbers_at
from hwsim.machine.record import Words, record
from hwsim.program.operations import MergeHeads, SplitHeads


class _Exchanged(NamedTuple):
    """(batch, outer, inner, width) as sizes, and where the tensors lie."""

    batch: int
    outer: int
    inner: int
    width: int
    input: int
    output: int


def split_heads(b: Builder, op: SplitHeads) -> Instructions:
    batch, heads, length, width = b.dims(op.output)
    return _exchanged(b, op, (batch, length, heads, width))


def merge_heads(b: Builder, op: MergeHeads) -> Instructions:
    return _exchanged(b, op, b.dims(op.input))


def _exchanged(b: Builder, op: SplitHeads | MergeHeads, dims: Dims) -> Instructions:
    batch, outer, inner, width = (b.sizes.of([dim]) for dim in dims)
    fields = _Exchanged(batch, outer, inner, width, b.at(op.input), b.at(op.output))
    return [Instruction(exchanged(b.dtype(op.input), b.dtype(op.output)), fields)]


@cache
def exchanged(x_type: NumberType, result_type: NumberType) -> Kernel:
    """(batch, outer, inner, width) to (batch, inner, outer, width)."""

    @njit(cache=True, nogil=True)
    @named(x_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Exchanged)
        batch, outer, inner, width = sizes[of.batch], sizes[of.outer], sizes[of.inner], sizes[of.width]
        x = numbers_at(memory, of.input, (batch, outer, inner, width), x_type)
        result = numbers_at(memory, of.output, (batch, inner, outer, width), result_type)
        for i in range(batch):
            for o in range(outer):
                for j in range(inner):
                    for e in range(width):
                        result[i, j, o, e] = x[i, o, j, e]

    return step
