"""Roundings of whole tensors: the oracle's on every small fraction, and the stages of single elements in programs."""

from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
import pytest

from analysis.proof.divergence import stages
from analysis.proof.divergence.columns import Columns, columns, rounded
from analysis.proof.divergence.stage import ROUNDINGS, SCALINGS
from analysis.translation.steppers import MachineStepper
from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.operations import written
from reference.quantize.scheme import Scheme, preset
from tests.oracle import rounding as oracle
from tests.small.programs import tiny_program
from tests.small.sentences import sentences

HALF = Fraction(1, 2)
BY_HAND = {
    "ceiling": ceil,
    "half_down": lambda v: ceil(v - HALF),
    "half_toward_zero": lambda v: ceil(v - HALF) if v >= 0 else floor(v + HALF),
    "half_odd": lambda v: oracle.half_even(v + 1) - 1,
}


@pytest.mark.parametrize("name", ROUNDINGS)
def test_all_small_fractions(name: str) -> None:
    rule: Any = BY_HAND.get(name) or oracle.ROUNDINGS[name]
    n, d = (axis.ravel() for axis in np.meshgrid(np.arange(-40, 41), np.arange(1, 13)))
    assert rounded(name, n, d).tolist() == [rule(Fraction(int(x), int(y))) for x, y in zip(n, d, strict=True)]
    halves = np.arange(-9, 10) / 2.0
    assert rounded(name, halves, 1).tolist() == [rule(Fraction(half)) for half in halves]


def test_the_ends_of_int64() -> None:
    """3 * 2^61 / 2^62 is a tie; nothing on the way is beyond 63 bits."""
    n = np.array([3 << 61, -(3 << 61), (1 << 63) - 1])
    assert rounded("half_even", n, 1 << 62).tolist() == [2, -2, 2]
    assert rounded("floor", n, 1 << 62).tolist() == [1, -2, 1]


PROGRAMS = {
    "int8": lambda: tiny_program(preset("int8")),
    "coarse": lambda: tiny_program(Scheme(name="coarse", activation_bits=4, power_of_two=True, multiplier_bits=1)),
    "tflm": lambda: tiny_program(preset("int8", "tflm")),
    "onnxruntime": lambda: tiny_program(preset("int8", "onnxruntime")),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_the_stages_of_elements(name: str) -> None:
    """Of every tensor of encode, by every rule."""
    program: Program = PROGRAMS[name]()
    values: dict[str, Any] = {}
    MachineStepper(Machine(program), sentences(2), values.__setitem__)
    met = 0
    for operation in program.functions["encode"].operations:
        for site in written(operation):
            found = columns(program, operation, site, values)
            if found is not None:
                met += 1
                _compare(found, stages(program, site, list(np.ndindex(values[site].shape)), values), values[site])
    assert met >= 10


def _compare(found: Columns, single: Any, codes: np.ndarray) -> None:
    def flat(made: Any) -> list[int]:
        return np.broadcast_to(made, codes.shape).ravel().tolist()

    assert flat(found.code) == codes.ravel().tolist() == [stage.code for stage in single]
    assert flat(found.unclamped) == [stage.unclamped for stage in single]
    assert flat(found.wrapped) == [stage.wrapped for stage in single]
    assert flat(found.between(-3, 5)) == [stage.between(-3, 5) for stage in single]
    for rule in ROUNDINGS:
        assert flat(found.by(rule)) == [stage.by(rule) for stage in single]
        if found.terms:
            assert flat(found.each(rule)) == [stage.each(rule) for stage in single]
    for scaling in SCALINGS:
        made, wanted = found.scaled(scaling), [stage.scaled(scaling) for stage in single]
        assert (made is None) == (None in wanted)
        assert made is None or flat(made) == wanted


def of(integer: list[int], shift: list[int], scaling: str, divisor: int = 1, multiplier: int = 1 << 30) -> Columns:
    arrays = np.array(integer), np.array([multiplier]), np.array(shift)
    return Columns(*arrays, scaling, 0, IntFormat(bits=8), divisor)


def test_what_int64_does_not_hold() -> None:
    """Products of 2^63, denominators above 2^62 and of 0, and rows of two rules are left to single elements."""
    assert of([(1 << 33) - 1], [30], "floor").is_exact
    assert not of([1 << 33], [30], "floor").is_exact
    assert of([1], [60], "floor", 4).is_exact and not of([1], [60], "floor", 5).is_exact
    assert not of([1], [1], "floor", 0).is_exact
    assert of([1, 1], [31, 30], "q31_double").is_exact and of([1, 1], [32, 33], "q31_double").is_exact
    assert not of([1, 1], [31, 32], "q31_double").is_exact
    assert not of([1], [32], "q31_double", 2).is_exact
