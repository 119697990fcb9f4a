"""Who collects this folder: nobody by accident, and nobody without every package."""

import os
import subprocess
import sys
from pathlib import Path

GEMMLOWP = "tests/conformance/test_gemmlowp.py"
REPOSITORY = Path(__file__).resolve().parents[2]


def collect(folder: Path, *paths: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Collect tests in a process of its own, by the settings of the whole suite, modules of `folder` found first."""
    environment = {name: value for name, value in os.environ.items() if name != "HWSIM_CONFORMANCE"}
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "no:cacheprovider", "--collect-only", "-q"]
    return subprocess.run(
        [*command, *paths],
        cwd=REPOSITORY,
        env=environment | {"PYTHONPATH": str(folder)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_collected_by_default(tmp_path: Path) -> None:
    found = collect(tmp_path, GEMMLOWP, "tests/conformance")
    assert "no tests collected" in found.stdout and "::test_" not in found.stdout, found.stdout + found.stderr


def test_a_missing_package_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ethosu.py").write_text("raise ModuleNotFoundError('not here')\n", encoding="utf-8")
    found = collect(tmp_path, GEMMLOWP, HWSIM_CONFORMANCE="1")
    assert found.returncode == 2 and f"ERROR {GEMMLOWP}" in found.stdout, found.stdout
