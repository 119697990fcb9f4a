"""Registers: what they hold of values that are too wide."""

import numpy as np
import pytest

from tests.replay.registers import INT32, Register, unsigned

HELD = [
    (Register(8), 127, 127),
    (Register(8), 128, -128),
    (Register(8), -129, 127),
    (Register(8), 1000, -24),
    (Register(8, "saturate"), 128, 127),
    (Register(8, "saturate"), -129, -128),
    (Register(8, "saturate"), -5, -5),
    (unsigned(19), 524288, 0),
    (unsigned(19), 524287, 524287),
    (unsigned(19), -1, 524287),
    (INT32, 2**31, -(2**31)),
    (INT32, 58752 * 36283, 2131698816),
    (INT32, 59200 * 36283, -2147013696),
    (Register(34, "saturate"), 2**40, 2**33 - 1),
    (Register(34, "saturate"), -(2**40), -(2**33)),
]


@pytest.mark.parametrize(("register", "value", "held"), HELD)
def test_what_a_register_holds(register: Register, value: int, held: int) -> None:
    assert register.hold(value) == held
    assert register.keeper()(value) == held
    assert register.hold_all(np.array([value])).tolist() == [held]


def test_a_register_of_63_bits_leaves_an_int64_alone() -> None:
    values = [-(2**62), 2**62 - 1]
    assert Register(63).hold_all(np.array(values)).tolist() == values
