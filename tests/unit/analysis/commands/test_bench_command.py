"""`hwsim bench` and `hwsim doctor` in this process: records, refusals, what is missing."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.bench import gemm, growth, job, operators, roofline, threads
from analysis.bench.gemm import Case
from analysis.bench.timing import Spread
from hwsim.operators.gemm.engines import ENGINE, available
from tests.unit.analysis.commands.estimate_runs import Run, caller, record_of, refused


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Two tiny products instead of the table's."""
    monkeypatch.setattr(gemm, "CASES", (Case(m=2, k=3, n=2), Case(batch=2, m=2, k=3, n=2)))
    monkeypatch.setattr(roofline, "CACHED", 1 << 10)
    monkeypatch.setattr(roofline, "STREAMED", 1 << 12)
    monkeypatch.setattr(threads, "set_threads", lambda count: None)  # of this process, for tests after this one
    return caller("bench", monkeypatch, capsys)


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller("doctor", monkeypatch, capsys)


def test_products_as_a_record(bench: Run, tmp_path: Path) -> None:
    found = record_of(bench, tmp_path, "--only", "gemm", "--repeats", 2, "--threads", 1, "--seed", 5)
    assert found["context"]["seed"] == 5 and "bench --only gemm" in found["context"]["command"]
    assert {"commit", "machine", "model", "finished"} <= set(found["context"])
    assert (found["threads"], found["repeats"], found["model"], found["operators"]) == (1, 2, [], [])
    assert found["growth"] is None
    shapes = [(row["batch"], row["m"], row["k"], row["n"]) for row in found["gemm"]]
    assert shapes == [*[(1, 2, 3, 2)] * len(available()), (2, 2, 3, 2)]
    assert [row["engine"] for row in found["gemm"]] == [*available(), ENGINE]
    for row in found["gemm"]:
        ours = row["seconds"]["hwsim"]
        assert row["threads"] == 1 and set(row["ratio"]) == {"torch_int_mm", "float32_blas", "onnxruntime"}
        assert row["gops"] == pytest.approx(2 * row["batch"] * 2 * 3 * 2 / ours["median"] / 1e9)
        assert all(row["exact"].values()) and row["exact"]["float32_blas"]
        assert row["ratio"]["float32_blas"] == pytest.approx(row["seconds"]["float32_blas"]["median"] / ours["median"])
        assert ours["min"] <= ours["median"] <= ours["max"]
    under = found["roofline"]
    assert len(under["products"]) == len(shapes) and under["operators"] == []
    assert under["cache_gb_per_s"] > 0 and under["memory_gb_per_s"] > 0 and under["peak_gops"] > 0
    assert "numba_cache" not in found["machine"] and found["machine"]["engine"]["chosen"] == ENGINE


def test_what_is_printed(bench: Run) -> None:
    code, output, _ = bench("--only", "gemm", "--repeats", 1, "--threads", 1)
    assert code == 0
    assert "Matrix products, 1 threads" in output and "2 x (2, 3, 2) int8 x int8" in output and "Roofline" in output


def test_missing_peers_are_one_line_each(bench: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ctranslate2", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    out = tmp_path / "out.json"
    code, output, _ = bench("--only", "gemm", "--repeats", 1, "--json", out)
    lines = [line for line in output.splitlines() if "is not installed" in line]
    assert code == 0 and [line.split()[0] for line in lines] == ["ctranslate2", "onnxruntime"]
    found = json.loads(out.read_text())
    assert len(found["missing"]) == 2
    assert all(row["ratio"]["onnxruntime"] is None for row in found["gemm"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "gem"], ["--only", "gemm"]),
        (["--threads", "0"], ["--threads 0", "1 to"]),
        (["--threads", "100000"], ["--threads 100000"]),
        (["--repeats", "0"], ["--repeats"]),
        (["--sentences", "0"], ["--sentences"]),
        (["--seed", "-1"], ["--seed"]),
        (["--only", "gemm", "--sentences", "5"], ["--sentences", "--only gemm"]),
        (["--only", "gemm", "--target", "ita"], ["--target", "--only gemm"]),
        (["--target", "itta"], ["itta", "fullyqt"]),
        (["--json", "."], ["--json", "is a folder; name a file"]),
    ],
)
def test_refused_in_one_line_before_the_work(
    bench: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.setattr(gemm, "measure", lambda *given, **named: pytest.fail("it began to measure"))
    refused(bench(*arguments), *words)


def test_options_reach_the_work(bench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[job.Request] = []

    def run(request: job.Request, *rest: Any) -> job.Result:
        seen.append(request)
        return job.Result()

    monkeypatch.setattr(job, "run", run)
    bench("--only", "operators", "--only", "model", "--only", "model", "--threads", 1, "--target", "ita", "--growth")
    bench("--sentences", 9, "--repeats", 3, "--seed", 4)
    plain = job.Request(
        parts=["operators", "model"], threads=1, repeats=7, sentences=128, seed=0, targets=["ita"], growth=True
    )
    assert seen[0] == plain
    every = ["gemm", "model", "operators"]
    cores = threads.usable_cores()
    wanted = {
        "parts": every,
        "threads": cores,
        "repeats": 3,
        "sentences": 9,
        "seed": 4,
        "targets": None,
        "growth": False,
    }
    assert seen[1] == replace(plain, **wanted)


def test_which_models_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 sentences of the shipped model, 8 of them alone, 16 under another target; the random model of fewer."""
    measured: list[tuple[str, int, int, int]] = []

    def note(subject: Any, *, threads: int, repeats: int) -> str:
        measured.append((subject.name, sum(map(len, subject.batches)), max(map(len, subject.batches)), repeats))
        return subject.name

    monkeypatch.setattr(job.model, "measure", note)
    monkeypatch.setattr(
        job.subjects, "subject", lambda name, net, scheme, ranges, batches: SimpleNamespace(name=name, batches=batches)
    )
    monkeypatch.setattr(
        job.subjects, "batches_of", lambda model, text, size: [text[i : i + size] for i in range(0, len(text), size)]
    )
    monkeypatch.setattr(job.subjects, "random_model", lambda config, seed: None)
    monkeypatch.setattr(job.subjects, "random_ranges", lambda net, seed: {})
    request = job.Request(parts=["model"], threads=1, repeats=5, sentences=100, seed=0)
    job._models(request, SimpleNamespace(network=None), {}, ["fullyqt", "ita"], lambda what: None)
    assert measured == [
        ("shipped, int8", 100, 64, 5),
        ("shipped, int8, alone", 12, 1, 5),
        ("shipped, ita", 25, 25, 3),
        ("transformer-base, int8", 16, 16, 3),
    ]


def test_operators_and_growth_reach_the_record(bench: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A row of 4 bytes an element in 2 ns is half a copy at 4 GB/s, whoever measured it."""
    spread = Spread(min=1.0, median=2.0, max=3.0)
    row = operators.Row(
        operator="add", target="ita", shape=[2, 3], elements=6, ns_per_element=spread, bytes_per_element=4
    )
    point = growth.Row(axis="batch", value=2, seconds=spread)
    monkeypatch.setattr(job, "ranges_of", lambda model: {})
    monkeypatch.setattr(job, "_operators", lambda *given: [row])
    monkeypatch.setattr(roofline, "copies", lambda repeats: (4.0, 1.0))
    monkeypatch.setattr(roofline, "CUBE", Case(m=2, k=2, n=2))
    monkeypatch.setattr(
        growth, "measure", lambda *given, **named: growth.Growth(points=[point], exponent={"batch": 1.25})
    )
    out = tmp_path / "out.json"
    code, output, _ = bench("--only", "operators", "--growth", "--repeats", 1, "--json", out)
    found = json.loads(out.read_text())
    assert code == 0
    assert found["operators"][0]["ns_per_element"] == {"min": 1.0, "median": 2.0, "max": 3.0}
    assert found["roofline"]["operators"][0]["share"] == pytest.approx(0.5)
    assert found["growth"]["exponent"] == {"batch": 1.25}
    assert "2 x 3" in output and "50%" in output and "1.25" in output


def test_doctor_says_what_there_is(doctor: Run, tmp_path: Path) -> None:
    out = tmp_path / "here.json"
    code, output, error = doctor("--json", out)
    found = json.loads(out.read_text())
    assert (code, error) == (0, "")
    assert {"avx2", "avx512_vnni", "avx_vnni", "amx_int8"} <= set(found["features"])
    assert {"numpy", "numba", "llvmlite", "torch", "ctranslate2", "onnxruntime"} <= set(found["versions"])
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["engine"]["chosen"] in found["engine"]["available"] and found["engine"]["why"]
    for line in ("CPU", "caches", "threads", "product engine", "kernel cache"):
        assert line in output
    assert found["versions"]["torch"] in output and found["processor"][:20] in output


def test_doctor_refuses_in_one_line(doctor: Run) -> None:
    refused(doctor("--json", "."), "--json", "is a folder")
    refused(doctor("--jsn", "x"), "--jsn")
