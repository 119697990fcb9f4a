"""Limits of targets in words: their own with where they were read, and what stands where a target has none."""

from typing import Any

import pytest

from analysis.inspect.target_limits import Limit, activations, limits, records
from analysis.inspect.target_tables import details
from hwsim.program.targets import TARGETS
from tests.unit.analysis.estimates.estimates_by_hand import cells, heads

INT32 = "-2,147,483,648 to 2,147,483,647"
VALUES = {
    "fullyqt": {
        "accumulator": "32 bits, proven",
        "bias": "none known",
        "bias is": "added to the accumulator",
        "product": "64 bits",
        "multiplier": "1 to 65,535",
        "multipliers": "one a channel",
        "shift": "0 to 62",
        "shifts": "one a channel",
        "added": "zero point, after the rounding",
        "residual operands": "do not saturate",
        "softmax row": "none known",
        "masks": "native",
        "gamma": "-128 to 127",
    },
    "ita": {
        "accumulator": "26 bits, proven",
        "bias": "24 bits",
        "bias is": "added to the accumulator",
        "product": "64 bits",
        "multiplier": "0 to 255",
        "multipliers": "one a layer",
        "shift": "0 to 34",
        "shifts": "one a layer",
        "added": "int8, after the shift",
        "residual operands": "saturate to 8 bits",
        "B": "5, scores of scale ln(2)/2^5",
        "softmax row": "to 2,047 keys",
        "masks": "none",
        "gamma": INT32,
    },
    "ita-head": {"B": "0, scores of scale ln(2)/2^0", "multiplier": "0 to 255"},
    "pulp": {
        "bias": "32 bits",
        "bias is": "multiplied into add, before the shift",
        "product": "32 bits",
        "multiplier": INT32,
        "shift": "0 to 31",
        "shifts": "one a layer",
        "added": "any int32, before the shift",
        "residual operands": "saturate to 8 bits",
        "gamma": INT32,
    },
    "deeploy": {"B": "5, scores of scale ln(2)/2^5", "product": "32 bits", "softmax row": "none known"},
    "gemmini": {
        "product": "binary32",
        "multiplier": "1 to 16,777,215",
        "multipliers": "one a layer",
        "shifts": "one a layer",
        "added": "none",
        "residual operands": "saturate to 8 bits",
        "gamma": "-128 to 127",
    },
    "ibert": {"multiplier": "1 to 2,147,483,647", "added": "nothing", "gamma": "a sign", "masks": "none known"},
    "tosa": {"multiplier": "0 to 2,147,483,647", "shift": "2 to 62", "added": "zero point, after the rounding"},
    "onnxruntime": {"product": "binary32", "multipliers": "one a channel", "residual operands": "do not saturate"},
    "tflm, int8": {
        "accumulator": "32 bits, proven",
        "bias": "32 bits",
        "multiplier": "1,073,741,824 to 2,147,483,647",
        "shift": "0 to 62",
        "softmax row": "to 511 keys",
        "gamma": "-32,768 to 32,767",
    },
    "tflm, int16": {
        "accumulator": "48 bits, proven",
        "bias": "64 bits",
        "multiplier": "16,384 to 32,767",
        "shift": "8 to 46",
        "added": "nothing",
        "softmax row": "none known",
    },
    "nvdla, int8": {
        "accumulator": "34 bits, proven",
        "bias": "16 bits, shifted left",
        "bias is": "after CACC, int16 with one left shift a layer",
        "multiplier": "-32,768 to 32,767",
        "multipliers": "one a channel",
        "shift": "0 to 63",
        "shifts": "one a layer",
        "added": "an offset before the multiplication",
    },
    "nvdla, int16": {"accumulator": "48 bits, proven"},
}
RECORDS = {name: record for one in TARGETS.values() for name, record in records(one)}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    found = {limit.name: limit.value for limit in limits(RECORDS[name])}
    assert {limit: found.get(limit) for limit in VALUES[name]} == VALUES[name]


def test_the_order_and_that_only_an_itamax_has_a_b() -> None:
    assert [limit.name for limit in limits(RECORDS["ita"])] == list(VALUES["ita"])
    assert [limit.name for limit in limits(RECORDS["fullyqt"])] == list(VALUES["fullyqt"])
    with_b = {name for name, one in RECORDS.items() if "B" in {limit.name for limit in limits(one)}}
    assert with_b == {"ita", "ita-head", "deeploy"}


@pytest.mark.parametrize("name", RECORDS)
def test_every_limit_of_a_record_says_where_it_was_read(name: str) -> None:
    own = dict(RECORDS[name].limits)
    shown = {limit.where: limit.source for limit in limits(RECORDS[name]) if limit.where}
    assert shown == {limit.where: str(limit.source) for limit in own.values()}


def test_a_limit_that_is_not_the_record_s_has_no_source() -> None:
    found = {limit.name: limit for limit in limits(RECORDS["deeploy"])}
    assert found["product"] == Limit(
        "product", "32 bits", "RequantShift: acc * mul + add is an int32", "Deeploy bf64cfa, compiled"
    )
    assert found["softmax row"] == Limit("softmax row", "none known", "", "")


def test_records_and_widths_of_activations() -> None:
    assert [name for name in RECORDS if ", " in name] == [
        *("tflm, int8", "tflm, int16", "cmsis-nn, int8", "cmsis-nn, int16", "nvdla, int8", "nvdla, int16")
    ]
    assert {name.partition(", ")[0] for name in RECORDS} == set(TARGETS)
    assert activations(RECORDS["tosa"]) == [8, 16]
    assert (activations(RECORDS["tflm, int8"]), activations(RECORDS["tflm, int16"])) == ([8], [16])
    assert (activations(RECORDS["nvdla, int8"]), activations(RECORDS["nvdla, int16"])) == ([8], [16])


def test_the_table_of_limits() -> None:
    table: Any = details("ita")[2]
    assert table.title == "Limits: with a source the target's own, without one hwsim's"
    assert heads(table) == ["limit", "value", "read in"]
    shown = {row[0]: row[1:] for row in cells(table)}
    assert shown["softmax row"] == ["to 2,047 keys", "ita_softmax.sv: a sum of 19 bits; ITA 40564cf, compiled"]
    assert shown["accumulator"] == ["26 bits, proven", ""]
