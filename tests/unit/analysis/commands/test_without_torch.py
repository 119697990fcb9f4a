"""Every command where PyTorch is not installed: it works, or says in one line what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.commands.app import app
from tests import ROOT

SITE = "encoder.0.self_attention.query"
TEXT = ("--text", "text", "--model", "model")
WORKS = {
    "targets": ["targets", "ita"],
    "estimate": ["estimate", "--workload", "tiny11", "--plots", "figures"],
    "estimate of a program": ["estimate", "p.hwsim", "--source-length", "5", "--target-length", "5"],
    "show": ["show", "p.hwsim"],
    "show of what a text reaches": ["show", "p.hwsim", "--accumulators", *TEXT],
    "vectors": ["vectors", "p.hwsim", "--site", SITE, "--out", "made", *TEXT],
    "explain": ["explain", "p.hwsim", "p.hwsim", "--plot", "why.png", *TEXT],
    "explain of schemes": ["explain", "p.hwsim", "--schemes", "half_up,half_up", *TEXT],
    "doctor": ["doctor", "--json", "here.json"],
}
NEEDS_TORCH = {
    "run": ["run"],
    "train": ["train", "--out", "made"],
    "centre": ["centre", "--out", "made"],
    "quantize": ["quantize", "--out", "made.hwsim"],
    "verify": ["verify", "p.hwsim"],
    "verify of kernels": ["verify", "--kernels"],
    "sensitivity": ["sensitivity", "--out", "made"],
    "explain of a target": ["explain", "p.hwsim", "ita", *TEXT],
    "bench": ["bench", "--only", "gemm"],
}
WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Without(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
"""


@pytest.fixture
def start(at_work: Path) -> "Start":
    return Start(at_work)


class Start:
    """Starts `hwsim` where a library is not installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, missing: str, *words: str) -> subprocess.CompletedProcess[str]:
        hook = self.folder / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(WITHOUT.format(missing=missing))
        return subprocess.run(
            [sys.executable, "-c", "from analysis.cli import main; main()", *words],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": f"{hook}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )


def test_the_table_has_every_command() -> None:
    named = {words[0] for words in [*WORKS.values(), *NEEDS_TORCH.values()]}
    assert named == {str(command.callback.__name__) for command in app.registered_commands if command.callback}


@pytest.mark.parametrize("case", WORKS)
def test_works_without_torch(start: Start, case: str) -> None:
    done = start("torch", *WORKS[case])
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout


@pytest.mark.parametrize("case", NEEDS_TORCH)
def test_says_that_it_needs_torch(start: Start, case: str) -> None:
    before = set(start.folder.rglob("*"))
    done = start("torch", *NEEDS_TORCH[case])
    (line,) = done.stderr.splitlines()
    command = f"hwsim {NEEDS_TORCH[case][0]}"
    assert line.startswith(f"hwsim: error: {command} needs torch, which is not installed: pip install 'torch")
    assert (done.returncode, done.stdout) == (2, "")
    made = {path.relative_to(start.folder).parts[0] for path in set(start.folder.rglob("*")) - before}
    assert made == {"hook"}


def test_doctor_says_that_torch_is_missing(start: Start) -> None:
    done = start("torch", *WORKS["doctor"])
    (line,) = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["torch"]]
    assert line == ["torch", "not", "installed"]
    found = json.loads((start.folder / "here.json").read_text())
    assert found["versions"]["torch"] is None and found["threads"]["torch"] is None
    assert found["versions"]["numba"] and found["threads"]["numba"]


@pytest.mark.parametrize("name", ["typer", "msgspec", "numba", "sentencepiece"])
def test_any_other_library_is_named_too(start: Start, name: str) -> None:
    done = start(name, "vectors", "p.hwsim", "--site", SITE, "--out", "made", *TEXT)
    assert done.stderr.splitlines()[-1].startswith(
        f"hwsim: error: hwsim vectors needs {name}, which is not installed: pip install '{name}>="
    )
    assert "Traceback" not in done.stderr and done.returncode == 2
