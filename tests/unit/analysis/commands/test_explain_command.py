"""`hwsim explain` on the command line: what it takes, its exit codes and its errors."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from analysis import cli
from analysis.proof.explain.search import Search
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.loading import load
from tests.small.programs import with_operation

SITE = "encoder.0.self_attention.key"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model at int8, lowered once."""
    path = tmp_path_factory.mktemp("explain") / "int8.hwsim"
    assert call("quantize", "--out", str(path)) == 0
    return path


def call(*words: str) -> int:
    """The exit code of a command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["hwsim", *words])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def tampered(path: Path) -> Path:
    """The program with one shift changed."""
    made = load(path)
    operation = next(op for _, op in made.operations() if op.output == SITE)
    shift = operation.requantization.shift  # type: ignore[union-attr]
    assert isinstance(shift, str)
    constants = made.constants | {shift: made.constants[shift] + 1}
    other = path.with_name("tampered.hwsim")
    Program(made.manifest, constants).save(other)
    return other


def test_a_program_equals_itself(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("explain", str(program), str(program), "--steps", "1") == 0
    assert "no difference" in capsys.readouterr().out.lower()


def test_a_changed_shift_is_named(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, plot = program.with_name("why.json"), program.with_name("why.png")
    words = (
        "explain",
        str(program),
        str(tampered(program)),
        "--steps",
        "1",
        "--json",
        str(record),
        "--plot",
        str(plot),
    )
    assert call(*words) == 1
    assert SITE in capsys.readouterr().out
    found = json.loads(record.read_text())
    assert found["first"]["site"] == SITE
    assert "shift" in found["first"]["cause"]
    assert plot.read_bytes().startswith(b"\x89PNG")


def dump_of(program: Path, name: str) -> tuple[Path, np.ndarray]:
    """Codes of one site, and of nothing that it is made of, as npz; one is wrong."""
    from analysis.commands import shared
    from analysis.workload import load_model

    machine, seen = Machine(load(program)), {}
    ids = np.array(load_model().encode(shared.read_source(None)[:1], "text"))
    inputs = {"source_ids": ids, "source_mask": np.ones_like(ids), "encode.position": np.array(0)}
    machine.run("encode", inputs, seen.__setitem__)
    codes = seen[SITE].copy()
    codes[0, 0, 0] ^= 1
    np.savez(program.with_name(name), **{SITE: codes})
    return program.with_name(name), seen[SITE]


def test_a_dump_of_one_site(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Codes of the machine itself as npz: equal; one LSB off: found."""
    dump, codes = dump_of(program, "dump.npz")
    assert call("explain", str(program), str(dump)) == 1
    assert f"{SITE}, index [0, 0, 0]" in capsys.readouterr().out
    np.savez(dump, **{SITE: codes})
    assert call("explain", str(program), str(dump)) == 0
    assert "assumed equal" not in capsys.readouterr().out


def test_an_incomplete_dump_says_what_it_assumes(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    dump, _ = dump_of(program, "alone.npz")
    assert call("explain", str(program), str(dump), "--json", str(tmp_path / "why.json")) == 1
    words = f"input not in the dump: assumed equal ({SITE}.accumulator)"
    assert [line.strip() for line in capsys.readouterr().out.splitlines() if "assumed" in line] == [words]
    (report,) = json.loads((tmp_path / "why.json").read_text())["sites"]
    assert report["site"] == SITE and words in report["observations"]


def test_ctrl_c_upstream_leaves_no_file(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As every command: one line, exit code 130."""
    reached = []

    def interrupt(search: Search, of: str) -> None:
        reached.append((search.path.site.site, of))
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "run", interrupt)
    dump, _ = dump_of(program, "cut.npz")
    out = ("--json", str(tmp_path / "why.json"), "--plot", str(tmp_path / "why.png"))
    assert call("explain", str(program), str(dump), *out) == 130
    shown = capsys.readouterr()
    assert reached == [(SITE, "")]
    assert shown.err.splitlines()[-1] == "hwsim: error: interrupted; nothing was left half-written"
    assert "Traceback" not in shown.err and SITE not in shown.out and not list(tmp_path.iterdir())


def test_two_schemes_on_the_same_accumulators(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("explain", str(program), "--site", "encoder.0.*.key", "--steps", "0")
    assert call(*words, "--schemes", "half_even,half_even") == 0
    assert call(*words, "--schemes", "half_even,floor") == 1
    assert SITE in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{program}",), "explain needs a B to compare with, or --schemes ONE,OTHER"),
        (("{program}", "nothing.hwsim"), "nothing.hwsim is neither a file nor a target; known targets: fullyqt, tflm"),
        (("{program}", "{program}", "--site", "x"), "--site and --call are of codes from RTL"),
        (("{program}", "missing.npz"), "missing.npz does not exist"),
        (("{program}", "{program}", "--shape", "2,x"), "--shape '2,x'; it is positive numbers"),
        (("{program}", "--schemes", "half_even"), "--schemes 'half_even'; it is two names with a comma"),
        (("{program}", "--schemes", "half_even,none"), "none"),
        (("{program}", "--schemes", "half_even,floor", "--shape", "2"), "--shape can be given only where two runs are"),
        (
            ("{program}", "--schemes", "half_even,floor", "--call", "1", "--plot", "x.png"),
            "--call and --plot can be given only where two runs are compared, not --schemes on one: leave them out",
        ),
        (
            ("{program}", "{program}", "--config", "native"),
            "--config can be given only where A or B is a target: leave it out",
        ),
    ],
)
def test_wrong_words_are_one_line(
    program: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("explain", *(word.format(program=program) for word in words)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("hwsim: error: ") and message in error


def test_vectors_bring_their_own_sentences(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = program.with_name("vectors")
    assert call("vectors", str(program), "--site", SITE, "--out", str(folder), "--steps", "0") == 0
    assert call("explain", str(program), str(folder)) == 0
    assert "no difference: 1 of " in capsys.readouterr().out
    text = program.with_name("text.txt")
    text.write_text("A house .\n")
    for option, value in (("--sentences", "2"), ("--text", str(text))):
        assert call("explain", str(program), str(folder), option, value) == 2
        message = f"{option} can be given only where {folder} does not say itself which sentences it is of"
        assert message in capsys.readouterr().err


def test_an_operation_that_was_swapped_out_is_found(program: Path) -> None:
    """A fault in the manifest, not in a constant."""
    made = load(program)
    operation = next(op for _, op in made.operations() if op.output.endswith("scores"))
    wider = msgspec.structs.replace(operation.requantization, shift=operation.requantization.shift + 1)  # type: ignore[union-attr]
    other = program.with_name("scores.hwsim")
    with_operation(made, operation.output, requantization=wider).save(other)
    assert call("explain", str(program), str(other), "--steps", "0") == 1
