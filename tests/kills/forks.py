"""A command in a fork of this process, which has everything imported, killed at a moment."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from analysis import cli

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
TOUCHING = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "ctypes.dlsym"}
"""What Python reports before it changes a file or a folder; the last before folders change places."""


def warmed(words: tuple[str, ...], folder: Path) -> None:
    """Run a command in this process, so that its forks have imported and compiled everything."""
    before = Path.cwd()
    os.chdir(folder)
    sys.argv = ["hwsim", *words]
    cli.main()
    os.chdir(before)


def ended(words: tuple[str, ...], folder: Path, watch: Callable[[], None] | None = None) -> int:
    """Run a command to its end in a fork: its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(_fork(words, folder, watch), 0)[1])


def killed_after(words: tuple[str, ...], folder: Path, seconds: float) -> bool:
    """Run a command in a fork and kill it after some time; False if it ended before."""
    child = _fork(words, folder, None)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def killed_at(words: tuple[str, ...], folder: Path, moment: int) -> bool:
    """Run a command in a fork that dies when it is about to touch a file for that time; False if it ended before."""
    seen = 0

    def watch() -> None:
        sys.addaudithook(hook)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in TOUCHING or (event == "open" and _writes(arguments)):
            seen += 1
            if seen > moment:
                os.kill(os.getpid(), signal.SIGKILL)

    return ended(words, folder, watch) == -signal.SIGKILL


def _writes(arguments: tuple[object, ...]) -> bool:
    path, _, flags = arguments
    outside = isinstance(path, str | bytes) and os.fsencode(path).startswith((b"/dev", b"/proc"))
    compiled = isinstance(path, str) and "__pycache__" in path
    return isinstance(flags, int) and bool(flags & WRITING) and not outside and not compiled


def _fork(words: tuple[str, ...], folder: Path, watch: Callable[[], None] | None) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.chdir(folder)
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        sys.argv = ["hwsim", *words]
        if watch is not None:
            watch()
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    finally:
        os._exit(code)
