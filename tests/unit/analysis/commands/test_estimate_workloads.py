"""`hwsim estimate` through the command line: the script interface against published tables, files, tables, errors."""

import csv
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from analysis import cli
from analysis.commands.estimate import TABLE_NAMES, WORKLOAD_NAMES
from hwsim.accelerator.energy_tables import TABLES
from hwsim.accelerator.workloads import WORKLOADS
from reference.quantize.scheme import preset
from tests import GOLDEN, ROOT
from tests.small.programs import tiny_program

Outcome = tuple[int, str, str]
Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `hwsim estimate` in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["hwsim", "estimate", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "layers.csv"
    path.write_text("Layer,M,N,K,\nqkv,64,512,512,\nffn,64,2048,512,\n")
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "tiny.hwsim"
    tiny_program(preset("int8", "ita")).save(path)
    return path


def refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2 and one line with these words."""
    code, _, output = outcome
    assert code == 2
    (message,) = output.splitlines()
    assert message.startswith("hwsim: error: ")
    for word in words:
        assert word in message


def golden(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open() as stream:
        return list(csv.DictReader(stream))


def gemm(path: Path, shapes: list[tuple[int, ...]]) -> Path:
    """A GEMM table of (m, k, n); the order of the file is M, N, K."""
    path.write_text("Layer,M,N,K,\n" + "".join(f"l{i},{m},{n},{k},\n" for i, (m, k, n) in enumerate(shapes)))
    return path


def shape(row: dict[str, str]) -> tuple[int, ...]:
    return tuple(int(row[name]) for name in "mkn")


# --- scripts ----------------------------------------------------------------------------------------------------------


def by_machine() -> dict[tuple[str, str], list[dict[str, str]]]:
    groups = defaultdict(list)
    for row in golden("scalesim_gemm.csv"):
        groups[f"{row['array_rows']}x{row['array_cols']}", row["dataflow"]].append(row)
    return groups


@pytest.mark.parametrize(("array", "dataflow"), list(by_machine()))
def test_without_a_scratchpad_figures_are_scale_sims(run: Run, tmp_path: Path, array: str, dataflow: str) -> None:
    rows, out = by_machine()[array, dataflow], tmp_path / "out.json"
    path = gemm(tmp_path / "layers.csv", [shape(row) for row in rows])
    arguments = ("--array", array, "--dataflow", dataflow, "--fold", "serial", "--json", out)
    assert run("--gemm", path, *arguments)[0] == 0
    layers = json.loads(out.read_text())["layers"]
    size = sum(map(int, array.split("x")))
    for row, layer in zip(rows, layers, strict=True):
        assert layer["cycles"] == layer["array_cycles"] == int(row["total_cycles"])
        assert layer["stall_cycles"] == 0
        assert layer["sram_reads"]["ifmap"] == int(row["sram_ifmap_reads"])
        assert layer["sram_reads"]["filter"] == int(row["sram_filter_reads"])
        m, _, n = shape(row)
        side = [int(one) for one in array.split("x")]
        folds = -(-m // side[0]) * -(-n // side[1]) if dataflow == "os" else 0
        assert layer["sram_writes"]["ofmap"] == int(row["sram_ofmap_writes_reported"]) - folds * size
        traffic = layer["dram_traffic"]
        assert traffic["ifmap"] == {"read": int(row["dram_ifmap_reads"]), "write": 0}
        assert traffic["filter"] == {"read": int(row["dram_filter_reads"]), "write": 0}
        spilled = int(row["dram_ofmap_writes"]) - layer["sram_writes"]["ofmap"]
        assert spilled in (0, 15)
        assert traffic["ofmap"] == {"read": 0, "write": layer["sram_writes"]["ofmap"]}
        assert layer["dram_bytes"] == sum(sum(one.values()) for one in traffic.values())
        assert 100 * layer["utilization"] == pytest.approx(float(row["overall_util_pct"]), abs=0.01)
        assert layer["energy_pj"] > 0


@pytest.mark.parametrize("kib", sorted({int(row["buffer_kib"]) for row in golden("accelforge_dram.csv")}))
def test_divisor_tiles_move_what_accelforge_moves(run: Run, tmp_path: Path, kib: int) -> None:
    rows = [row for row in golden("accelforge_dram.csv") if int(row["buffer_kib"]) == kib]
    path, out = gemm(tmp_path / "layers.csv", [shape(row) for row in rows]), tmp_path / "out.json"
    machine = ("--array", "32x32", "--dataflow", "ws", "--fold", "pipelined", "--sram-kib", kib)
    assert run("--gemm", path, *machine, "--tiles", "divisors", "--psum-bits", 8, "--json", out)[0] == 0
    layers = json.loads(out.read_text())["layers"]
    assert [layer["dram_bytes"] for layer in layers] == [int(row["optimal_dram_bytes"]) for row in rows]
    for layer in layers:
        assert layer["cycles"] == layer["array_cycles"] + layer["stall_cycles"]
        assert layer["dram_bytes"] == sum(sum(one.values()) for one in layer["dram_traffic"].values())
        assert layer["sram_reads"]["drain"] == layer["m"] * layer["n"]


def test_partial_sums_without_a_scratchpad_have_their_width(run: Run, tmp_path: Path, table: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ("--gemm", table, "--array", "32x32", "--dataflow", "ws", "--objective", "latency", "--json", out)
    run(*arguments, "--psum-bits", 32)
    layer = json.loads(out.read_text())["layers"][0]
    assert layer["dram_traffic"]["ofmap"]["write"] == 64 * 512 * (15 * 4 + 1)  # 16 passes, the last one is results


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("fold", ["serial", "pipelined"])
@pytest.mark.parametrize("objective", ["dram", "latency", "energy"])
def test_the_script_interface_takes_every_choice(
    run: Run, tmp_path: Path, table: Path, dataflow: str, fold: str, objective: str
) -> None:
    out = tmp_path / "out.json"
    machine = ("--array", "32x8", "--dataflow", dataflow, "--fold", fold, "--sram-kib", 16, "--tiles", "array")
    assert run("--gemm", table, *machine, "--objective", objective, "--json", out)[0] == 0
    record = json.loads(out.read_text())
    assert record["hardware"]["name"] == "command line"
    assert record["hardware"]["array"] | {"rows": 32, "cols": 8, "dataflow": dataflow} == record["hardware"]["array"]
    assert record["hardware"]["sources"]["array.rows"] == "command line"
    assert record["options"]["objective"] == objective
    keys = {
        *("name", "m", "k", "n", "cycles", "array_cycles", "stall_cycles", "utilization"),
        *("sram_reads", "sram_writes", "dram_bytes", "dram_traffic", "energy_pj"),
    }
    for layer in record["layers"]:
        assert keys <= layer.keys()
        assert layer["sram_reads"].keys() == {"ifmap", "filter", "psum", "drain"}
        assert layer["sram_writes"].keys() == {"ofmap"}
        assert {key: set(value) for key, value in layer["dram_traffic"].items()} == {
            operand: {"read", "write"} for operand in ("ifmap", "filter", "ofmap")
        }
        assert isinstance(layer["dram_bytes"], int)
        assert 0 < layer["utilization"] <= 1
        passes = (layer["sram_reads"]["psum"] // (layer["m"] * layer["n"])) + 1
        assert layer["sram_writes"]["ofmap"] == passes * layer["m"] * layer["n"]


def test_a_table_on_a_named_accelerator_has_its_memories(run: Run, tmp_path: Path, table: Path) -> None:
    out = tmp_path / "out.json"
    assert run("--gemm", table, "--accelerator", "edge-256", "--json", out)[0] == 0
    record = json.loads(out.read_text())
    assert record["hardware"]["name"] == "edge-256"
    assert record["hardware"]["dram"]["burst_bytes"] > 1
    assert all(layer["cycles"] > layer["array_cycles"] for layer in record["layers"])


# --- workloads --------------------------------------------------------------------------------------------------------


def record_of(run: Run, tmp_path: Path, *arguments: object) -> dict[str, Any]:
    out = tmp_path / "out.json"
    code, _, error = run(*arguments, "--json", out)
    assert code == 0, error
    return dict(json.loads(out.read_text()))


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


# --- programs ---------------------------------------------------------------------------------------------------------


def test_a_program_says_whose_arithmetic_it_is(run: Run, tmp_path: Path, program: Path) -> None:
    out = tmp_path / "out.json"
    lengths = ("--source-length", 3, "--target-length", 4, "--source-length", 5, "--target-length", 2)
    code, shown, _ = run(program, *lengths, "--json", out)
    assert code == 0
    assert "target ita: embedding and generator borrowed from fullyqt" in " ".join(shown.split())
    record = json.loads(out.read_text())
    assert record["program"]["target"] == "ita"
    assert record["workload"]["sentences"] == 2
    assert [phase["tokens"] for phase in record["workload"]["phases"]] == [8, 6]


def zero_report(program: Path, name: str = "ita-int8") -> dict[str, Any]:
    """Weights as the program has them; a quarter of all MACs is zero."""
    from hwsim.machine.zeros import ZeroCounter
    from hwsim.program.loading import load

    counted = ZeroCounter(load(program)).counts.sites
    sites = {output: msgspec.structs.asdict(site) | {"macs": 4, "macs_zero": 1} for output, site in counted.items()}
    return {"configurations": [{"name": name, "zeros": {"sites": sites}}]}


def test_zero_gating_takes_the_counts_of_a_report(run: Run, tmp_path: Path, program: Path) -> None:
    report, lengths = tmp_path / "report.json", ("--source-length", 3, "--target-length", 4)
    report.write_text(json.dumps(zero_report(program)))
    plain = record_of(run, tmp_path, program, *lengths)
    gated = record_of(run, tmp_path, program, *lengths, "--zero-gating", report)
    assert gated["options"]["zero_gating"]
    assert gated["total"]["cycles"] == plain["total"]["cycles"]
    assert gated["total"]["macs"] == plain["total"]["macs"]
    energies = [one["total"]["energy_pj_by_component"]["mac_multiply"] for one in (gated, plain)]
    assert energies[0] == pytest.approx(0.75 * energies[1], rel=0.02)  # of each product to the nearest MAC
    report.write_text(json.dumps(zero_report(program, "int4")))
    refused(run(program, *lengths, "--zero-gating", report), "report.json", "ita-int8", "int4")
    of_another = zero_report(program)
    last = list(of_another["configurations"][0]["zeros"]["sites"])[-1]
    of_another["configurations"][0]["zeros"]["sites"][last]["weights_zero"] += 1
    report.write_text(json.dumps(of_another))
    refused(run(program, *lengths, "--zero-gating", report), "report.json", last, "other weights")
    report.write_text("{}")
    refused(run(program, *lengths, "--zero-gating", report), "report.json", "configurations")
    refused(run(program, *lengths, "--zero-gating", "nowhere.json"), "nowhere.json", "No such file")


# --- two side by side -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [("edge-256", "ita"), ("int8", "int4")])
def test_two_side_by_side(run: Run, tmp_path: Path, a: str, b: str) -> None:
    out = tmp_path / "out.json"
    code, shown, error = run("--workload", "tiny11", "--compare", a, b, "--json", out)
    assert code == 0, error
    assert all(len(line) <= 120 for line in shown.splitlines())
    assert f"{b} / {a}" in shown
    record = json.loads(out.read_text())
    assert (record["compare"]["a"], record["compare"]["b"]) == (a, b)
    assert record["a"]["boundary"] == record["b"]["boundary"] == "system"
    *phases, total = record["compare"]["phases"]
    assert [phase["name"] for phase in phases] == ["encode", "decode"]
    for name in ("cycles", "dram_bytes", "energy_pj"):
        assert total[name]["a"] == record["a"]["total"][name]
        assert total[name]["b"] == record["b"]["total"][name]
        assert total[name]["b_over_a"] == total[name]["b"] / total[name]["a"]
    assert len(record["compare"]["layers"]) == len(record["a"]["layers"])


def test_accelerators_are_compared_on_programs_too(run: Run, program: Path) -> None:
    code, shown, _ = run(program, "--source-length", 3, "--target-length", 3, "--compare", "edge-256", "gemmini-16")
    assert code == 0
    assert "target ita" in shown


# --- errors -----------------------------------------------------------------------------------------------------------

WORKLOAD = ["--workload", "tiny11"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["PROGRAM", "--workload", "--model-file", "--gemm", "none"]),
        (["p.hwsim", *WORKLOAD], ["just one", "PROGRAM and --workload"]),
        (["--workload", "bert-bas"], ["--workload", "did you mean bert-base?"]),
        ([*WORKLOAD, "--accelerator", "edge-25"], ["edge-25", "edge-256"]),
        ([*WORKLOAD, "--accelerator", "nowhere.toml"], ["nowhere.toml"]),
        ([*WORKLOAD, "--energy-table", "edge-2"], ["edge-2", "edge-22"]),
        ([*WORKLOAD, "--config", "int9"], ["--config", "int9", "int8"]),
        ([*WORKLOAD, "--objective", "latncy"], ["--objective", "latency"]),
        ([*WORKLOAD, "--attention", "flash"], ["--attention", "unfused, fused, recompute"]),
        ([*WORKLOAD, "--dataflow", "rs"], ["--dataflow", "'rs'", "os"]),
        ([*WORKLOAD, "--fold", "both"], ["--fold", "serial, pipelined"]),
        ([*WORKLOAD, "--boundary", "ship"], ["--boundary", "chip"]),
        ([*WORKLOAD, "--sort", "power"], ["--sort", "'power'", "energy, cycles, dram, macs, utilization, order"]),
        ([*WORKLOAD, "--array", "32"], ["--array", "'32'", "32x32"]),
        ([*WORKLOAD, "--array", "0x32"], ["--array", "0", "1 to"]),
        ([*WORKLOAD, "--array", "-1x32"], ["--array", "-1x32"]),
        ([*WORKLOAD, "--sram-kib", "0"], ["--sram-kib", "0", "1 to"]),
        ([*WORKLOAD, "--sram-kib", "-4"], ["--sram-kib", "-4"]),
        ([*WORKLOAD, "--clock-mhz", "0"], ["--clock-mhz", "0"]),
        ([*WORKLOAD, "--bandwidth", "nan"], ["--bandwidth", "nan"]),
        ([*WORKLOAD, "--psum-bits", "7"], ["--psum-bits", "7", "8 to 64"]),
        ([*WORKLOAD, "--sparsity", "4:2"], ["sparsity", "4:2"]),
        ([*WORKLOAD, "--sparsity", "0:2"], ["--sparsity", "0:2"]),
        ([*WORKLOAD, "--sparsity", "half"], ["--sparsity", "half", "2:4"]),
        ([*WORKLOAD, "--batch", "0"], ["batch", "0"]),
        ([*WORKLOAD, "--source-length", "-3"], ["source_length", "-3"]),
        ([*WORKLOAD, "--source-length", "3", "--source-length", "4"], ["--source-length", "2 times"]),
        (["--workload", "bert-base", "--context", "3"], ["bert-base", "context"]),
        (["--workload", "bert-base", "--sram-kib", "1"], ["layer encoder.", "1024", "bytes"]),
        ([*WORKLOAD, "--accelerator", "ita", "--dataflow", "os"], ["dataflow", "os", "dot_product"]),
        ([*WORKLOAD, "--zero-gating", "report.json"], ["--zero-gating", "--workload", "PROGRAM"]),
        (["p.hwsim", "--batch", "2"], ["--batch", "PROGRAM"]),
        (["p.hwsim", "--config", "int8"], ["--config", "PROGRAM"]),
        (["--gemm", "t.csv", "--attention", "fused"], ["--attention", "--gemm"]),
        (["--gemm", "t.csv", "--source-length", "2"], ["--source-length", "--gemm"]),
        (["--gemm", "t.csv", "--tiles", "array"], ["--tiles", "--sram-kib"]),
        (["--gemm", "t.csv", "--sparsity", "2:4"], ["--sparsity", "--sram-kib"]),
        (["--gemm", "t.csv", "--trace", "t.json"], ["--trace", "--sram-kib"]),
        (["--gemm", "t.csv", "--plots", "plots"], ["--plots", "--sram-kib"]),
        (["--gemm", "t.csv", "--compare", "int8", "int4"], ["--compare", "--sram-kib"]),
        (["--gemm", "nowhere.csv"], ["nowhere.csv"]),
        (["--model-file", "nowhere.toml"], ["nowhere.toml"]),
        (["--model-file", "m.toml", "--batch", "2"], ["--batch", "--model-file"]),
        ([*WORKLOAD, "--compare", "ita", "ita"], ["ita ita", "same"]),
        ([*WORKLOAD, "--compare", "ita", "int8"], ["ita int8", "two accelerators"]),
        ([*WORKLOAD, "--compare", "ita", "itta"], ["itta", "ita"]),
        ([*WORKLOAD, "--compare", "ita"], ["--compare"]),
        ([*WORKLOAD, "--compare", "ita", "edge-256", "--accelerator", "ita"], ["--compare", "--accelerator"]),
        ([*WORKLOAD, "--compare", "int8", "int4", "--config", "int8"], ["--compare", "--config"]),
        ([*WORKLOAD, "--compare", "int8", "int4", "--csv", "t.csv"], ["--csv", "--compare"]),
        ([*WORKLOAD, "--compare", "int8", "int4", "--trace", "t.json"], ["--trace", "--compare"]),
        (["p.hwsim", "--compare", "int8", "int4"], ["int8 int4", "--workload"]),
    ],
)
def test_bad_arguments_are_one_line(
    run: Run, arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(*arguments), *words)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("qkv,64,,512,", ["line 2, column 3", "N is missing"]),
        ("qkv,64,many,512,", ["line 2, column 3", "'many'"]),
        ("qkv,64,0,512,", ["line 2, column 3", "0"]),
        ("qkv,-64,512,512,", ["line 2, column 2", "-64"]),
    ],
)
def test_a_bad_cell_is_named(run: Run, tmp_path: Path, line: str, words: list[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"Layer,M,N,K,\n{line}\n")
    refused(run("--gemm", path), "bad.csv", *words)


def test_a_width_that_the_array_lacks_names_the_layer(run: Run, tmp_path: Path) -> None:
    from hwsim.accelerator import presets

    shipped = Path(presets.__file__).parent / "preset_files" / "edge-256.toml"
    own, table = tmp_path / "own.toml", tmp_path / "layers.csv"
    own.write_text(shipped.read_text().replace("8 = 1\n16 = 0.25\n", ""))
    table.write_text("Layer,M,N,K\nmix,4,4,4\n")
    refused(run("--gemm", table, "--accelerator", own), "layer mix", "8 by 8 bits", "up to 4 bits")


def test_an_unknown_key_names_the_nearest(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[[layer]]\nname = "mix"\nkind = "gemm"\nm = 4\nkk = 8\nn = 6\n')
    refused(run("--model-file", path), "mine.toml", "layer[0].kk", "did you mean k?")


def test_weights_that_are_not_sparse_are_not_skipped(run: Run, program: Path) -> None:
    refused(run(program, "--source-length", 4, "--target-length", 3, "--sparsity", "1:4"), "weight", "1:4", "not zero")


def test_lengths_of_a_program_pair_up(run: Run, program: Path) -> None:
    refused(run(program, "--source-length", 5), "1 source lengths but 0 target lengths")
    refused(run(program, "--source-length", 5, "--target-length", 0), "target length of 0 tokens", "1 to")


def test_ctrl_c_leaves_no_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("analysis.estimates.job.estimate", interrupt)
    out = [tmp_path / name for name in ("out.csv", "out.json", "out.trace")]
    refused(run(*WORKLOAD, "--csv", out[0], "--json", out[1], "--trace", out[2]), "interrupted")
    monkeypatch.undo()
    monkeypatch.setattr("os.replace", interrupt)  # the last moment: the file is written beside its place
    monkeypatch.setattr("sys.argv", ["hwsim", "estimate", *WORKLOAD, "--json", str(out[1])])
    with pytest.raises(SystemExit):
        cli.main()
    assert not any(tmp_path.iterdir())


def test_a_trace_that_fails_leaves_no_other_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwsim.accelerator.trace.MAX_EVENTS", 100)
    outcome = run(*WORKLOAD, "--json", tmp_path / "out.json", "--trace", tmp_path / "out.trace")
    refused(outcome, "100 events", "--source-length")
    assert not any(tmp_path.iterdir())


# --- speed ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", list(product(["--json", "--trace"], ["out"])))
def test_nothing_heavy_is_imported(extra: tuple[str, ...], tmp_path: Path) -> None:
    arguments = ["estimate", "--workload", "bert-base", *extra]
    script = f"""
import sys
sys.argv = ["hwsim", *{arguments!r}]
from analysis import cli
cli.main()
assert not {{"torch", "numba", "matplotlib", "sentencepiece", "sacrebleu"}} & set(sys.modules), sys.modules.keys()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").exists()


def test_the_package_imports_nothing_heavy() -> None:
    script = """
import sys
import analysis.cli, hwsim.accelerator
assert not {"torch", "numba", "matplotlib", "rich.table"} & set(sys.modules), sys.modules.keys()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


def test_the_help_names_what_there_is() -> None:
    assert ", ".join(WORKLOADS) == WORKLOAD_NAMES
    assert ", ".join(TABLES) == TABLE_NAMES


def test_a_factor_goes_with_the_table_it_was_fitted_on(run: Run, tmp_path: Path) -> None:
    own = record_of(run, tmp_path, "--workload", "tiny11", "--accelerator", "ita")
    other = record_of(run, tmp_path, "--workload", "tiny11", "--accelerator", "ita", "--energy-table", "horowitz-45")
    assert (own["hardware"]["overhead"], other["hardware"]["overhead"]) == (1.37, 1.0)
    assert other["hardware"]["sources"]["overhead"] == "command line"


def test_two_machines_are_summed_as_far_as_both_tables_reach(run: Run, tmp_path: Path) -> None:
    """The table of 5 nm has no DRAM: a ratio to a sum with DRAM would say nothing."""
    out = tmp_path / "two.json"
    code, shown, error = run("--workload", "tiny11", "--compare", "edge-256", "keller-5nm", "--json", out)
    assert code == 0, error
    assert "boundary chip" in shown and "boundary system" not in shown
