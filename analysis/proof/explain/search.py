"""Tries other rules at the stages of a path: at each alone, the nearest first, then at all of a kind."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from analysis.proof.divergence.columns import Columns
from analysis.proof.explain.held import Node
from analysis.proof.explain.records import Cause
from analysis.proof.explain.replay import Change, Replay
from analysis.proof.explain.rules import AnyStage, upstream_rules
from hwsim.formats import Overflow
from hwsim.machine import operation_of
from hwsim.program.operations import WRITTEN, MatMul, Operation, Requantize, RescaledAdd

MOST_CODES = 1_000_000
"""Codes of undumped stages that rules are tried on: of fewer sentences if all have more, at last of fewer stages."""
OTHER = {Overflow.WRAP: Overflow.SATURATE, Overflow.SATURATE: Overflow.WRAP}


class LookBack(NamedTuple):
    """What was found upstream, and how far the search went."""

    causes: list[Cause]
    said: str


class Kind(NamedTuple):
    """Stages that one piece of hardware may do: the same part of the same sort of operation, by the same rule."""

    operation: type[Operation]
    part: str
    rule: str

    @property
    def words(self) -> str:
        if self.operation is Requantize:
            return "requantization"
        name = str(self.operation.__struct_config__.tag).replace("_", " ")
        return name if self.part == "output" else f"{name} {self.part}"


class Hypothesis(NamedTuple):
    """A rule of B, in words, and how to run it."""

    kind: str
    text: str
    change: Change


class Search:
    """Tries rules along a path."""

    def __init__(self, replay: Replay) -> None:
        self.program, self.path, self._replay = replay.program, replay.path, replay
        self._tried = 0
        self._nodes: dict[str, list[Node]] = {}
        for step in reversed(self.path.steps):
            for site in reversed(step.sites):
                if Node(step.call, site) in self.path.undumped:
                    self._nodes.setdefault(site, []).append(Node(step.call, site))
        self._first: dict[str, AnyStage] = {}

    def run(self, of: str) -> LookBack:
        """What explains the dumped codes; `of` says of which sentences they are."""
        sites = self._within()
        causes: list[Cause] = []
        kinds: dict[Kind, list[str]] = {}
        for site in [self.path.site.site, *sites]:
            kind = self._kind(site)
            if kind is not None:
                kinds.setdefault(kind, []).append(site)
                causes += [] if site == self.path.site.site else self._tries([site], f"at {site}")
        stages = sum(site != self.path.site.site for members in kinds.values() for site in members)
        for kind, members in kinds.items():
            if len(members) > 1:
                causes += self._tries(members, f"at every {kind.words} on the path ({len(members)} stages)")
        return LookBack(causes, self._said(sites, stages) + of)

    def _within(self) -> list[str]:
        """Tensors that were not dumped, the nearest first, as many as have not too many codes; one at least."""
        sizes = [sum(self._replay.own(node).size for node in nodes) for nodes in self._nodes.values()]
        count = sum(total <= MOST_CODES for total in accumulate(sizes))
        return list(self._nodes)[: max(1, count)]

    def _kind(self, site: str) -> Kind | None:
        """None if the tensor is moved, or made exactly."""
        operation = operation_of(self.program, site)
        part = next(field for field in WRITTEN if getattr(operation, field, None) == site)
        if isinstance(operation, MatMul):
            overflow = operation.accumulator.overflow
            return Kind(MatMul, part, overflow.value) if overflow in OTHER else None
        found = (self._any(node) for node in self._nodes.get(site, [self.path.site]))
        first = next((one for one in found if one is not None), None)
        if first is None:
            return None
        self._first[site] = first
        return Kind(type(operation), part, first.scaling)

    def _any(self, node: Node) -> AnyStage | None:
        """What the last roundings of a tensor have in common."""
        last = self._replay.last(node)
        return last if isinstance(last, Columns) else next((stage for stage in last if stage is not None), None)

    def _tries(self, sites: Sequence[str], where: str) -> Iterator[Cause]:
        """Rules at some tensors that make more of the dumped codes than A's own."""
        for one in self._hypotheses(sites):
            self._tried += 1
            score = self._replay.run(one.change)
            if score is not None and score.reproduced > self._replay.unchanged.reproduced:
                yield Cause(
                    kind=one.kind,
                    text=f"{where}: {one.text}",
                    stages=list(sites),
                    checked=score.checked,
                    reproduced=score.reproduced,
                )

    def _hypotheses(self, sites: Sequence[str]) -> Iterator[Hypothesis]:
        operations = [operation_of(self.program, site) for site in sites]
        products = [operation for operation in operations if isinstance(operation, MatMul)]
        if products:
            own = products[0].accumulator.overflow
            others = {product.output: _overflowing(product, OTHER[own]) for product in products}
            text = f"the accumulator {_VERBS[OTHER[own]]} in B, it {_VERBS[own]} in A"
            yield Hypothesis("accumulator", text, Change(frozenset(sites), operations=others))
            return
        formats = {str(self._first[site].format) for site in sites}
        clamp = formats.pop() if len(formats) == 1 else "the format"
        once = not isinstance(operations[0], RescaledAdd)
        for rule in upstream_rules(self._first[sites[0]], clamp, rounds_once=once):
            yield Hypothesis(rule.kind, rule.text, Change(frozenset(sites), rule.code))

    def _said(self, sites: Sequence[str], stages: int) -> str:
        ends, are_cut = ", ".join(self.path.ends), len(sites) < len(self._nodes)
        where = f"{sites[-1]}, not as far as {ends}" if are_cut else ends
        limit = f", more than {MOST_CODES:,} codes are not rounded again" if are_cut else ""
        if not stages:
            return f"looked back to {where}: nothing in between is rounded{limit}"
        count = f"{stages} undumped stage{'' if stages == 1 else 's'}"
        return f"looked back to {where}: {count}, {self._tried} rules tried{limit}"


_VERBS = {Overflow.WRAP: "wraps", Overflow.SATURATE: "saturates"}


def _overflowing(operation: MatMul, overflow: Overflow) -> MatMul:
    accumulator = msgspec.structs.replace(operation.accumulator, overflow=overflow)
    return msgspec.structs.replace(operation, accumulator=accumulator)
