"""Files appear whole or not at all; what a killed process leaves half-written is known by its name, and swept."""

import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

PARTS = ".hwsim-*.part"
"""Names of what is not whole yet; whoever writes it holds a lock on it, which ends with the process."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that an interruption or a full disk leaves the old one, or none, in its place.

    A symbolic link stays one: its target is written. A file that exists keeps its mode; a new one gets the mode that
    the umask leaves of rw-rw-rw-. Missing folders are made.

    Raises
    ------
    ValueError
        If `path` exists and is not a regular file but, say, a device or a folder, which would be replaced.
    OSError
        As the file system gives it, with `path` as its file name; the half-written temporary file is removed.
    """
    mode = file_mode(path)
    final = Path(os.path.realpath(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        _replace(final, content.encode() if isinstance(content, str) else content, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def readable_json(record: Any) -> bytes:
    """A record as JSON for people, too: a field a line."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def file_mode(path: Path) -> int | None:
    """Permission bits of the regular file at `path`, through links; None if there is nothing yet.

    Raises
    ------
    ValueError
        If something else is there.
    """
    try:
        found = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found):
        raise ValueError(f"{path} is not a regular file; only one of those can be replaced")
    return stat.S_IMODE(found)


def part_of(final: Path) -> Path:
    """Where something that is to be at `final` is made: beside it, and always the same."""
    return _part(final.parent, hashlib.sha256(os.fsencode(final.name)).hexdigest()[:16])


def hold_file(part: Path, *, new: bool = False) -> int:
    """A descriptor of an empty file that this process alone holds.

    Parameters
    ----------
    new
        Whether something there is an error.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    OSError
        As the file system gives it.
    """

    def make() -> int:
        return os.open(part, os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0), 0o666)

    handle = _hold(part, make)
    os.ftruncate(handle, 0)
    return handle


def hold_folder(part: Path) -> int:
    """As `hold_file`, of an empty folder."""

    def make() -> int:
        with suppress(FileExistsError):
            os.mkdir(part)
        return os.open(part, os.O_RDONLY | os.O_DIRECTORY)

    handle = _hold(part, make)
    for left in part.iterdir():
        remove(left)
    return handle


def hold_whole(folder: Path) -> int:
    """As `hold_folder`, of a folder that is there, with what is in it."""
    return _hold(folder, lambda: os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def release(handle: int, part: Path) -> None:
    """Close what was held; if it is still the part, and was not put in its place, remove it first."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(handle), os.stat(part, follow_symlinks=False)):
            remove(part)
    os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the parts in a folder that no process holds: they were left by one that was killed."""
    for part in folder.glob(PARTS):
        with suppress(OSError):  # of someone else, held, or gone
            handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            left = False
            try:
                kind = os.fstat(handle).st_mode
                left = (stat.S_ISREG(kind) or stat.S_ISDIR(kind)) and _lock(handle)
            finally:
                release(handle, part) if left else os.close(handle)


def remove(part: Path) -> None:
    """Remove a file or a folder, as far as that can be done."""
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with suppress(OSError):
            part.unlink()


def write_out(handle: int, content: bytes) -> None:
    """All bytes to the disk; the descriptor stays open."""
    with os.fdopen(handle, "wb", closefd=False) as stream:
        stream.write(content)
        stream.flush()
        os.fsync(handle)


def _part(folder: Path, name: str) -> Path:
    return folder / PARTS.replace("*", name)


def _hold(part: Path, make: Callable[[], int]) -> int:
    """What `make` opens, held; again if a sweep had it between the opening and the lock."""
    for last in (*[False] * 5, True):
        try:
            handle = make()
            try:
                _lock(handle)
                if os.path.samestat(os.fstat(handle), os.stat(part, follow_symlinks=False)):
                    return handle
            except OSError:
                os.close(handle)
                raise
            os.close(handle)
        except (BlockingIOError, FileNotFoundError):
            if last:
                raise
            time.sleep(0.02)
        except (IsADirectoryError, NotADirectoryError):
            if not os.path.lexists(part):
                raise
            break
    raise BlockingIOError(f"{part} is held by another process")


def _lock(handle: int) -> bool:
    """Whether this process alone holds the file until it closes it; False where the file system has no locks.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _replace(final: Path, content: bytes, mode: int | None) -> None:
    """Write beside `final`, flush to disk, rename; on any failure remove what was written."""
    part = _part(final.parent, secrets.token_hex(8))
    handle = hold_file(part, new=True)
    try:
        if mode is not None:
            os.fchmod(handle, mode)
        write_out(handle, content)
        os.replace(part, final)
    except BaseException:
        remove(part)
        raise
    finally:
        os.close(handle)
