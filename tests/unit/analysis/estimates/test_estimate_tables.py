"""Tables of an estimate: every printed line and cell of an estimate whose figures were chosen by hand."""

from typing import Any

import msgspec
import pytest
from rich.table import Table
from rich.text import Text

from analysis.estimates import tables
from analysis.estimates.tables import layer_table
from analysis.inspect.provenance import Provenance
from hwsim.accelerator.hardware import Boundary, Dataflow, FoldMode
from hwsim.accelerator.layers import Part
from hwsim.accelerator.options import Attention, Objective, Options, Sparsity, Tiles
from tests.unit.analysis.estimates.estimates_by_hand import (
    COLUMNS,
    PREFILL,
    TOTAL,
    cells,
    estimated,
    heads,
    machine,
    workload,
)


def shown(*arguments: Any, **others: Any) -> list[Any]:
    """Lines as text, tables as they are."""
    return [str(part) if isinstance(part, Text) else part for part in tables.tables(*arguments, **others)]


def test_every_part_is_there_in_its_order() -> None:
    *lines, totals, causes, layers, missing, outside = shown(estimated())
    assert lines == [
        "mine: scheme w4a8, batch 2, source 3, target 5, 2 inputs",
        "on edge-256: 16x16 systolic ws, pipelined; 256 KiB scratchpad; LPDDR4 at 4.00 GB/s; 500 MHz",
        "tiles for least DRAM traffic",
        "energy: boundary system, table horowitz-45, 0.8 V; LPDDR4 1950 pJ per 64 bits, band 1300 to 2600",
    ]
    assert [table.title for table in (totals, causes)] == ["Totals", "Cycles by cause"]
    assert layers.title == "4 layers in 3 rows, dearest first; * is every block or step, --all lists each"
    assert missing == (
        "Not modelled (no constant in horowitz-45, part of no sum): clamp, dram_transfer write, register read,"
        " sram_leakage, table_read"
    )
    assert outside == "Outside the boundary: sram 25.0 pJ, dram 1.25 uJ"


def test_totals() -> None:
    table = shown(estimated())[4]
    assert heads(table) == [
        "phase", "cycles", "time", "MACs", "util.", "DRAM", "energy", "low to high DRAM", "per input", "per token"
    ]  # fmt: skip
    band = "1.90 nJ to 2.30 nJ"
    assert cells(table) == [
        # 2034 cycles at 500 MHz; (51200 + 81920) / 512 = 260 of them are needed; two inputs, four tokens
        ["prefill", "2,034", "4.07 us", "260 k", "12.8%", "2.00 kB", "2.04 nJ", band, "1.02 nJ", "510 pJ"],
        ["decode", "5,000,000", "10.0 ms", "160", "0.0%", "3.20 MB", "7.50 mJ", "-", "3.75 mJ", "2.50 mJ"],
        ["total", "5,002,034", "10.0 ms", "260 k", "0.0%", "3.20 MB", "7.50 mJ", "7.40 mJ to 7.70 mJ", "3.75 mJ",
         "2.50 mJ"],
    ]  # fmt: skip
    assert str(table.caption) == "tokens: prefill 4, decode 3; the total is per token of the last phase"


def test_one_phase_has_no_total() -> None:
    totals, causes = (part for part in shown(estimated(PREFILL, total=PREFILL))[4:6])
    assert [row[0] for row in cells(totals)] == ["prefill"]
    assert [row[0] for row in cells(causes)] == ["prefill"]
    assert str(totals.caption) == "tokens: prefill 4"


def test_causes() -> None:
    table = shown(estimated())[5]
    assert heads(table) == ["phase", "compute", "fill, drain", "SRAM ports", "DMA in", "DMA out", "vector unit"]
    assert cells(table) == [
        ["prefill", "700 (34%)", "20 (1%)", "3 (0%)", "40 (2%)", "30 (1%)", "1,241 (61%)"],
        ["decode", "0 (0%)", "0 (0%)", "0 (0%)", "5,000,000 (100%)", "0 (0%)", "0 (0%)"],
        ["total", "700 (0%)", "20 (0%)", "3 (0%)", "5,000,040 (100%)", "30 (0%)", "1,241 (0%)"],
    ]


GENERATOR = ["decode", "generator@0", "1x8x20", "5,000,000", "0.0%", "dma", "3.20 MB", "7.50 mJ"]
SOFTMAX = ["prefill", "decoder.0.self_attention.softmax", "softmax x2", "1,234", "-", "vector", "0 B", "40.0 pJ"]
FIRST = ["prefill", COLUMNS[0], "4x8x6 x2", "200", "50.0%", "compute", "900 B", "500 pJ"]
SECOND = ["prefill", COLUMNS[1], "4x8x6 x6", "600", "26.7%", "compute", "1.10 kB", "1.50 nJ"]  # 81920 / (512 * 600)
# 4 runs of a count of 2; 133120 / (512 * 800)
BOTH = ["prefill", "decoder.*.self_attention.query", "4x8x6 x8", "800", "32.5%", "compute", "2.00 kB", "2.00 nJ"]


def test_layers() -> None:
    table = layer_table(estimated(), "energy", 20)
    assert heads(table) == ["phase", "layer", "shape", "cycles", "util.", "bound", "DRAM", "energy"]
    assert cells(table) == [GENERATOR, BOTH, SOFTMAX]
    alone = layer_table(estimated(PREFILL, total=PREFILL), "energy", 20)
    assert heads(alone) == ["layer", "shape", "cycles", "util.", "bound", "DRAM", "energy"]
    assert cells(alone) == [BOTH[1:], SOFTMAX[1:]]


@pytest.mark.parametrize(
    ("sort", "order", "rows"),
    [
        ("energy", "dearest first", [GENERATOR, SECOND, FIRST, SOFTMAX]),
        ("cycles", "slowest first", [GENERATOR, SOFTMAX, SECOND, FIRST]),
        ("dram", "most DRAM traffic first", [GENERATOR, SECOND, FIRST, SOFTMAX]),
        ("macs", "most MACs first", [SECOND, FIRST, GENERATOR, SOFTMAX]),
        ("utilization", "least utilized first", [GENERATOR, SECOND, FIRST, SOFTMAX]),
        ("order", "in the order in which they run", [FIRST, SECOND, SOFTMAX, GENERATOR]),
    ],
)
def test_layers_are_sorted_by_every_column(sort: str, order: str, rows: list[list[str]]) -> None:
    table = layer_table(estimated(), sort, None)
    assert table.title == f"4 layers, {order}"
    assert cells(table) == rows


@pytest.mark.parametrize(
    ("most", "title", "rows"),
    [
        (1, "4 layers in 1 of 3 rows, dearest first; * is every block or step, --all lists each", [GENERATOR]),
        (2, "4 layers in 2 of 3 rows, dearest first; * is every block or step, --all lists each", [GENERATOR, BOTH]),
        (None, "4 layers, dearest first", [GENERATOR, SECOND, FIRST, SOFTMAX]),
    ],
)
def test_only_so_many_layers(most: int | None, title: str, rows: list[list[str]]) -> None:
    table = layer_table(estimated(), "energy", most)
    assert (table.title, cells(table)) == (title, rows)


@pytest.mark.parametrize(
    ("counts", "title"),
    [
        ((5, 5, 5), "5 layers, slowest first"),
        ((4, 5, 5), "4 of 5 layers, slowest first"),
        ((3, 3, 5), "5 layers in 3 rows, slowest first; * is every block or step, --all lists each"),
        ((2, 3, 5), "5 layers in 2 of 3 rows, slowest first; * is every block or step, --all lists each"),
    ],
)
def test_titles_of_layers(counts: tuple[int, int, int], title: str) -> None:
    assert tables.count_line(*counts, "slowest first") == title


# --- lines ------------------------------------------------------------------------------------------------------------


def test_the_workload() -> None:
    """Lengths that there are, and inputs if they are several."""
    plain = msgspec.structs.replace(workload(), sentences=1, target="")
    assert tables.workload_line(plain) == "mine: scheme w4a8, batch 2, source 3"
    assert tables.workload_line(msgspec.structs.replace(plain, source="")) == "mine: scheme w4a8, batch 2"
    two = msgspec.structs.replace(plain, source="", target="7 at context 3", sentences=2)
    assert tables.workload_line(two) == "mine: scheme w4a8, batch 2, target 7 at context 3, 2 inputs"


def test_the_machine() -> None:
    own = machine(name="own", clock_hz=1_250_000_000)
    array = msgspec.structs.replace(own.array, rows=8, cols=32, dataflow=Dataflow.OS, fold_mode=FoldMode.SERIAL)
    assert tables.machine_line(msgspec.structs.replace(own, array=array)) == (
        "on own: 8x32 systolic os, serial; no scratchpad, no stalls; 1.25 GHz"
    )
    sram = msgspec.structs.replace(own.sram, capacity_bytes=1536)
    dram = msgspec.structs.replace(own.dram, type="DDR4", bandwidth_bytes_per_second=900_000_000)
    changed = estimated(sram=sram, dram=dram, clock_hz=1_250_000_000)
    assert tables.header(changed)[1] == (
        "on edge-256: 16x16 systolic ws, pipelined; 1.5 KiB scratchpad; DDR4 at 900 MB/s; 1.25 GHz"
    )
    large = msgspec.structs.replace(own.sram, capacity_bytes=2048 << 10)
    assert "; 2,048 KiB scratchpad; " in tables.header(estimated(sram=large))[1]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (Options(), "tiles for least DRAM traffic"),
        (Options(objective=Objective.LATENCY), "tiles for least latency"),
        (Options(objective=Objective.ENERGY), "tiles for least energy"),
        (Options(tiles=Tiles.DIVISORS), "tiles for least DRAM traffic; published-table mode (divisors)"),
        (Options(psum_bits=16), "tiles for least DRAM traffic; partial sums of 16 bits"),
        (Options(zero_gating=True), "tiles for least DRAM traffic; zero-gating"),
        (Options(sparsity=Sparsity(2, 5)), "tiles for least DRAM traffic; 2:5 weights"),
    ],
)
def test_the_mapping(options: Options, line: str) -> None:
    assert tables.mapping_line(estimated(options=options)) == line


@pytest.mark.parametrize("attention", Attention)
def test_the_mapping_names_attention_where_there_is_some(attention: Attention) -> None:
    made = estimated(options=Options(attention=attention))
    assert tables.mapping_line(made) == "tiles for least DRAM traffic"
    first, second = made.workload.phases
    scores = (msgspec.structs.replace(second.layers[0], part=Part.SCORES),)
    attends = msgspec.structs.replace(made.workload, phases=(first, msgspec.structs.replace(second, layers=scores)))
    line = tables.mapping_line(msgspec.structs.replace(made, workload=attends))
    assert line == f"tiles for least DRAM traffic; {attention.value} attention"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"boundary": Boundary.CHIP}, "energy: boundary chip, table horowitz-45, 0.8 V"),
        ({"boundary": Boundary.CORE, "voltage": 0.65}, "energy: boundary core, table horowitz-45, 0.65 V"),
        ({"energy_table": "node-5"}, "energy: boundary system, table node-5, 0.8 V"),
        (
            {"energy_table": "edge-22"},
            "energy: boundary system, table edge-22 (composite of 6 sources), 0.8 V; LPDDR4 8 pJ/bit, band 4 to 14",
        ),
    ],
)
def test_the_energies(changes: dict[str, Any], line: str) -> None:
    assert tables.energy_line(estimated(**changes)) == line


def test_nothing_left_out_is_not_mentioned() -> None:
    assert tables.left_out(PREFILL.cost, "any") == []
    assert tables.left_out(TOTAL.cost, "any")[0].startswith("Not modelled (no constant in any, part of no sum): clamp,")


def test_a_program_has_a_line_of_its_own_behind_the_header() -> None:
    origin = Provenance("ita", {"layernorm": "pulp", "residual": "pulp"}, ["4-bit weights", "6-bit scores"])
    parts = shown(estimated(), origin)
    assert parts[4] == ("target ita: layernorm and residual borrowed from pulp; extended: 4-bit weights, 6-bit scores")
    assert isinstance(parts[5], Table)
