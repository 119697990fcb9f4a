"""The last rounding in Python integers makes every code that the machine makes, of every target."""

from fractions import Fraction

import numpy as np
import pytest

from analysis.proof.divergence import Stage, before_rounding, stages, tie_distance
from analysis.proof.divergence.stage import NEAREST, ROUNDINGS, binary32, wrapped
from analysis.translation.steppers import MachineStepper
from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program.operations import written
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import scheme_for
from reference.tokenizer import BOS
from tests.small.programs import tiny_program
from tests.small.sentences import sentences

UNROUNDED = {"matmul", "relu", "split_heads", "merge_heads", "append"}
INT8 = IntFormat(bits=8)


@pytest.mark.parametrize("target", TARGETS)
def test_every_rounded_code_is_reproduced(target: str) -> None:
    program = tiny_program(scheme_for(target, name=target))
    values: dict[str, np.ndarray] = {}
    rows = sentences(3)
    stepper, rng = MachineStepper(Machine(program), rows, values.__setitem__), np.random.default_rng(1)
    for call in range(3):
        if call:
            values.clear()
            stepper.step(np.full(len(rows), BOS if call == 1 else 9), np.arange(len(rows)))
        for operation in program.functions["decode_step" if call else "encode"].operations:
            for site in written(operation):
                where = [tuple(int(rng.integers(size)) for size in values[site].shape) for _ in range(15)]
                for index, stage in zip(where, stages(program, site, where, values), strict=True):
                    if stage is None:
                        kind = type(operation).__struct_config__.tag
                        masked = "softmax" in str(kind) or kind == "itamax"
                        summed = kind == "project_heads" and site == operation.output  # its heads are rounded
                        assert kind in UNROUNDED or masked or summed, (site, index)
                        continue
                    assert stage.code == values[site][index], (site, index, stage)
                    assert before_rounding(program, site, index, values) == (stage.integer, stage.value)


def test_roundings_of_every_eighth() -> None:
    ties = {
        "half_up": [-1, 0, 1, 2],
        "half_down": [-2, -1, 0, 1],
        "half_away": [-2, -1, 1, 2],
        "half_toward_zero": [-1, 0, 0, 1],
        "half_even": [-2, 0, 0, 2],
        "half_odd": [-1, -1, 1, 1],
    }
    assert set(ties) == set(NEAREST)
    for name, expected in ties.items():
        assert [ROUNDINGS[name](n, 2) for n in (-3, -1, 1, 3)] == expected
        for n in range(-24, 25):
            if n % 8 != 4:
                assert ROUNDINGS[name](n, 8) == round(Fraction(n, 8))
    assert [ROUNDINGS["floor"](n, 8) for n in (-9, -8, 9)] == [-2, -1, 1]
    assert [ROUNDINGS["ceiling"](n, 8) for n in (-9, -8, 9)] == [-1, -1, 2]
    assert [ROUNDINGS["toward_zero"](n, 8) for n in (-9, -8, 9)] == [-1, -1, 1]


def test_binary32_is_numpys() -> None:
    rng = np.random.default_rng(2)
    for n, shift in zip(rng.integers(-(2**52), 2**52, 500).tolist(), rng.integers(0, 60, 500).tolist(), strict=True):
        exact = Fraction(*binary32(n, 1 << shift))
        assert float(exact) == float(np.float32(np.ldexp(float(n), -shift)))
    assert Fraction(*binary32(2**24 + 1, 1)) == 2**24 and Fraction(*binary32(0, 7)) == 0
    assert Fraction(*binary32(1, 3)) == Fraction(float(np.float32(1 / 3)))


def test_the_example_of_double_rounding() -> None:
    """docs/operators/requantization.md: x = 3, m/2^e = 1/8."""
    double = Stage(3, 1 << 30, 33, "q31_double", 0, INT8)
    assert double.code == 1 and double.is_tie and double.value == Fraction(1, 2)
    single = double._replace(scaling="half_up")
    assert single.code == 0 and not single.is_tie and tie_distance(single.value) == Fraction(1, 8)


def test_what_a_scaling_does_not_take() -> None:
    stage = Stage(1 << 30, 1 << 30, 30, "q31_double", 0, INT8)
    assert not stage.encodable and stage._replace(integer=1 << 29).encodable
    for scaling in ("q31_double", "q31_double_half_up"):  # -2^31 <= x * 2^l < 2^31, and x itself where l = 0
        lowest = stage._replace(scaling=scaling, integer=-(1 << 30))
        assert lowest.encodable and not lowest._replace(integer=lowest.integer - 1).encodable
        assert lowest._replace(shift=31, integer=-(1 << 31)).encodable
        assert not lowest._replace(shift=31, integer=1 << 31).encodable
    assert not Stage(1, 1 << 24, 30, "float32", 0, INT8).encodable
    assert not Stage(1, 3, 3, "float32", 0, INT8, divisor=5).encodable


def test_the_zero_point_inside_the_float_sum() -> None:
    """A sum of 2^24 + 1/2 has no room for its half."""
    outside = Stage(1, 1, 1, "float32", 1 << 24, IntFormat(bits=32))
    assert outside.code == 1 << 24 and outside.is_tie
    inside = outside._replace(scaling="float32_inside", multiplier=3)
    assert inside.code == (1 << 24) + 2 and not inside.is_tie
    assert outside._replace(multiplier=3).code == (1 << 24) + 2


def test_low_bits() -> None:
    assert [wrapped(v, 8) for v in (127, 128, -129, 256)] == [127, -128, 127, 0]
    assert [wrapped(v, 8, signed=False) for v in (255, 256, -1)] == [255, 0, 255]
