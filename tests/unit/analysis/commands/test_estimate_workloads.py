"""`hwsim estimate` of a workload: what was asked, sums, CSV, tables, own files, energy tables."""

import csv
import re
from pathlib import Path

import pytest

from analysis.commands.estimate import TABLE_NAMES, WORKLOAD_NAMES
from hwsim.accelerator.energy_tables import TABLES
from hwsim.accelerator.workloads import WORKLOADS
from tests.unit.analysis.commands.estimate_runs import Run, record_of, refused


def test_everything_that_was_asked_is_echoed(run: Run, tmp_path: Path) -> None:
    asked = ("--workload", "gpt2-small", "--accelerator", "edge-256", "--batch", 2, "--source-length", 8)
    asked += ("--target-length", 3, "--context", 40, "--beam", 2, "--config", "w4a8", "--attention", "fused")
    asked += ("--array", "32x8", "--sram-kib", 64, "--clock-mhz", 250, "--bandwidth", 1.5, "--boundary", "chip")
    record = record_of(run, tmp_path, *asked, "--objective", "latency", "--psum-bits", 16, "--sparsity", "2:4")
    workload, hardware, options = record["workload"], record["hardware"], record["options"]
    assert (workload["name"], workload["scheme"], workload["batch"]) == ("gpt2-small", "w4a8", 2)
    assert (workload["source"], workload["target"]) == ("8", "3 at context 40, beam 2")
    assert (hardware["array"]["rows"], hardware["array"]["cols"]) == (32, 8)
    assert hardware["sram"]["capacity_bytes"] == 64 * 1024
    assert hardware["clock_hz"] == 250_000_000
    assert hardware["dram"]["bandwidth_bytes_per_second"] == 1_500_000_000
    changed = {key for key, source in hardware["sources"].items() if source == "command line"}
    assert changed >= {"array.rows", "array.cols", "sram.capacity_bytes", "clock_hz", "boundary"}
    assert hardware["sources"]["vector.lanes"] != "command line"
    assert options == {
        "objective": "latency",
        "tiles": "array",
        "attention": "fused",
        "psum_bits": 16,
        "zero_gating": False,
        "sparsity": {"kept": 2, "group": 4},
    }
    assert record["energy_table"]["composite"]
    assert all(row["source"] and row["boundary"] for row in record["energy_table"]["constants"])


def test_layers_phases_and_total_add_up(run: Run, tmp_path: Path) -> None:
    record = record_of(run, tmp_path, "--workload", "tiny11")
    assert [phase["name"] for phase in record["phases"]] == ["encode", "decode"]
    for name in ("cycles", "macs", "sram_bytes", "dram_bytes", "energy_aj"):
        total = record["total"][name]
        assert sum(layer[name] for layer in record["layers"]) == total
        assert sum(phase[name] for phase in record["phases"]) == total
    for layer in record["layers"]:
        assert sum(layer["cycles_by_cause"].values()) == layer["cycles"]
        for level in ("sram", "dram"):
            found = sum(sum(directions.values()) for directions in layer["bytes"][level].values())
            assert found == layer[f"{level}_bytes"]
        by = [sum(layer[f"energy_pj_by_{what}"].values()) for what in ("component", "level", "operand")]
        assert by == pytest.approx([layer["energy_pj"]] * 3)
        assert layer["energy_low_pj"] <= layer["energy_pj"] <= layer["energy_high_pj"]


def test_csv_has_a_row_a_layer_and_empty_cells_where_nothing_is_modelled(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "layers.csv"
    record = record_of(run, tmp_path, "--workload", "tiny11", "--csv", out)
    with out.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == [layer["name"] for layer in record["layers"]]
    causes = ("compute", "fill_drain", "sram", "dma_in", "dma_out", "vector")
    for row, layer in zip(rows, record["layers"], strict=True):
        assert sum(int(row[f"cycles_{cause}"]) for cause in causes) == int(row["cycles"]) == layer["cycles"]
        dram = [int(value) for key, value in row.items() if key.startswith("dram_") and key.count("_") > 1]
        assert sum(dram) == int(row["dram_bytes"])
        energies = [
            value for key, value in row.items() if key.startswith("energy_") and key[7:9] not in ("pj", "lo", "hi")
        ]
        assert sum(float(value) for value in energies if value) == pytest.approx(float(row["energy_pj"]))
    softmax = next(row for row in rows if row["operation"] == "softmax")
    assert softmax["energy_table_read_pj"] == ""
    assert softmax["energy_mac_multiply_pj"] == "0.0"
    assert softmax["m"] == ""


@pytest.mark.parametrize("sort", ["energy", "cycles", "dram", "macs", "utilization", "order"])
def test_tables_fit_120_columns_and_are_sorted(run: Run, tmp_path: Path, sort: str) -> None:
    code, shown, _ = run("--workload", "gpt2-small", "--sort", sort)
    assert code == 0
    assert all(len(line) <= 120 for line in shown.splitlines())
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    for words in ("composite of 6 sources", "boundary system", "band", "Not modelled", "Cycles by cause", "prefill"):
        assert words in shown
    cells = [line.split() for line in shown.splitlines() if ".*." in line or "generator" in line]
    cycles = [int(next(cell for cell in row if re.fullmatch(r"[\d,]{5,}", cell)).replace(",", "")) for row in cells]
    assert len(cycles) > 15
    assert (cycles == sorted(cycles, reverse=True)) == (sort == "cycles")


@pytest.mark.parametrize("together", [True, False])
def test_rows_lose_nothing(together: bool) -> None:
    from analysis.estimates.rows import rows
    from hwsim.accelerator.cost.estimate import estimate
    from hwsim.accelerator.presets import hardware
    from hwsim.accelerator.workloads import workload

    total = estimate(workload("tiny11", target_length=4), hardware("edge-256")).total
    found = rows(total.layers, together)
    assert sum(row.layers for row in found) == len(total.layers)
    assert (len(found) == len(total.layers)) != together
    assert sum(row.cycles.total for row in found) == total.cycles.total
    assert sum(row.cost.energy_aj for row in found) == total.cost.energy_aj
    assert len({(row.phase, row.name) for row in found}) == len(found)
    scores = next(row for row in found if row.name.startswith("decoder.*.self_attention.scores")) if together else None
    assert scores is None or scores.shape == "1x64x4 x48"  # the largest; 3 blocks, 4 heads, 4 steps


def test_all_lists_every_layer(run: Run) -> None:
    _, shown, _ = run("--workload", "bert-base", "--source-length", 16, "--all", "--sort", "order")
    assert "encoder.11.feed_forward.hidden" in shown
    _, shown, _ = run("--workload", "bert-base", "--source-length", 16)
    assert "encoder.*.feed_forward.hidden" in shown
    assert "x12" in shown


def test_a_users_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[[layer]]\nname = "mix"\nkind = "gemm"\nm = 4\nk = 8\nn = 6\n')
    record = record_of(run, tmp_path, "--model-file", path)
    assert [(one["name"], one["m"], one["k"], one["n"]) for one in record["layers"]] == [("mix", 4, 8, 6)]


def test_an_accelerator_from_a_file(run: Run, tmp_path: Path) -> None:
    from hwsim.accelerator import presets

    own = tmp_path / "own.toml"
    shipped = Path(presets.__file__).parent / "preset_files" / "edge-256.toml"
    own.write_text(shipped.read_text().replace('name = "edge-256"', 'name = "own"'))
    assert record_of(run, tmp_path, "--workload", "tiny11", "--accelerator", own)["hardware"]["name"] == "own"
    own.write_text(shipped.read_text().replace("rows = 16", "rowz = 16"))
    refused(run("--workload", "tiny11", "--accelerator", own), "own.toml", "array.rowz", "rows")


def test_an_energy_table_by_name(run: Run, tmp_path: Path) -> None:
    record = record_of(run, tmp_path, "--workload", "tiny11", "--energy-table", "horowitz-45", "--boundary", "core")
    assert record["energy_table"]["name"] == "horowitz-45"
    assert not record["energy_table"]["composite"]
    assert record["boundary"] == "core"
    assert record["total"]["energy_pj_outside_boundary"]


def test_the_help_names_what_there_is() -> None:
    assert ", ".join(WORKLOADS) == WORKLOAD_NAMES
    assert ", ".join(TABLES) == TABLE_NAMES


def test_a_factor_goes_with_the_table_it_was_fitted_on(run: Run, tmp_path: Path) -> None:
    own = record_of(run, tmp_path, "--workload", "tiny11", "--accelerator", "ita")
    other = record_of(run, tmp_path, "--workload", "tiny11", "--accelerator", "ita", "--energy-table", "horowitz-45")
    assert (own["hardware"]["overhead"], other["hardware"]["overhead"]) == (1.37, 1.0)
    assert other["hardware"]["sources"]["overhead"] == "command line"
