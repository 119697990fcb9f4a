"""`hwsim estimate` in this process, and a program to estimate."""

from pathlib import Path

import pytest

from analysis import cli
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program
from tests.unit.analysis.commands.estimate_runs import Outcome, Run


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


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "tiny.hwsim"
    tiny_program(preset("int8", "ita")).save(path)
    return path
