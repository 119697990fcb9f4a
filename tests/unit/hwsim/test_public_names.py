"""What `import hwsim` offers: exactly these names, cheap to import, and enough for a user's script."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hwsim
from reference.quantize.scheme import preset
from tests import ROOT
from tests.small.programs import tiny_program

NAMES = (
    "Accumulator Counter Granularity IntFormat Machine Overflow Program Rounding Scaling compare estimate hardware "
    "kernels load program_workload workload"
).split()
KERNELS = (
    "LayerNormConstants add embed gemmini_gelu gemmini_layernorm gemmini_softmax gemmlowp_softmax ibert_gelu "
    "ibert_layernorm ibert_softmax ita_gelu itamax layernorm matmul nvdla_convert project_heads pulp_gelu "
    "pulp_layernorm pulp_mean pulp_softmax qlinear_softmax relu requant_shift requantize rescaled_add shift_right "
    "softmax softmax_int16 table_interpolate table_lookup tflite_layernorm"
).split()

LIGHT = {"hwsim", *(f"hwsim.{name}" for name in ("compare", "files", "formats", "program"))}
LIGHT |= {f"hwsim.program.{name}" for name in ("catalogue", "constants", "operations", "packing", "program", "targets")}
LIGHT |= {f"hwsim.program.targets.{name}" for name in ("accelerators", "libraries", "records", "shared")}
"""What `import hwsim` loads: the records of a program and of the targets, and none of the rooms that compute."""

README = (ROOT / "README.md").read_text()
SCRIPT = README.split("<!-- script -->\n```python\n")[1].split("```\n<!-- /script -->")[0]


def run(script: str, folder: Path) -> str:
    """Standard output of a script that must succeed without a warning."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_names_are_these() -> None:
    assert hwsim.__all__ == NAMES == dir(hwsim)
    assert hwsim.kernels.__all__ == KERNELS
    for name in NAMES:
        assert getattr(hwsim, name) is getattr(hwsim, name) is not None
    for name in KERNELS:
        assert callable(getattr(hwsim.kernels, name))


def test_names_do_not_change_with_what_was_imported_before(tmp_path: Path) -> None:
    """Submodules become attributes of the package when they are imported, and must not hide a public name."""
    script = """
import hwsim
before = {name: getattr(hwsim, name) for name in hwsim.__all__}
import importlib, pkgutil
for module in pkgutil.walk_packages(hwsim.__path__, "hwsim."):
    importlib.import_module(module.name)
assert all(getattr(hwsim, name) is value for name, value in before.items())
from hwsim import *
assert compare is hwsim.compare and callable(compare)
"""
    run(script, tmp_path)
    run(script.replace("import hwsim\n", "import hwsim.compare, hwsim.kernels, hwsim\n", 1), tmp_path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="hwsim has no 'softmacks'; its names are Accumulator, Counter"):
        _ = hwsim.softmacks  # type: ignore[attr-defined]


def test_import_is_light(tmp_path: Path) -> None:
    loaded = run("import hwsim, sys; print(*sys.modules)", tmp_path).split()
    assert not {"torch", "numba", "reference", "analysis", "hwsim.machine", "hwsim.kernels"} & set(loaded)
    assert {name for name in loaded if name.startswith("hwsim")} == LIGHT


def test_a_users_script_needs_no_other_import(tmp_path: Path) -> None:
    tiny_program(preset("int8")).save(tmp_path / "int8.hwsim")
    compared, cost = run(SCRIPT, tmp_path).splitlines()
    assert compared.startswith("32 codes compared, ") and cost.endswith(" uJ")


# --- compare ------------------------------------------------------------------------------------------------------


def test_compare_counts_and_locates() -> None:
    kernel = np.arange(12, dtype=np.int32).reshape(3, 4)
    mine = kernel.copy()
    mine[1, 2] += 3
    mine[2, 0] -= 1
    found = hwsim.compare(mine, kernel)
    assert (found.compared, found.different, found.max_lsb) == (12, 2, 3)
    assert found.first is not None
    assert (found.first.index, found.first.function, found.first.kernel) == ((1, 2), 9, 6)
    assert found.histogram == {-1: 1, 0: 10, 3: 1}
    assert str(found) == "12 codes compared, 2 different, by at most 3 LSB; first at [1, 2]: 9, kernel 6"
    equal = hwsim.compare(kernel, kernel)
    assert (equal.different, equal.first, equal.histogram) == (0, None, {0: 12})
    assert str(equal) == "12 codes compared, 0 different"


def test_compare_runs_functions_on_copies_of_the_same_codes() -> None:
    codes = np.array([-3, 0, 5], np.int32)

    def in_place(q: np.ndarray) -> np.ndarray:
        q[q < 0] = 0
        return q

    assert hwsim.compare(in_place, hwsim.kernels.relu, codes).different == 0
    assert codes.tolist() == [-3, 0, 5]
    assert hwsim.compare([0.0, 0.0, 5.0], hwsim.kernels.relu, codes).histogram == {0: 3}
    assert hwsim.compare(lambda a, b: a + b, lambda a, b: a - b, codes, codes).histogram == {-6: 1, 0: 1, 10: 1}
    assert hwsim.compare(np.zeros((0, 3), int), np.zeros((0, 3), int)).histogram == {}


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        ([1, 2], r"function gives shape \(2,\), kernel \(3,\)"),
        ([1.0, 2.5, 3.0], "function gives 2.5; allowed: codes"),
        ([1.0, float("nan"), 3.0], "function gives nan"),
        ([1.0, float("inf"), 3.0], "function gives inf"),
        (["1", "2", "3"], "function gives an array of <U1"),
        (np.array([2**63, 0, 0], np.uint64), "function gives an array of uint64"),
        ((np.zeros(3), np.zeros(3)), "function returns a tuple of 2"),
    ],
)
def test_compare_refuses_what_is_no_array_of_codes(mine: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hwsim.compare(mine, np.array([1, 2, 3]))  # type: ignore[arg-type]


def test_compare_refuses_inputs_that_nobody_takes() -> None:
    with pytest.raises(ValueError, match="inputs beside two arrays"):
        hwsim.compare([1], [1], np.array([1]))
