"""A function of a program, ready to run: instructions over buffers that are laid out once."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from hwsim.machine import native
from hwsim.machine.kernels import KERNELS
from hwsim.machine.kernels.builder import Builder, Constants, Instruction, Resident
from hwsim.machine.kernels.caches import stored
from hwsim.machine.layout import OVERREAD, Dims, NumberType, aligned, last_uses
from hwsim.machine.native import ALIGNMENT, EVENTS, Arrays, Bytes, Code
from hwsim.machine.record import Words
from hwsim.machine.steps import STEPS
from hwsim.machine.steps.workspace import Array, Workspace
from hwsim.program import Function
from hwsim.program.operations import Append, Operation, written

Observer = Callable[[str, Array], None]
NO_STATE = np.zeros(ALIGNMENT, np.uint8)
"""Of a function whose caches come and go."""


class Part(NamedTuple):
    """Operations that run in one go: compiled instructions, or None for one operation whose step runs."""

    operations: list[Operation]
    code: Code | None


class Plan:
    """Instructions and layout of one function, for dimensions up to a capacity.

    Parameters
    ----------
    workspace
        The program with its formats and proofs.
    constants
        Of the machine; those of this function are added.
    function
        What to run.
    capacity
        The most that each of its dimensions can be.
    resident
        Tensors that live in `state`, packed, instead of coming and going: caches of a session.
    """

    def __init__(
        self,
        workspace: Workspace,
        constants: Constants,
        function: Function,
        capacity: Mapping[str, int],
        resident: Mapping[str, Resident] | None = None,
    ) -> None:
        self.function, self.constants, self.capacity = function, constants, dict(capacity)
        self._builder = builder = Builder(workspace, constants, capacity, resident or {})
        if builder.resident:
            builder.place_slots()
        for name in function.inputs:
            if name not in builder.resident:
                builder.place(name)
        instructions: list[list[Instruction] | None] = []
        for operation, dead in zip(function.operations, last_uses(workspace.program, function), strict=True):
            for name in written(operation):
                if not isinstance(operation, Append) or name not in builder.resident:
                    builder.place(name)
            made = builder.instructions(KERNELS[type(operation)], operation)
            if made is not None and not isinstance(operation, Append):
                made += [stored(builder, name, name, 0) for name in written(operation) if name in builder.resident]
            instructions.append(made)
            for name in dead:
                builder.free(name)
        constants.join()
        self._instructions = instructions
        self._views: dict[str, tuple[int, NumberType, Dims]] = {}
        self.whole = self._parts(together=True)
        self._single: list[Part] | None = None

    def _parts(self, *, together: bool) -> list[Part]:
        """Operations in order; those with kernels beside each other in one part, or each alone."""
        parts: list[tuple[list[Operation], list[Instruction] | None]] = []
        for operation, made in zip(self.function.operations, self._instructions, strict=True):
            if together and made is not None and parts and parts[-1][1] is not None:
                parts[-1][0].append(operation)
                parts[-1][1].extend(made)
            else:
                parts.append(([operation], None if made is None else list(made)))
        return [Part(operations, None if made is None else native.assemble(made)) for operations, made in parts]

    @property
    def single(self) -> list[Part]:
        """Every operation alone, so that what it makes can be seen."""
        if self._single is None:
            self._single = self._parts(together=False)
        return self._single

    def holds(self, dimensions: Mapping[str, int]) -> bool:
        """Whether there is room for these dimensions."""
        return all(size <= self.capacity[name] for name, size in dimensions.items())

    @property
    def memory_bytes(self) -> int:
        """What a worker needs."""
        return self._builder.memory.end + OVERREAD

    @property
    def counted(self) -> dict[str, int]:
        """Tensor -> where its events are counted."""
        return self._builder.counted

    @property
    def size_count(self) -> int:
        return len(self._builder.sizes)

    def sizes(self, dimensions: Mapping[str, int]) -> list[int]:
        """What kernels read in `sizes`, for the dimensions of a call."""
        return self._builder.sizes.values(dimensions)

    @property
    def slots(self) -> dict[str, int]:
        """Rows of caches -> where a worker's memory holds the slots of the rows of a call."""
        return self._builder.slots

    def view(self, memory: Bytes, name: str, dimensions: Mapping[str, int]) -> Array:
        """A tensor in a worker's memory."""
        if name not in self._views:
            self._views[name] = self._builder.at(name), self._builder.dtype(name), self._builder.dims(name)
        start, dtype, dims = self._views[name]
        shape = [dimensions[dim] if isinstance(dim, str) else dim for dim in dims]
        return memory[start:].view(dtype)[: prod(shape)].reshape(shape)


class Worker:
    """Memory, sizes and counters to run one plan with; two workers may run one plan at once."""

    def __init__(self, plan: Plan, workspace: Workspace) -> None:
        self.plan, self._workspace = plan, workspace.beside()
        self._counters = np.zeros(len(plan.counted) * EVENTS, np.int64)
        self._memory = aligned(plan.memory_bytes)
        self._sizes = np.zeros(plan.size_count, np.int64)
        self._dimensions: dict[str, int] = {}
        self._ran = False

    def run(
        self,
        inputs: Mapping[str, Array],
        dimensions: Mapping[str, int],
        state: Bytes = NO_STATE,
        slots: Mapping[str, Words] | None = None,
        observe: Observer | None = None,
    ) -> None:
        """Run the function on inputs that are checked; `read` says what became of them."""
        self._dimensions, self._ran = dict(dimensions), True
        self._sizes[:] = self.plan.sizes(dimensions)
        for name, array in inputs.items():
            self.view(name)[...] = array
        for rows, numbers in (slots or {}).items():
            if rows in self.plan.slots:
                at = self.plan.slots[rows]
                self._memory[at : at + numbers.nbytes].view(np.int64)[:] = numbers
        arrays = Arrays(self._memory, self.plan.constants.joined, state, self._counters, self._sizes)
        for part in self.plan.whole if observe is None else self.plan.single:
            if part.code is None:
                self._step(part.operations[0])
            else:
                native.run(part.code, arrays)
            if observe is not None:
                for name in written(part.operations[0]):
                    observe(name, self.read(name))

    def view(self, name: str) -> Array:
        """A tensor where it lies."""
        return self.plan.view(self._memory, name, self._dimensions)

    def read(self, name: str) -> Array:
        """A copy of a tensor, int32 or, if its format is wider, int64."""
        held = self.view(name)
        wide = held.dtype == np.int64 or self._workspace.format(name).bits > 32
        return held.astype(np.int64 if wide else np.int32)

    def _step(self, operation: Operation) -> None:
        """An operation without kernels here, on arrays of its own."""
        values = {name: self.read(name) for name in self._workspace.program.inputs_of(operation)}
        STEPS[type(operation)](self._workspace, operation, values)
        for name in written(operation):
            self.view(name)[...] = values[name]

    def take_events(self) -> dict[str, Words]:
        """Events of every tensor that counts them, since they were last taken."""
        if not self._ran:
            return {}
        counted = {name: self._counters[at : at + EVENTS].copy() for name, at in self.plan.counted.items()}
        counted |= self._workspace.counters
        self._counters[:], self._workspace.counters, self._ran = 0, {}, False
        return counted


def joined(parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """What pieces of a batch have made, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
