"""Heads on a worker's memory: the same bytes in another order."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.native import Bytes, matrix
from hwsim.machine.record import Words, record
from hwsim.program.operations import MergeHeads, SplitHeads


class _Exchanged(NamedTuple):
    """(batch, outer, inner, run) as sizes, runs in bytes, and where the tensors lie."""

    batch: int
    outer: int
    inner: int
    run: int
    input: int
    output: int


def split_heads(b: Builder, op: SplitHeads) -> Instructions:
    batch, heads, length, width = b.dims(op.output)
    return _exchanged(b, op, (batch, length, heads, width))


def merge_heads(b: Builder, op: MergeHeads) -> Instructions:
    return _exchanged(b, op, b.dims(op.input))


def _exchanged(b: Builder, op: SplitHeads | MergeHeads, dims: tuple[str | int, ...]) -> Instructions:
    if b.dtype(op.input) is not b.dtype(op.output):
        return None
    batch, outer, inner, width = dims
    fields = _Exchanged(
        batch=b.sizes.of([batch]),
        outer=b.sizes.of([outer]),
        inner=b.sizes.of([inner]),
        run=b.sizes.of([width, np.dtype(b.dtype(op.input)).itemsize]),
        input=b.at(op.input),
        output=b.at(op.output),
    )
    return [Instruction(exchanged, fields)]


@njit(cache=True, nogil=True)
def exchanged(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
    """(batch, outer, inner, bytes) to (batch, inner, outer, bytes)."""
    of = record(args, _Exchanged)
    batch, outer, inner, run = sizes[of.batch], sizes[of.outer], sizes[of.inner], sizes[of.run]
    given = matrix(memory, of.input, batch * outer * inner, run, np.uint8)
    made = matrix(memory, of.output, batch * outer * inner, run, np.uint8)
    for i in range(batch):
        for o in range(outer):
            for j in range(inner):
                for byte in range(run):
                    made[(i * inner + j) * outer + o, byte] = given[(i * outer + o) * inner + j, byte]
