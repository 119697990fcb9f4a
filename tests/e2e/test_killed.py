"""Commands that are killed: what was good stays good, nothing half-written takes its place, leftovers are swept."""

import subprocess
import sys

import pytest

from tests import ROOT
from tests.kills.commands import COMMANDS

EVERY = {"run": 12, "quantize": 2, "vectors": 60, "estimate": 2, "train": 7}
"""Of the moments at which a command is about to touch a file each so many; `python -m tests.kills` takes them all."""


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_loses_nothing(command: str) -> None:
    words = [sys.executable, "-m", "tests.kills", "--only", command, "--every", str(EVERY[command])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{command}: " in done.stdout and "nothing half-written" in done.stdout
