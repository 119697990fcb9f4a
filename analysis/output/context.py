"""Where a result comes from: command, version, commit, machine, time."""

import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BOOTSTRAP_SEED = 12345
"""That of `analysis.accuracy.bootstrap`: the only randomness of a run."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What it takes to run the same again; None where it is not known.

    `commit` ends in `-modified` where tracked files differ from it.
    """

    command: str
    model: str | None
    seed: int
    hwsim_version: str | None
    commit: str | None
    python_version: str
    torch_version: str | None
    machine: str
    finished: str
    seconds: float


def context(arguments: Sequence[str], model_folder: Path | None, seconds: float, seed: int = BOOTSTRAP_SEED) -> Context:
    """The context of the running process.

    Parameters
    ----------
    arguments
        As `sys.argv`.
    model_folder
        The checkpoint, if there is one.
    seconds
        Wall-clock time of the run.
    seed
        Of all that is random; the default is that of the bootstrap resamples.
    """
    return Context(
        command=_printable(shlex.join([*_program(Path(arguments[0])), *arguments[1:]])),
        model=None if model_folder is None else _model(model_folder),
        seed=seed,
        hwsim_version=_version("hwsim"),
        commit=_commit(),
        python_version=platform.python_version(),
        torch_version=_version("torch"),
        machine=f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
    )


def _program(path: Path) -> list[str]:
    """How a program is called, on any machine; the one that is a package's is `python -m hwsim`."""
    return ["python", "-m", path.parent.name] if path.name == "__main__.py" else [path.name]


def _printable(text: str) -> str:
    """File names may hold bytes that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()


def _model(folder: Path) -> str:
    """The folder's own name and the hash of its weights: what says which model it was on any machine."""
    from reference.quantize.origin import checkpoint_hash  # brings torch, which a result without a model can do without

    return f"{_printable(folder.resolve().name)}, SHA-256 {checkpoint_hash(folder)}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # hwsim may run from a folder that was never installed
        return None


def _commit() -> str | None:
    """The commit this very file is tracked in: an installed copy may lie in the repository of someone else."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{head}-modified" if head and changed else head


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def processor() -> str:
    """The name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
