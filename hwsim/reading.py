"""Files that somebody else wrote: regular ones alone, and no more of them than makes sense."""

import hashlib
import os
import re
import stat
import tomllib
from io import BufferedReader
from pathlib import Path
from typing import Any

MOST_TOML = 1_000_000
_DOTTED = re.compile(r"""(?:(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""")
"""More parts of a key than any record has tables in tables; the parser's memory grows with their square."""


def open_regular(path: Path, what: str) -> BufferedReader:
    """A regular file, through links, open for reading.

    A pipe or a device, which might never answer or never end, is not opened; nor is one waited for that takes the
    place of the file just then.

    Parameters
    ----------
    path
        The file.
    what
        What it is, for messages: "program", "text".

    Raises
    ------
    ValueError
        If it cannot be opened, or is a folder, a device, a pipe or a socket; one line that names it.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _unreadable(path, what, "it is not a regular file")
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            stream.close()
            raise _unreadable(path, what, "it is not a regular file")
    except OSError as error:
        raise _unreadable(path, what, error.strerror) from error
    return stream


def read_whole(path: Path, what: str, most_bytes: int | None = None) -> bytes:
    """The content of a regular file.

    Parameters
    ----------
    path, what
        As of `open_regular`.
    most_bytes
        What a file of its kind has at most; without it, what memory holds.

    Raises
    ------
    ValueError
        If it cannot be read, is no regular file or is larger; one line that names it.
    """
    with open_regular(path, what) as stream:
        try:
            content = stream.read(-1 if most_bytes is None else most_bytes + 1)
        except OSError as error:
            raise _unreadable(path, what, error.strerror) from error
        except MemoryError as error:
            raise _unreadable(path, what, "memory does not hold it") from error
    if most_bytes is not None and len(content) > most_bytes:
        raise _unreadable(path, what, f"it is larger than {most_bytes} bytes")
    return content


def sha256(path: Path, what: str) -> str:
    """SHA-256 of a regular file's content, read in pieces; errors as of `read_whole`."""
    with open_regular(path, what) as stream:
        try:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(path, what, error.strerror) from error


def read_toml_table(path: Path, what: str) -> dict[str, Any]:
    """A TOML file of at most `MOST_TOML` bytes, in UTF-8, as it stands.

    Raises
    ------
    ValueError
        If it cannot be read or is no TOML; one line that names it.
    """
    content = read_whole(path, what, MOST_TOML)
    try:
        text = content.decode()
        if _DOTTED.search(text):
            raise ValueError("a key has more than 32 parts")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        reason = f"no TOML: {' '.join(str(error).split())}"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{what} {printable(str(path))}: {reason}")


def printable(text: str) -> str:
    """Text of which a terminal obeys nothing."""
    return text if text.isprintable() else repr(text)[1:-1]


def _unreadable(path: Path, what: str, reason: str | None) -> ValueError:
    return ValueError(f"cannot read {what} {printable(str(path))}: {reason}")
