"""Tables of two estimates side by side: every printed line and cell, of figures that were chosen by hand."""

from typing import Any

import msgspec
import pytest
from rich.text import Text

from analysis.estimates.compare import LONGEST_LABEL, Pair, alike, asked, comparison_tables
from analysis.estimates.request import Request
from analysis.inspect.provenance import Provenance
from hwsim.accelerator.cost.estimate import Estimate
from hwsim.accelerator.hardware import Boundary
from hwsim.accelerator.options import Objective, Options
from tests.unit.analysis.estimates.estimates_by_hand import (
    COLUMNS,
    DECODE,
    FIRST,
    LAST,
    PJ,
    PREFILL,
    SECOND,
    SOFTMAX,
    TOTAL,
    cells,
    estimated,
    heads,
    layer,
    phase,
)


def other(**changes: Any) -> Estimate:
    """Twice the clock; prefill takes 100 cycles and 51 pJ less; the softmax is slower; decoding moves nothing."""
    first = msgspec.structs.replace(
        FIRST,
        cycles=FIRST.cycles._replace(compute=0),
        cost=msgspec.structs.replace(FIRST.cost, energy_aj=449 * PJ, dram_bytes=450),
    )
    softmax = msgspec.structs.replace(SOFTMAX, cycles=SOFTMAX.cycles._replace(vector=4936))
    last = msgspec.structs.replace(LAST, cost=msgspec.structs.replace(LAST.cost, energy_aj=300_000 * PJ, dram_bytes=0))
    less = msgspec.structs.replace(PREFILL.cost, energy_aj=1989 * PJ, sram_bytes=1024, dram_bytes=1550)
    prefill = msgspec.structs.replace(PREFILL, cycles=PREFILL.cycles._replace(compute=600, vector=4943), cost=less)
    decode = msgspec.structs.replace(DECODE, cost=last.cost)
    layers = (first, SECOND, softmax, last)
    total = phase("total", 3, layers, DECODE.cycles, msgspec.structs.replace(TOTAL.cost, energy_aj=301_989 * PJ))
    return estimated(prefill, decode, total=total, clock_hz=1_000_000_000, **changes)


def parts(a: Estimate, b: Estimate, *, sort: str = "energy", most: int | None = None, **others: Any) -> list[Any]:
    found = comparison_tables(("folder/one", "other"), a, b, sort, most, **others)
    return [str(part) if isinstance(part, Text) else part for part in found]


def test_every_line() -> None:
    """What both have in common is said once."""
    *lines, totals, layers, missing, outside = parts(estimated(), other(name="fast"))
    energy = "energy: boundary system, table horowitz-45, 0.8 V; LPDDR4 1950 pJ per 64 bits, band 1300 to 2600"
    array = "16x16 systolic ws, pipelined; 256 KiB scratchpad; LPDDR4 at 4.00 GB/s"
    assert lines == [
        "mine: scheme w4a8, batch 2, source 3, target 5, 2 inputs",
        f"on edge-256: {array}; 500 MHz",
        f"on fast: {array}; 1.00 GHz",
        "tiles for least DRAM traffic",
        energy,
    ]
    assert totals.title == "Totals"
    assert layers.title == "4 layers, those first that differ most in energy"
    assert str(layers.caption) == "each figure: one, other, their ratio"
    assert missing.startswith("Not modelled (no constant in horowitz-45, part of no sum): clamp, ")
    assert outside == "Outside the boundary: sram 25.0 pJ, dram 1.25 uJ"


def test_lines_of_both_where_they_differ() -> None:
    named = msgspec.structs.replace(other().workload, scheme="int8")
    b = msgspec.structs.replace(other(boundary=Boundary.CHIP), workload=named)
    lines = parts(estimated(options=Options(objective=Objective.LATENCY)), b, origin=Provenance("ita", {}, None))
    assert lines[:7] == [
        "mine: scheme w4a8, batch 2, source 3, target 5, 2 inputs",
        "on edge-256: 16x16 systolic ws, pipelined; 256 KiB scratchpad; LPDDR4 at 4.00 GB/s; 500 MHz",
        "mine: scheme int8, batch 2, source 3, target 5, 2 inputs",
        "on edge-256: 16x16 systolic ws, pipelined; 256 KiB scratchpad; LPDDR4 at 4.00 GB/s; 1.00 GHz",
        "tiles for least latency",
        "energy: boundary system, table horowitz-45, 0.8 V; LPDDR4 1950 pJ per 64 bits, band 1300 to 2600",
        "energy: boundary chip, table horowitz-45, 0.8 V",
    ]
    assert lines[7] == "target ita: every operator native; widths not said"


def test_totals() -> None:
    table = parts(estimated(), other())[-4]
    assert heads(table) == ["phase", "figure", "one", "other", "other / one"]
    assert cells(table)[:10] == [
        ["prefill", "cycles", "2.03 k", "5.64 k", "2.77"],  # 2034, 5636
        ["", "time", "4.07 us", "5.64 us", "1.39"],  # 5.636 / 4.068
        ["", "DRAM", "2.00 kB", "1.55 kB", "0.78"],
        ["", "SRAM", "2.05 kB", "1.02 kB", "0.50"],
        ["", "energy", "2.04 nJ", "1.99 nJ", "0.97"],  # 1989 / 2040 = 0.975
        ["decode", "cycles", "5.00 M", "5.00 M", "1.00"],
        ["", "time", "10.0 ms", "5.00 ms", "0.50"],
        ["", "DRAM", "3.20 MB", "0 B", "0"],
        ["", "SRAM", "0 B", "0 B", "-"],
        ["", "energy", "7.50 mJ", "300 nJ", "4e-05"],
    ]
    assert [row[0] for row in cells(table)[10:]] == ["total", "", "", "", ""]
    assert cells(table)[14] == ["", "energy", "7.50 mJ", "302 nJ", "4e-05"]


ROWS = {
    "first": ["prefill", COLUMNS[0], "200", "100", "0.50", "900 B", "450 B", "0.50", "500 pJ", "449 pJ", "0.90"],
    "second": ["prefill", COLUMNS[1], "600", "600", "1.00", *("1.10 kB",) * 2, "1.00", *("1.50 nJ",) * 2, "1.00"],
    "softmax": [
        "prefill", "decoder.0.self_attention.softmax", "1.23 k", "4.94 k", "4.00", "0 B", "0 B", "-", "40.0 pJ",
        "40.0 pJ", "1.00",
    ],
    "last": [
        "decode", "generator@0", "5.00 M", "5.00 M", "1.00", "3.20 MB", "0 B", "0", "7.50 mJ", "300 nJ", "4e-05"
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("sort", "order", "names"),
    [
        ("energy", "those first that differ most in energy", "last first second softmax"),
        ("cycles", "those first that differ most in cycles", "softmax first second last"),
        ("dram", "those first that differ most in dram", "last first second softmax"),
        ("macs", "those first that differ most in macs", "first second softmax last"),
        ("utilization", "those first that differ most in utilization", "first second softmax last"),
        ("order", "in the order in which they run", "first second softmax last"),
    ],
)
def test_layers_by_every_column(sort: str, order: str, names: str) -> None:
    table = parts(estimated(), other(), sort=sort)[-3]
    assert table.title == f"4 layers, {order}"
    assert heads(table) == ["phase", "layer", "cycles", "", "", "DRAM", "", "", "energy", "", ""]
    assert cells(table) == [ROWS[name] for name in names.split()]


@pytest.mark.parametrize(("most", "shown"), [(1, "1 of 3 rows"), (2, "2 of 3 rows"), (3, "3 rows")])
def test_only_so_many_rows(most: int, shown: str) -> None:
    table = parts(estimated(), other(), most=most)[-3]
    line = "those first that differ most in energy; * is every block or step, --all lists each"
    assert table.title == f"4 layers in {shown}, {line}"
    both = [
        "prefill", "decoder.*.self_attention.query", "800", "700", "0.88", "2.00 kB", "1.55 kB", "0.78", "2.00 nJ",
        "1.95 nJ", "0.97",
    ]  # fmt: skip
    assert cells(table) == [ROWS["last"], both, ROWS["softmax"]][:most]


def test_one_phase_has_no_column_of_its_own() -> None:
    one = estimated(PREFILL, total=PREFILL)
    totals, layers = (part for part in parts(one, one) if not isinstance(part, str))
    assert [row[0] for row in cells(totals)] == ["prefill", "", "", "", ""]
    assert heads(layers)[0] == "layer"
    assert [row[0] for row in cells(layers)] == [COLUMNS[0], COLUMNS[1], "decoder.0.self_attention.softmax"]


@pytest.mark.parametrize(
    ("a", "b", "shown"),
    [
        (100, 50, "0.50"),
        (1000, 95, "0.10"),  # 0.095: the least with two decimals
        (1000, 94, "0.094"),
        (1000, 5, "0.005"),
        (3, 1000, "333.33"),
        (0, 5, "-"),
        (5, 0, "0"),
    ],
)
def test_ratios(a: int, b: int, shown: str) -> None:
    """Of the second to the first: DRAM bytes of a layer."""
    made = [layer("p", "x", SOFTMAX.cycles, msgspec.structs.replace(LAST.cost, dram_bytes=count)) for count in (a, b)]
    one, two = (estimated(total=msgspec.structs.replace(PREFILL, layers=(its,))) for its in made)
    assert cells(parts(one, two)[-1])[0][6] == shown
    assert Pair(a, b).ratio == (b / a if a else None)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("int8", "int8"),
        ("some/where/own.toml", "own.toml"),
        ("a" * LONGEST_LABEL, "a" * 24),
        ("a/" + "b" * 25, "b" * 21 + "..."),
    ],
)
def test_labels(name: str, label: str) -> None:
    table = comparison_tables((name, "x"), estimated(), estimated(), "energy", None)[-4]
    assert heads(table)[2:] == [label, "x", f"x / {label}"]  # type: ignore[arg-type]


# --- what is compared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "field", "boundaries"),
    [
        (("int8", "w4a8"), "config", "system"),
        (("edge-256", "ita"), "accelerator", "system"),
        (("edge-256", "keller-5nm"), "accelerator", "chip"),
        (("keller-5nm", "edge-256"), "accelerator", "chip"),
    ],
)
def test_sides(names: tuple[str, str], field: str, boundaries: str) -> None:
    sides = alike(asked(Request(workload="tiny11", batch=3), names))
    assert [getattr(side, field) for side in sides] == list(names)
    assert [side.batch for side in sides] == [3, 3]
    assert [side.boundary for side in sides] == [boundaries] * 2
