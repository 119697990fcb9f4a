r"""The way out: whatever a command prints goes through here, to stay readable on any terminal, in a pipe or a log.

Names come out of files that others wrote. A character that commands a terminal, hides or turns text around is shown as
an escape, `\x1b`, and a name that is too long is shortened in its middle.
"""

import codecs
import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

LONGEST_NAME = 200
"""Characters of a name that are shown."""
LONGEST_PATH = 4096
LONGEST_ERROR = 500
NEAREST = dict(zip("−–µ·\N{NO-BREAK SPACE}╭╮╰╯─━│", "--u. ++++--|", strict=True))
"""What stands for a character that the encoding of a stream lacks; a question mark for all others."""


class Unwritable(BaseException):
    """Standard output takes no more; no error of a file that is written, and not caught like one."""

    def __init__(self, why: OSError) -> None:
        super().__init__(why.strerror)
        self.reader_gone = why.errno == errno.EPIPE


# --- text -------------------------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """The text with an escape for every character that is not itself seen: controls, turned text, half surrogates."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\N{NO-BREAK SPACE}" else _escape(one) for one in text)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode()


def shortened(text: str, most: int) -> str:
    """At most so many characters: both ends, and between them how many there were."""
    if len(text) <= most:
        return text
    mark = f"...({len(text):,} characters)..."
    kept = most - len(mark)
    return text[: kept - kept // 2] + mark + text[len(text) - kept // 2 :]


def readable(text: str, longest: int = LONGEST_NAME) -> str:
    """Text of one or more lines, printable, every word of it at most as long as a name may be."""
    if len(text) > longest:
        text = re.sub(rf"\S{{{longest + 1},}}", lambda word: shortened(word[0], longest), text)
    return "\n".join(map(printable, text.split("\n")))


def one_line(text: str) -> str:
    """An error as one line: no wider than can be read, its beginning and its end whole."""
    return shortened(readable(" ".join(text.split())), LONGEST_ERROR)


# --- lines ------------------------------------------------------------------------------------------------------------


def say(*lines: object) -> None:
    """Lines on standard output, at once."""
    for line in lines:
        sys.stdout.write(printable(shortened(str(line), LONGEST_PATH)) + "\n")
    sys.stdout.flush()


def tell(*lines: object) -> None:
    """Lines on standard error, at once."""
    for line in lines:
        sys.stderr.write(printable(shortened(str(line), LONGEST_PATH)) + "\n")
    sys.stderr.flush()


# --- streams ----------------------------------------------------------------------------------------------------------


class _Out(io.FileIO):
    """Standard output: when it takes no more, it says so once, and swallows the rest."""

    gone = False

    def write(self, data: Any, /) -> int | None:  # type: ignore[override]  # None: it would have to wait
        try:
            return len(memoryview(data)) if self.gone else super().write(data)
        except OSError as error:
            self.gone = True
            raise Unwritable(error) from None


class _Err(io.FileIO):
    """Standard error: what it does not take is lost, and the command goes on."""

    def write(self, data: Any, /) -> int | None:  # type: ignore[override]  # None: it would have to wait
        with suppress(OSError):
            return super().write(data)
        return len(memoryview(data))


@contextmanager
def streams() -> Iterator[None]:
    """Standard output and error that encode every character, and fail in one way.

    Where one is closed, what is printed there is lost, and no file takes its number.
    """
    before = sys.stdout, sys.stderr
    codecs.register_error("nearest", _nearest)
    if None in before:
        while (free := os.open(os.devnull, os.O_RDWR)) <= 2:  # a file that is opened gets the first free number
            pass
        os.close(free)
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = _opened(before[0] or nowhere, _Out), _opened(before[1] or nowhere, _Err)
        try:
            yield
        finally:
            with suppress(Unwritable):
                sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


def _opened(stream: TextIO, raw: type[io.FileIO]) -> TextIO:
    try:
        number = stream.fileno()
    except OSError:  # captured by a test
        return stream
    stream.flush()
    written = io.BufferedWriter(raw(number, "w", closefd=False))
    return io.TextIOWrapper(
        written,
        encoding=stream.encoding,
        errors="nearest",
        line_buffering=bool(stream.line_buffering),
        write_through=cast(io.TextIOWrapper, stream).write_through,
    )


def _nearest(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(NEAREST.get(one, "?") for one in error.object[error.start : error.end]), error.end
