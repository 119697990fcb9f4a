"""Draw mutants, try each, print what survives: the options, the workers and the printing of .ci/mutants."""

import argparse
import os
import random
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from choice import choose
from record import HERE, TOPS, Record, fingerprint, make, python_files
from report import as_json, equivalent, short, survivor, table
from sample import Draw, Mutant, Source
from trial import EQUIVALENT, REPLACED, SURVIVED, Result, lay_tree, try_mutant


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=".ci/mutants [FOLDER]", description="Plant faults, see which are noticed.")
    parser.add_argument("--number", type=int, default=100, help="mutants to try (100)")
    parser.add_argument("--seed", type=int, help="of the draw; from the clock without it, and printed")
    parser.add_argument("--only", action="append", type=Path, default=[], help="a folder or file; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    parser.add_argument("--seconds", type=float, default=180, help="of tests for one mutant, at most (180)")
    parser.add_argument("--json", type=Path, help="file for the record of the run")
    parser.add_argument("--folder", type=Path, required=True, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.json:
        chosen.json = Path(os.environ.get("HWSIM_MUTANTS_FROM", "."), chosen.json)
    if chosen.number < 1 or chosen.jobs < 1:
        parser.error("--number and --jobs are at least 1")
    if chosen.seed is None:
        chosen.seed = int(time.time())
    return chosen


class Run:
    """A sample of mutants, tried by several workers, each in a tree of its own."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        origin = chosen.folder / "tree"
        files = [path for path in python_files(origin, *TOPS) if selected(path, chosen.only)]
        for one in chosen.only:
            if not any(path.is_relative_to(one) for path in files):
                raise SystemExit(f"--only {one}: no source there")
        self.trees = [chosen.folder / f"tree-{number + 1}" for number in range(chosen.jobs)]
        with ThreadPoolExecutor(chosen.jobs) as workers:
            list(workers.map(lambda tree: lay_tree(origin, tree), self.trees))
        self.record = record_of(origin, self.trees[0], chosen.folder / "record", chosen.jobs)
        self.draw = Draw([Source(origin, path) for path in files], chosen.seed)
        shares = self.draw.shares(chosen.number)
        self.areas = [name for name, share in shares.items() for _ in range(share)]
        random.Random(chosen.seed).shuffle(self.areas)
        self.known = equivalents(origin)
        self.lock = Lock()

    def results(self) -> list[Result]:
        found: list[Result] = []
        with ThreadPoolExecutor(len(self.trees)) as workers:
            for results in workers.map(self._work, self.trees):
                found += results
        return sorted(found, key=lambda one: (one.mutant.area, one.mutant.path, one.mutant.line))

    def _work(self, tree: Path) -> list[Result]:
        try:
            return list(self._tried(tree))
        except BaseException:
            self.areas.clear()  # the others end soon, too
            raise

    def _tried(self, tree: Path) -> Iterator[Result]:
        """Results until no area is left; behind a mutant that says nothing comes another of its area."""
        while name := self._next_area():
            result = None
            while result is None or result.outcome in REPLACED:
                with self.lock:
                    mutant = self.draw.next(name)
                if mutant is None:
                    break
                result = self._result(mutant, tree)
                at = f"{mutant.path}:{mutant.line}  {short(mutant.operator)}"
                print(f"{result.seconds:4.0f} s  {result.outcome:13}{at}  {result.killed_by[-90:]}", flush=True)
                yield result

    def _next_area(self) -> str | None:
        with self.lock:
            return self.areas.pop() if self.areas else None

    def _result(self, mutant: Mutant, tree: Path) -> Result:
        if reason := self.known.get((str(mutant.path), squeezed(mutant.before), squeezed(mutant.after))):
            return Result(mutant, EQUIVALENT, reason=reason)
        with self.lock:
            choice = choose(self.record, mutant, self.chosen.seconds)
        return try_mutant(mutant, choice, self.record, tree, self.chosen.folder / "record" / "numba")


def selected(path: Path, only: list[Path]) -> bool:
    return not only or any(path.is_relative_to(one) for one in only)


def record_of(origin: Path, tree: Path, folder: Path, jobs: int) -> Record:
    """The record of these very files, kept or made anew in a tree laid from them."""
    mark = folder / "fingerprint"
    found = fingerprint(origin)
    if not mark.exists() or mark.read_text() != found:
        print("== record of which test runs which line", flush=True)
        make(tree, folder, jobs)
        mark.write_text(found)
    record = Record(tree, folder)
    for test in record.failed:
        print(f"left out, fails without a mutant: {test}")
    return record


def squeezed(code: str) -> str:
    return " ".join(code.split())


def equivalents(origin: Path) -> dict[tuple[str, str, str], str]:
    """Mutants that were looked at and cannot be told from the source, and why; entries for lines that are gone."""
    known = {}
    for entry in tomllib.loads((HERE / "equivalent.toml").read_text(encoding="utf-8")).get("equivalent", []):
        known[entry["file"], squeezed(entry["before"]), squeezed(entry["after"])] = entry["reason"]
        path = origin / entry["file"]
        if not path.exists() or squeezed(entry["before"]) not in squeezed(path.read_text(encoding="utf-8")):
            print(f"equivalent.toml: {entry['file']} has no line {squeezed(entry['before'])!r} any more")
    return known


def main() -> None:
    chosen = options()
    began = datetime.now(UTC)
    print(f"seed {chosen.seed}", flush=True)
    run = Run(chosen)
    print(f"== {len(run.areas)} mutants, of {sum(run.draw.count.values())} lines that can be changed", flush=True)
    results = run.results()
    print(f"\n== result, seed {chosen.seed}\n{table(results)}")
    for title, outcome, shown in (("survivors", SURVIVED, survivor), ("equivalent", EQUIVALENT, equivalent)):
        print(f"\n== {title}", *(shown(one) for one in results if one.outcome == outcome), sep="\n")
    if chosen.json:
        chosen.json.write_text(as_json(results, began, chosen.seed, run.draw.count), encoding="utf-8")
    print(f"\n== time\n{(datetime.now(UTC) - began).total_seconds():5.0f} s")


if __name__ == "__main__":
    main()
