"""`hwsim estimate` in this process, and a program to estimate."""

from pathlib import Path

import pytest

from reference.quantize.scheme import preset
from tests.small.programs import tiny_program
from tests.unit.analysis.commands.estimate_runs import Run, caller


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `hwsim estimate` in this process: exit code, standard output, standard error."""
    return caller("estimate", monkeypatch, capsys)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "tiny.hwsim"
    tiny_program(preset("int8", "ita")).save(path)
    return path
