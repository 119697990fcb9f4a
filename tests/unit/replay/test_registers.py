"""Registers: what they hold of values that are too wide."""

import numpy as np
import pytest

from tests.replay.registers import INT32, Lost, Register, counting, unsigned
from tests.replay.widths import widths_of

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


def test_values_that_lose_bits_are_counted_whichever_way_they_are_held() -> None:
    lost = Lost()
    narrow: Register = counting(Register(8), lost)
    for value in (127, 128, -128, -129):
        narrow.hold(value)
    assert lost.events == 2
    keep = narrow.keeper()
    assert [keep(value) for value in (127, 300, -129)] == [127, 44, 127]
    assert lost.events == 4
    assert narrow.hold_all(np.array([5, 1000, -200])).tolist() == [5, -24, 56]
    assert lost.events == 6


def test_a_register_that_stops_loses_nothing() -> None:
    lost = Lost()
    full: Register = counting(Register(8, "saturate"), lost)
    assert (full.hold(300), full.keeper()(300), full.hold_all(np.array([300])).tolist()) == (127, 127, [127])
    assert lost.events == 0


def test_records_of_registers_count_together() -> None:
    lost = Lost()
    widths = counting(widths_of("ita"), lost)
    widths.accumulator.hold(2**25)
    widths.residual.converter.product.hold(2**31)
    widths.rows["itamax"].total.hold(2**19)
    assert lost.events == 3
    assert widths_of("ita").accumulator.lost is None
