"""The import rules of pyproject.toml hold, cover every module, and can fail."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("hwsim", "reference", "analysis", "tests")
PLANTS = {
    "hwsim never imports torch, reference or analysis": ("hwsim/files.py", "import torch"),
    "the rooms of hwsim stand on each other in one order": ("hwsim/formats.py", "import hwsim.arithmetic.scaling"),
    "reference imports no kernel of hwsim, not even through the seam": (
        "reference/data.py",
        "from hwsim.operators import gemm",
    ),
    "reference sees the records of the seam, not its checks": (
        "reference/corpus.py",
        "from hwsim.program.packing import pack",
    ),
    "the seam knows no kernel": ("hwsim/program/packing.py", "def late():\n    import hwsim.operators.requantize"),
    "the cost model knows shapes, not kernels: an estimate starts in a moment": (
        "hwsim/accelerator/cycles.py",
        "import hwsim.machine",
    ),
    "operators do not import each other": ("hwsim/operators/softmax/table.py", "import hwsim.operators.layernorm"),
    "the rooms of reference stand on each other in one order": ("reference/data.py", "import reference.tokenizer"),
    "the rooms of analysis stand on each other in one order": ("analysis/workload.py", "import analysis.accuracy.bleu"),
    "no folder imports a folder that imports it": ("reference/data.py", "import reference.train"),
    "the oracle imports nothing of the project, and no array library": (
        "tests/oracle/__init__.py",
        "import hwsim.files",
    ),
}
"""Contract: the file and the import that breaks it."""


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    wide = {**os.environ, "COLUMNS": "200"}  # names on one line
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=root, env=wide, capture_output=True, text=True, check=False
    )


def verdicts(output: str) -> dict[str, str]:
    """Contract name to KEPT or BROKEN, from the summary of lint-imports, which may add how many imports it ignored."""
    return dict(re.findall(r"^(.+) (KEPT|BROKEN)(?: \(\d+ .+\))?$", output, re.MULTILINE))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A copy of the project's Python files and its configuration."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert verdicts(result.stdout) == dict.fromkeys(PLANTS, "KEPT")


def test_every_contract_can_fail(scratch: Path) -> None:
    for file, statement in PLANTS.values():
        with (scratch / file).open("a") as stream:
            stream.write(f"\n{statement}\n")
    result = lint(scratch)
    assert result.returncode != 0
    assert verdicts(result.stdout) == dict.fromkeys(PLANTS, "BROKEN"), result.stdout + result.stderr


def broken(root: Path) -> list[str]:
    """Names of the contracts that do not hold."""
    return [name for name, verdict in verdicts(lint(root).stdout).items() if verdict == "BROKEN"]


def test_a_planted_torch_import_breaks_its_contract_alone(scratch: Path) -> None:
    with (scratch / "hwsim" / "compare.py").open("a") as stream:
        stream.write("\nimport torch\n")
    assert broken(scratch) == ["hwsim never imports torch, reference or analysis"]
    assert "hwsim.compare -> torch" in lint(scratch).stdout


def test_the_command_may_start_the_command_line_and_no_more(scratch: Path) -> None:
    with (scratch / "hwsim" / "__main__.py").open("a") as stream:
        stream.write("\nimport analysis.run\n")
    with (scratch / "hwsim" / "compare.py").open("a") as stream:
        stream.write("\nimport hwsim.__main__\n")
    wanted = {"hwsim never imports torch, reference or analysis", "the rooms of hwsim stand on each other in one order"}
    assert wanted <= set(broken(scratch))


@pytest.mark.parametrize("wing", ["hwsim", "reference", "analysis"])
def test_a_room_that_has_no_place_in_the_order_breaks_the_order(scratch: Path, wing: str) -> None:
    (scratch / wing / "planted.py").write_text("")
    assert broken(scratch) == [f"the rooms of {wing} stand on each other in one order"]
