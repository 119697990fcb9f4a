"""Importing hwsim, any module of it, loads neither torch nor what stands on it; of the rest, what can do without."""

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


WITHOUT_TORCH = (
    "analysis.cli",
    "analysis.commands",
    "analysis.output",
    "analysis.plots",
    "analysis.inspect",
    "analysis.estimates",
    "analysis.proof.explain",
    "analysis.proof.divergence",
    "analysis.translation.steppers",
    "analysis.translation.translate",
    "analysis.accuracy.accumulators",
    "analysis.bench.doctor",
    "reference.data",
    "reference.decoding",
    "reference.tokenizer",
    "reference.quantize.scheme",
    "reference.quantize.sites",
)
"""What estimate, show, targets, vectors, explain of files and doctor stand on: they run where there is no torch."""
EACH = """
import importlib, pkgutil, sys

module = importlib.import_module(sys.argv[1])
for one in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}."):
    importlib.import_module(one.name)
sys.exit("torch was loaded" if "torch" in sys.modules else 0)
"""


def import_each(name: str) -> subprocess.CompletedProcess[str]:
    """Import a module and all below it, in a process of its own."""
    return subprocess.run([sys.executable, "-c", EACH, name], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_these_load_no_torch(name: str) -> None:
    result = import_each(name)
    assert result.returncode == 0, result.stderr


def test_that_check_can_fail_too() -> None:
    assert import_each("analysis.translation.torch_steppers").stderr == "torch was loaded\n"


# --- what draws -------------------------------------------------------------------------------------------------------

DRAWS_NOTHING = """
import ast, importlib, sys
from pathlib import Path

for command in ("quantize", "verify", "show", "explain", "run", "sensitivity"):
    tree = ast.parse(Path(f"analysis/commands/{command}.py").read_text())
    parts = [tree, *(node for node in tree.body if isinstance(node, ast.FunctionDef))]
    for node in (node for part in parts for node in part.body):  # but not what stands under `if plot`
        if isinstance(node, ast.ImportFrom):
            importlib.import_module(node.module)
            if node.module.startswith("analysis"):
                for name in node.names:
                    if not hasattr(sys.modules[node.module], name.name):
                        importlib.import_module(f"{node.module}.{name.name}")
        elif isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)
import analysis.report.verify_record
"""


def drawing(script: str) -> str:
    """Whether a script loads matplotlib, in a process of its own."""
    tail = "\nimport sys\nprint('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script + tail], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_matplotlib_waits_until_something_is_drawn() -> None:
    """All that these commands import by themselves, before they work."""
    assert drawing(DRAWS_NOTHING) == "False"


def test_the_check_of_what_draws_can_fail() -> None:
    assert drawing(DRAWS_NOTHING + "import analysis.report.figures") == "True"
