"""The kernels are correct as the Python that they are written in, too: their tests pass without JIT.

So what JIT compiles differently (wrap-around instead of an overflow warning, an index out of bounds) cannot hide.
"""

import os
import re
import subprocess
import sys

from tests import ROOT

FILES = (
    "tests/unit/hwsim/operators/test_kernels_exhausted.py",
    "tests/unit/hwsim/operators/test_kernels_properties.py",
)

SCRIPT = """
import sys, numba, pytest
from hwsim.operators.gemm.wide import dot_wide
if not numba.config.DISABLE_JIT or hasattr(dot_wide, "py_func"):
    sys.exit("the kernels are compiled")
sys.exit(pytest.main(sys.argv[1:]))
"""


def test_the_kernels_equal_the_oracle_without_jit() -> None:
    """On one point in 17 of every grid, and 3 examples of every width."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"NUMBA_DISABLE_JIT": "1", "HWSIM_TEST_THIN": "17"}
    command = [sys.executable, "-c", SCRIPT, "-q", "-p", "no:cacheprovider", *FILES]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    passed = re.search(r"(\d+) passed in", result.stdout)
    assert passed is not None, result.stdout
    assert int(passed[1]) > 70
