"""What writes the instructions of one function: where its tensors and constants lie, and what its sizes are called."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import IntFormat
from hwsim.machine.kernels.operands import Matrix, Packing, Scale, Slots, Vector
from hwsim.machine.layout import OVERREAD, Block, Dims, Memory, NumberType, Sizes, aligned, extent
from hwsim.machine.native import ALIGNMENT, EVENTS, Bytes, Kernel
from hwsim.machine.steps.workspace import Array, Workspace
from hwsim.operators.gemm import engines
from hwsim.operators.rescale import paired
from hwsim.program.catalogue import Requantization
from hwsim.program.constants import carrier
from hwsim.program.operations import Operation

INNER = ("numerator", "denominator", "quotient")
"""Fields of operations that name codes of at most 16 bits which no other operation reads."""
SENTENCES, HYPOTHESES = "sentences", "hypotheses"


class Instruction(NamedTuple):
    """A kernel and its arguments, a NamedTuple that the kernel reads by `record`."""

    kernel: Kernel
    arguments: Sequence[Any]


Instructions = list[Instruction] | None
"""What an operation becomes; None if there is no kernel for it here, so that its step must run."""


Emitter = Callable[["Builder", Any], Instructions]


class Resident(NamedTuple):
    """A cache (b, h, positions, e) that lives in `state` as the second operand of a product, packed as it wants it.

    Attributes
    ----------
    start
        Its first byte.
    deep
        Whether a product sums over positions (values), or makes one number of each (keys).
    heads, width
        h and e.
    positions
        The most that it can hold.
    rows
        Which rows it has, `SENTENCES` or `HYPOTHESES`; the slots of each kind are told apart at every call.
    packing
        Of the product that reads it.
    """

    start: int
    deep: bool
    heads: int
    width: int
    positions: int
    rows: str
    packing: Packing

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """One slot: heads, panels, groups, columns of a panel, depth of a group."""
        columns, depth = (self.width, self.positions) if self.deep else (self.positions, self.width)
        return self.heads, *engines.packed_shape(columns, depth, self.packing.size)

    @property
    def slot_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.packing.dtype).itemsize


class Constants:
    """Constant arrays of a machine as kernels want them, one behind the other in one array of bytes.

    Attributes
    ----------
    joined
        All that were placed before the last `join`.
    """

    def __init__(self) -> None:
        self.joined: Bytes = np.zeros(OVERREAD, np.uint8)
        self._places: dict[str, int] = {}
        self._new: list[tuple[int, Array]] = []
        self._end = 0

    def place(self, key: str, make: Callable[[], Array | None]) -> int:
        """Where an array lies; what has the key of an earlier one is not made again."""
        if key not in self._places:
            array = make()
            assert array is not None
            self._places[key] = self._end
            self._new.append((self._end, array))
            self._end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        return self._places[key]

    def join(self) -> None:
        """Lay down what was placed; before kernels run, since several threads run them."""
        if not self._new:
            return
        joined = aligned(self._end + OVERREAD)
        joined[: self.joined.size - OVERREAD] = self.joined[:-OVERREAD]
        self.joined = joined
        while self._new:  # one by one, so that no moment needs room for all of them twice
            place, array = self._new.pop()
            joined[place : place + array.nbytes] = array.reshape(-1).view(np.uint8)


class Builder:
    """Places and names, while the operations of one function become instructions.

    Parameters
    ----------
    workspace
        The program with its formats and proofs.
    constants
        Of the machine; new ones are added.
    capacity
        The most that each dimension can be.
    resident
        Caches that lie in `state`.
    """

    def __init__(
        self,
        workspace: Workspace,
        constants: Constants,
        capacity: Mapping[str, int],
        resident: Mapping[str, Resident],
    ) -> None:
        self.workspace, self.program, self.constants = workspace, workspace.program, constants
        self.capacity, self.resident = dict(capacity), dict(resident)
        self.sizes, self.memory = Sizes(), Memory()
        self.counted: dict[str, int] = {}
        self.places: dict[str, Block] = {}
        self.slots: dict[str, int] = {}
        self._scratch: list[Block] = []
        self._inner = {
            getattr(operation, field)
            for _, operation in self.program.operations()
            for field in INNER
            if hasattr(operation, field)
        }

    def instructions(self, emit: Emitter, operation: Operation) -> Instructions:
        """What an operation becomes; its scratch is free after it."""
        made = emit(self, operation)
        for block in self._scratch:
            self.memory.give_back(block)
        self._scratch.clear()
        return made

    # --- memory -------------------------------------------------------------------------------------------------

    def place_slots(self) -> None:
        """Lay out the slots of the rows of resident caches, one int64 for each row of the batch."""
        for name, held in self.resident.items():
            if held.rows not in self.slots:
                self.slots[held.rows] = self.memory.take(extent(self.dims(name)[:1], self.capacity) * 8).start

    def place(self, name: str) -> None:
        """Lay out a tensor."""
        info = self.program.tensors[name]
        size = extent(info.dims, self.capacity) * np.dtype(self.dtype(name)).itemsize
        self.places[name] = self.memory.take(size)

    def free(self, name: str) -> None:
        if name in self.places:
            self.memory.give_back(self.places[name])

    def scratch(self, dims: Sequence[str | int], dtype: NumberType) -> int:
        """Where numbers of so many dimensions may lie during one operation."""
        block = self.memory.take(extent(dims, self.capacity) * np.dtype(dtype).itemsize)
        self._scratch.append(block)
        return block.start

    def most(self, dim: str | int) -> int:
        """The most of a dimension."""
        return dim if isinstance(dim, int) else self.capacity[dim]

    def at(self, name: str) -> int:
        """The first byte of a tensor."""
        return self.places[name].start

    # --- what a tensor is ---------------------------------------------------------------------------------------

    def dims(self, name: str) -> Dims:
        return tuple(self.program.tensors[name].dims)

    def dtype(self, name: str) -> NumberType:
        """How codes are held: the narrowest type, but for two kinds.

        Inner results take 16 bits, so that fewer variants of kernels are compiled; accumulators 32 or 64, whatever
        their format.
        """
        form = self.program.tensors[name].format
        if name in self._inner:
            return np.int16 if form.signed else np.uint16
        if form.bits > 32 and self.workspace.fits_word(name):
            return np.int32
        if name in self.workspace.accumulators:  # engines write int32, whatever the width
            return np.int32 if form.bits <= 32 else np.int64
        return carrier(form)

    def format(self, name: str) -> IntFormat:
        return self.program.tensors[name].format

    def zero(self, name: str) -> int:
        return self.program.tensors[name].zero_point

    def matrix(self, name: str) -> Matrix:
        """A tensor as rows."""
        *lead, width = self.dims(name)
        return Matrix(self.at(name), self.sizes.of(lead), self.sizes.of([width]))

    def slots_of(self, name: str) -> Slots:
        """A resident cache as kernels see it."""
        held = self.resident[name]
        heads, panels, groups, _, _ = held.shape
        return Slots(held.start, held.slot_bytes, heads, panels, groups, self.slots[held.rows])

    def range(self, name: str) -> tuple[int, int, int]:
        """Zero point, least and greatest code."""
        form = self.format(name)
        return self.zero(name), form.min, form.max

    def events(self, name: str) -> int:
        """Where the events of a tensor are counted."""
        return self.counted.setdefault(name, len(self.counted) * EVENTS)

    # --- constants ----------------------------------------------------------------------------------------------

    def zeros(self, dim: str | int, dtype: NumberType) -> int:
        """As many zeros as a dimension can ever want, so that no size of a plan brings its own."""
        most = dim if isinstance(dim, int) else self.program.dimensions[dim].maximum
        return self.constants.place(f"{most} zeros {np.dtype(dtype)}", lambda: np.zeros(most, dtype))

    def bias(self, name: str | None) -> NDArray[np.int64] | int:
        """A bias, 0 if there is none."""
        return 0 if name is None else self.program.constants[name].astype(np.int64)

    def word(self, name: str) -> int:
        """The place of a constant as int32."""
        return self.constants.place(f"{name} int32", lambda: self.workspace.table(name))

    def wide(self, name: str) -> int:
        """The place of a constant as int64."""
        return self.constants.place(f"{name} int64", lambda: self.program.constants[name].astype(np.int64))

    def vector(self, key: str, numbers: NDArray[np.int64]) -> Vector:
        """A vector of int64."""
        return Vector(self.constants.place(key, lambda: numbers), numbers.size)

    def scale(self, scheme: Requantization) -> Scale:
        """Multipliers and shifts of a requantization."""
        multiplier, shift = paired(*self.workspace.scale(scheme))
        return Scale(
            self.vector(f"{scheme.multiplier} as {multiplier.size} multipliers", multiplier),
            self.vector(f"{scheme.shift} as {shift.size} shifts", shift),
        )
