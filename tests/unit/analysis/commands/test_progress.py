"""What a progress bar says."""

import numba
import pytest
from rich.progress import Progress

from analysis.commands.shared import progress


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled without JIT")
def test_compiling_is_said_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Progress, "update", lambda bar, task, *, description: said.append(description))
    with progress("translating", 3):
        assert said == []
        numba.njit(lambda x: x + 1)(1)
    during, after = said
    assert during.startswith("translating: compiling")
    assert after == "translating"
    numba.njit(lambda x: x + 2)(1)
    assert said == [during, after]
