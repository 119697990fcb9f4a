"""Who runs plans: workers with memories of their own, on threads, over pieces of a batch."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from hwsim.formats import Counter
from hwsim.machine.kernels.builder import Constants, Resident
from hwsim.machine.layout import roomy
from hwsim.machine.plan import Plan, Worker
from hwsim.machine.record import Words
from hwsim.machine.steps.workspace import Array, Workspace
from hwsim.program import Function
from hwsim.program.operations import Embed, written

ROWS_AT_ONCE = 256
"""Tokens of a piece of a batch, about: what is made of them stays in the second-level cache."""
PLANS = 16
"""So many are kept: sessions of like sizes share them."""
PlanKey = tuple[str, tuple[tuple[str, Resident], ...]]


class Piece(NamedTuple):
    """Some rows of a batch: which piece it is, and its first and last."""

    number: int
    first: int
    last: int


class Workers:
    """The plans of a program, and what runs them.

    Attributes
    ----------
    threads
        So many workers run at once.
    """

    def __init__(self, workspace: Workspace, threads: int) -> None:
        self.workspace, self.threads = workspace, threads
        self._constants = Constants()
        self._plans: dict[PlanKey, tuple[Plan, list[Worker]]] = {}
        self._counted: dict[str, Words] = {}
        self._pool: ThreadPoolExecutor | None = None

    def of(
        self,
        function: Function,
        dimensions: Mapping[str, int],
        count: int,
        resident: Mapping[str, Resident] | None = None,
    ) -> list[Worker]:
        """So many workers with room for these dimensions; `resident` are the caches that lie in a session's state."""
        key = function.name, tuple((resident or {}).items())
        plan, workers = self._plans.pop(key, (None, []))
        if plan is None or not plan.holds(dimensions):
            most = self.workspace.program.dimensions
            room = {name: min(roomy(size), most[name].maximum) for name, size in dimensions.items()}
            if plan is not None:
                room = {name: max(size, plan.capacity[name]) for name, size in room.items()}
                self._collect(workers)
            plan, workers = Plan(self.workspace, self._constants, function, room, resident), []
        self._plans[key] = plan, workers  # the one used last is the last
        for old in list(self._plans)[:-PLANS]:
            self._collect(self._plans.pop(old)[1])
        while len(workers) < count:
            workers.append(Worker(plan, self.workspace))
        return workers[:count]

    def in_pieces(
        self,
        function: Function,
        values: Mapping[str, Array],
        dimensions: Mapping[str, int],
        run: Callable[[Worker, Piece, dict[str, Array], dict[str, int]], None],
        resident: Mapping[str, Resident] | None = None,
    ) -> int:
        """Call `run` for each piece of the batch with its inputs and dimensions, on all threads; how many there are."""
        batch = self.batch(function)
        if batch is None or dimensions[batch] == 0:
            (worker,) = self.of(function, dimensions, 1, resident)
            run(worker, Piece(0, 0, 0), dict(values), dict(dimensions))
            return 1
        size, rows = self._piece(function, batch, dimensions), dimensions[batch]
        pieces = [Piece(i, first, min(first + size, rows)) for i, first in enumerate(range(0, rows, size))]
        workers = self.of(function, {**dimensions, batch: size}, min(self.threads, len(pieces)), resident)

        def work(number: int) -> None:
            for piece in pieces[number :: len(workers)]:
                mine = {name: x[piece.first : piece.last] if x.ndim else x for name, x in values.items()}
                run(workers[number], piece, mine, {**dimensions, batch: piece.last - piece.first})

        self.on_threads(work, len(workers))
        return len(pieces)

    def forget(self) -> None:
        """Let go of plans and memories; what they have counted stays."""
        for _, workers in self._plans.values():
            self._collect(workers)
        self._plans.clear()
        self._constants = Constants()

    def on_threads(self, work: Callable[[int], None], count: int) -> None:
        """Call `work` with 0 to count - 1, all at once."""
        if count == 1:
            work(0)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads)
        for done in [self._pool.submit(work, i) for i in range(count)]:
            done.result()

    def batch(self, function: Function) -> str | None:
        """The dimension whose rows do not see each other, if the function has one."""
        tensors = [self.workspace.program.tensors[name] for name in self._touched(function)]
        firsts = {info.dims[0] for info in tensors if info.dims}
        if len(firsts) != 1 or not isinstance(first := next(iter(firsts)), str):
            return None
        alone = all(first not in info.dims[1:] for info in tensors)
        return first if alone and all(self.workspace.program.tensors[name].dims for name in function.outputs) else None

    def _touched(self, function: Function) -> list[str]:
        return [*function.inputs, *(name for operation in function.operations for name in written(operation))]

    def _piece(self, function: Function, batch: str, dimensions: Mapping[str, int]) -> int:
        """How many rows of the batch run at once."""
        tokens = [
            dimensions[dim]
            for operation in function.operations
            if isinstance(operation, Embed)
            for dim in self.workspace.program.tensors[operation.ids].dims[1:]
            if isinstance(dim, str)
        ]
        rows = max(1, ROWS_AT_ONCE // max([1, *tokens]))
        return min(rows, -(-dimensions[batch] // self.threads))

    def _collect(self, workers: Sequence[Worker]) -> None:
        """Add what workers have counted, and let them begin anew."""
        for worker in workers:
            for name, events in worker.take_events().items():
                self._counted.setdefault(name, np.zeros(len(Counter), np.int64))[:] += events

    @property
    def counters(self) -> dict[str, Words]:
        """Tensor -> events of the operation that made it, over all runs so far."""
        for _, workers in self._plans.values():
            self._collect(workers)
        return self._counted
