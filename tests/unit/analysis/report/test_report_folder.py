"""A report appears whole or not at all, and overwrites nothing."""

from pathlib import Path
from typing import Any

import pytest

from analysis import plots
from analysis.output.context import Context
from analysis.output.folder import check_target
from analysis.report import write_report
from analysis.run import RunResult


def test_a_folder_with_something_in_it_is_refused(
    result: RunResult, tmp_path: Path, origin: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "report" / "kept"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        write_report(result, [], kept.parent, origin)
    with pytest.raises(ValueError, match="is a file"):
        check_target(kept)
    with pytest.raises(ValueError, match="is not a folder"):
        check_target(kept / "below")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(ValueError, match="working folder"):
        check_target(Path("."))
    assert kept.read_text() == "mine" and sorted(tmp_path.iterdir()) == [empty, kept.parent]


def test_a_plot_that_fails_leaves_nothing(
    result: RunResult, tmp_path: Path, origin: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no plot")

    monkeypatch.setattr(plots, "energy_bars", fail)
    with pytest.raises(RuntimeError, match="no plot"):
        write_report(result, [], tmp_path / "report", origin)
    assert list(tmp_path.iterdir()) == []
