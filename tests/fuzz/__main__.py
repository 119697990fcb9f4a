"""`python -m tests.fuzz --variants N --seed S`: malformed program files of targets; exit code 1 with an offender."""

import argparse
import multiprocessing
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from hwsim.program.targets import TARGETS
from reference.quantize.scheme import preset
from tests.fuzz.outcomes import outcome
from tests.fuzz.variants import variant
from tests.small.programs import tiny_program
from tests.unit.hwsim.program.program_files import mini_program

MOST_BYTES = 1 << 33
"""Of a child's addresses: what a variant claims to need is not had."""
SECONDS = 120
"""For one variant; the first that run compile kernels."""
Tally = Counter[tuple[str, str]]


def wholes(folder: Path, targets: Sequence[str]) -> dict[str, bytes]:
    """The files that variants are made from: a mini program, and a tiny model under every target."""
    programs = {"mini": mini_program()} | {name: tiny_program(preset("native", name)) for name in targets}
    made = {}
    for name, program in programs.items():
        program.save(folder / name)
        made[name] = (folder / name).read_bytes()
    return made


def work(given: dict[str, bytes], seed: int, numbers: Sequence[int], every: int, path: Path, told: Connection) -> None:
    """Tell of each variant that it begins, and what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        told.send(number)
        name, kind, content = variant(given, seed, number)
        try:
            told.send((kind, outcome(content, path, run=number % every == 0)))
        except Exception as error:
            told.send(f"{type(error).__name__}: {error} ({kind} of {name})")
            return
    told.send(None)


def fuzz(given: dict[str, bytes], seed: int, numbers: Sequence[int], every: int, path: Path) -> tuple[Tally, str]:
    """How often each kind of change had each outcome; and what is wrong with which variant, or nothing."""
    tally, number = Tally(), -1
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=work, args=(given, seed, numbers, every, path, there))
    child.start()
    there.close()
    try:
        while here.poll(SECONDS):
            match here.recv():
                case None:
                    return tally, ""
                case int() as number:
                    pass
                case tuple() as found:
                    tally[found] += 1
                case str() as wrong:
                    return tally, f"seed {seed}, variant {number}: {wrong}"
        return tally, f"seed {seed}, variant {number}: no answer in {SECONDS} s"
    except EOFError:
        child.join()
        return tally, f"seed {seed}, variant {number}: the process ended with {child.exitcode}"
    finally:
        child.kill()
        child.join()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first variant")
    parser.add_argument("--run-every", type=int, default=10, help="run what loads of every such variant")
    parser.add_argument("--target", action="append", choices=TARGETS, help="leave out all others")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        given = wholes(Path(folder), asked.target or list(TARGETS))
        numbers = range(asked.first, asked.first + asked.variants)
        tally, wrong = fuzz(given, asked.seed, numbers, asked.run_every, Path(folder) / "variant.hwsim")
    for (kind, end), count in sorted(tally.items()):
        print(f"{kind:20} {end:8} {count:7,}")
    if wrong:
        print(wrong, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
