"""The record of one run of all tests without a mutant: who executes which line, who imports whom, how long it takes."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from coverage import CoverageData

TOPS = ("hwsim", "reference", "analysis")
HERE = Path(__file__).resolve().parent


def python_files(tree: Path, *folders: str) -> list[Path]:
    return sorted(path.relative_to(tree) for folder in folders for path in (tree / folder).rglob("*.py"))


def environment(folder: Path) -> dict[str, str]:
    return {"CI": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE), "NUMBA_CACHE_DIR": str(folder)}


def fingerprint(tree: Path) -> str:
    """Of everything that tests may read, documents included."""
    found = hashlib.sha256(str(tree).encode())
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        if "__pycache__" not in path.parts:
            found.update(f"{path.relative_to(tree)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def make(tree: Path, folder: Path, jobs: int) -> None:
    """Run every test with coverage, and let the compiled kernels be kept in `folder`/numba."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sources = ",".join(str(tree / top) for top in TOPS)
    settings = f"source = {sources}\ndata_file = {folder}/coverage\nparallel = true\ncontext = ${{HWSIM_MUTANTS_TEST-}}"
    (folder / "coveragerc").write_text(f"[run]\n{settings}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "mutation_plugin", "-p", "no:cacheprovider"]
    command += ["-n", str(jobs), f"--mutation-record={folder}"]
    done = subprocess.run(command, cwd=tree, env=os.environ | environment(folder / "numba"), check=False)
    if done.returncode not in (0, 1) or not (folder / "failed.json").exists():
        raise SystemExit(f"the tests did not run without a mutant: exit code {done.returncode}")
    merge(folder)


def merge(folder: Path) -> None:
    """One file of coverage of those that the processes left."""
    data = CoverageData(str(folder / "coverage"))
    for part in folder.glob("coverage.*"):
        other = CoverageData(str(part))
        other.read()
        data.update(other)
        part.unlink()
    data.write()


class Record:
    """What is known of the tests of a tree."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.tree = tree
        self.failed: list[str] = json.loads((folder / "failed.json").read_text())
        self.seconds: dict[str, float] = {}
        self.users: dict[str, set[str]] = defaultdict(set)
        for path in folder.glob("worker-*.json"):
            found = json.loads(path.read_text())
            self.seconds |= {test: spent for test, spent in found["seconds"].items() if test not in self.failed}
            for test, fixtures in found["fixtures"].items():
                for fixture in fixtures:
                    self.users[fixture].add(test)
        self.coverage = CoverageData(str(folder / "coverage"))
        self.coverage.read()
        self.imports = import_graph(tree)

    def tests_by_line(self, path: Path) -> dict[int, set[str]]:
        """The tests that execute each line of a file, by themselves or through a fixture."""
        lines = self.coverage.contexts_by_lineno(str(self.tree / path))
        return {line: set(self._tests(contexts)) for line, contexts in lines.items()}

    def _tests(self, contexts: Iterable[str]) -> Iterator[str]:
        for context in contexts:
            yield from (test for test in self.users.get(context, {context}) if test in self.seconds)

    def distances(self, path: Path) -> dict[Path, int]:
        """How many imports lead from a file to `path`, for every file that imports it."""
        found, edge = {path: 0}, [path]
        while edge:
            importers = {one for one, imported in self.imports.items() if imported & set(edge) and one not in found}
            found |= dict.fromkeys(importers, found[edge[0]] + 1)
            edge = sorted(importers)
        return found


def import_graph(tree: Path) -> dict[Path, set[Path]]:
    """For each file of the project and its tests, those that it imports, wherever in it."""
    files = python_files(tree, *TOPS, "tests")
    named = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in files}
    return {path: set(imported_files(tree, path, named)) for path in files}


def imported_files(tree: Path, path: Path, named: dict[str, Path]) -> Iterator[Path]:
    for node in ast.walk(ast.parse((tree / path).read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.parts[: len(path.parts) - node.level]) if node.level else ""
            base = ".".join(part for part in (package, node.module) if part)
            names = [f"{base}.{one.name}" if f"{base}.{one.name}" in named else base for one in node.names]
        yield from (named[name] for name in names if name in named)
