"""`hwsim estimate` imports nothing heavy."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from tests import ROOT


@pytest.mark.parametrize("extra", list(product(["--json", "--trace"], ["out"])))
def test_nothing_heavy_is_imported(extra: tuple[str, ...], tmp_path: Path) -> None:
    arguments = ["estimate", "--workload", "bert-base", *extra]
    script = f"""
import sys
sys.argv = ["hwsim", *{arguments!r}]
from analysis import cli
cli.main()
assert not {{"torch", "numba", "matplotlib", "sentencepiece", "sacrebleu"}} & set(sys.modules), sys.modules.keys()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").exists()


def test_the_package_imports_nothing_heavy() -> None:
    script = """
import sys
import analysis.cli, hwsim.accelerator
assert not {"torch", "numba", "matplotlib", "rich.table"} & set(sys.modules), sys.modules.keys()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
