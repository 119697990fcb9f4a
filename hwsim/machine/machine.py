"""Runs a program: codes in, codes out, every tensor observable, every event counted."""

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import Counter
from hwsim.machine.inputs import bind
from hwsim.machine.plan import Observer, Worker, joined
from hwsim.machine.session import Caches, Session, caches_of
from hwsim.machine.steps.workspace import Array, Workspace
from hwsim.machine.workers import Piece, Workers
from hwsim.program import Program
from hwsim.program.operations import Operation, written
from hwsim.program.validate import validate


class Machine:
    """A validated program, ready to run.

    Parameters
    ----------
    program
        Validated here, which also proves its accumulators.
    threads
        So many pieces of a batch run at once; by default one on each processor that this process may use. Results do
        not depend on it.

    """

    def __init__(self, program: Program, *, threads: int | None = None) -> None:
        self.program = program
        self.reach = validate(program)
        self.workspace = Workspace(program, self.reach)
        self._workers = Workers(self.workspace, threads or len(os.sched_getaffinity(0)))
        self._caches: dict[tuple[str, str], Caches | None] = {}

    def run(self, function: str, inputs: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array]:
        """Run one function.

        Parameters
        ----------
        function
            Its name, `encode` or `decode_step`.
        inputs
            One integer array for each of the function's inputs; codes must lie within their format.
        observe
            Called with (name, array) for every tensor, in the order in which they are made. It must not change them.

        Returns
        -------
        dict
            The function's outputs by name, int32, or int64 where a format is wider.

        Raises
        ------
        ValueError
            If an input is missing, unknown, of the wrong shape, or holds a value outside its format.
        """
        if function not in self.program.functions:
            raise ValueError(f"unknown function {function!r}; the program has {', '.join(self.program.functions)}")
        definition = self.program.functions[function]
        dimensions: dict[str, int] = {}
        values = bind(self.program, definition, definition.inputs, inputs, dimensions)
        if observe is not None:
            (worker,) = self._workers.of(definition, dimensions, 1)
            worker.run(values, dimensions, observe=observe)
            return {name: worker.read(name) for name in definition.outputs}
        outputs: dict[int, dict[str, Array]] = {}

        def run(worker: Worker, piece: Piece, mine: dict[str, Array], sizes: dict[str, int]) -> None:
            worker.run(mine, sizes)
            outputs[piece.number] = {name: worker.read(name) for name in definition.outputs}

        count = self._workers.in_pieces(definition, values, dimensions, run)
        return joined([outputs[i] for i in range(count)])

    def session(self, first: str, step: str, inputs: Mapping[str, Array]) -> Session | None:
        """Begin to decode a batch of sentences with caches in place.

        Parameters
        ----------
        first, step
            The function that is run once, now, and the one that makes the steps: `encode` and `decode_step`.
        inputs
            Of the first function, as `run` takes them.

        Returns
        -------
        Session, or None if the program's caches are read in ways that need them as they are, or if a subclass has a
        `run` of its own, which looks at every call; then `run` it.

        Raises
        ------
        ValueError
            As `run`.
        """
        if (first, step) not in self._caches:
            alone = self._workers.batch(self.program.functions[first]) is not None
            self._caches[first, step] = caches_of(self.workspace, first, step) if alone else None
        caches = self._caches[first, step]
        if caches is None or type(self).run is not Machine.run:
            return None
        return Session(self._workers, caches, first, step, inputs)

    def forget(self) -> None:
        """Let go of the memory that runs have laid out; the next run lays it out anew, and counters stay."""
        self._workers.forget()

    @property
    def counters(self) -> dict[str, NDArray[np.int64]]:
        """Tensor -> events (one element a `Counter` member) of the operation that made it, over all runs so far."""
        return self._workers.counters

    @property
    def totals(self) -> dict[Counter, int]:
        """Events of all runs, over all tensors."""
        total = sum(self.counters.values(), np.zeros(len(Counter), np.int64))
        return {counter: int(total[counter]) for counter in Counter}


def operation_of(program: Program, tensor: str) -> Operation:
    """The operation that makes a tensor; the error lists similar names."""
    for _, operation in program.operations():
        if tensor in written(operation):
            return operation
    similar = [name for name in program.tensors if tensor.split(".")[-1] in name][:4]
    raise ValueError(f"no operation makes {tensor!r}; perhaps {', '.join(similar) or 'see `hwsim show`'}")
