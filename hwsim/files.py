"""Files appear whole or not at all."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


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
    mode = _mode(path)
    final = Path(os.path.realpath(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        _replace(final, content.encode() if isinstance(content, str) else content, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _mode(path: Path) -> int | None:
    """Permission bits of the regular file at `path`, through links; None if there is nothing yet."""
    try:
        found = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found):
        raise ValueError(f"{path} is not a regular file; only one of those can be replaced")
    return stat.S_IMODE(found)


def _replace(final: Path, content: bytes, mode: int | None) -> None:
    """Write beside `final`, flush to disk, rename; on any failure remove what was written."""
    temporary = final.parent / f".{secrets.token_hex(8)}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            if mode is not None:
                os.fchmod(handle, mode)
            stream.write(content)
            stream.flush()
            os.fsync(handle)
        os.replace(temporary, final)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
