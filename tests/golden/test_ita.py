"""Requantizer, GELU and softmax of ITA, against what its RTL computes."""

from types import ModuleType

import pytest

from tests.golden.conftest import Rows
from tests.golden.outcome import INT8, assert_equal, assert_refused
from tests.golden.tables import Table


def requantized(engine: ModuleType, table: Table, acc: list[int]) -> list[int]:
    return engine.requantize("half_up", acc, table.integers("mult", "shift"), table["add"], INT8).codes


def test_requantizer(engine: ModuleType, within: Rows, own: bool) -> None:
    """A multiplier of 0 among them, which the hardware encodes."""
    table = within("ita_requantizer")
    assert_equal(table, requantized(engine, table, table["x"]))
    assert not own or 0 in table["mult"]


def test_gelu(engine: ModuleType, within: Rows) -> None:
    table = within("ita_gelu_activation", acc_fits_26bits=1)
    acc = engine.ita_gelu(table["x"], table["b"], table["c"]).codes
    assert_equal(table, acc, "acc")
    assert_equal(table, requantized(engine, table, acc))


def test_gelu_refuses_more_than_26_bits(engine: ModuleType, beyond: Rows) -> None:
    table = beyond("ita_gelu_activation", acc_fits_26bits=0)
    rows = table.integers("x", "b", "c")
    assert_refused(table, lambda i: engine.ita_gelu(*([value] for value in rows[i])))


SOFTMAXES = [("ita_softmax_b0", 0), ("ita_softmax_b5", 5)]


def softmaxes(engine: ModuleType, table: Table, shift: int) -> list[list[int]]:
    return [engine.itamax(x, shift, 16, 8).codes for x in table.rows_of("x")]


@pytest.mark.parametrize(("name", "shift"), SOFTMAXES)
def test_softmax(engine: ModuleType, within: Rows, name: str, shift: int) -> None:
    table = within(name, defined=1)
    assert_equal(table, softmaxes(engine, table, shift), row_codes=True)


@pytest.mark.parametrize(("name", "shift"), SOFTMAXES)
def test_softmax_of_rows_whose_sum_needs_more_than_19_bits(
    engine: ModuleType, beyond: Rows, own: bool, name: str, shift: int
) -> None:
    """From 2048 equal keys on, 256 each, the hardware's sum wraps; that of hwsim does not."""
    table = beyond(name, defined=0)
    assert all(len(x) * 256 >= 2**19 for x in table.rows_of("x"))
    equal = table.taken([len(set(x)) == 1 for x in table.rows_of("x")])
    made = softmaxes(engine, equal, shift)
    exact = [[255 * 256 // (256 * len(x))] * len(x) for x in equal.rows_of("x")]
    assert made == exact
    assert not own or len(equal) == 2
    assert not own or all(wrapped != code for wrapped, code in zip(equal.rows_of("out"), exact, strict=True))
