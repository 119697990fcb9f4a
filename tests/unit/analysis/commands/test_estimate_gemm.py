"""`hwsim estimate` of a GEMM table: figures of published tables, every choice of the script interface."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.unit.analysis.commands.estimate_runs import Run
from tests.unit.hwsim.accelerator.machine import golden


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "layers.csv"
    path.write_text("Layer,M,N,K,\nqkv,64,512,512,\nffn,64,2048,512,\n")
    return path


def gemm(path: Path, shapes: list[tuple[int, ...]]) -> Path:
    """A GEMM table of (m, k, n); the order of the file is M, N, K."""
    path.write_text("Layer,M,N,K,\n" + "".join(f"l{i},{m},{n},{k},\n" for i, (m, k, n) in enumerate(shapes)))
    return path


def shape(row: dict[str, str]) -> tuple[int, ...]:
    return tuple(int(row[name]) for name in "mkn")


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
    arguments = ("--gemm", table, "--array", "32x32", "--dataflow", "ws", "--json", out)
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
