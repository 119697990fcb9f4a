"""The wheel: what is in it, and that the installed command uses its own packages wherever it is called."""

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
PACKAGES = ("hwsim", "reference", "analysis")


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, run without this process's import path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


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
    """A new environment with the wheel in it; what it depends on is found in the environment that runs the tests.

    A path line in a .pth file comes after the environment's own packages and has its own .pth files ignored, so the
    wheel's copy wins even where the project is installed in development mode.
    """
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment)
    python = environment / "bin" / "python"
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=environment).strip()
    ours = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (Path(packages) / "test_dependencies.pth").write_text("".join(f"{path}\n" for path in ours))
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
        *("--no-deps", "--no-index", "--ignore-installed", wheel),
        cwd=environment,
    )
    return environment


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A user's folder with `analysis/`, `reference.py` and `hwsim.py` of its own, which must not load."""
    (tmp_path / "analysis").mkdir()
    for name in ("analysis/__init__.py", "reference.py", "hwsim.py"):
        (tmp_path / name).write_text(f"raise ImportError('the {name} of the working folder was loaded')\n")
    return tmp_path


def files_below(folder: str) -> set[str]:
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in paths}


def test_the_wheel_holds_every_module_and_asset_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names}
    assert top == {*PACKAGES, "hwsim-0.1.0.dist-info"}
    modules = {name for package in PACKAGES for name in files_below(package) if name.endswith(".py")}
    wanted = modules | files_below("reference/assets") | {"hwsim/py.typed"}
    wanted |= {name for name in files_below("analysis") if name.endswith((".html", ".jinja"))}
    assert wanted <= names, sorted(wanted - names)


def test_the_wheel_carries_its_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    licences = {name.split("/licenses/")[1] for name in names if "/licenses/" in name}
    corpus = "reference/assets/corpus"
    assert licences == {"LICENSE", "NOTICE", f"{corpus}/NOTICE.md", f"{corpus}/LICENSE-MPL-2.0.txt"}


def test_the_installed_packages_are_the_wheels(installed: Path, tmp_path: Path) -> None:
    script = "import hwsim, reference.data, analysis; print(hwsim.__file__, reference.__file__, analysis.__file__)"
    for file in run(installed / "bin" / "python", "-c", script, cwd=tmp_path).split():
        assert Path(file).resolve().is_relative_to(installed.resolve())


def test_the_installed_assets_are_readable(installed: Path, tmp_path: Path) -> None:
    script = "from reference.data import corpus; print(len(corpus('test')))"
    assert run(installed / "bin" / "python", "-c", script, cwd=tmp_path) == "1000\n"


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
