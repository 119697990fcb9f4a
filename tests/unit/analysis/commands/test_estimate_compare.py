"""`hwsim estimate --compare`: two accelerators or two schemes side by side."""

import json
from pathlib import Path

import pytest

from tests.unit.analysis.commands.estimate_runs import Run


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


def test_two_machines_are_summed_as_far_as_both_tables_reach(run: Run, tmp_path: Path) -> None:
    """The table of 5 nm has no DRAM: a ratio to a sum with DRAM would say nothing."""
    out = tmp_path / "two.json"
    code, shown, error = run("--workload", "tiny11", "--compare", "edge-256", "keller-5nm", "--json", out)
    assert code == 0, error
    assert "boundary chip" in shown and "boundary system" not in shown
