"""Where the tensors of a function lie, and how large they are in one call."""

from collections.abc import Iterable, Mapping
from typing import get_args

from hwsim.accelerator.events import Operand
from hwsim.program import Function, Program
from hwsim.program.operations import (
    AnyAdd,
    AnyLayerNorm,
    AnySoftmax,
    Append,
    Embed,
    MatMul,
    MergeHeads,
    Operation,
    ProjectHeads,
    Relu,
    Requantize,
    ShiftRight,
    SplitHeads,
    written,
)
from hwsim.program.packing import packed_bytes

Reshape = SplitHeads | MergeHeads
Addressing = SplitHeads | MergeHeads | Append
"""What only says where a tensor lies: who makes and who reads it moves its bytes."""
Accumulating = MatMul | ShiftRight | Relu
"""What makes accumulators."""
Epilogue = ShiftRight | Relu | Requantize
"""What may take accumulators as they leave the array."""
Stored = Embed | ProjectHeads | AnySoftmax | AnyLayerNorm | AnyAdd
"""Layers of their own, whose codes are stored."""
FATES: dict[type[Operation], str] = {
    operation: fate
    for fate, operations in {
        "addressed": Addressing,
        "accumulated": Accumulating,
        "in the epilogue": Epilogue,
        "stored": Stored,
    }.items()
    for operation in get_args(operations)
}
"""What becomes of each operation's result: one that is in no set above would be priced as a layer of its own."""


def find_function(program: Program, name: str) -> Function:
    """A function by name; the error lists the known ones."""
    if name not in program.functions:
        raise ValueError(f"unknown function {name!r}; the program has {', '.join(program.functions)}")
    return program.functions[name]


class Residence:
    """Where each tensor of a function lies. Depends on the program alone, not on sizes.

    Attributes
    ----------
    producer
        Tensor -> the operation that makes it.
    readers
        Tensor -> the operations that read it, each once.
    fused
        Accumulators that go from the array through the epilogue without ever being stored.
    cached
        Tensors whose bytes are key and value cache: states, what one function hands to another, and what is appended
        to or split into one of these.
    """

    def __init__(self, program: Program, function: Function) -> None:
        self.program, self.function = program, function
        self.producer = {name: operation for operation in function.operations for name in written(operation)}
        self.readers: dict[str, list[Operation]] = {}
        for operation in function.operations:
            for name in dict.fromkeys(program.inputs_of(operation)):
                self.readers.setdefault(name, []).append(operation)
        self.fused = {name for name in self.producer if self._is_fused(name)}
        self.cached = self._find_cached()

    def _is_fused(self, name: str) -> bool:
        readers = self.readers.get(name, [])
        return (
            isinstance(self.producer[name], Accumulating)
            and len(readers) == 1
            and isinstance(readers[0], Epilogue)
            and name not in self.function.outputs
        )

    def _find_cached(self) -> set[str]:
        inputs, outputs = set(self.function.inputs), set(self.function.outputs)
        names: set[str] = set()
        for state in self.program.manifest.states:
            if state.function == self.function.name:
                names |= {state.past, state.present}
        for other in self.program.manifest.functions:
            if other.name != self.function.name:
                names |= (outputs & set(other.inputs)) | (inputs & set(other.outputs))
        for operation in reversed(self.function.operations):
            if isinstance(operation, Addressing) and operation.output in names:
                names |= {operation.input, operation.past} if isinstance(operation, Append) else {operation.input}
        return names

    def operand(self, name: str) -> Operand:
        """What the bytes of a tensor or constant are."""
        if name in self.program.constant_info:
            return Operand.WEIGHT
        if name in self.cached:
            return Operand.KV_CACHE
        if isinstance(self.producer.get(name), Accumulating):
            return Operand.ACCUMULATOR
        return Operand.ACTIVATION

    def unshaped(self, name: str) -> str:
        """The tensor that `name` is a reshaped view of; itself if it is none."""
        while isinstance(operation := self.producer.get(name), Reshape):
            name = operation.input
        return name

    def dimensions(self, operations: Iterable[Operation]) -> frozenset[str]:
        """The symbolic dimensions on which the counts of operations depend, sums resolved."""
        found: set[str] = set()
        for operation in operations:
            for name in [*self.program.inputs_of(operation), *written(operation)]:
                for dim in self.program.tensors[name].dims:
                    if isinstance(dim, str):
                        found |= set(self.program.dimensions[dim].terms) or {dim}
        return frozenset(found)

    def check_sizes(self, sizes: Mapping[str, int]) -> None:
        """Refuse sizes that are missing, unknown or outside their dimension; only a part of a sum may be 0."""
        dimensions = self.program.dimensions
        unknown, missing = set(sizes) - set(dimensions), self.dimensions(self.function.operations) - set(sizes)
        if unknown or missing:
            raise ValueError(f"{self.function.name}: missing sizes {sorted(missing)}, unknown sizes {sorted(unknown)}")
        parts = {term for dimension in dimensions.values() for term in dimension.terms}
        for name, dimension in dimensions.items():
            if name in sizes:
                _check_size(name, sizes[name], int(name not in parts), dimension.maximum)
            elif dimension.terms and set(dimension.terms) <= set(sizes):
                total = sum(sizes[term] for term in dimension.terms)
                _check_size(" + ".join(dimension.terms), total, 1, dimension.maximum)


def _check_size(what: str, size: int, least: int, greatest: int) -> None:
    if not least <= size <= greatest:
        raise ValueError(f"size {what} is {size}; allowed are {least} to {greatest}")


class Call:
    """A function with concrete sizes.

    Parameters
    ----------
    residence
        The function.
    sizes
        A size for every symbolic dimension that is no sum of others.
    """

    def __init__(self, residence: Residence, sizes: Mapping[str, int]) -> None:
        self.residence, self.program = residence, residence.program
        self.sizes = sizes

    def _size(self, dim: str | int) -> int:
        if isinstance(dim, int):
            return dim
        terms = self.program.dimensions[dim].terms
        return sum(self.sizes[term] for term in terms) if terms else self.sizes[dim]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor or constant; of a scalar, (1,)."""
        if name in self.program.constant_info:
            return tuple(self.program.constant_info[name].shape)
        return tuple(self._size(dim) for dim in self.program.tensors[name].dims) or (1,)

    def bits(self, name: str) -> int:
        """Width of a tensor's or constant's codes."""
        constant = self.program.constant_info.get(name)
        return constant.format.bits if constant else self.program.tensors[name].format.bits

    def zero_point(self, name: str) -> int:
        """Code of a tensor or constant that means 0."""
        constant = self.program.constant_info.get(name)
        return constant.zero_point if constant else self.program.tensors[name].zero_point

    def bytes(self, name: str) -> int:
        """Bytes of a tensor or constant, each row packed at its width."""
        return packed_bytes(self.shape(name), self.bits(name))
