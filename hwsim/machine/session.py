"""Decoding with caches in place: what a function keeps from call to call lies packed, as its products read it.

A session begins with one run of a function over all sentences (`encode`) and goes on with steps of another
(`decode_step`). Caches are **resident**: a row has a slot in `state`, new positions are written behind the old ones,
and a row that is dropped gives its slot back; nothing is copied unless a row is doubled. Rows of a step are shared out
among threads; they do not see each other.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.machine.inputs import bind
from hwsim.machine.kernels.builder import HYPOTHESES, SENTENCES, Resident
from hwsim.machine.kernels.operands import Packing
from hwsim.machine.kernels.products import packing_of
from hwsim.machine.layout import aligned, roomy
from hwsim.machine.native import Bytes
from hwsim.machine.plan import Worker
from hwsim.machine.steps.workspace import Array, Workspace
from hwsim.machine.workers import Piece, Workers
from hwsim.program import Function
from hwsim.program.operations import Append, MatMul

FIRST_POSITIONS = 64
ROWS_A_THREAD = 4
"""Fewer are not worth waking another thread for."""


class Way(NamedTuple):
    """Whether products sum over the positions of a cache, and how they want it packed."""

    deep: bool
    packing: Packing


class Caches(NamedTuple):
    """What of a program is resident in a session.

    Attributes
    ----------
    encoded
        Outputs of the first function that the step reads -> how products read them.
    grown
        Outputs of the step that are its next inputs -> the same.
    past
        Input of the step -> the output that it was.
    """

    encoded: dict[str, Way]
    grown: dict[str, Way]
    past: dict[str, str]


def caches_of(workspace: Workspace, first: str, step: str) -> Caches | None:
    """The resident tensors; None if one is read by anything but proven products that all want it packed in one way."""
    program = workspace.program
    before, function = program.functions[first], program.functions[step]
    past = {state.past: state.present for state in program.manifest.states if state.function == step}
    appended = {op.output: op.past for op in function.operations if isinstance(op, Append)}
    if any(appended.get(present) != name for name, present in past.items()):
        return None
    if any(sum(name in program.inputs_of(op) for op in function.operations) != 1 for name in past):
        return None
    encoded = {name: _read(workspace, function, name) for name in function.inputs if name in before.outputs}
    grown = {name: _read(workspace, function, name) for name in past.values()}
    if None in encoded.values() or None in grown.values():
        return None
    return Caches({n: way for n, way in encoded.items() if way}, {n: way for n, way in grown.items() if way}, past)


def _read(workspace: Workspace, function: Function, name: str) -> Way | None:
    """How products read a cache; None if it is not read by products alone, in one way, or not at all."""
    readers = [op for op in function.operations if name in workspace.program.inputs_of(op)]
    ways = {_way(workspace, op) if isinstance(op, MatMul) else None for op in readers}
    return ways.pop() if len(ways) == 1 else None


def _way(workspace: Workspace, op: MatMul) -> Way | None:
    packing = packing_of(workspace, op)
    return None if packing is None else Way(op.transpose_b, packing)


class Session:
    """A batch of sentences under way. Made by `Machine.session`."""

    def __init__(self, workers: Workers, caches: Caches, first: str, step: str, inputs: Mapping[str, Array]) -> None:
        self._workers, self._caches, self._program = workers, caches, workers.workspace.program
        self._function, before = self._program.functions[step], self._program.functions[first]
        self._dimensions: dict[str, int] = {}
        values = bind(self._program, before, before.inputs, inputs, self._dimensions)
        self._batch = str(self._program.tensors[next(iter(caches.grown))].dims[0])
        self._given = {name: values[name] for name in self._function.inputs if name in values}
        self._asked = [name for name in self._function.inputs if name not in {*values, *caches.encoded, *caches.past}]
        self._read = [name for name in self._function.outputs if name not in caches.grown]
        count = self._dimensions.pop(self._batch)
        self._sentences, self._slots, self.length = np.arange(count), np.arange(count), 0
        self._sentence_room, self._row_room, self._positions = roomy(count), roomy(count), FIRST_POSITIONS
        self._resident, size = self._lay_out()
        self._state = aligned(size)
        self._encode(before, values, count)

    def _lay_out(self) -> tuple[dict[str, Resident], int]:
        """Where every resident tensor lies in the state, and how long that is."""
        resident, end = {}, 0
        kinds = [(name, way, SENTENCES) for name, way in self._caches.encoded.items()]
        kinds += [(name, way, HYPOTHESES) for name, way in self._caches.grown.items()]
        for name, way, rows in kinds:
            _, heads, length, width = self._program.tensors[name].dims
            known = length if isinstance(length, int) else self._dimensions.get(length, 0)
            positions = roomy(known) if rows == SENTENCES else self._positions
            held = Resident(end, way.deep, int(heads), int(width), positions, rows, way.packing)
            resident[name] = held
            end += held.slot_bytes * (self._sentence_room if rows == SENTENCES else self._row_room)
        return resident, end

    def _encode(self, function: Function, values: dict[str, Array], count: int) -> None:
        """Run the first function in pieces; what is resident of its outputs goes into the state."""

        def run(worker: Worker, piece: Piece, mine: dict[str, Array], sizes: dict[str, int]) -> None:
            worker.run(mine, sizes, self._state, {SENTENCES: self._slots[piece.first : piece.last]})

        resident = {name: self._resident[name] for name in self._caches.encoded}
        self._workers.in_pieces(function, values, self._dimensions | {self._batch: count}, run, resident)

    # --- steps --------------------------------------------------------------------------------------------------

    def step(self, inputs: Mapping[str, Array], parents: NDArray[np.int64]) -> dict[str, Array]:
        """Run the step for some rows.

        Parameters
        ----------
        inputs
            Those of the step that neither the first function nor the step before has made or was given.
        parents : int64, (rows,)
            Which row of the step before each row goes on from; at the first step, which sentence.

        Returns
        -------
        dict
            The outputs that are not resident, int32, or int64 where a format is wider.

        Raises
        ------
        ValueError
            As `Machine.run`, and for parents that are no rows.
        """
        parents = np.asarray(parents, np.int64)
        rows = len(self._slots)
        if parents.ndim != 1 or (parents.size and not 0 <= parents.min() <= parents.max() < rows):
            raise ValueError(f"parents {parents.tolist()} of a step after {rows} rows; allowed: 0 to {rows - 1}")
        dimensions = self._dimensions | {self._batch: len(parents)}
        dimensions |= dict.fromkeys(self._lengths(self._caches.past), self.length)
        values = bind(self._program, self._function, self._asked, inputs, dimensions)
        self._follow(parents)  # nothing has moved where an input is refused
        values |= {name: x[self._sentences] if x.ndim else x for name, x in self._given.items()}
        length = max(dimensions[name] for name in self._lengths(self._caches.grown))
        if length > self._positions:
            self._make_room(self._row_room, 2 * max(self._positions, length))
        outputs = self._run(values, dimensions)
        self.length = length
        return outputs

    def _lengths(self, names: Iterable[str]) -> set[str]:
        """What the numbers of positions of caches are called."""
        return {str(self._program.tensors[name].dims[2]) for name in names}

    def _run(self, values: dict[str, Array], dimensions: dict[str, int]) -> dict[str, Array]:
        """Rows shared out among threads."""
        rows = len(self._slots)
        threads = max(1, min(self._workers.threads, rows // ROWS_A_THREAD))
        size = max(1, -(-rows // threads))
        resident = self._resident | {past: self._resident[present] for past, present in self._caches.past.items()}
        workers = self._workers.of(self._function, dimensions | {self._batch: size}, threads, resident)
        made = {name: self._room(name, dimensions) for name in self._read}

        def work(number: int) -> None:
            mine = slice(number * size, min((number + 1) * size, rows))
            piece = {name: x[mine] if x.ndim else x for name, x in values.items()}
            slots = {HYPOTHESES: self._slots[mine], SENTENCES: self._sentences[mine]}
            workers[number].run(piece, dimensions | {self._batch: len(slots[SENTENCES])}, self._state, slots)
            for name, room in made.items():
                room[mine] = workers[number].view(name)

        self._workers.on_threads(work, threads)
        return made

    def _room(self, name: str, dimensions: Mapping[str, int]) -> Array:
        """Where an output of all rows goes."""
        info = self._program.tensors[name]
        shape = [dimensions[dim] if isinstance(dim, str) else dim for dim in info.dims]
        return np.empty(shape, np.int64 if info.format.bits > 32 else np.int32)

    def _follow(self, parents: NDArray[np.int64]) -> None:
        """Give every row the slot of its parent; a row that is not its parent's first child gets a copy."""
        self._sentences, slots = self._sentences[parents], self._slots[parents]
        if np.any(parents[1:] <= parents[:-1]):  # else every parent has one child
            self._copy_twins(slots)
        self._slots = slots

    def _copy_twins(self, slots: NDArray[np.int64]) -> None:
        """Slots of their own for all but the first of the rows that have one."""
        _, first = np.unique(slots, return_index=True)
        again = np.setdiff1d(np.arange(len(slots)), first)
        if len(slots) > self._row_room:
            self._make_room(roomy(len(slots)), self._positions)
        free = np.setdiff1d(np.arange(self._row_room), slots)[: len(again)]
        for held in self._resident.values():
            if held.rows == HYPOTHESES and len(again):
                cache = self._cache(held, self._state, self._row_room)
                cache[free] = cache[slots[again]]
        slots[again] = free

    def _cache(self, held: Resident, state: Bytes, rows: int) -> Array:
        """All slots of a cache, (rows, *held.shape)."""
        every = state[held.start : held.start + rows * held.slot_bytes]
        return every.view(held.packing.dtype).reshape(rows, *held.shape)

    def _make_room(self, rows: int, positions: int) -> None:
        """Move the caches to a state with more rows and positions."""
        old, state, old_rows = self._resident, self._state, self._row_room
        self._row_room, self._positions = rows, positions
        self._resident, size = self._lay_out()
        self._state = aligned(size)
        for name, held in old.items():
            before = old_rows if held.rows == HYPOTHESES else self._sentence_room
            after = rows if held.rows == HYPOTHESES else self._sentence_room
            _, panels, groups, _, _ = held.shape
            moved = self._cache(self._resident[name], self._state, after)
            moved[:before, :, :panels, :groups] = self._cache(held, state, before)
