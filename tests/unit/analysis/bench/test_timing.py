"""Turns, medians and ratios, by a clock whose times were chosen by hand."""

from collections.abc import Callable

import pytest

from analysis.bench.timing import Spread, interleaved, speedups, spread


def clocked(steps: dict[str, list[float]]) -> tuple[dict[str, Callable[[], object]], Callable[[], float], list[str]]:
    """Work that takes so many seconds call by call, the clock that sees it, and who was called."""
    now, order = [0.0], []

    def work(name: str) -> Callable[[], object]:
        def call() -> None:
            order.append(name)
            now[0] += steps[name].pop(0)

        return call

    return {name: work(name) for name in steps}, lambda: now[0], order


def test_contenders_take_turns_after_two_calls_that_are_not_counted() -> None:
    work, clock, order = clocked({"a": [9.0, 9.0, 1.0, 4.0, 2.0], "b": [9.0, 9.0, 8.0, 5.0, 6.0]})
    found = interleaved(work, 3, least=0.0, clock=clock)
    assert order == ["a", "a", "b", "b", "a", "b", "a", "b", "a", "b"]
    assert found == {"a": Spread(min=1.0, median=2.0, max=4.0), "b": Spread(min=5.0, median=6.0, max=8.0)}


def test_a_turn_of_short_calls_has_several_and_gives_the_time_of_one() -> None:
    work, clock, order = clocked({"a": [0.0, 0.25, 0.5, 0.5, 0.75, 0.25]})
    assert interleaved(work, 1, least=1.0, clock=clock)["a"] == Spread(min=0.5, median=0.5, max=0.5)
    assert len(order) == 6


def test_a_call_too_short_for_the_clock_has_an_end() -> None:
    work, clock, order = clocked({"a": [0.0] * 1002})
    interleaved(work, 1, least=1.0, clock=clock)
    assert len(order) == 1002


def test_a_ratio_is_the_quotient_of_the_medians() -> None:
    seconds = {"we": spread([2.0, 3.0, 40.0]), "they": spread([1.0, 1.5, 9.0])}
    assert speedups(seconds, "we", ["they", "others"]) == {"they": 0.5, "others": None}


def test_nothing_measured_is_no_spread() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])
