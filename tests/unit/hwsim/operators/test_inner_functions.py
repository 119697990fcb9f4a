"""Functions that compiled code calls: no way in for Python is compiled, and Python still gets in."""

from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from numba import types

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import clamp_and_change
from hwsim.machine.kernels.accumulators import rectified
from hwsim.machine.kernels.builder import Builder, Constants
from hwsim.machine.kernels.operands import Vector
from hwsim.machine.native import assemble
from hwsim.operators.rescale import paired

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled without JIT")


def added(x: int, y: int) -> int:
    return x + y


def ways_in(function: Any) -> int:
    """How many wrappers the compiled versions of a function define."""
    lines = [line for ir in function.inspect_llvm().values() for line in ir.splitlines()]
    return sum(line.startswith("define") and ("7cpython" in line or "cfunc." in line) for line in lines)


@compiled_only
def test_an_inner_function_has_no_wrapper() -> None:
    helper, whole = inner(added), numba.njit(added)
    for function in (helper, whole):
        function.compile((types.int64, types.int64))
    assert ways_in(whole) == 2
    assert ways_in(helper) == 0


@compiled_only
def test_a_kernel_of_the_machine_is_compiled_without_wrappers() -> None:
    kernel = rectified(np.int64, np.int8)
    kernel._cache = numba.core.caching.NullCache()  # what comes from a cache has no IR to look at
    assemble([(kernel, [0, 0, 0])])
    assert len(kernel.overloads) == 1
    assert ways_in(kernel) == 0


def test_python_may_call_an_inner_function() -> None:
    assert inner(added)(2, 3) == 5
    assert [tuple(map(int, clamp_and_change(x, -128, 127))) for x in (-129, 5, 128)] == [(-128, 1), (5, 0), (127, 1)]


@pytest.mark.parametrize(
    ("multiplier", "shift", "expected"),
    [
        ([3], [4], ([3], [4])),
        ([3, 5], [4], ([3, 5], [4, 4])),
        ([3], [4, 6], ([3, 3], [4, 6])),
        ([3, 5], [4, 6], ([3, 5], [4, 6])),
    ],
)
def test_ratios_come_in_pairs(multiplier: list[int], shift: list[int], expected: tuple[list[int], list[int]]) -> None:
    made = paired(np.array(multiplier), np.array(shift))
    assert tuple(numbers.tolist() for numbers in made) == expected


def test_one_multiplier_of_two_widths_lies_in_two_places() -> None:
    """A scalar is repeated for as many channels as there are shifts; two operations may want it in two lengths."""
    constants = Constants()
    numbers = {"two": (np.array([7]), np.array([1, 2])), "three": (np.array([7]), np.array([3, 4, 5]))}
    builder = SimpleNamespace(
        workspace=SimpleNamespace(scale=lambda scheme: numbers[scheme.shift]),
        vector=lambda key, values: Vector(constants.place(key, lambda: values), values.size),
    )
    schemes = [SimpleNamespace(multiplier=7, shift=name) for name in numbers]
    placed = [Builder.scale(builder, scheme) for scheme in schemes]  # type: ignore[arg-type]
    constants.join()
    for scale, expected in zip(placed, ([1, 2], [3, 4, 5]), strict=True):
        held = [constants.joined[at : at + 8 * n].view(np.int64).tolist() for at, n in scale]
        assert held == [[7] * len(expected), expected]
