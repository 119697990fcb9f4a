"""A signal ends a command in one line, with the exit code that shells report, and leaves nothing half-written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

SCRIPT = """
import os, signal, sys, threading
from analysis.cli import main

link = os.link
def interrupted(*paths):  # the last moment: the file is written beside its place
    signal.pthread_kill(threading.main_thread().ident, {number})  # no other thread takes it, and later
    link(*paths)

os.link = interrupted
{before}
sys.argv = ["hwsim", "estimate", "--workload", "tiny11", "--json", "found.json"]
main()
"""


def ended(folder: Path, number: int, before: str = "") -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(number=int(number), before=before)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended from outside"),
        (signal.SIGHUP, 129, "ended from outside"),
    ],
)
def test_a_signal_is_one_line_and_leaves_nothing(tmp_path: Path, number: int, code: int, word: str) -> None:
    done = ended(tmp_path, number)
    message = f"hwsim: error: {word}; nothing was left half-written\n"
    assert (done.returncode, done.stdout, done.stderr) == (code, "", message)
    assert not list(tmp_path.iterdir())


def test_what_is_to_be_ignored_is_ignored(tmp_path: Path) -> None:
    done = ended(tmp_path, signal.SIGHUP, "signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
