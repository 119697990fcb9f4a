"""`hwsim estimate` in this process, and a program to estimate."""

import shutil
from pathlib import Path

import pytest

from analysis.workload import calibrate_model, configure, load_model
from reference.data import ParallelText
from reference.quantize.scheme import preset
from tests.small.models import save_tiny_model
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


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path, small_text: ParallelText) -> Path:
    """A folder with a tiny `model`, the program `p.hwsim` that was lowered from it, and a `text` of two sentences."""
    folder = tmp_path_factory.mktemp("workshop")
    save_tiny_model(folder / "model", vocabulary)
    model = load_model(folder / "model")
    configure(model, preset("int8"), calibrate_model(model, small_text.head(8))).program.save(folder / "p.hwsim")
    (folder / "text").write_text("\n".join(small_text.source[:2]) + "\n")
    return folder


@pytest.fixture
def at_work(workshop: Path, tmp_path: Path) -> Path:
    """A copy of it, to write to."""
    return Path(shutil.copytree(workshop, tmp_path / "work"))
