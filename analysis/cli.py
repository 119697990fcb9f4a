"""The command line: its commands are in `analysis.commands`; whatever ends one is said in one line.

Exit codes: 0 success, 1 a difference that was found, 2 an error, 70 a fault of hwsim itself, 130 interrupted, 141 the
reader of a pipe went away, 143 ended from outside (SIGTERM; 129 SIGHUP).
"""

import re
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires

from analysis.output import outlet

ERROR = 2
FAULT = 70
"""EX_SOFTWARE of sysexits.h."""
INTERRUPTED, READER_GONE = 130, 141
"""128 and the numbers of SIGINT and SIGPIPE, as shells report them; the command line library returns the first, too."""
WIDEST_HELP = 100
OURS = ("hwsim", "reference", "analysis")


class _Ended(BaseException):
    """A signal asked the process to end: what is half-written is removed on the way out."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def _ending() -> Iterator[None]:
    """SIGTERM and SIGHUP as an exception, unless whoever started us ignores them (`nohup`)."""

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough
        raise _Ended(number)

    kinds = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    main_thread = threading.current_thread() is threading.main_thread()  # no other can say what a signal does
    for one in kinds if main_thread else ():
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in kinds if main_thread else ():
            signal.signal(one, signal.SIG_DFL)


def main() -> None:
    """Run the command line; an error is one line on standard error, and has an exit code of its own."""
    with outlet.streams(), _ending():
        code, message = _run()
        if message:
            outlet.tell(f"hwsim: error: {outlet.one_line(message)}")
    if code:
        raise SystemExit(code)


def _run() -> tuple[int, str]:
    """Exit code, and what is to be said of an error."""
    try:
        found = _command()
        sys.stdout.flush()
    except _Ended as end:
        return 128 + end.number, "ended from outside; nothing was left half-written"
    except outlet.Unwritable as end:
        return (READER_GONE, "") if end.reader_gone else (ERROR, f"cannot write to standard output: {end}")
    return found


def _command() -> tuple[int, str]:
    try:
        from analysis.commands.app import app

        code = app(standalone_mode=False, prog_name="hwsim", terminal_width=_help_width())
    except KeyboardInterrupt:  # before the command line library, which catches it, was there
        code = INTERRUPTED
    except SystemExit as stop:
        code = stop.code
    except Exception as error:
        return _failure(error)
    return int(code or 0), "interrupted; nothing was left half-written" if code == INTERRUPTED else ""


def _help_width() -> int:
    """Columns of the help: those of the terminal, but no more than are read with ease."""
    from analysis.output.terminal import columns

    return min(columns(sys.stdout) or shutil.get_terminal_size().columns, WIDEST_HELP)


def _failure(error: Exception) -> tuple[int, str]:
    if isinstance(error, ImportError) and str(error.name).partition(".")[0] not in OURS:
        return ERROR, _missing(error)
    if isinstance(error, MemoryError):
        return ERROR, f"out of memory{f': {error}' if str(error) else ''}"
    if isinstance(error, RecursionError):
        return ERROR, "the input is nested too deeply"
    if hasattr(error, "format_message"):  # a usage error of the command line library
        return ERROR, error.format_message()
    if isinstance(error, ValueError | OSError):
        return ERROR, str(error)
    outlet.tell(*"".join(traceback.format_exception(error)).splitlines())
    return FAULT, f"a fault of hwsim itself ({type(error).__name__}); please report it, with the lines above"


def _missing(error: ImportError) -> str:
    """What a library that cannot be imported is needed for, and how it is installed."""
    command = " ".join(["hwsim", *(word for word in sys.argv[1:2] if word.isalpha())])
    if error.name is None:  # of a library that looks at its own requirements
        return f"{command}: {error}"
    name = error.name.partition(".")[0]
    if not isinstance(error, ModuleNotFoundError):
        return f"{command} needs {name}, which is installed but cannot be imported: {error}"
    return f"{command} needs {name}, which is not installed: pip install '{_requirement(name)}'"


def _requirement(name: str) -> str:
    """As hwsim asks for it: a name with its versions."""
    try:
        asked = requires("hwsim") or []
    except PackageNotFoundError:  # run from a folder that was never installed
        asked = []
    found = (one.partition(";")[0].strip() for one in asked)
    return next((one for one in found if re.match(rf"{re.escape(name)}(?![\w.-])", one)), name)
