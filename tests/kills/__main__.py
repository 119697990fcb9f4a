"""Kills every command, and says what was found behind it."""

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # forks take no threads with them

from tests.kills import commands, forks
from tests.kills.commands import COMMANDS, Killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, help="random moments of each command; default: those that touch a file")
    parser.add_argument("--only", choices=COMMANDS, help="one command")
    parser.add_argument("--every", type=int, default=1, help="of the moments that touch a file each so many")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        commands.make_inputs(inputs)
        os.environ["XDG_CACHE_HOME"] = name  # nothing of the user's helps, or is touched
        forks.warmed((*COMMANDS["quantize"].words[:-1], "given.hwsim"), inputs)
        shutil.rmtree(inputs / "model" / "ranges")  # which each of them makes anew
        for command in [options.only] if options.only else COMMANDS:
            print(f"{command}: {_killed(COMMANDS[command], inputs, options)}", flush=True)


def _killed(command: Killed, inputs: Path, options: argparse.Namespace) -> str:
    with _copy(inputs) as folder:
        forks.warmed(command.words, folder)
    began = time.perf_counter()
    with _copy(inputs) as folder:
        assert forks.ended(command.words, folder) == 0, "the command fails by itself"
        seconds, expected = time.perf_counter() - began, command.result(folder / command.out)
    rng = random.Random(options.seed)
    found = {"absent": 0, "whole": 0, "ended before": 0}
    for kill in _moments(command, seconds, options, rng):
        for over in (False, True):
            with _copy(inputs) as folder:
                found[_one(command, folder, expected, over, kill)] += 1
    kills = found["absent"] + found["whole"]
    assert kills, "nothing was killed"
    return f"{kills} kills, nothing half-written, nothing left: output {found}"


Kill = Callable[[tuple[str, ...], Path], bool]


def _moments(command: Killed, seconds: float, options: argparse.Namespace, rng: random.Random) -> Iterator[Kill]:
    """Ways to kill, one after the other, until the command ends before it is killed."""
    if options.moments is not None:
        for _ in range(options.moments):
            after = rng.uniform(0, seconds)
            yield lambda words, folder, after=after: forks.killed_after(words, folder, after)  # type: ignore[misc]
        return
    moment, alive = 0, True
    while alive:

        def kill(words: tuple[str, ...], folder: Path, moment: int = moment) -> bool:
            nonlocal alive
            alive = forks.killed_at(words, folder, moment)
            return alive

        yield kill
        moment += options.every


def _one(command: Killed, folder: Path, expected: Any, over: bool, kill: Kill) -> str:
    """Kill a command, perhaps over a good output; look, do it again to the end, look again."""
    out, words = folder / command.out, command.words + command.force
    if over:
        assert forks.ended(command.words, folder) == 0
        assert command.result(out) == expected
    killed = kill(words, folder)
    if command.force:  # training goes on instead, with files that are whole
        assert not (over and not out.exists()), f"{out} is gone"
        assert not out.exists() or command.result(out) == expected, f"{out} is half-written"
    there = out.exists()
    assert forks.ended(words, folder) == 0, "the command fails after the kill"
    assert command.result(out) == expected, "another result after the kill"
    left = list(folder.rglob(".hwsim-*"))
    assert not left, f"left over: {left}"
    return "ended before" if not killed else "whole" if there else "absent"


@contextmanager
def _copy(inputs: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=inputs.parent) as name:
        folder = Path(name) / "work"
        shutil.copytree(inputs, folder)
        yield folder


if __name__ == "__main__":
    main()
