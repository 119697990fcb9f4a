"""Where tensors lie in a worker's memory: laid out once, each place used again after its last reader."""

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from hwsim.machine.native import ALIGNMENT, Bytes
from hwsim.program import Function, Program
from hwsim.program.operations import written

Dims = tuple[str | int, ...]
NumberType = Any
"""An integer type of NumPy's."""
OVERREAD = 256
"""Bytes behind the last buffer: engines load whole vectors, and what lies behind an operand's end meets zeros."""


def fits(low: int, high: int, bits: int) -> bool:
    """Whether an interval lies in a signed type of so many bits."""
    return -(1 << (bits - 1)) <= low and high < 1 << (bits - 1)


class Sizes:
    """Numbers that kernels find in `sizes`: products of dimensions, each computed anew for every call."""

    def __init__(self) -> None:
        self._index: dict[Dims, int] = {}

    def of(self, dims: Sequence[str | int]) -> int:
        """Where the product of these dimensions stands."""
        return self._index.setdefault(tuple(dims), len(self._index))

    def __len__(self) -> int:
        return len(self._index)

    def values(self, dimensions: Mapping[str, int]) -> list[int]:
        """All of them for the dimensions of a call."""
        return [extent(dims, dimensions) for dims in self._index]


def extent(dims: Sequence[str | int], dimensions: Mapping[str, int]) -> int:
    """How many elements dimensions have."""
    return prod(dimensions[dim] if isinstance(dim, str) else dim for dim in dims)


class Block(NamedTuple):
    """Bytes of memory in use."""

    start: int
    end: int


class Memory:
    """Hands out bytes, lowest first, and takes them back."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self.end = 0

    def take(self, size: int) -> Block:
        """The first gap of so many bytes, at a multiple of `ALIGNMENT`."""
        needed = -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
        ends = [0, *(block.end for block in self._blocks)]
        starts = [block.start for block in self._blocks]
        gaps = zip(ends, starts, strict=False)  # the last is open
        start = next((end for end, next_start in gaps if next_start - end >= needed), ends[-1])
        taken = Block(start, start + needed)
        insort(self._blocks, taken)
        self.end = max(self.end, taken.end)
        return taken

    def give_back(self, block: Block) -> None:
        self._blocks.remove(block)


def last_uses(program: Program, function: Function) -> Iterator[list[str]]:
    """For each operation, the tensors that nobody reads after it; outputs of the function are read by its caller."""
    kept, after = set(function.outputs), list[list[str]]()
    for operation in reversed(function.operations):
        touched = dict.fromkeys([*program.inputs_of(operation), *written(operation)])
        after.append([name for name in touched if name not in kept])
        kept.update(touched)
    return reversed(after)


def roomy(size: int) -> int:
    """A little more than a size, so that the next one fits too."""
    step = max(8, 1 << max(size.bit_length() - 3, 0))
    return -(-size // step) * step


def aligned(size: int) -> Bytes:
    """So many bytes, the first at a multiple of ALIGNMENT."""
    whole = np.zeros(size + ALIGNMENT, np.uint8)
    start = -whole.ctypes.data % ALIGNMENT
    return whole[start : start + size]
