"""Every command refuses, before any work, what it could not or must not write, and replaces only with --force."""

from pathlib import Path
from typing import Any

import pytest
import typer

from analysis.commands.app import app
from tests.unit.analysis.commands.estimate_runs import Run, caller, refused

WORDS: dict[str, tuple[str, ...]] = {
    "run": (),
    "train": (),
    "centre": (),
    "quantize": (),
    "verify": ("p.hwsim",),
    "estimate": ("--workload", "tiny11"),
    "sensitivity": (),
    "show": ("p.hwsim",),
    "explain": ("p.hwsim", "q.hwsim"),
    "vectors": ("p.hwsim", "--site", "*"),
    "targets": (),
    "bench": (),
    "doctor": (),
}
FILES = {
    "quantize": ["--out"],
    "estimate": ["--csv", "--json", "--trace"],
    "explain": ["--json", "--plot"],
    "show": ["--json"],
    "bench": ["--json"],
    "doctor": ["--json"],
}
FOLDERS = {
    "estimate": ["--plots"],
    **{name: ["--out"] for name in ("run", "train", "centre", "verify", "sensitivity", "vectors")},
}
NAMES = {"--out", "--json", "--csv", "--trace", "--plot", "--plots"}
WORK = (
    *("analysis.workload.load_model", "hwsim.program.loading.load", "analysis.estimates.job.priced"),
    *("analysis.bench.machine.examine", "analysis.bench.job.run", "reference.train.train_tokenizer"),
)


def cases(table: dict[str, list[str]]) -> list[Any]:
    return [pytest.param(name, option, id=f"{name} {option}") for name in table for option in table[name]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """A command by its name, where any work fails the test."""

    def worked(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.chdir(tmp_path)
    for name in WORK:
        monkeypatch.setattr(name, worked)
    return lambda name, *words: caller(name, monkeypatch, capsys)(*WORDS[name], *words)


def options_of(name: str) -> set[str]:
    command: Any = typer.main.get_command(app)
    return {option for parameter in command.commands[name].params for option in parameter.opts}


def test_the_tables_are_complete() -> None:
    for name in WORDS:
        known = {*FILES.get(name, ()), *FOLDERS.get(name, ())}
        options = options_of(name)
        assert options & NAMES == known, name
        assert ("--force" in options) == (bool(known) and name != "train"), name  # which goes on where it stopped
    assert len(WORDS) == len(app.registered_commands)


@pytest.mark.parametrize(("name", "option"), cases(FILES))
def test_a_file_that_is_there_is_refused(run: Run, tmp_path: Path, name: str, option: str) -> None:
    (tmp_path / "mine").write_text("mine")
    refused(run(name, option, "mine"), f"{option} mine is there already", "--force")
    refused(run(name, option, ".", "--force"), f"{option} . is a folder; name a file")
    assert (tmp_path / "mine").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("name", "option"), cases({name: some for name, some in FOLDERS.items() if name != "train"}))
def test_a_folder_that_is_there_is_refused(run: Run, tmp_path: Path, name: str, option: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    refused(run(name, option, "mine"), f"{option} mine exists and is not empty", "--force")
    refused(run(name, option, "mine", "--force"), f"{option} mine has no SHA256SUMS")
    assert (tmp_path / "mine" / "notes").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("name", "option"), cases(FILES) + cases(FOLDERS))
def test_what_cannot_be_written_is_refused(run: Run, tmp_path: Path, name: str, option: str) -> None:
    (tmp_path / "file").write_text("mine")
    refused(run(name, option, "file/below"), f"{option} file/below cannot be written: Not a directory")
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_a_run_that_names_no_folder_checks_the_default_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("mine")
    refused(run("run"), "--out runs/", "cannot be written: Not a directory")


@pytest.mark.parametrize("name", ["notes.txt", "model.safetensors", "training.json"])
def test_training_does_not_begin_where_something_else_is(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    refused(run("train", "--out", "mine"), f"mine holds {name}, but no state.pt of a training run to resume")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name]
