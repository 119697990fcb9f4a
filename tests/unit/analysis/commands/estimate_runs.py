"""Runs of `hwsim estimate`: what they give, what they record, how they are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Outcome = tuple[int, str, str]
Run = Callable[..., Outcome]


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
    code, _, error = run(*arguments, "--json", out)
    assert code == 0, error
    return dict(json.loads(out.read_text()))
