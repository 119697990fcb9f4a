"""Events of one run of a layer, before it has a name: counts by kind."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.events import LEVEL_OF, Component, Direction, Event, Level, Operand
from hwsim.accelerator.tiling import Plan


class Kind(NamedTuple):
    """All of an `Event` but its site, its operation and its count."""

    component: Component
    operand: Operand = Operand.NONE
    direction: Direction = Direction.NONE
    bits: int = 0
    second_bits: int = 0


Counts = dict[Kind, int]


class Run(NamedTuple):
    """One run of a layer, or several added up: what it counts, how long it takes, how a product was tiled."""

    counts: Counts
    cycles: Cycles
    plan: Plan | None = None


def add(counts: Counts, kind: Kind, count: int) -> None:
    """Count; nothing is recorded of nothing."""
    if count:
        counts[kind] = counts.get(kind, 0) + count


def total(parts: Iterable[tuple[Mapping[Kind, int], int]]) -> Counts:
    """Counts, each so many times, added up."""
    counts: Counts = {}
    for part, times in parts:
        for kind, count in part.items():
            counts[kind] = counts.get(kind, 0) + count * times
    return counts


def joined(runs: Iterable[tuple[Run, int]]) -> Run:
    """Runs one after the other, each so many times; the plan is the first one's."""
    runs = list(runs)
    cycles = Cycles()
    for run, times in runs:
        cycles = cycles.added(run.cycles.times(times))
    return Run(total((run.counts, times) for run, times in runs), cycles, runs[0][0].plan)


def events(counts: Mapping[Kind, int], site: str, operation: str) -> tuple[Event, ...]:
    """Counts as the events of a site."""
    return tuple(
        Event(
            site=site,
            operation=operation,
            component=kind.component,
            level=LEVEL_OF.get(kind.component, Level.DATAPATH),
            operand=kind.operand,
            direction=kind.direction,
            bits=kind.bits,
            second_bits=kind.second_bits,
            count=count,
        )
        for kind, count in counts.items()
        if count
    )
