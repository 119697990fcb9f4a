"""The import rules of pyproject.toml hold, cover every module, and can fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("hwsim", "reference", "analysis", "tests")
SEAM = {
    "hwsim.files",
    "hwsim.formats",
    "hwsim.operations",
    "hwsim.program",
    "hwsim.catalogue",
    "hwsim.targets",
}
"""What reference may import of hwsim."""

PLANTS = {
    "hwsim never imports torch, reference or analysis": ("hwsim/files.py", "import torch"),
    "reference imports no kernel of hwsim, not even through the seam": ("reference/data.py", "from hwsim import gemm"),
    "reference reaches hwsim only through the seam": (
        "reference/corpus.py",
        "from hwsim.packing import pack",
    ),
    "the program file knows no kernel": ("hwsim/program.py", "def late():\n    import hwsim.requantize"),
    "the cost model knows shapes, not kernels: an estimate starts in a moment": (
        "hwsim/accelerator/cycles.py",
        "import hwsim.machine",
    ),
    "operators do not import each other": ("hwsim/softmax/table.py", "import hwsim.layernorm"),
    "the oracle imports nothing of the project, and no array library": (
        "tests/oracle/__init__.py",
        "import hwsim.files",
    ),
}
"""Contract: the file and the import that breaks it."""


def contracts() -> dict[str, dict[str, object]]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {contract["id"]: contract for contract in config}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    wide = {**os.environ, "COLUMNS": "200"}  # names on one line
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=root, env=wide, capture_output=True, text=True, check=False
    )


def verdicts(output: str) -> dict[str, str]:
    """Contract name to KEPT or BROKEN, from the summary of lint-imports."""
    lines = [line.rsplit(" ", 1) for line in output.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2 and line[1] in ("KEPT", "BROKEN")}


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


def test_a_planted_torch_import_breaks_its_contract_alone(scratch: Path) -> None:
    (scratch / "hwsim" / "planted.py").write_text("import torch\n")
    result = lint(scratch)
    assert result.returncode != 0
    broken = [name for name, verdict in verdicts(result.stdout).items() if verdict == "BROKEN"]
    assert broken == ["hwsim never imports torch, reference or analysis"]
    assert "hwsim.planted -> torch" in result.stdout


def test_every_module_of_hwsim_is_open_or_closed_to_reference() -> None:
    closed: set[str] = set()
    for name in ("no-kernel", "seam-only"):
        forbidden = contracts()[name]["forbidden_modules"]
        assert isinstance(forbidden, list)
        closed |= {module for module in forbidden if module.startswith("hwsim.")}
    modules = {
        f"hwsim.{path.stem}"
        for path in (ROOT / "hwsim").iterdir()
        if path.stem != "__init__" and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert modules - SEAM == closed, (
        "name every module of hwsim in a contract for reference (pyproject.toml), or in SEAM"
    )
