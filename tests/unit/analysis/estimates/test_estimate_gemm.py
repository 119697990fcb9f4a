"""`hwsim estimate --gemm` without a scratchpad: every count, byte, energy and printed cell of two products by hand."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from analysis import cli
from analysis.estimates.gemm import UntiledEstimate, price_untiled, untiled_tables
from hwsim.accelerator.options import Options
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.workloads.gemm_csv import read_gemm_csv
from tests.unit.analysis.estimates.estimates_by_hand import cells, heads

ENERGIES = """name = "unit"
[sources]
hand = "chosen by hand"
[multiply_8]
value = 1
source = "hand"
boundary = "all"
[add_8]
value = 1
source = "hand"
boundary = "all"
[register_read_bit]
value = 1
source = "hand"
boundary = "all"
[register_write_bit]
value = 100
source = "hand"
boundary = "all"
[hop_bit]
value = 1
source = "hand"
boundary = "all"
[sram]
node_nm = 22
voltage = 0.8
source = "hand"
boundary = "all"
points = [[256, 8, 1, 100, 1]]
[dram.any]
value = 1
low = 0.5
high = 3
bits = 8
source = "hand"
boundary = "all"
"""
"""A picojoule for each but what is written: 100. A leakage of 1 mW is 2 pJ a cycle at 500 MHz."""

# (3, 5) by (5, 4) on 2x2 elements that hold weights: 3 by 2 folds, in each of which 3 rows stream, and wait for 4
# cycles. Of the 12 results each is written 3 times, and read 2 times before the last, then drained.
MIX = {
    "ifmap": 30,  # 15 for each of 2 folds along n
    "filter": 20,
    "psum": 24,
    "drain": 12,
}
CYCLES = 29  # 6 folds of 4, 3 to load the first, 2 until the last has drained
DRAM = 15 + 20 + 12 + 24  # ifmap, filter, results, partial sums: at 8 bits each
MIX_PJ = {
    "mac_multiply": 60,
    "mac_add": 200.42112,  # 60 additions of 32 bits: 4^0.87 = 3.340352 each
    "register": (8 + 8 + 32) * 60 + 100 * ((8 + 32) * 60 + 8 * 20),  # weights stay: written once each
    "hop": (8 + 32) * 60,
    "sram_access": 30 + 20 + 4 * (24 + 12) + 100 * (4 * 36 + 12),
    "sram_transfer": 12 + 24 + 100 * (15 + 20),
    "sram_leakage": 2 * CYCLES,
    "dram_transfer": DRAM,
}
MIX_TOTAL = 280_999.42112


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `hwsim estimate --gemm` prints of the two products."""
    (tmp_path / "layers.csv").write_text("Layer,M,N,K\nmix,3,4,5\none,1,1,1\n")
    (tmp_path / "unit.toml").write_text(ENERGIES)
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> str:
        machine = ("--array", "2x2", "--dataflow", "ws", "--fold", "pipelined", "--energy-table", "unit.toml")
        words = ("hwsim", "estimate", "--gemm", "layers.csv", *machine, *words)
        monkeypatch.setattr("sys.argv", list(map(str, words)))
        cli.main()
        return capsys.readouterr().out

    return call


def layers(words: tuple[object, ...], run: Callable[..., str]) -> list[dict[str, Any]]:
    run("--json", "out.json", "--force", *words)
    return list(json.loads(Path("out.json").read_text())["layers"])


def test_counts_bytes_and_energies(run: Callable[..., str]) -> None:
    mix, one = layers((), run)
    assert (mix["cycles"], mix["array_cycles"], mix["stall_cycles"]) == (CYCLES, CYCLES, 0)
    assert mix["cycles_by_cause"] == {
        "compute": 24, "fill_drain": 5, "sram": 0, "dma_in": 0, "dma_out": 0, "vector": 0
    }  # fmt: skip
    assert mix["sram_reads"] == MIX
    assert mix["sram_writes"] == {"ofmap": 36}
    assert mix["dram_traffic"] == {
        "ifmap": {"read": 15, "write": 0}, "filter": {"read": 20, "write": 0}, "ofmap": {"read": 0, "write": 36}
    }  # fmt: skip
    assert mix["dram_bytes"] == DRAM == 71
    assert mix["sram_bytes"] == 30 + 20 + 4 * (24 + 12 + 36) + 12 + DRAM
    assert mix["dram_bytes_by_operand"] == {"activation": 15 + 36, "weight": 20}
    assert (mix["macs"], mix["executed_macs"]) == (60, 60)
    assert mix["utilization"] == 60 / (4 * CYCLES)
    assert mix["energy_pj_by_component"] == pytest.approx(MIX_PJ, abs=1e-9)
    assert mix["energy_pj"] == pytest.approx(MIX_TOTAL, abs=1e-6)
    assert mix["energy_low_pj"] == pytest.approx(MIX_TOTAL - 0.5 * DRAM, abs=1e-6)
    assert mix["energy_high_pj"] == pytest.approx(MIX_TOTAL + 2 * DRAM, abs=1e-6)
    assert (one["name"], one["m"], one["k"], one["n"], one["macs"]) == ("one", 1, 1, 1, 1)


def test_totals_are_of_all_layers(run: Callable[..., str]) -> None:
    mix, one = layers((), run)
    total = json.loads(Path("out.json").read_text())["total"]
    assert one["cycles"] == 9  # one fold of 4; 3 to load it and 2 until it has drained
    assert (total["cycles"], total["macs"], total["dram_bytes"]) == (CYCLES + 9, 61, DRAM + 3)
    assert total["energy_aj"] == mix["energy_aj"] + one["energy_aj"]
    assert total["energy_pj_by_component"]["dram_transfer"] == DRAM + 3


def test_partial_sums_and_narrow_weights(run: Callable[..., str]) -> None:
    mix, _ = layers(("--psum-bits", 16), run)
    assert mix["dram_traffic"]["ofmap"] == {"read": 0, "write": 12 + 2 * 24}
    assert mix["energy_pj_by_component"]["sram_access"] == 30 + 20 + 2 * (24 + 12) + 100 * (2 * 36 + 12)
    mix, _ = layers(("--config", "w4a8"), run)
    assert mix["dram_traffic"]["filter"]["read"] == 4 * 3  # 5 codes of 4 bits are 3 bytes
    assert mix["dram_traffic"]["ifmap"]["read"] == 15
    mix, _ = layers(("--config", "int4"), run)  # an element takes two a cycle: 2 folds along k, one partial sum
    assert {name: sum(moved.values()) for name, moved in mix["dram_traffic"].items()} == {
        "ifmap": 3 * 3, "filter": 4 * 3, "ofmap": 3 * 2 + 6
    }  # fmt: skip


SPARSE_PJ = {
    "mac_multiply": 36,
    "mac_add": 36 * 3.340352,
    "register": (8 + 8 + 32) * 36 + 100 * ((8 + 32) * 36 + 8 * 12),
    "hop": (8 + 32) * 36,
    "sram_access": 18 + 15 + 4 * (12 + 12) + 100 * (4 * 24 + 12),  # 12 weights of 8 bits with 2 of index: 15 bytes
    "sram_transfer": 24 + 100 * (15 + 16),
    "sram_leakage": 2 * 21,
    "dram_transfer": 55,
}


@pytest.mark.parametrize("stated", [True, False])
def test_sparse_weights(run: Callable[..., str], stated: bool) -> None:
    """2:4 keeps 3 of 5 along k: 2 by 2 folds of 4 cycles, 3 to load and 2 to drain; a column of 30 bits is 4 bytes."""
    if stated:
        Path("layers.csv").write_text("Layer,M,N,K,Sparsity\nmix,3,4,5,2:4\none,1,1,1,\n")
    mix, one = layers(() if stated else ("--sparsity", "2:4"), run)
    assert mix["cycles_by_cause"] | {"compute": 16, "fill_drain": 5} == mix["cycles_by_cause"] and mix["cycles"] == 21
    assert mix["sram_reads"] == {"ifmap": 18, "filter": 12, "psum": 12, "drain": 12}
    assert mix["dram_traffic"] == {
        "ifmap": {"read": 15, "write": 0}, "filter": {"read": 16, "write": 0}, "ofmap": {"read": 0, "write": 24}
    }  # fmt: skip
    assert (mix["macs"], mix["executed_macs"]) == (60, 36)
    assert mix["utilization"] == 36 / (4 * 21)
    assert mix["energy_pj_by_component"] == pytest.approx(SPARSE_PJ, abs=1e-9)
    assert one["dram_traffic"]["filter"]["read"] == (1 if stated else 2)  # 8 bits, or 10 with an index
    assert ("3x5x4 2:4" in run()) is stated


def test_a_table_that_states_another_sparsity_is_refused(
    run: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    Path("layers.csv").write_text("Layer,M,N,K,Sparsity\nmix,3,4,5,1:4\n")
    for extra in ((), ("--sram-kib", 64)):
        with pytest.raises(SystemExit) as stopped:
            run("--sparsity", "2:4", *extra)
        assert stopped.value.code == 2
        assert capsys.readouterr().err == (
            "hwsim: error: GEMM table layers.csv: line 2, column 5: layer mix:"
            " its Sparsity is 1:4, but 2:4 is asked for\n"
        )


def test_a_table_with_a_scratchpad_has_its_sparsity(run: Callable[..., str]) -> None:
    Path("layers.csv").write_text("Layer,M,N,K,Sparsity\nmix,3,4,5,2:4\none,1,1,1,1:1\n")
    mix, one = layers(("--sram-kib", 64), run)
    assert (mix["executed_macs"], mix["dram_traffic"]["filter"]["read"]) == (36, 16)
    assert (one["executed_macs"], one["dram_traffic"]["filter"]["read"]) == (1, 1)


def test_a_table_on_a_machine_has_csv(run: Callable[..., str]) -> None:
    """One flat row a layer: the keys of nested records are joined."""
    run("--csv", "out.csv")
    with Path("out.csv").open() as stream:
        row, _ = csv.DictReader(stream)
    assert list(row)[:17] == [
        "name", "m", "k", "n", "cycles", "array_cycles", "stall_cycles", "sram_reads_ifmap", "sram_reads_filter",
        "sram_reads_psum", "sram_reads_drain", "sram_writes_ofmap", "dram_bytes", "dram_traffic_ifmap_read",
        "dram_traffic_ifmap_write", "dram_traffic_filter_read", "dram_traffic_filter_write",
    ]  # fmt: skip
    assert [row[name] for name in ("name", "m", "k", "n", "cycles", "sram_reads_psum", "sram_writes_ofmap")] == [
        "mix", "3", "5", "4", "29", "24", "36"
    ]  # fmt: skip
    assert float(row["energy_pj"]) == pytest.approx(MIX_TOTAL)
    assert float(row["energy_pj_by_component_hop"]) == 2400


LINES = [
    "layers: scheme w8a8, batch 1",
    "on command line: 2x2 systolic ws, pipelined; no scratchpad, no stalls; 500 MHz",
    "energy: boundary system, table unit, 0.8 V; LPDDR4 1 pJ per 8 bits, band 0.5 to 3",
]
MIX_ROW = ["mix", "3x5x4", "29", "51.7%", "30", "20", "36", "71 B", "281 nJ"]
# One MAC: registers 48 read, 40 + 8 written; words 3 + 4 and 2 written to the scratchpad; 9 cycles; 3 bytes
ONE_PJ = 1 + 3.340352 + 48 + 100 * 48 + 40 + (1 + 1 + 4) + 100 * (4 + 1) + 1 + 100 * 2 + 18 + 3
ONE_ROW = ["one", "1x1x1", "9", "2.8%", "1", "1", "1", "3 B", "5.62 nJ"]


def test_printed_lines_and_cells(run: Callable[..., str]) -> None:
    assert 5_615 < ONE_PJ < 5_625
    shown = run().splitlines()
    assert [line.rstrip() for line in shown[:3]] == LINES
    assert shown[3].strip() == "2 of 2 layers, dearest first"
    rows = [re.split(r"\s{2,}", line.strip()) for line in shown]
    assert MIX_ROW in rows and ONE_ROW in rows


def estimate(tmp_path: Path, **array: Any) -> UntiledEstimate:
    base = hardware("edge-256")
    fields = {"rows": 2, "cols": 2, **array}
    (tmp_path / "unit.toml").write_text(ENERGIES)
    (tmp_path / "layers.csv").write_text("Layer,M,N,K\nmix,3,4,5\none,1,1,1\n")
    sram = msgspec.structs.replace(base.sram, word_bytes=1)
    on = msgspec.structs.replace(
        base, array=msgspec.structs.replace(base.array, **fields), sram=sram, energy_table=str(tmp_path / "unit.toml")
    )
    return price_untiled(read_gemm_csv(tmp_path / "layers.csv"), on, Options())


@pytest.mark.parametrize(
    ("sort", "most", "title", "rows"),
    [
        ("energy", None, "2 of 2 layers, dearest first", [MIX_ROW, ONE_ROW]),
        ("energy", 1, "1 of 2 layers, dearest first", [MIX_ROW]),
        ("utilization", 20, "2 of 2 layers, least utilized first", [ONE_ROW, MIX_ROW]),
        ("order", 1, "1 of 2 layers, in the order in which they run", [MIX_ROW]),
    ],
)
def test_tables(tmp_path: Path, sort: str, most: int | None, title: str, rows: list[list[str]]) -> None:
    table: Any = untiled_tables(estimate(tmp_path), sort, most)[3]
    assert table.title == title
    assert heads(table) == [
        "layer", "shape", "cycles", "util.", "ifmap reads", "filter reads", "ofmap writes", "DRAM", "energy"
    ]  # fmt: skip
    assert cells(table) == rows


def test_what_the_table_lacks_is_said(tmp_path: Path) -> None:
    found = estimate(tmp_path)
    plain = msgspec.structs.replace(found.hardware, energy_table="horowitz-45")
    lines = untiled_tables(price_untiled(found.workload, plain, Options()), "energy", None)[4:]
    assert list(map(str, lines)) == [
        "Not modelled (no constant in horowitz-45, part of no sum): hop, register read, register write, sram_leakage"
    ]


# --- widths -----------------------------------------------------------------------------------------------------------


def test_a_width_that_the_array_lacks_is_refused(tmp_path: Path) -> None:
    """Of an array alone; the message names the layer and both widths."""
    message = r"^layer mix: a product of 8 by 8 bits; the array supports up to 4 bits$"
    with pytest.raises(ValueError, match=message):
        estimate(tmp_path, macs_per_cycle={4: 2.0})
    estimate(tmp_path, macs_per_cycle={4: 2.0, 8: 1.0})


@pytest.mark.parametrize("extra", [(), ("--sram-kib", 64)])
def test_a_width_that_the_array_lacks_is_refused_on_the_command_line(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], extra: tuple[Any, ...]
) -> None:
    base = hardware("edge-256")
    narrow = msgspec.structs.replace(base, array=msgspec.structs.replace(base.array, macs_per_cycle={4: 2.0}))
    monkeypatch.setattr("analysis.estimates.machine.hardware", lambda name: narrow)
    with pytest.raises(SystemExit) as stopped:
        run("--json", "out.json", *extra)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "hwsim: error: layer mix: a product of 8 by 8 bits; the array supports up to 4 bits\n"
    )
    assert not Path("out.json").exists()
    run("--json", "out.json", "--config", "int4", *extra)
    assert Path("out.json").exists()
