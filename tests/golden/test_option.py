"""`--golden DIR`: where the tables come from, and what is said of a directory that cannot serve."""

import lzma
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.golden.tables import AUTHORS, NAMES, path_of, read

ONE_TEST = "tests/golden/test_cmsis_elementwise.py::test_reduced_multipliers"


def pytest_says(*arguments: str | Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A directory of the same tables."""
    for name in NAMES:
        path = path_of(AUTHORS, name)
        assert path is not None
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize("compressed", [False, True])
def test_another_directory_is_read(other: Path, compressed: bool) -> None:
    """A table with one wrong number fails the test that passes with the own ones; plain or compressed."""
    (other / "cmsis_fc_s16.csv.xz").unlink()
    text = "acc,mult,shift,reduced_mult,fits_int32,shift_le_7,out\n1,1073741824,0,16385,1,1,1\n"
    if compressed:
        (other / "cmsis_fc_s16.csv.xz").write_bytes(lzma.compress(text.encode()))
    else:
        (other / "cmsis_fc_s16.csv").write_text(text)
    status, output = pytest_says("--golden", other, ONE_TEST)
    assert status == 1 and "16385" in output
    assert pytest_says(ONE_TEST)[0] == 0


@pytest.mark.parametrize("order", [0, 1])
def test_the_option_stands_before_or_after_the_tests(other: Path, order: int) -> None:
    arguments = [[f"--golden={other}", ONE_TEST], [ONE_TEST, "--golden", other]][order]
    status, output = pytest_says(*arguments)
    assert status == 0 and "1 passed" in output


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    status, output = pytest_says("--golden", missing, ONE_TEST)
    assert (status, output.strip()) == (4, f"ERROR: --golden {missing}: there is no such directory")


def test_a_directory_without_a_table(other: Path) -> None:
    (other / "deeploy_igelu.csv").unlink()
    (other / "pulpnn_add.csv.xz").unlink()
    status, output = pytest_says(ONE_TEST, "--golden", other)
    assert (status, output.strip()) == (4, f"ERROR: --golden {other}: it lacks deeploy_igelu.csv, pulpnn_add.csv")


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("a,b\n")
    table = read(tmp_path, "empty")
    assert (len(table), table["a"], table.rows_of("b")) == (0, [], [])
