"""Times that can be compared: all contenders take turns in one process, so that a busy moment falls on all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Work = Callable[[], object]
Clock = Callable[[], float]

LEAST_SECONDS = 0.01
"""A turn lasts at least so long, in several calls if one is shorter."""
MOST_CALLS = 1000


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of several measurements of one thing."""

    min: float
    median: float
    max: float


def spread(values: Sequence[float]) -> Spread:
    """Least, median and greatest.

    Raises
    ------
    ValueError
        Without a value.
    """
    if not values:
        raise ValueError("nothing was measured")
    return Spread(min=min(values), median=median(values), max=max(values))


def interleaved(
    work: Mapping[str, Work], repeats: int, *, least: float = LEAST_SECONDS, clock: Clock = time.perf_counter
) -> dict[str, Spread]:
    """Seconds a call of everything, in turns.

    Parameters
    ----------
    work
        By name; each is called once before, which also says how many calls make a turn.
    repeats
        Turns of each.
    least
        Seconds that a turn lasts at least, to 1000 calls.
    clock
        Seconds, as `time.perf_counter`.
    """
    calls = {}
    for name, one in work.items():
        one()  # compiles, fills caches
        first = _timed(one, 1, clock)
        calls[name] = MOST_CALLS if first <= 0 else min(MOST_CALLS, max(1, round(least / first)))
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, one in work.items():
            seconds[name].append(_timed(one, calls[name], clock))
    return {name: spread(values) for name, values in seconds.items()}


def _timed(work: Work, calls: int, clock: Clock) -> float:
    began = clock()
    for _ in range(calls):
        work()
    return (clock() - began) / calls


def speedups(seconds: Mapping[str, Spread], ours: str, peers: Sequence[str]) -> dict[str, float | None]:
    """How many times as fast as each peer we are: the quotient of the medians; None for a peer that did not run."""
    return {
        peer: seconds[peer].median / seconds[ours].median if peer in seconds and ours in seconds else None
        for peer in peers
    }
