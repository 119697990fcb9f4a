"""One mutant against its tests, in a tree that no other worker uses; planting and taking back are cosmic-ray's."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from choice import Choice
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome
from numba.core.caching import _CacheLocator
from record import Record, environment, python_files
from sample import Mutant

KILLED, SURVIVED, TIMED_OUT, EQUIVALENT = "killed", "survived", "timed out", "equivalent"
NOT_IMPORTED, NOT_RUN = "not imported", "not run"
REPLACED = (NOT_IMPORTED, NOT_RUN)  # says nothing of the tests: another mutant is drawn
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    mutant: Mutant
    outcome: str
    choice: Choice | None = None
    killed_by: str = ""
    seconds: float = 0.0
    reason: str = ""  # why it is equivalent


def try_mutant(mutant: Mutant, choice: Choice, record: Record, tree: Path, warm: Path) -> Result:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=tree.parent) as name:
        folder = Path(name)
        compiled_anew = own_kernels(folder / "numba", warm, record, tree, set(record.distances(mutant.path)))
        timeout = 120 + 3 * choice.seconds + 240 * compiled_anew  # more than it takes on a busy machine
        spec = MutationSpec(tree / mutant.path, mutant.operator, mutant.occurrence, (0, 0), (0, 1))
        done = mutate_and_test([spec], command(mutant, choice, tree, folder), timeout)
    if done.worker_outcome != WorkerOutcome.NORMAL or done.test_outcome == TestOutcome.INCOMPETENT:
        raise SystemExit(f"{mutant.path}:{mutant.line}: cosmic-ray says {done.worker_outcome}: {done.output}")
    output = done.output or ""
    outcome = KILLED
    if done.test_outcome == TestOutcome.SURVIVED:
        outcome = SURVIVED
    elif output == "timeout":
        outcome = TIMED_OUT
    elif "does not import" in output:
        outcome = NOT_IMPORTED
    killer = FAILED.search(output)
    broken = "no tests ran" in output or "INTERNALERROR" in output or not output.strip()
    if outcome == KILLED and not killer and broken:
        outcome = NOT_RUN
    killed_by = (killer[1] if killer else output[-500:]) if outcome == KILLED else ""
    return Result(mutant, outcome, choice, killed_by, time.perf_counter() - began)


def command(mutant: Mutant, choice: Choice, tree: Path, folder: Path) -> str:
    """One line for a shell: the first lot of tests, and the second one if all of the first pass."""
    module = ".".join(mutant.path.with_suffix("").parts).removesuffix(".__init__")
    runs = []
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "mutation_plugin", "-p", "no:cacheprovider"]
    for name, tests in (("first", choice.first), ("second", choice.second)):
        if tests:
            (folder / name).write_text("\n".join(tests))
            options = {"mutation-tests": folder / name, "mutation-module": module, "basetemp": folder / "temporary"}
            files = dict.fromkeys(test.partition("::")[0] for test in tests)
            runs.append(shlex.join([*pytest, *(f"--{key}={value}" for key, value in options.items()), *files]))
    variables = [f"{name}={value}" for name, value in environment(folder / "numba").items()]
    return shlex.join(["env", "-C", str(tree), *variables, "sh", "-c", " && ".join(runs) or "true"])


def own_kernels(folder: Path, warm: Path, record: Record, tree: Path, changed: set[Path]) -> bool:
    """Lay the compiled kernels ready for a tree, less those of changed files; say whether there were any of these.

    Numba compiles a file anew when it has changed, but not when another file has whose functions it calls or whose
    constants it reads: so kernels of whatever imports the mutant are left out. Files are linked, and numba replaces
    files instead of writing into them: nothing a mutant compiles gets back to `warm`.
    """
    folder.mkdir()
    left_out = False
    for path in python_files(tree, "hwsim"):
        source = warm / _CacheLocator.get_suitable_cache_subpath(str(record.tree / path))
        target = folder / _CacheLocator.get_suitable_cache_subpath(str(tree / path))
        for file in source.glob(f"{path.stem}.*"):
            if path in changed:
                left_out = True
            else:
                target.mkdir(exist_ok=True)
                os.link(file, target / file.name)
    return left_out


def lay_tree(origin: Path, tree: Path) -> None:
    """Copy the files, and collect the tests once, to keep what Python and pytest compile: mutants' runs do not."""
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(origin, tree)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"]
    variables = os.environ | environment(tree / "numba")
    done = subprocess.run(command, cwd=tree, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"tests cannot be collected without a mutant:\n{done.stdout[-3000:]}")
