"""Causes in stages that were not dumped, upstream of the first site that differs."""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from analysis.proof.explain.bench import Array, Values
from analysis.proof.explain.dump import Call, Dump
from analysis.proof.explain.held import Held, Node
from analysis.proof.explain.lockstep import First, Lockstep
from analysis.proof.explain.path import Path, trace
from analysis.proof.explain.replay import Replay
from analysis.proof.explain.search import MOST_CODES, LookBack, Search
from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.operations import written


def look_back(program: Program, dump: Dump, lockstep: Lockstep, sources: Sequence[list[int]]) -> LookBack | None:
    """Try the rules of all stages between the first site that differs and the last dumped tensors before it.

    Each stage is run with another rule, and what follows from it by A's rules up to the site; a rule of all stages of a
    kind is tried too. Nothing is looked for if every input was dumped, or differs already.
    """
    first = lockstep.first
    if first is None:
        return None
    held = Held(program, dump)
    path = trace(held, Node(first.call, first.site))
    if not path.undumped or not _is_as_in_a(held, path, first):
        return None
    chosen = _choose(program, path, first, dump, lockstep)
    values = _record(program, path, chosen, lockstep, sources)
    rows = {call: _rows(lockstep, call, chosen) for call in path.calls}
    dumped = {
        Node(step.call, site): _sliced(program, site, codes, rows[step.call])
        for step in path.steps
        for site in step.sites
        if (codes := dump.codes(step.call, site)) is not None
    }
    sentences = len(lockstep.batches[first.call])
    search = Search(Replay(program, held, path, values, dumped))
    return search.run("" if len(chosen) == sentences else f", on {len(chosen)} of {sentences} sentences")


def _is_as_in_a(held: Held, path: Path, first: First) -> bool:
    """Whether what was dumped of the inputs of the last call is as A has it; a bench may have fed other codes."""
    return all(
        np.array_equal(own, first.values[name])
        for step in path.steps
        if step.call == first.call
        for name in held.program.inputs_of(step.operation)
        if (own := held.own(step.call, step.operation, name)) is not None
    )


# --- A's run ----------------------------------------------------------------------------------------------------------


def _choose(program: Program, path: Path, first: First, dump: Dump, lockstep: Lockstep) -> list[int]:
    """Sentences that rules are tried on, as many as fit: those that differ before the others."""
    sizes = {
        dim: size
        for name, array in first.values.items()
        for dim, size in zip(program.tensors[name].dims, array.shape, strict=True)
    }
    each = sum(prod(int(sizes.get(dim, dim)) for dim in program.tensors[node.site].dims[1:]) for node in path.undumped)
    codes = dump.codes(*path.site)
    differing = np.zeros(len(lockstep.batches[first.call]), np.bool_)
    if codes is not None:
        differing = (codes != first.values[first.site]).reshape(len(codes), -1).any(1)
    batch = lockstep.batches[first.call]
    order = [*batch[differing].tolist(), *batch[~differing].tolist()]
    return sorted(order[: max(1, MOST_CODES // max(1, each))])


def _rows(lockstep: Lockstep, call: Call, chosen: Sequence[int]) -> NDArray[np.int64]:
    """Where sentences lie in the batch of a call."""
    return np.flatnonzero(np.isin(lockstep.batches[call], chosen))


def _sliced(program: Program, name: str, array: Array, rows: NDArray[np.int64]) -> Array:
    """Some sentences of a tensor; its first dimension is the batch, if it has any."""
    return np.ascontiguousarray(array[rows]) if program.tensors[name].dims else array


def _record(
    program: Program, path: Path, chosen: Sequence[int], lockstep: Lockstep, sources: Sequence[list[int]]
) -> dict[Call, Values]:
    """A's tensors along a path, of some sentences."""
    first = lockstep.first
    assert first is not None
    needed = {name for step in path.steps for name in (*program.inputs_of(step.operation), *written(step.operation))}
    seen: Values = {}

    def see(name: str, array: Array) -> None:
        if name in needed:
            seen[name] = array

    def sliced(call: Call, values: Values) -> Values:
        rows = _rows(lockstep, call, chosen)
        found = {name: _sliced(program, name, array, rows) for name, array in values.items() if name in needed}
        seen.clear()
        return found

    if path.calls == [first.call]:
        return {first.call: sliced(first.call, dict(first.values))}
    encode = Call("encode", 0)
    stepper = MachineStepper(Machine(program), sources, see)  # its own machine: the other one counts events
    found = {encode: sliced(encode, seen)}
    for step, (tokens, parents) in enumerate(lockstep.fed[: first.call.step + 1]):
        stepper.step(tokens, parents)
        call = first.call._replace(step=step)
        found[call] = sliced(call, seen)
    return found
