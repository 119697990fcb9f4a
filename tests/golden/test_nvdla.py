"""Accumulator, multipliers and converters of NVDLA, against what its RTL and its C model compute."""

from types import ModuleType

import pytest

from tests.golden.conftest import Rows
from tests.golden.outcome import INT8, INT16, INT32, Outcome, assert_equal, clamp
from tests.golden.tables import Table


def zeros(table: Table) -> list[int]:
    return [0] * len(table)


# SDP


def test_multiplier_of_the_x_stage(engine: ModuleType, within: Rows) -> None:
    """Multipliers of either sign by channel, one shift for the layer; then the output converter does nothing."""
    table = within("nvdla_sdp_x_mul")
    acc = engine.nvdla_convert(table["x"], zeros(table), table["mul"], table["shift"], INT32).codes
    assert_equal(table, acc, "x_out")
    for bits, column in ((INT8, "out_int8"), (INT16, "out_int16")):
        made = engine.nvdla_convert(acc, zeros(table), [1] * len(table), zeros(table), bits)
        assert_equal(table, made.codes, column)


def test_layers_of_the_x_stage_have_one_shift_and_many_multipliers(within: Rows) -> None:
    rows = set(within("nvdla_sdp_x_mul").integers("layer", "shift"))
    assert len(rows) == len({layer for layer, _ in rows})


def test_converter_of_the_y_operand(engine: ModuleType, within: Rows) -> None:
    table = within("nvdla_sdp_y_cvt")
    by = (table[name] for name in ("x", "offset", "scale", "truncate"))
    assert_equal(table, engine.nvdla_convert(*by, INT32).codes)


@pytest.mark.parametrize(("precision", "bits"), [(0, INT8), (1, INT16)])
def test_output_converter(engine: ModuleType, within: Rows, own: bool, precision: int, bits: int) -> None:
    """Its status bit is the saturation to 17 bits alone, not that to the code."""
    table = within("nvdla_sdp_c", precision=precision)
    by = [table[name] for name in ("x", "offset", "scale", "truncate")]
    assert_equal(table, engine.nvdla_convert(*by, bits).codes)
    wide = engine.nvdla_convert(*by, 17)
    assert_equal(table, [clamp(code, bits) for code in wide.codes])
    assert wide.saturations == sum(table["out_saturated"])
    assert not own or 0 < wide.saturations < engine.nvdla_convert(*by, bits).saturations


# CACC

CACCS = [("nvdla_cacc_int8", 34), ("nvdla_cacc_int16", 48)]


def kept(engine: ModuleType, table: Table, bits: int) -> Outcome:
    return engine.accumulate(table["in_op"], table["in_data"], bits)


@pytest.mark.parametrize(("name", "bits"), CACCS)
def test_sums(engine: ModuleType, within: Rows, own: bool, name: str, bits: int) -> None:
    """A partial sum is saturated once, after the products of a step; the tables have sums beyond both ends."""
    table = within(name)
    made = kept(engine, table, bits)
    assert_equal(table, made.codes, "out_partial")
    sums = [a + b for a, b in table.integers("in_data", "in_op")]
    assert made.overflows == sum(clamp(total, bits) != total for total in sums)
    assert not own or made.overflows > 50


@pytest.mark.parametrize(("name", "bits"), CACCS)
def test_truncation(engine: ModuleType, within: Rows, own: bool, name: str, bits: int) -> None:
    """The status bit is also set where a sum lies below the least int32 by less than a half and so rounds to it."""
    table = within(name, truncate_le_16=1)
    made = engine.shift_right(kept(engine, table, bits).codes, table["truncate"], INT32)
    assert_equal(table, made.codes, "out_final")
    least = [(-(2**31) << shift, 2**shift) for shift in table["truncate"]]
    rounded_to_it = sum(low - one / 2 < x < low for x, (low, one) in zip(table["out_partial"], least, strict=True))
    assert made.saturations + rounded_to_it == sum(table["out_final_saturated"])
    assert not own or made.saturations > 100


@pytest.mark.parametrize(("name", "bits"), CACCS)
def test_truncation_by_more_than_16(engine: ModuleType, beyond: Rows, name: str, bits: int) -> None:
    """The hardware keeps 16 bits below the point: what lies less than that beyond a negative tie rounds as a tie."""
    table = beyond(name, truncate_le_16=0)
    sums = kept(engine, table, bits).codes
    made = engine.shift_right(sums, table["truncate"], INT32).codes
    wrong = [i for i, (code, final) in enumerate(zip(made, table["out_final"], strict=True)) if code != final]
    assert all(sums[i] < 0 and made[i] == table["out_final"][i] + 1 for i in wrong)
    assert all(-sums[i] % 2 ** table["truncate"][i] < 2 ** (table["truncate"][i] - 1) for i in wrong)


@pytest.mark.parametrize(("name", "bits"), CACCS)
def test_truncation_by_more_than_16_differs_in_some_row(
    engine: ModuleType, own: bool, beyond: Rows, name: str, bits: int
) -> None:
    table = beyond(name, truncate_le_16=0)
    made = engine.shift_right(kept(engine, table, bits).codes, table["truncate"], INT32).codes
    assert not own or made != table["out_final"]


# CACC, then SDP


def chained(engine: ModuleType, table: Table) -> tuple[Outcome, list[int]]:
    inner = engine.shift_right(table["acc"], table["truncate"], INT32)
    return inner, engine.nvdla_convert(inner.codes, zeros(table), table["scale"], table["sdp_truncate"], INT8).codes


@pytest.mark.parametrize("in_int32", [1, 0])
def test_accumulator_to_code(engine: ModuleType, within: Rows, own: bool, in_int32: int) -> None:
    """Beyond int32 the saturation between the two matters, without a truncation always."""
    table = within("nvdla_cacc_sdp_int8", acc_in_int32=in_int32)
    inner, codes = chained(engine, table)
    assert_equal(table, inner.codes, "out_cacc")
    assert_equal(table, codes)
    always = sum(truncate == 0 for truncate in table["truncate"])
    assert inner.saturations == 0 if in_int32 else inner.saturations >= always
    assert not own or always > 100
