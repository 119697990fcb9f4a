"""The wheel: what is in it, and that the installed command uses its own packages wherever it is called, and alone."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests import ROOT

SOURCES = ("hwsim", "reference", "analysis", "tests", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
PLACES = {"hwsim": "hwsim", "reference": "hwsim/_bundle/reference", "analysis": "hwsim/_bundle/analysis"}
"""Where the wheel has a folder of the repository: it claims no name but its own."""

FOREIGN = ("analysis", "reference")
"""Names of packages of other people in the same environment."""

LOADED = """
import sys
import hwsim.__main__

sys.argv = ["hwsim", "estimate", "--workload", "bert-base"]
hwsim.__main__.main()
for name, module in sorted(sys.modules.items()):
    if name.split(".")[0] in ("hwsim", "reference", "analysis"):
        print(name, module.__file__)
"""

IN_A_CHILD = """
import sys
import hwsim.__main__

sys.path.insert(0, str(hwsim.__main__.HOME))
from analysis.bench.memory import peak_of

class Broken:
    def save(self, path):
        path.write_text("no program")

try:
    peak_of(Broken(), [])
except ValueError as error:
    print(error)
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, run without this process's import path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def site_packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python*/site-packages")
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy so that no build folder is left behind or picked up."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it, beside packages of other people called as ours are.

    What the wheel depends on is found in the environment that runs the tests.

    A path line in a .pth file comes after the environment's own packages and has its own .pth files ignored, so the
    wheel's copy wins even where the project is installed in development mode.
    """
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment)
    python = environment / "bin" / "python"
    packages = site_packages(environment)
    ours = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (packages / "test_dependencies.pth").write_text("".join(f"{path}\n" for path in ours))
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
        *("--no-deps", "--no-index", "--ignore-installed", wheel),
        cwd=environment,
    )
    for name in FOREIGN:
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text("")
    return environment


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A user's folder with `analysis/`, `reference.py` and `hwsim.py` of its own, which must not load."""
    (tmp_path / "analysis").mkdir()
    for name in ("analysis/__init__.py", "reference.py", "hwsim.py"):
        (tmp_path / name).write_text(f"raise ImportError('the {name} of the working folder was loaded')\n")
    return tmp_path


def files_below(folder: str) -> set[str]:
    """Where the wheel should have the files below a folder of the repository."""
    package = folder.split("/")[0]
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{PLACES[package]}/{path.relative_to(ROOT / package)}" for path in paths}


def test_the_wheel_holds_every_module_and_asset_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"hwsim", "hwsim-0.1.0.dist-info"}
    assert {"/".join(name.split("/")[1:3]) for name in names if name.startswith("hwsim/_")} == {
        *("__init__.py", "__main__.py", "_bundle/analysis", "_bundle/reference")
    }
    wanted = {name for package in PLACES for name in files_below(package) if name.endswith((".py", ".toml", ".jinja"))}
    wanted |= files_below("reference/assets") | {"hwsim/py.typed"}
    assert wanted <= names, sorted(wanted - names)


def test_the_wheel_carries_its_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    licences = {name.split("/licenses/")[1] for name in names if "/licenses/" in name}
    corpus = "reference/assets/corpus"
    assert licences == {"LICENSE", "NOTICE", f"{corpus}/NOTICE.md", f"{corpus}/LICENSE-MPL-2.0.txt"}


def test_all_that_the_command_loads_of_ours_is_the_wheels(installed: Path, tmp_path: Path) -> None:
    output = run(installed / "bin" / "python", "-c", LOADED, cwd=tmp_path)
    loaded = dict(line.split() for line in output.splitlines() if line.endswith(".py"))
    assert {"hwsim.accelerator", "analysis.commands.estimate", "reference.quantize.scheme"} <= set(loaded)
    for name, file in loaded.items():
        assert Path(file).is_relative_to(site_packages(installed) / PLACES[name.split(".")[0]]), name


@pytest.mark.parametrize("command", [["hwsim"], ["python", "-m", "hwsim"]], ids=" ".join)
def test_the_command_works_beside_packages_of_the_same_names(
    installed: Path, tmp_path: Path, command: list[str]
) -> None:
    called = [installed / "bin" / command[0], *command[1:]]
    assert "Usage: hwsim " in run(*called, "--help", cwd=tmp_path)
    assert "bert-base: scheme int8" in run(*called, "estimate", "--workload", "bert-base", cwd=tmp_path)


@pytest.mark.parametrize("name", FOREIGN)
def test_packages_of_the_same_names_stay_what_they_are(installed: Path, tmp_path: Path, name: str) -> None:
    for before in ("", "import hwsim, hwsim.__main__; "):
        file = run(installed / "bin" / "python", "-c", f"{before}import {name}; print({name}.__file__)", cwd=tmp_path)
        assert file == f"{site_packages(installed) / name / '__init__.py'}\n"


def test_a_process_that_the_command_starts_has_the_same_packages(installed: Path, elsewhere: Path) -> None:
    (elsewhere / "hwsim.py").unlink()  # `python -c` would take it, too
    output = run(installed / "bin" / "python", "-c", IN_A_CHILD, cwd=elsewhere)
    assert "program.hwsim is not a valid program" in output


def test_the_command_ignores_packages_of_the_working_folder(installed: Path, elsewhere: Path) -> None:
    output = run(installed / "bin" / "hwsim", "--help", cwd=elsewhere)
    assert "Usage" in output


def test_the_main_job_runs_from_any_folder(installed: Path, elsewhere: Path) -> None:
    arguments = (
        "run",
        "--sentences",
        "3",
        "--config",
        "int8",
        "--config",
        "int4",
        "--no-sensitivity",
        "--out",
        "result",
    )
    output = run(installed / "bin" / "hwsim", *arguments, "--out", "result", cwd=elsewhere)
    assert "0 different" in output
    report = json.loads((elsewhere / "result" / "report.json").read_text())
    assert [one["name"] for one in report["configurations"]] == ["int8", "int4"]
    for one in report["configurations"]:
        assert one["sentences"] == 3
        assert one["codes_compared"] > 1_000_000
        assert one["codes_different"] == one["tokens_different"] == one["overflows"] == 0
