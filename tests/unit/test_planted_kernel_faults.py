"""The exactness tests fail when a kernel is wrong: faults are planted in interpreted kernels, and the tests are run.

Without JIT a kernel is the Python function that it is written as, so that a primitive below it can be replaced. This
module is run in a process of its own, with thinned grids, and prints what became of every fault as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).parents[2]
THIN = "17"

if __name__ == "__main__":  # before the tests take their settings from it: a failing example is not shrunk
    phases = [Phase.explicit, Phase.generate]
    settings.register_profile("planted", phases=phases, derandomize=True, report_multiple_bugs=False)
    settings.load_profile("planted")

from hwsim import embedding, fixedpoint, requantize, residual  # noqa: E402
from hwsim.gemm import ordered, product  # noqa: E402
from hwsim.layernorm import fullyqt  # noqa: E402
from hwsim.softmax import rows, table  # noqa: E402
from tests.unit import kernel_checks  # noqa: E402
from tests.unit import test_kernels_exhausted as exhausted  # noqa: E402
from tests.unit import test_kernels_properties as properties  # noqa: E402

USERS = (fixedpoint, embedding, fullyqt, requantize, residual, rows, table, ordered)
"""The modules that a primitive of `fixedpoint` is replaced in."""

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


def ratio_half_up(right: Any) -> Callable[..., Any]:
    def round_ratio(numerator: int, denominator: int, shift: int, counters: Any) -> int:
        right(numerator, denominator, shift, counters)
        divisor = int(denominator) << int(shift)
        return (2 * int(numerator) + divisor) // (2 * divisor)

    return round_ratio


def uncounted(right: Any) -> Callable[..., Any]:
    """The right result, its events lost."""
    return lambda *arguments: right(*arguments[:-1], arguments[-1].copy())


def unlimited(_: Any) -> Callable[..., Any]:
    return lambda value, *_: value


def limited_to_one_less(right: Any) -> Callable[..., Any]:
    return lambda value, lo, hi, *rest: right(value, lo, hi - 1, *rest)


def negated_tie(right: Any) -> Callable[..., Any]:
    """Ties counted with the wrong sign."""

    def round_shift(value: Any, shift: int, counters: Any) -> Any:
        right(-value, shift, counters)
        return right(value, shift, counters.copy())

    return round_shift


def one_more(right: Any) -> Callable[..., Any]:
    """The square root rounded to nearest."""
    return lambda value: right(value) + int(value > right(value) * (right(value) + 1))


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


def unmasked(right: Any) -> Callable[..., Any]:
    """Distances from the greatest score of the row, masked or not."""

    def distances(scores: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keys, _ = right(scores, allowed)
        return keys, scores.max(initial=-(1 << 31)) - scores[keys].astype(np.int64)

    return distances


def next_row(array: np.ndarray) -> np.ndarray:
    return np.roll(array, -1, axis=0)


def without_last(array: np.ndarray) -> np.ndarray:
    """The last of the summed products left out."""
    wrong = array.copy()
    wrong[..., -1:] = 0
    return wrong


def saturated_at_the_end(right: Any) -> Callable[..., Any]:
    """The whole sum first, then one saturation, as if no step before had been out of range."""

    def dot_ordered(a: Any, a_zero: int, columns: Any, b_zero: int, bias: Any, bits: int, *rest: Any) -> None:
        wraps, _, result, _ = rest
        right(a, a_zero, columns, b_zero, bias, bits, *rest)
        sums = (a.astype(np.int64) - a_zero) @ (columns.astype(np.int64) - b_zero) + bias
        result[:] = sums if wraps else sums.clip(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    return dot_ordered


# Where they go, and which tests must fail


def overflowing(rule: str) -> Test:
    return lambda: properties.test_products_that_overflow(properties.Overflow(rule))


def requantized() -> None:
    exhausted.test_requantize_by_every_shift(np.int32)


def shifted() -> None:
    exhausted.test_shift_right_by_every_shift(np.int32)


def added() -> None:
    exhausted.test_add((3, 2), 2, (-128, 5), exhausted.TIES_AND_SATURATIONS)


def embedded() -> None:
    exhausted.test_embed_every_code_at_every_position(*exhausted.EMBEDDINGS[2])


def softmax_of_two() -> None:
    exhausted.test_softmax_of_two_scores((True, True), [properties.Counter.SATURATION, properties.Counter.POSITIVE_TIE])


def softmax_of_one() -> None:
    exhausted.test_softmax_of_two_scores((False, True), [])


P, E = properties, exhausted
ROUNDED = (requantized, shifted, added, embedded, softmax_of_two, E.test_shifts, P.test_layernorm, P.test_requantize)
SATURATED = (added, embedded, softmax_of_two, E.test_counted_clamps, P.test_add, P.test_softmax, P.test_layernorm)
DIVIDED = (softmax_of_two, E.test_counted_ratios, P.test_softmax, P.test_layernorm)
PROVEN, WRAPPED, CLIPPED = (
    P.test_proven_products_are_equal_in_every_engine,
    overflowing("wrap"),
    overflowing("saturate"),
)

FAULTS = {
    "tie half up": Fault(USERS, "half_even_shift", half_up, ROUNDED),
    "tie half away from zero": Fault(USERS, "half_even_shift", half_away, (*ROUNDED, P.test_embed, P.test_add)),
    "rounding lost": Fault(USERS, "half_even_shift", floored, ROUNDED),
    "tie of a quotient half up": Fault(USERS, "round_ratio", ratio_half_up, DIVIDED),
    "ties of quotients not counted": Fault(USERS, "round_ratio", uncounted, DIVIDED),
    "ties not counted": Fault(USERS, "is_shift_tie", lambda _: lambda *_: False, ROUNDED),
    "ties counted by the wrong sign": Fault(USERS, "round_shift", negated_tie, (shifted, added, embedded)),
    "saturation lost": Fault(USERS, "saturate", unlimited, SATURATED),
    "saturation not counted": Fault(USERS, "saturate", uncounted, SATURATED),
    "saturation one below the greatest code": Fault(USERS, "saturate", limited_to_one_less, SATURATED),
    "saturation of requantize lost": Fault((requantize,), "clamp", unlimited, (requantized,)),
    "saturation of requantize one too low": Fault(
        (requantize,), "clamp", limited_to_one_less, (requantized, P.test_requantize)
    ),
    "relu lost": Fault((kernel_checks,), "relu", lambda _: np.copy, (lambda: E.test_relu(np.int32),)),
    "square root to nearest": Fault(USERS, "isqrt", one_more, (E.test_square_roots, P.test_layernorm)),
    "denominator clamp not counted": Fault(USERS, "raise_to_one", uncounted, (P.test_softmax, P.test_layernorm)),
    "swapped entries of the exp table": Fault(
        (table,), "_softmax", changed(2, swap_entries), (softmax_of_two, P.test_softmax)
    ),
    "maximum over masked scores": Fault((rows, table), "distances", unmasked, (softmax_of_one, P.test_softmax)),
    "position off by one": Fault((embedding,), "_embed", changed(3, next_row), (embedded, P.test_embed)),
    "token off by one": Fault((embedding,), "_embed", changed(1, next_row), (embedded, P.test_embed)),
    "multiplier of the next token": Fault((embedding,), "_embed", changed(2, next_row), (embedded, P.test_embed)),
    "operands of a sum swapped": Fault((residual,), "_add", swapped(0, 1), (added, P.test_add)),
    "shift of the next channel": Fault(
        (requantize,), "_requantize", changed(2, next_row), (requantized, P.test_requantize)
    ),
    "gamma off by one": Fault((fullyqt,), "_layernorm", changed(1, next_row), (P.test_layernorm,)),
    "eps forgotten": Fault((fullyqt,), "_layernorm", changed(3, lambda _: 0), (P.test_layernorm,)),
    "last product of int16 lost": Fault((product,), "dot_narrow", changed(0, without_last), (PROVEN,)),
    "last product of int64 lost": Fault((product,), "dot_wide", changed(0, without_last), (PROVEN,)),
    "last ordered product lost": Fault((product,), "dot_ordered", changed(0, without_last), (PROVEN, WRAPPED, CLIPPED)),
    "zero points of a product swapped": Fault((product,), "dot_wide", swapped(1, 3), (PROVEN,)),
    "bias forgotten": Fault((product,), "dot_narrow", changed(2, np.zeros_like), (PROVEN,)),
    "wrapped for saturated": Fault((product,), "dot_ordered", changed(6, lambda wraps: not wraps), (WRAPPED, CLIPPED)),
    "saturated at the end": Fault((product,), "dot_ordered", saturated_at_the_end, (CLIPPED,)),
    "accumulator a bit short": Fault((product,), "dot_ordered", changed(5, lambda bits: bits - 1), (WRAPPED, CLIPPED)),
    "overflows not counted": Fault((product,), "dot_ordered", uncounted, (WRAPPED, CLIPPED)),
}


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


def report() -> dict[str, list[str]]:
    """The outcomes of the tests of every fault with the fault planted, and of all tests with none."""
    every = dict.fromkeys(test for fault in FAULTS.values() for test in fault.tests)
    outcomes = {"none": [outcome(test) for test in every]}
    for name, fault in FAULTS.items():
        with planted(fault):
            outcomes[name] = [outcome(test) for test in fault.tests]
    return outcomes


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[str]]:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "HWSIM_TEST_THIN": THIN}
    command = [sys.executable, "-W", "error", "-m", "tests.unit.test_planted_kernel_faults"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, list[str]] = json.loads(result.stdout)
    return found


def test_all_tests_pass_with_no_fault(outcomes: dict[str, list[str]]) -> None:
    assert set(outcomes["none"]) == {"passed"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_every_test_of_it(outcomes: dict[str, list[str]], name: str) -> None:
    assert outcomes[name] == ["failed"] * len(FAULTS[name].tests)


if __name__ == "__main__":
    print(json.dumps(report()))
