"""`hwsim estimate` of a program: its target's arithmetic, lengths, zeros that a report counted, weights not sparse."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.analysis.commands.estimate_runs import Run, record_of, refused


def test_a_program_says_whose_arithmetic_it_is(run: Run, tmp_path: Path, program: Path) -> None:
    out = tmp_path / "out.json"
    lengths = ("--source-length", 3, "--target-length", 4, "--source-length", 5, "--target-length", 2)
    code, shown, _ = run(program, *lengths, "--json", out)
    assert code == 0
    assert "target ita: mask, embedding and generator borrowed from fullyqt" in " ".join(shown.split())
    record = json.loads(out.read_text())
    assert record["program"]["target"] == "ita"
    assert record["workload"]["sentences"] == 2
    assert [phase["tokens"] for phase in record["workload"]["phases"]] == [8, 6]


def zero_report(program: Path, name: str = "ita-int8") -> dict[str, Any]:
    """Weights as the program has them; a quarter of all MACs is zero."""
    from hwsim.accelerator.zeros import ZeroCounter
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


def test_weights_that_are_not_sparse_are_not_skipped(run: Run, program: Path) -> None:
    refused(run(program, "--source-length", 4, "--target-length", 3, "--sparsity", "1:4"), "weight", "1:4", "not zero")


def test_lengths_of_a_program_pair_up(run: Run, program: Path) -> None:
    refused(run(program, "--source-length", 5), "--source-length is there 1 times, but --target-length 0 times")
    refused(run(program, "--source-length", 5, "--target-length", 0), "target length of 0 tokens", "1 to")
