"""Writing a file: whole or not at all, to where a link points, with the right mode, and never over a device."""

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwsim.files import write_whole


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def fail(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "a temporary name")


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("content", "expected"), [(b"\x00\xff\r\n", b"\x00\xff\r\n"), ("für\n", b"f\xc3\xbcr\n")])
def test_writes_bytes_and_text_and_makes_folders(tmp_path: Path, content: bytes | str, expected: bytes) -> None:
    path = tmp_path / "new" / "deeper" / "file"
    for _ in range(2):  # new, then over the old one
        write_whole(path, content)
        assert path.read_bytes() == expected
    assert list(path.parent.iterdir()) == [path]


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    write_whole(path, b"content")
    assert path.read_bytes() == b"content"


# --- Links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [b"old", None])
def test_a_link_stays_and_its_target_is_written(tmp_path: Path, old: bytes | None) -> None:
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    (tmp_path / "between").symlink_to(target)
    link.symlink_to("between")
    if old is not None:
        target.parent.mkdir()
        target.write_bytes(old)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()
    assert list(target.parent.iterdir()) == [target]


def test_a_link_to_itself_is_an_error_that_names_it(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(OSError, match="link") as caught:
        write_whole(link, b"new")
    assert caught.value.errno == errno.ELOOP


# --- What is no regular file --------------------------------------------------------------------------------------


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(path))  # such addresses are short


@pytest.mark.parametrize("make", [folder, pipe, device, unix_socket])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "special"
    make(path)
    before = path.stat()
    with pytest.raises(ValueError, match=r"special is not a regular file"):
        write_whole(path, b"new")
    assert (path.stat().st_mode, path.stat().st_ino) == (before.st_mode, before.st_ino)
    assert list(tmp_path.iterdir()) == [path]


# --- Modes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0])
def test_a_new_file_respects_the_umask(tmp_path: Path, umask: Callable[[int], int], mask: int) -> None:
    umask(mask)
    write_whole(tmp_path / "file", b"new")
    assert mode(tmp_path / "file") == 0o666 & ~mask


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o755, 0o666])
def test_an_old_file_keeps_its_mode(tmp_path: Path, umask: Callable[[int], int], kept: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(kept)
    umask(0o027)
    write_whole(path, b"new")
    assert mode(path) == kept


# --- Failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["os.open", "os.fchmod", "os.fsync", "os.replace"])
def test_a_failure_names_the_file_and_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    link.symlink_to(path)
    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(link, b"new")
    monkeypatch.undo()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(link))
    assert path.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [path, link]


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("error", [fail, interrupt])
def test_a_failure_leaves_no_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: Callable[..., None]
) -> None:
    monkeypatch.setattr(step, error)
    with pytest.raises((OSError, KeyboardInterrupt)):
        write_whole(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(NotADirectoryError, match="file/inner"):
        write_whole(tmp_path / "file" / "inner", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_the_error_class_follows_the_error_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "a temporary name")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*/file'"):
        write_whole(tmp_path / "file", b"new")
