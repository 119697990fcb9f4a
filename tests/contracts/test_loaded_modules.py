"""Importing hwsim, any module of it, loads neither torch nor the packages that stand on it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

SCRIPT = """
import importlib, pkgutil, sys

def check(name):
    leaked = {"torch", "reference", "analysis"} & set(sys.modules)
    if leaked:
        sys.exit(f"importing {name} loaded {', '.join(sorted(leaked))}")

import hwsim
check("hwsim")
for module in pkgutil.walk_packages(hwsim.__path__, "hwsim."):
    importlib.import_module(module.name)
    check(module.name)
    print(module.name)
"""


def import_all(folder: Path) -> subprocess.CompletedProcess[str]:
    """Import every module of the hwsim that lies in `folder`, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_hwsim_loads_no_torch_reference_or_analysis() -> None:
    result = import_all(ROOT)
    assert result.returncode == 0, result.stderr
    imported = result.stdout.split()
    assert {"hwsim.formats", "hwsim.files", "hwsim.program", "hwsim.machine"} <= set(imported)


@pytest.mark.parametrize("name", ["torch", "reference", "analysis"])
def test_the_check_can_fail(tmp_path: Path, name: str) -> None:
    (tmp_path / "hwsim").mkdir()
    shutil.copy(ROOT / "hwsim" / "files.py", tmp_path / "hwsim")
    (tmp_path / "hwsim" / "__init__.py").write_text("")
    (tmp_path / "hwsim" / "planted.py").write_text(f"def f():\n    import {name}\nf()\n")
    (tmp_path / f"{name}.py").write_text("")
    result = import_all(tmp_path)
    assert result.returncode != 0
    assert f"importing hwsim.planted loaded {name}" in result.stderr
