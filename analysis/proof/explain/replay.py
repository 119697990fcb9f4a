"""Runs a path of stages that were not dumped once more, with the rule of some of them changed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis.proof.divergence import Stage, stages
from analysis.proof.divergence.columns import Columns, columns
from analysis.proof.explain.bench import Array, Bench, Values
from analysis.proof.explain.dump import Call
from analysis.proof.explain.held import Held, Node
from analysis.proof.explain.path import Path, Step
from analysis.proof.explain.rules import Code
from hwsim.program import Program
from hwsim.program.operations import Operation, written

Last = Columns | Sequence[Stage | None]
"""The last rounding of all elements of a tensor."""


class Change(NamedTuple):
    """Another rule: of the last rounding of each of some tensors, or other operations that make them."""

    sites: frozenset[str]
    code: Code | None = None
    operations: Mapping[str, Operation] = {}


class Score(NamedTuple):
    """Dumped codes at the end of the path, and how many of them came out as dumped."""

    checked: int
    reproduced: int


class Inapplicable(ValueError):
    """A rule does not take the numbers, or makes what the next stage does not take."""


class Replay:
    """A's run along a path, against what was dumped where it ends.

    Parameters
    ----------
    values
        A's tensors of every call of the path.
    dumped
        Codes of B of every dumped tensor among the path's steps.
    """

    def __init__(
        self, program: Program, held: Held, path: Path, values: Mapping[Call, Values], dumped: Mapping[Node, Array]
    ) -> None:
        self.program, self.path = program, path
        self._values, self._dumped = values, dumped
        self._read = [dict(_read(held, step)) for step in path.steps]
        self._bench = Bench(program)
        self._maker = {name: step.operation for step in path.steps for name in written(step.operation)}
        self._kept: dict[Node, Last] = {}
        agreeing = {node: int((self.own(node) == codes).sum()) for node, codes in dumped.items()}
        self._agreeing = agreeing
        self.unchanged = Score(sum(codes.size for codes in dumped.values()), sum(agreeing.values()))
        """What A itself reproduces."""

    def own(self, node: Node) -> Array:
        """A's codes."""
        return self._values[node.call][node.site]

    def last(self, node: Node) -> Last:
        """A's last rounding of a tensor; those of the last name asked for are kept."""
        if node not in self._kept:
            if any(kept.site != node.site for kept in self._kept):
                self._kept.clear()
            self._kept[node] = self._last(node.site, self.own(node), self._values[node.call])
        return self._kept[node]

    def _last(self, site: str, like: Array, values: Mapping[str, Array]) -> Last:
        found = columns(self.program, self._maker[site], site, values)
        return stages(self.program, site, list(np.ndindex(like.shape)), values) if found is None else found

    def run(self, change: Change) -> Score | None:
        """Dumped codes that come out as dumped under another rule; None if it changes nothing or cannot be run."""
        changed: dict[Node, Array] = {}
        reproduced = self.unchanged.reproduced
        touched = False
        try:
            for step, read in zip(self.path.steps, self._read, strict=True):
                others = {name: changed[made] for name, made in read.items() if made in changed}
                if not others and change.sites.isdisjoint(step.sites):
                    continue
                for site, codes in self._step(step, change, others).items():
                    node = Node(step.call, site)
                    if np.array_equal(codes, self.own(node)):
                        continue
                    touched = True
                    if node in self._dumped:
                        reproduced += int((codes == self._dumped[node]).sum()) - self._agreeing[node]
                    else:
                        changed[node] = codes
        except (Inapplicable, ZeroDivisionError):
            return None
        return self.unchanged._replace(reproduced=reproduced) if touched else None

    def _step(self, step: Step, change: Change, others: Values) -> Values:
        """What a step makes, by other rules or of inputs that are others than A's."""
        call, operation = step.call, step.operation
        inputs = self._values[call] | others
        given = change.operations.get(operation.output, operation)
        made = self._bench.run(given, inputs) if others or given is not operation else self._values[call]
        if made is None:
            raise Inapplicable
        return self._parts(step, change, inputs, {name: made[name] for name in written(operation)}, bool(others))

    def _parts(self, step: Step, change: Change, inputs: Values, made: Values, is_other: bool) -> Values:
        """Parts of an operation one after the other: a dumped one is what the next ones read."""
        found: Values = {}
        is_stale = False  # an earlier part is not the one that the operation made itself
        for site in written(step.operation):
            node = Node(step.call, site)
            if change.code is not None and site in change.sites:
                last = self._last(site, made[site], inputs | made) if is_other or is_stale else self.last(node)
                made[site], is_stale = self._coded(site, made[site], last, change.code), True
            elif is_stale:
                last = self._last(site, made[site], inputs | made)
                made[site] = self._coded(site, made[site], last, lambda stage: stage.code)
            if site in step.sites:
                found[site] = made[site]
            if node in self._dumped and not np.array_equal(made[site], self.own(node)):
                made[site], is_stale = self.own(node), True
        return found

    def _coded(self, site: str, like: Array, last: Last, code: Code) -> Array:
        """Codes of a tensor by a rule; what is not rounded stays. Codes outside the format are none of the tensor."""
        if isinstance(last, Columns):
            codes = code(last)
        else:
            codes = [int(old) if stage is None else code(stage) for old, stage in zip(like.flat, last, strict=True)]
            codes = None if None in codes else np.array(codes, np.int64).reshape(like.shape)
        fmt = self.program.tensors[site].format
        if codes is None or (codes.size and not fmt.min <= codes.min() <= codes.max() <= fmt.max):
            raise Inapplicable
        return np.ascontiguousarray(codes.astype(like.dtype))


def _read(held: Held, step: Step) -> Iterator[tuple[str, Node]]:
    """What a step reads that was made on the way; not what the dump has itself."""
    for name in held.program.inputs_of(step.operation):
        made = held.origin(step.call, name)
        if made is not None and held.own(step.call, step.operation, name) is None:
            yield name, made
