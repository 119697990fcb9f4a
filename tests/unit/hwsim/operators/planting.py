"""Faults planted in interpreted kernels: wrong functions, where they go, and how the tests end that must fail of them.

Without JIT a kernel is the Python function that it is written as, so that a primitive below it can be replaced. A
module of faults is run in a process of its own, with thinned grids, and prints what became of every fault as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, settings

from tests import ROOT

THIN = "17"


def settle() -> None:
    """Before tests take their settings from it: a failing example is not shrunk."""
    phases = [Phase.explicit, Phase.generate]
    settings.register_profile("planted", phases=phases, derandomize=True, report_multiple_bugs=False)
    settings.load_profile("planted")


Wrapper = Callable[..., Callable[..., Any]]
Test = Callable[[], None]


class Fault(NamedTuple):
    """A replacement of the function `name` in all `modules` that have it, and the tests that must fail with it."""

    modules: tuple[Any, ...]
    name: str
    wrap: Wrapper
    tests: tuple[Test, ...]


# Wrong functions: each takes the right one


def half_up(_: Any) -> Callable[..., Any]:
    return lambda value, shift: (int(value) + (1 << int(shift) >> 1)) >> int(shift)


def half_away(_: Any) -> Callable[..., Any]:
    return lambda value, shift: (-1 if value < 0 else 1) * ((abs(int(value)) + (1 << int(shift) >> 1)) >> int(shift))


def floored(_: Any) -> Callable[..., Any]:
    return lambda value, shift: int(value) >> int(shift)


def settled_half_up(right: Any) -> Callable[..., Any]:
    """The quotient of an estimate and its rest, a tie going up."""

    def settle(estimate: int, twice_rest: int, divisor: int) -> tuple[np.int64, np.int64]:
        _, tie = right(estimate, twice_rest, divisor)
        return np.int64(estimate + (int(twice_rest) + int(divisor)) // (2 * int(divisor))), tie

    return settle


def uncounted(right: Any) -> Callable[..., Any]:
    """The right result, its events lost."""
    return lambda *arguments: right(*arguments[:-1], arguments[-1].copy())


def untied(right: Any) -> Callable[..., Any]:
    """The right value, its tie lost."""
    return lambda *arguments: (right(*arguments)[0], np.int64(0))


def clamped_later(right: Any) -> Callable[..., Any]:
    """Ends of a clamp twice as far away."""
    return lambda value, lo, hi: right(value, 2 * lo - 1, 2 * hi + 1)


def unlimited(_: Any) -> Callable[..., Any]:
    return lambda value, *_: value


def limited_to_one_less(right: Any) -> Callable[..., Any]:
    return lambda value, lo, hi, *rest: right(value, lo, hi - 1, *rest)


def one_more(right: Any) -> Callable[..., Any]:
    """The square root rounded to nearest."""
    return lambda value: right(value) + int(value > right(value) * (right(value) + 1))


def constant(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A module's constant changed."""
    return change


def of_result(change: Callable[[Any], Any]) -> Callable[..., Any]:
    """The right result changed."""
    return lambda right: lambda *arguments: change(right(*arguments))


def each(wrap: Wrapper) -> Wrapper:
    """The fault in every loop of a table of loops."""
    return lambda loops: {key: wrap(loop) for key, loop in loops.items()}


def floored_quotient(_: Any) -> Callable[..., Any]:
    return lambda numerator, denominator: np.int64(int(numerator) // int(denominator))


def changed(position: int, change: Callable[[Any], Any]) -> Wrapper:
    """The right function with one argument changed."""

    def wrap(right: Any) -> Callable[..., Any]:
        return lambda *a: right(*a[:position], change(a[position]), *a[position + 1 :])

    return wrap


def swapped(one: int, other: int) -> Wrapper:
    """The right function with two arguments swapped."""

    def wrap(right: Any) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            order = list(arguments)
            order[one], order[other] = order[other], order[one]
            return right(*order)

        return call

    return wrap


def swap_entries(table: np.ndarray) -> np.ndarray:
    """Two neighbours of a table exchanged: the first ones that differ."""
    wrong = table.copy()
    (different,) = np.nonzero(np.diff(table))
    if len(different):
        at = different[0]
        wrong[[at, at + 1]] = table[[at + 1, at]]
    return wrong


def nearest_of_all(right: Any) -> Callable[..., Any]:
    """The greatest score of the row, masked or not, of a row with an allowed one."""

    def greatest(scores: np.ndarray, i: int, mask: np.ndarray, k: int) -> Any:
        return right(scores, i, mask, -1) if k < 0 or mask[k].any() else right(scores, i, mask, k)

    return greatest


def far_from_all(right: Any) -> Callable[..., Any]:
    """Distances from the greatest score of a row, masked or not, of rows with an allowed one."""

    def distances(scores: np.ndarray, first: int, masks: Any, work: Any) -> Any:
        lanes = right(scores, first, masks, work)
        greatest = scores[first : first + lanes].max(axis=1, initial=-(1 << 31))
        values = work.values[:, :lanes]
        values += np.where(values >= 0, greatest - work.most[:lanes], 0)
        return lanes

    return distances


def next_row(array: np.ndarray) -> np.ndarray:
    return np.roll(array, -1, axis=0)


def without_last(array: np.ndarray) -> np.ndarray:
    """The last of the summed products left out."""
    wrong = array.copy()
    wrong[..., -1:] = 0
    return wrong


def zero_forgotten(right: Any) -> Callable[..., Any]:
    """The bias of a product without the first operand's zero point."""
    return lambda bias, rows, b: right(bias, rows._replace(zero=0), b)


def saturated_at_the_end(right: Any) -> Callable[..., Any]:
    """The whole sum first, then one saturation, as if no step before had been out of range."""

    def dot_ordered(a: Any, a_zero: int, columns: Any, start: Any, bits: int, *rest: Any) -> None:
        wraps, *_, result, _ = rest
        right(a, a_zero, columns, start, bits, *rest)
        sums = (a.astype(np.int64) - a_zero) @ columns[:, :, : start.size].astype(np.int64) + start
        result[:] = sums if wraps else sums.clip(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    return dot_ordered


# Planting them


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    users = [module for module in fault.modules if hasattr(module, fault.name)]
    with pytest.MonkeyPatch.context() as patch:
        for module in users:
            patch.setattr(module, fault.name, fault.wrap(getattr(module, fault.name)))
        assert users, f"nothing is named {fault.name}"
        yield


def outcome(test: Test) -> str:
    """How a test ended: 'passed', 'failed' (what it asserts is wrong), or the error that it met instead."""
    try:
        test()
    except AssertionError:
        return "failed"
    except Exception as error:
        return repr(error)
    return "passed"


def report(faults: Mapping[str, Fault]) -> dict[str, list[str]]:
    """The outcomes of the tests of every fault with the fault planted, and of all tests with none."""
    every = dict.fromkeys(test for fault in faults.values() for test in fault.tests)
    outcomes = {"none": [outcome(test) for test in every]}
    for name, fault in faults.items():
        with planted(fault):
            outcomes[name] = [outcome(test) for test in fault.tests]
    return outcomes


def outcomes_of(module: str) -> dict[str, list[str]]:
    """What a module of faults prints when it is run."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "HWSIM_TEST_THIN": THIN}
    command = [sys.executable, "-W", "error", "-m", module]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, list[str]] = json.loads(result.stdout)
    return found
