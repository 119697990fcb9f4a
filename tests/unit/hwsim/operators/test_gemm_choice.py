"""Which engine a processor has and a process uses, and that no cache brings back the code of another one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from hwsim.operators.gemm.engines import ENGINES, available
from hwsim.operators.gemm.engines.cpu import available_with, chosen, tiles_permitted
from tests import ROOT

VNNI = ("avx2", "avx512f", "avx512vnni")
FEATURES = [
    ((), ("portable",)),
    (("avx2",), ("avx2", "portable")),
    (("avx2", "avxvnni"), ("avx-vnni", "avx2", "portable")),
    (("avx2", "avx512f"), ("avx2", "portable")),
    (VNNI, ("avx512-vnni", "avx2", "portable")),
    ((*VNNI, "avx512vl"), ("avx512-vnni", "avx-vnni", "avx2", "portable")),
    ((*VNNI, "avx512vl", "amx-tile"), ("avx512-vnni", "avx-vnni", "avx2", "portable")),
    ((*VNNI, "avx512vl", "amx-tile", "amx-int8"), ENGINES),
]
CALLER = """
from numba import njit
from hwsim.operators.gemm import engines
from hwsim.operators.gemm.engines import kernels
import numpy as np

@njit(cache=True)
def call(a, packed, bias, result):
    engines.multiply_quads(a, packed, bias, 1, result)
    engines.multiply_pairs(a.astype(np.int16), packed.astype(np.int16)[:, :, :, :2].copy(), bias, 1, result)
    one = kernels.quads_signed(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    two = kernels.quads_unsigned(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return one, two, kernels.pairs(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

a, packed, bias = np.ones((1, 4), np.int8), np.ones((1, 16, 16, 4), np.int8), np.zeros(1, np.int32)
workers = call(a, packed, bias, np.zeros((1, 1), np.int32))
hits = sum(call.stats.cache_hits.values())
print(engines.ENGINE, engines.EIGHT_BITS, [engines.ENGINES[worker] for worker in workers], hits)
"""

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="without JIT there is one engine")


def run(script: str, engine: str, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HWSIM_GEMM": engine, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *options, script]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("features", "engines"), FEATURES, ids=lambda names: " ".join(names) or "none")
def test_engines_of_features(features: tuple[str, ...], engines: tuple[str, ...]) -> None:
    assert available_with({**dict.fromkeys(features, True), "sse2": True, "avxvnniint8": False}) == engines


def test_a_feature_that_is_off_is_none() -> None:
    assert available_with({"avx2": False}) == ("portable",)


def test_the_best_engine_is_chosen_unless_one_is_named() -> None:
    assert chosen(None, ("avx2", "portable")) == "avx2"
    assert chosen("", ("avx2", "portable")) == "avx2"
    assert chosen("portable", ("avx2", "portable")) == "portable"


@pytest.mark.parametrize(("name", "what"), [("gpu", "no engine"), ("amx", "not available here"), ("AVX2", "no engine")])
def test_engines_that_are_refused(name: str, what: str) -> None:
    known = "amx, avx512-vnni, avx-vnni, avx2, portable"
    message = f"HWSIM_GEMM is '{name}', {what}; known: {known}; available: avx2, portable"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        chosen(name, ("avx2", "portable"))


def test_an_engine_that_is_not_there_ends_the_import() -> None:
    result = run("import hwsim.operators.gemm", "gpu", "-c")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("ValueError: HWSIM_GEMM is 'gpu', no engine; known: amx, ")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the kernel's list of features")
def test_engines_are_those_that_the_kernel_lists() -> None:
    """LLVM's list of features against that of Linux."""
    flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
    wide = "avx512_vnni" in flags
    assert ("avx512-vnni" in available()) == wide
    assert ("avx-vnni" in available()) == ("avx_vnni" in flags or (wide and "avx512vl" in flags))
    assert ("avx2" in available()) == ("avx2" in flags)
    assert ("amx" in available()) == ({"amx_tile", "amx_int8"} <= flags and tiles_permitted())


def test_another_processor_than_this_gets_the_portable_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this one could do: Numba would be asked for instructions that it was told not to use."""
    for name, value in (("NUMBA_CPU_NAME", "generic"), ("NUMBA_CPU_FEATURES", "+sse2"), ("NUMBA_ENABLE_AVX", "0")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert available.__wrapped__() == ("portable",)


@compiled_only
def test_a_cached_caller_uses_the_engine_of_its_process(tmp_path: Path) -> None:
    """One cache for all: what the first process compiled is loaded by the others, and calls their engines."""
    script = tmp_path / "caller.py"
    script.write_text(CALLER)
    for at, engine in enumerate((available()[0], "portable", available()[0])):
        result = run(str(script), engine)
        form = "pairs" if engine in ("avx2", "portable") else "quads"
        workers = [engine] * 3 if engine != "amx" else ["amx", "amx", "avx512-vnni"]
        assert result.stdout.split("\n")[0] == f"{engine} {form} {workers} {int(at > 0)}", result.stderr
