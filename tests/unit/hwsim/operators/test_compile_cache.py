"""Two processes fill one compile cache at once, and one is stopped while it saves: no code is mixed up."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.caching import IndexDataCacheFile

from hwsim.arithmetic import compilation
from hwsim.machine.kernels.accumulators import rescaled
from hwsim.operators.gemm.engines.blocks import KERNELS
from hwsim.operators.requantize import SHIFTS
from hwsim.operators.rescale import LOOPS
from hwsim.operators.residual import SUMS

STAMP = (1.0, 100)


def cache(folder: Path) -> Any:
    return IndexDataCacheFile(str(folder), "kernel-12.py311", STAMP)


class Unknowing(IndexDataCacheFile):  # type: ignore[misc]
    """A process that read the index before anybody wrote it."""

    def _load_index(self) -> dict[str, str]:
        return {}


class Overtaken(IndexDataCacheFile):  # type: ignore[misc]
    """A process that another one overtakes before it has written its code."""

    def _save_data(self, name: str, data: Any) -> None:
        Unknowing(self._cache_path, "kernel-12.py311", STAMP).save("of int16", "code of int16")
        super()._save_data(name, data)


def test_code_of_two_processes_is_kept_apart(tmp_path: Path) -> None:
    Overtaken(str(tmp_path), "kernel-12.py311", STAMP).save("of int8", "code of int8")
    assert cache(tmp_path).load("of int8") in ("code of int8", None)
    assert cache(tmp_path).load("of int16") == "code of int16"


def test_what_is_stopped_while_it_saves_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older code has the number that a new index would begin with."""
    (tmp_path / "kernel-12.py311.1.nbc").write_bytes(b"older code")

    def stop(self: Any, name: str, data: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(IndexDataCacheFile, "_save_data", stop)
        with pytest.raises(KeyboardInterrupt):
            cache(tmp_path).save("of int8", "code of int8")
    assert cache(tmp_path).load("of int8") is None
    cache(tmp_path).save("of int8", "code of int8")
    assert cache(tmp_path).load("of int8") == "code of int8"


def test_code_saved_again_takes_the_place_of_the_old(tmp_path: Path) -> None:
    for code in ("first", "second"):
        cache(tmp_path).save("of int8", code)
    assert cache(tmp_path).load("of int8") == "second"
    assert len(list(tmp_path.glob("*.nbc"))) == 1


def test_the_cache_of_this_process_saves_so() -> None:
    assert IndexDataCacheFile.save is compilation.save


def test_functions_of_a_factory_have_symbols_of_their_own() -> None:
    """Else a process that loads two of them from the cache may call one for the other."""
    products = [rescaled(rule, held, np.int32) for rule in (1, 2) for held in (np.int8, np.int16)]
    made = [*LOOPS.values(), *SUMS.values(), *SHIFTS.values(), *KERNELS.values(), *products]
    names = [(one.py_func.__module__, one.py_func.__qualname__) for one in made]
    assert len(set(names)) == len(names) > 30
    assert products[1].py_func.__qualname__.endswith("_1_int16_int32")


def test_a_full_disk_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the folder, whatever is compiled; what was kept before stays."""
    cache(tmp_path).save("of int8", "code of int8")

    def full(self: Any, path: str) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr(IndexDataCacheFile, "_open_for_write", full)
        for key in ("of int16", "of int32"):
            cache(tmp_path).save(key, "code")
    assert capsys.readouterr().err == f"compiled kernels are not kept in {tmp_path}: No space left on device\n"
    assert cache(tmp_path).load("of int8") == "code of int8" and cache(tmp_path).load("of int16") is None


# --- a process that can keep nothing --------------------------------------------------------------------------------

RUN = """
from hwsim.arithmetic import fixedpoint
print(int(fixedpoint.isqrt(17)))
"""
NO_LOCATOR = """
from numba.core.caching import FunctionCache, UserProvidedCacheLocator
FunctionCache._impl_class._locator_classes = [UserProvidedCacheLocator]
"""
"""As where neither the sources nor the home folder can be written, which root always can."""
FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""
GONE = """
import errno
from numba.core.caching import UserProvidedCacheLocator
import hwsim.arithmetic.fixedpoint
def ensure(self):
    raise OSError(errno.ENOSPC, "No space left on device", self.get_cache_path())
UserProvidedCacheLocator.ensure_cache_path = ensure
"""


def lines(before: str, folder: Path) -> list[str]:
    """What a run says on standard error, its compiled code being kept below a folder."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "NUMBA_DISABLE_JIT": "0"}
    command = [sys.executable, "-c", before + RUN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr
    return done.stderr.splitlines()


def test_a_run_without_any_folder_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    said = "compiled kernels are not kept: no folder for them can be written; NUMBA_CACHE_DIR may name one"
    assert lines(NO_LOCATOR, tmp_path / "file" / "below") == [said]


@pytest.mark.parametrize(("before", "why"), [(FULL, "File too large"), (GONE, "No space left on device")])
def test_a_run_on_a_full_disk_says_so_in_one_line(tmp_path: Path, before: str, why: str) -> None:
    (line,) = lines(before, tmp_path)
    assert line.startswith(f"compiled kernels are not kept in {tmp_path}") and line.endswith(f": {why}")
