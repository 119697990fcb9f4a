"""The machine and the replay side by side over a text: the machine's tokens drive both, every code is compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.translation.steppers import IntArray, MachineStepper
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.operations import written
from reference.decoding import greedy, length_limit
from tests.replay.context import Values, tag_of
from tests.replay.replay import Replay

MOVED = ("split_heads", "merge_heads", "append")
"""Operations that move codes and make none: their results are not counted again."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A code that differs; the first number of `index` is the row of the batch."""

    tensor: str
    call: str
    index: tuple[int, ...]
    machine: int
    replay: int

    def __str__(self) -> str:
        at = ", ".join(map(str, self.index))
        return f"{self.tensor}[{at}] in {self.call}: machine {self.machine}, replay {self.replay}"


@dataclass(kw_only=True)
class Tally:
    """Codes compared at real positions, accumulators among them; `first` is the first difference in order."""

    codes: int = 0
    different: int = 0
    tensors: set[str] = field(default_factory=set)
    tensors_different: set[str] = field(default_factory=set)
    first: Difference | None = None

    def compare(self, tensor: str, call: str, machine: NDArray[Any], replay: NDArray[Any], real: NDArray[Any]) -> None:
        """Count one tensor of one call; `real` says which elements are no padding, and broadcasts to it."""
        if machine.shape != replay.shape:
            raise ValueError(f"{tensor} has shape {machine.shape} in the machine and {replay.shape} in the replay")
        mask = np.broadcast_to(real, machine.shape)
        unequal = (machine != replay) & mask
        self.codes += int(mask.sum())
        self.different += int(unequal.sum())
        self.tensors.add(tensor)
        if unequal.any():
            self.tensors_different.add(tensor)
            if self.first is None:
                index = tuple(int(i) for i in np.argwhere(unequal)[0])
                ours, theirs = int(machine[index]), int(replay[index])
                self.first = Difference(tensor=tensor, call=call, index=index, machine=ours, replay=theirs)


def real_elements(program: Program, tensor: str, source_mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Which elements of a tensor are at real source positions, along every axis that is one."""
    dims = program.tensors[tensor].dims
    real = np.ones((1,) * len(dims), bool)
    for axis, dim in enumerate(dims):
        if dim == "source":
            shape = [1] * len(dims)
            shape[0], shape[axis] = source_mask.shape
            real = real & (source_mask != 0).reshape(shape)
    return real


class Alongside:
    """One stepper that is two: each call runs the machine, then the replay on the same ids and its own caches.

    If `each`, every operation reads what the machine's read, so that a difference stays where it arose.
    """

    def __init__(
        self, machine: Machine, replay: Replay, sources: Sequence[list[int]], tally: Tally, each: bool = False
    ) -> None:
        self.tally, self._replay, self._program, self._each = tally, replay, machine.program, each
        self._seen: Values = {}
        self._kept: Values = {}
        self._machine = MachineStepper(machine, sources, self._seen.__setitem__)
        self.logit_scale = self._machine.logit_scale
        self._follow("encode", "encode")

    def step(self, tokens: IntArray, parents: IntArray) -> NDArray[Any]:
        call = f"decode step {self._machine.position}"
        if not self._machine.position:  # the caches start empty, in the machine as here
            self._kept |= {state.past: self._machine.past[state.past] for state in self._program.manifest.states}
        self._kept = {name: codes[parents] for name, codes in self._kept.items()}
        logits = self._machine.step(tokens, parents)
        self._follow("decode_step", call)
        return logits

    def _follow(self, name: str, call: str) -> None:
        """Replay the call that the machine has just run, and compare."""
        function = self._program.functions[name]
        values = {one: self._kept.get(one, self._seen.get(one)) for one in function.inputs}
        for operation in self._replay.walk(name, values):
            for tensor in written(operation):
                if tag_of(operation) not in MOVED:
                    real = real_elements(self._program, tensor, values["source_mask"])
                    self.tally.compare(tensor, call, self._seen[tensor], values[tensor], real)
                if self._each:
                    values[tensor] = self._seen[tensor]
        self._kept = {one: codes for one, codes in self._kept.items() if one in function.inputs}
        self._kept |= {one: values[one] for one in function.outputs}
        self._kept |= {s.past: self._kept.pop(s.present) for s in self._program.manifest.states if s.function == name}
        self._seen.clear()


def compare(
    machine: Machine,
    replay: Replay,
    sources: Sequence[list[int]],
    *,
    tally: Tally | None = None,
    each: bool = False,
) -> Tally:
    """Translate a batch greedily by the machine, and replay every call of it.

    Parameters
    ----------
    sources
        Ids of each sentence, ended by EOS.
    tally
        Of batches before, to add to.
    each
        Let every operation of the replay read the machine's tensors.
    """
    tally = Tally() if tally is None else tally
    limits = [length_limit(len(source), machine.program.manifest.max_positions) for source in sources]
    greedy(Alongside(machine, replay, sources, tally, each), limits)
    return tally
