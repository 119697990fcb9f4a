"""Names come out of files that others wrote: no command lets them command a terminal, hide, be markup or fill it."""

import ast
import io
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.table import Table
from rich.text import Text

from analysis import cli
from analysis.output import outlet
from analysis.output.terminal import Terminal
from hwsim.program import Program
from hwsim.program.loading import load
from tests import ROOT

COLOUR, TURNED, HALF = "\x1b[35m", "\u202e", "\udcff"
HOSTILE = f"{COLOUR}a\x9b{TURNED}\x7f[red]b[/]:smile:"
"""A colour, a control of 8 bits, text turned around, a delete; and what rich would take for markup."""
SHOWN = r"\x1b[35ma\x9b\u202e\x7f[red]b[/]:smile:"
LONG = "first" + "x" * 100_000 + "last"
TEXT = ("--text", "text", "--model", "model")
SITE = "encoder.0.self_attention.query"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(at_work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run in this process, as wide as no line is: exit code, output, errors."""
    monkeypatch.chdir(at_work)
    monkeypatch.setenv("COLUMNS", "1000")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["hwsim", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def seen(run: Run, *words: str, code: int = 0) -> str:
    """All that a command printed, which is printable."""
    found, out, err = run(*words)
    printed = out + err
    assert found == code, printed
    assert printed.replace("\n", "").replace("\N{NO-BREAK SPACE}", "").isprintable()
    return printed


def toml(text: str) -> str:
    """As a string of a TOML file, whose escapes are those of JSON but for the delete."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def renamed(path: Path, old: str, new: str) -> None:
    """The program with other names: of itself, of its scheme, or of a tensor."""
    program = load(path)
    one, other = (msgspec.json.encode(name)[:-1] for name in (old, new))
    manifest = msgspec.json.encode(program.manifest).replace(one, other)
    constants = {name.replace(old, new): program.constants[name] for name in program.constants}
    Program(msgspec.json.decode(manifest, type=type(program.manifest)), constants).save(path)


def named(path: Path, **names: str) -> None:
    """The program with other fields of its manifest."""
    program = load(path)
    Program(msgspec.structs.replace(program.manifest, **names), program.constants).save(path)


WORDS = {
    "show": ("show", "p.hwsim"),
    "show widths": ("show", "p.hwsim", "--accumulators"),
    "estimate": ("estimate", "p.hwsim", "--source-length", "5", "--target-length", "5", "--all"),
    "explain schemes": ("explain", "p.hwsim", "--schemes", "half_up,half_up", *TEXT),
}


@pytest.mark.parametrize("command", WORDS)
@pytest.mark.parametrize(("name", "shown"), [(HOSTILE, SHOWN), (LONG, "...(100,0")])
def test_names_of_a_program(at_work: Path, run: Run, command: str, name: str, shown: str) -> None:
    named(at_work / "p.hwsim", name=name, scheme=name)
    renamed(at_work / "p.hwsim", SITE, name)
    printed = seen(run, *WORDS[command])
    assert shown in printed
    assert max(map(len, printed.splitlines())) <= 1000 and len(printed) < 100_000


@pytest.mark.parametrize("name", [HOSTILE, LONG[:190]])
def test_names_of_files(at_work: Path, run: Run, name: str) -> None:
    name = name.replace("/", "-")
    (at_work / "p.hwsim").rename(at_work / name)
    shown = outlet.printable(name)
    assert shown in seen(run, "verify", name, *TEXT)
    assert shown in seen(run, "vectors", name, "--site", SITE, "--out", f"{name}.out", *TEXT)
    assert seen(run, "show", f"{name}.absent", code=2).startswith("hwsim: error: ")
    assert f"{shown}.absent" in seen(run, "show", f"{name}.absent", code=2)


def test_a_file_name_that_is_no_text(at_work: Path, run: Run) -> None:
    assert "\\udcff.hwsim" in seen(run, "show", f"{HALF}.hwsim", code=2)


@pytest.mark.parametrize("name", [HOSTILE, LONG])
def test_names_in_a_table_of_layers(at_work: Path, run: Run, name: str) -> None:
    text = f'name = {toml(name)}\n[[layer]]\nname = {toml(name)}\nkind = "gemm"\nm = 4\nk = 8\nn = 6\n'
    (at_work / "mine.toml").write_text(text)
    line = seen(run, "estimate", "--model-file", "mine.toml", code=2)
    assert (SHOWN if name == HOSTILE else "xxx...") in line and len(line) < 600


@pytest.mark.parametrize(
    "words",
    [
        ("targets", "{}"),
        ("estimate", "--workload", "{}"),
        ("estimate", "--workload", "tiny11", "--accelerator", "{}"),
        ("estimate", "--workload", "tiny11", "--sort", "{}"),
        ("show", "p.hwsim", "--site", "{}"),
        ("explain", "p.hwsim", "--schemes", "{},floor", *TEXT),
        ("explain", "p.hwsim", "p.hwsim", "--model", "model", "--shape", "{}"),
        ("run", "--{}"),
        ("{}",),
        ("bench", "--target", "{}", "--only", "operators"),
        ("quantize", "--config", "{}", "--out", "made"),
        ("verify", "p.hwsim", "--accumulator", "16:{}"),
    ],
)
def test_an_error_is_one_line_that_can_be_read(run: Run, words: tuple[str, ...]) -> None:
    line = seen(run, *(word.format(HOSTILE) for word in words), code=2)
    assert line.startswith("hwsim: error: ") and line.count("\n") == 1
    assert r"\x1b[35ma" in line or r"\x1b[35mA" in line
    line = seen(run, *(word.format(LONG) for word in words), code=2)
    assert line.startswith("hwsim: error: ") and line.count("\n") == 1
    assert len(line) <= len("hwsim: error: ") + 500
    assert "..." in line and "x" * 201 not in line


def test_a_scheme_of_a_hostile_name(at_work: Path, run: Run) -> None:
    (at_work / "mine.toml").write_text(f"name = {toml(HOSTILE)}\n")
    asked = ("--scheme", "mine.toml", "--out", "made", "--model", "model")
    assert SHOWN in seen(run, "quantize", *asked, "--calibrate", "text")
    (at_work / "mine.toml").write_text(f'name = "mine"\n{toml(HOSTILE)} = {toml(LONG)}\n')
    line = seen(run, "quantize", *asked, "--force", "--calibrate", "text", code=2)
    assert line.startswith("hwsim: error: mine.toml") and SHOWN[:12] in line


# --- the outlet itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Zürich −1 µJ", "plain text, Zürich −1 µJ"),
        ("1\N{NO-BREAK SPACE}mJ", "1\N{NO-BREAK SPACE}mJ"),
        ("\x00\t\n\r\x1b\x7f", r"\x00\t\n\r\x1b\x7f"),
        ("\x80\x85\x9b\xad", r"\x80\x85\x9b\xad"),
        ("\u200b\u200e\u2028\u202e\u2066\ufeff", r"\u200b\u200e\u2028\u202e\u2066\ufeff"),
        ("\ud800\udcff\U000e0041", r"\ud800\udcff\U000e0041"),
    ],
)
def test_what_is_not_seen_is_an_escape(text: str, shown: str) -> None:
    assert outlet.printable(text) == outlet.printable(shown) == shown


def test_both_ends_of_a_long_name_stay() -> None:
    short = outlet.shortened("a" * 600 + "b" * 600, 100)
    assert short == "a" * 38 + "...(1,200 characters)..." + "b" * 38
    assert outlet.shortened("a" * 100, 100) == "a" * 100 and len(outlet.shortened("a" * 101, 100)) == 100
    assert outlet.readable(f"one {'x' * 201}\ntwo\t{'y' * 190}").split("\n") == [
        f"one {'x' * 89}...(201 characters)...{'x' * 89}",
        rf"two\t{'y' * 190}",
    ]


def test_a_long_error_keeps_its_beginning_and_its_end() -> None:
    line = outlet.one_line("unknown name " + "word " * 1000 + "\n known: a, b")
    assert len(line) == 500
    assert line.startswith("unknown name word ") and line.endswith("word known: a, b") and "(5,024 characters)" in line


def test_nothing_prints_but_the_outlet() -> None:
    """Besides, `python -m` of what makes pages, and a child process that answers its parent."""
    allowed = {"accuracy/ablation.py", "bench/memory.py"}
    found = set()
    for path in (ROOT / "analysis").rglob("*.py"):
        calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        if any(isinstance(one, ast.Name) and one.id == "print" for one in calls):
            found.add(str(path.relative_to(ROOT / "analysis")))
    assert {name for name in found if not name.startswith("pages/")} == allowed


@pytest.mark.parametrize("wrapped", [str, Text], ids=["str", "Text"])
def test_names_anywhere_in_a_table(wrapped: Callable[[str], str | Text]) -> None:
    table = Table("name", title=wrapped(HOSTILE), caption=wrapped(HOSTILE))
    table.add_row(wrapped(HOSTILE))
    written = io.StringIO()
    Terminal(written).print(table, wrapped(HOSTILE))
    assert written.getvalue().count(SHOWN) == 4
    assert written.getvalue().replace("\n", "").isprintable()
