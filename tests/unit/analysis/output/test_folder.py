"""A folder of files is written whole or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.output import folder


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    folder.write_folder(tmp_path / "link", {"a": b"1"})
    assert (tmp_path / "empty" / "a").read_bytes() == b"1"
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    written: Iterator[Any] = iter([None])
    original = folder.write_whole

    def first_only(path: Path, content: bytes) -> None:
        if next(written, error):
            raise error
        original(path, content)

    monkeypatch.setattr(folder, "write_whole", first_only)
    with pytest.raises(type(error)):
        folder.write_folder(tmp_path / "report", {"a": b"1", "b": b"2"})
    assert list(tmp_path.iterdir()) == []
