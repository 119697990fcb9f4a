"""Fully connected layers and sums of CMSIS-NN with 16-bit activations, against what its C code computes."""

from types import ModuleType

import pytest

from tests.golden.conftest import Rows
from tests.golden.outcome import INT16, Outcome, Ratios, assert_equal, clamp, low_bits
from tests.golden.tables import Table

ACCUMULATOR_BITS = 48


def reduced(table: Table) -> Ratios:
    """The 16-bit multiplier that the code makes of a Q31 one, and its shift to the right."""
    multipliers = [0x7FFF if mult >= 0x7FFF0000 else (mult + 2**15) >> 16 for mult in table["mult"]]
    return [(m, 15 - shift) for m, shift in zip(multipliers, table["shift"], strict=True)]


def requantized(engine: ModuleType, table: Table, acc: list[int]) -> Outcome:
    return engine.requantize("half_up", acc, reduced(table), [0] * len(table), INT16)


def test_reduced_multipliers(golden) -> None:
    table = golden("cmsis_fc_s16")
    assert [m for m, _ in reduced(table)] == table["reduced_mult"]


def test_requantization(engine: ModuleType, within: Rows) -> None:
    """Also with shifts beyond 7, which the code does not document but takes."""
    table = within("cmsis_fc_s16", fits_int32=1)
    assert_equal(table, requantized(engine, table, table["acc"]).codes)


def test_requantization_clamps_where_the_code_wraps(engine: ModuleType, beyond: Rows, own: bool) -> None:
    """A value beyond int32 before the last shift: hwsim gives the nearest code, the C code that of its low 32 bits."""
    table = beyond("cmsis_fc_s16", fits_int32=0)
    made = requantized(engine, table, table["acc"])
    assert made.codes == [2**15 - 1 if acc > 0 else -(2**15) for acc in table["acc"]]
    assert made.saturations == len(table)
    before = [(acc * m >> (e - 1)) + 1 for acc, (m, e) in zip(table["acc"], reduced(table), strict=True)]
    assert [clamp(low_bits(value, 32) >> 1, INT16) for value in before] == table["out"]
    assert not own or table["out"] != made.codes


def products(engine: ModuleType, table: Table) -> list[int]:
    operands = zip(table.rows_of("x"), table.rows_of("w"), table["bias"], strict=True)
    return [engine.product(x, w, bias, ACCUMULATOR_BITS) for x, w, bias in operands]


@pytest.mark.parametrize("column", ["out", "out_dsp", "out_mve"])
def test_products(engine: ModuleType, within: Rows, column: str) -> None:
    """The portable code, the one for DSP instructions and the one for vectors give the same."""
    table = within("cmsis_fc_s16_rows", first512_fit_int32=1)
    assert_equal(table, requantized(engine, table, products(engine, table)).codes, column)


def test_products_whose_first_512_leave_int32(engine: ModuleType, beyond: Rows, own: bool) -> None:
    """There the DSP and the vector code wrap; hwsim has the sum that the portable code has."""
    table = beyond("cmsis_fc_s16_rows", first512_fit_int32=0)
    codes = requantized(engine, table, products(engine, table)).codes
    assert_equal(table, codes)
    assert all(len(x) >= 512 for x in table.rows_of("x"))
    assert not own or (codes != table["out_dsp"] and codes != table["out_mve"])


@pytest.mark.parametrize(("kind", "column"), [("q31_double", "out"), ("half_up", "out_single_rounding")])
def test_sum(engine: ModuleType, within: Rows, kind: str, column: str) -> None:
    table = within("cmsis_add_s16", left_shift=15)
    columns = [("mult1", "shift1"), ("mult2", "shift2"), ("out_mult", "out_shift")]
    by = [[(m, 31 - shift) for m, shift in table.integers(*pair)] for pair in columns]
    assert_equal(table, engine.rescaled_add(kind, table["a"], table["b"], by, 15, None, INT16).codes, column)


def test_the_two_roundings_of_a_sum_differ_somewhere(own: bool, golden) -> None:
    table = golden("cmsis_add_s16")
    assert len(table) and (not own or table["out"] != table["out_single_rounding"])
