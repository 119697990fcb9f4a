"""Whatever a command's output goes to, it stays readable there, and the exit code says what happened."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from analysis import cli
from tests import ROOT

MAIN = (sys.executable, "-c", "from analysis.cli import main; main()")
COMMANDS = {
    "help": ("--help",),
    "targets": ("targets",),
    "one target": ("targets", "ita"),
    "schemes": ("targets", "--schemes"),
    "estimate": ("estimate", "--workload", "tiny11"),
    "compared": ("estimate", "--workload", "tiny11", "--compare", "int8", "int4"),
    "show": ("show", "p.hwsim"),
    "widths": ("show", "p.hwsim", "--accumulators"),
    "observed": ("show", "p.hwsim", "--accumulators", "--text", "text", "--model", "model"),
    "verify": ("verify", "p.hwsim", "--text", "text", "--model", "model"),
    "doctor": ("doctor",),
}
TABLES = [name for name in COMMANDS if name != "verify"]  # whose lines are folded by a terminal, and by none else
WRONG = ("targets", "itta")
FULL = "hwsim: error: cannot write to standard output: No space left on device"
every = pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(at_work: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run in this process, its streams files or what is given: exit code, output, errors."""
    monkeypatch.chdir(at_work)
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)

    def call(words: tuple[str, ...], encoding: str = "utf-8", **streams: TextIO | None) -> tuple[int, str, str]:
        paths = [at_work.with_name(name) for name in ("stdout", "stderr")]
        with paths[0].open("w", encoding=encoding) as out, paths[1].open("w", encoding=encoding) as err:
            monkeypatch.setattr("sys.stdout", streams.get("stdout", out))
            monkeypatch.setattr("sys.stderr", streams.get("stderr", err))
            monkeypatch.setattr("sys.argv", ["hwsim", *words])
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
        return code, paths[0].read_text(encoding), paths[1].read_text(encoding)

    return call


@pytest.fixture
def full() -> Iterator[TextIO]:
    """A disk that is full."""
    with open("/dev/full", "w") as stream:
        yield stream


@pytest.fixture
def broken() -> Iterator[TextIO]:
    """A pipe that nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as stream:
        yield stream


# --- files and pipes --------------------------------------------------------------------------------------------------


@every
def test_a_pipe_gets_text_alone(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(words)
    assert code == 0 and out.strip()
    assert not {"\x1b", "\r"} & {*out, *err}
    assert len(err.splitlines()) == (words in (COMMANDS["observed"], COMMANDS["verify"]))  # the end of a progress bar


@pytest.mark.parametrize("name", TABLES)
def test_forty_columns_are_not_passed_and_nothing_is_cut(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    code, out, err = run(COMMANDS[name])
    assert code == 0 and max(map(len, [*out.splitlines(), *err.splitlines()])) <= 40
    monkeypatch.setenv("COLUMNS", "200")
    _, wide, _ = run(COMMANDS[name])
    assert len(wide.splitlines()) < len(out.splitlines())
    assert "…" not in out
    if name in ("targets", "estimate"):  # every cell is there, behind the name of its column
        narrow, usual = ({word.strip(":") for word in text.split()} for text in (out, wide))
        assert {word for word in usual - narrow if "─" not in word} <= {"target"}  # the first column's own name


def test_a_table_that_does_not_fit_has_a_line_for_every_cell(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = run(COMMANDS["targets"])[1].splitlines()
    assert lines[:2] == ["Operators: native, or whom they are ", "borrowed from"]
    first = lines.index("ita")
    assert lines[first : first + 4] == ["ita", "  requantization: native", "  residual: pulp", "  softmax: native"]


@pytest.mark.parametrize("columns", ["0", "-3", "wide", "", "9" * 30])
def test_columns_that_are_no_number_of_columns(run: Run, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, out, _ = run(COMMANDS["show"])
    assert code == 0 and 60 < max(map(len, out.splitlines())) <= (1000 if "9" in columns else 120)


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_INTERACTIVE"])
def test_a_log_gets_no_control_codes_of_a_progress_bar(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    _, _, err = run(COMMANDS["observed"])
    (line,) = err.splitlines()
    assert line.startswith("observing ") and not {"\x1b", "\r"} & {*line}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@every
def test_every_encoding_gets_every_line(run: Run, words: tuple[str, ...], encoding: str) -> None:
    code, out, _ = run(words, encoding=encoding)
    usual = run(words)[1]
    assert code == 0 and len(out.splitlines()) == len(usual.splitlines())
    assert not any(escape in out for escape in ("\\x", "\\u", "\\N"))


@every
def test_a_reader_that_is_gone_is_no_difference(run: Run, words: tuple[str, ...], broken: TextIO) -> None:
    code, _, err = run(words, stdout=broken)
    assert code == 141  # 128 and SIGPIPE, as a shell reports it
    assert "hwsim" not in err and "Traceback" not in err


@every
def test_a_full_disk_is_an_error(run: Run, words: tuple[str, ...], full: TextIO) -> None:
    code, _, err = run(words, stdout=full)
    assert (code, err.splitlines()[-1]) == (2, FULL)
    assert err.count("hwsim") == 1


@every
def test_what_is_not_heard_changes_no_result(run: Run, words: tuple[str, ...], full: TextIO, broken: TextIO) -> None:
    usual = run(words)[1]
    for err in (None, full, broken):
        code, out, _ = run(words, stderr=err)
        assert code == 0 and len(out) == len(usual)
    assert run(words, stdout=None)[:2] == (0, "")


def test_an_error_that_nobody_hears_is_one_all_the_same(run: Run, full: TextIO, broken: TextIO) -> None:
    for err in (None, full, broken):
        assert run(WRONG, stderr=err) == (2, "", "")


# --- a process of its own ---------------------------------------------------------------------------------------------


def environment(**given: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR", "NO_COLOR")}
    return kept | {"PYTHONPATH": str(ROOT)} | given


def in_a_shell(folder: Path, redirected: str, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
    shell = ["sh", "-c", f'"$@" {redirected}', "sh", *words]
    return subprocess.run(
        shell, cwd=folder, env=environment(**given), capture_output=True, encoding="latin-1", check=False
    )


@pytest.mark.parametrize(
    ("redirected", "code", "given"),
    [
        (">&-", 0, {}),
        ("2>&-", 0, {}),
        ("<&- >&- 2>&-", 0, {}),
        (">/dev/full", 2, {}),
        ("", 0, {"PYTHONIOENCODING": "ascii"}),
        ("", 0, {"LC_ALL": "C", "PYTHONUNBUFFERED": "1"}),
        ("", 0, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ],
)
def test_from_a_shell(at_work: Path, redirected: str, code: int, given: dict[str, str]) -> None:
    asked = ("estimate", "--workload", "tiny11", "--json", "found.json")
    done = in_a_shell(at_work, redirected, *MAIN, *asked, **given)
    assert (done.returncode, done.stderr) == (code, f"{FULL}\n" if code else "")
    assert bool(done.stdout) == (redirected in ("", "2>&-"))
    assert json.loads((at_work / "found.json").read_text())["workload"]


def test_what_a_library_prints_to_a_closed_stream_is_in_no_file(at_work: Path) -> None:
    """The first file that is opened would get the number of the stream."""
    script = """
import os
from analysis.output.outlet import streams
with streams(), open("made", "w") as file:
    os.write(1, b"printed by a library")
    os.write(2, b"printed by a library")
    file.write("content")
"""
    assert in_a_shell(at_work, ">&- 2>&-", sys.executable, "-c", script).returncode == 0
    assert (at_work / "made").read_text() == "content"


def on_a_terminal(folder: Path, words: tuple[str, ...], **given: str) -> tuple[int, str]:
    """Exit code, and all that a terminal gets."""
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen([*MAIN, *words], cwd=folder, env=environment(**given), **streams) as process:
        os.close(theirs)
        shown = b"".join(read(ours))
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def read(number: int) -> Iterator[bytes]:
    """Until the other side is closed, which a terminal says by an error."""
    while True:
        try:
            yield os.read(number, 1 << 16)
        except OSError:
            return


@pytest.mark.parametrize("name", ["help", "show", "observed"])
def test_a_terminal_that_knows_no_codes_gets_none(workshop: Path, name: str) -> None:
    code, shown = on_a_terminal(workshop, COMMANDS[name], TERM="dumb")
    assert code == 0 and shown.strip()
    assert not {"\x1b", "\r"} & {*shown}


def test_a_terminal_gets_colours_unless_it_wants_none(workshop: Path) -> None:
    bold, green = "\x1b[1m", "32m"  # bold is no colour
    code, shown = on_a_terminal(workshop, COMMANDS["one target"], TERM="xterm-256color")
    assert code == 0 and bold in shown and green in shown
    code, shown = on_a_terminal(workshop, COMMANDS["one target"], TERM="xterm-256color", NO_COLOR="1")
    assert code == 0 and bold in shown and green not in shown
