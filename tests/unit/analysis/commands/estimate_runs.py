"""Runs of a command in this process; of `hwsim estimate`: what they record, how they are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import cli

Outcome = tuple[int, str, str]
Run = Callable[..., Outcome]


def caller(command: str, patch: pytest.MonkeyPatch, streams: pytest.CaptureFixture[str]) -> Run:
    """A call of one command: exit code, standard output, standard error."""

    def call(*arguments: object) -> Outcome:
        patch.setattr("sys.argv", ["hwsim", command, *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *streams.readouterr()

    return call


def refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2 and one line with these words."""
    code, _, output = outcome
    assert code == 2
    (message,) = output.splitlines()
    assert message.startswith("hwsim: error: ")
    for word in words:
        assert word in message


def record_of(run: Run, tmp_path: Path, *arguments: object) -> dict[str, Any]:
    out = tmp_path / "out.json"
    code, _, error = run(*arguments, "--json", out, "--force")
    assert code == 0, error
    return dict(json.loads(out.read_text()))
