"""Every option of every command in every kind of input: the work or its output is another with it, or it is refused.

Those of `hwsim estimate` are in `test_estimate_options`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from analysis import cli
from analysis.bench import job
from analysis.commands import shared
from analysis.commands.app import app
from reference.data import ParallelText
from tests.unit.analysis.commands import test_command_options, test_command_options_of_programs
from tests.unit.analysis.commands.estimate_runs import refused

calls_of_models = test_command_options.calls
calls_of_programs = test_command_options_of_programs.calls
program = test_command_options_of_programs.program


class No(str):
    """An option that is refused; words of the reason."""


Cell = tuple[object, ...] | No
USED: tuple[object, ...] = ()
FOLDER, FILE = ("--out", "made"), ("--out", "made.hwsim")
TEXT, BOTH = ("--text", "a.en"), ("--text", "a.en", "--reference", "a.de")
NAMED = No("--force replaces what is named, and nothing is")
TOGETHER = No("--reference needs --text")
CALIBRATE = {"--calibrate": ("c.en",), "--calibrate-reference": No("--calibrate-reference needs --calibrate")}
CALIBRATED = {"--calibrate-reference": ("c.de",)}
ALONE = No("--kernels looks at the kernels alone")
RUN: dict[str, Cell] = {
    "--sentences": (7,), "--config": ("int4",), "--scheme": ("own.toml",), "--target": ("ita",), "--out": ("made",),
    "--force": NAMED, "--model": ("elsewhere",), "--text": ("a.en",), "--reference": TOGETHER, **CALIBRATE,
    "--beam": (2,), "--accelerator": ("gemmini-16",), "--no-sensitivity": (),
}  # fmt: skip
EXPLAINED: dict[str, Cell] = {
    "--text": ("a.en",), "--sentences": (3,), "--steps": (3,), "--model": ("elsewhere",), "--json": ("out.json",),
    "--force": NAMED,
}  # fmt: skip
TABLE: dict[str, tuple[tuple[object, ...], dict[str, Cell]]] = {
    "run": (("run",), RUN),
    "run of text": (("run", *TEXT), {"--reference": ("a.de",), "--sentences": (7,), "--beam": (2,)}),
    "run, calibrated": (("run", "--calibrate", "c.en"), CALIBRATED),
    "sensitivity": (
        ("sensitivity", *FOLDER),
        {
            "--sentences": (9,), "--by": ("site",), "--target": ("ita",), "--bleu": (), "--model": ("elsewhere",),
            "--reference": TOGETHER, **CALIBRATE,
        },
    ),
    "sensitivity of text alone": (
        ("sensitivity", *FOLDER, *TEXT), {"--bleu": No("against references"), "--reference": ("a.de",)}
    ),
    "sensitivity of text": (("sensitivity", *FOLDER, *BOTH), {"--bleu": (), "--sentences": (9,)}),
    "sensitivity, calibrated": (("sensitivity", *FOLDER, "--calibrate", "c.en"), CALIBRATED),
    "quantize": (
        ("quantize", *FILE),
        {
            "--config": ("int4",), "--scheme": ("own.toml",), "--target": ("ita",), "--model": ("elsewhere",),
            **CALIBRATE,
        },
    ),
    "quantize by a scheme": (
        ("quantize", *FILE, "--scheme", "own.toml"),
        {"--config": No("not both"), "--target": No("own.toml is a scheme of target ita")},
    ),
    "quantize, calibrated": (("quantize", *FILE, "--calibrate", "c.en"), CALIBRATED),
    "train": (
        ("train", *FOLDER),
        {
            "--vocabulary": (77,), "--d-model": (128,), "--heads": (2,), "--d-head": (32,), "--d-ff": (99,),
            "--layers": (5,), "--epochs": (3,), "--seed": (8,), "--no-tied": (), "--text": No("needs --validation"),
            "--reference": No("needs --validation"), "--validation": No("needs --validation"),
            "--validation-reference": No("needs --validation"),
        },
    ),
    "verify": (
        ("verify", "p.hwsim"),
        {
            "--text": ("a.en",), "--reference": No("--reference needs --text"), "--sentences": (3,),
            "--target": No("is a program of target ita"), "--accumulator": ("16:wrap",), "--model": ("elsewhere",),
            "--beam": (2,), "--kernels": No("leave out PROGRAM"), "--out": ("made",), "--force": NAMED,
        },
    ),
    "verify text": (("verify", "p.hwsim", *TEXT), {"--reference": ("a.de",), "--sentences": (3,)}),
    "kernels": (
        ("verify", "--kernels"),
        {
            "PROGRAM": ALONE, "--text": ALONE, "--reference": ALONE, "--sentences": ALONE, "--target": ALONE,
            "--accumulator": ALONE, "--model": ALONE, "--beam": ALONE, "--out": ("made",), "--force": NAMED,
        },
    ),
    "show": (
        ("show", "tiny.hwsim"),
        {
            "--site": ("encoder.*",), "--accumulators": (), "--text": No("need --accumulators"),
            "--sentences": No("need --accumulators"), "--model": No("without a text"), "--json": ("out.json",),
            "--force": NAMED,
        },
    ),
    "accumulators": (
        ("show", "tiny.hwsim", "--accumulators"),
        {
            "--site": ("encoder.*",), "--text": ("a.en",), "--sentences": (3,), "--model": No("without a text"),
            "--json": ("out.json",),
        },
    ),
    "accumulators of text": (
        ("show", "tiny.hwsim", "--accumulators", *TEXT), {"--sentences": (3,), "--model": ("elsewhere",)}
    ),
    "vectors": (
        ("vectors", "tiny.hwsim", "--site", "*.scores", *FOLDER),
        {"--text": ("a.en",), "--sentences": (3,), "--steps": (5,), "--model": ("elsewhere",)},
    ),
    "explain": (
        ("explain", "tiny.hwsim", "tiny.hwsim"),
        {
            **EXPLAINED, "--config": No("A or B is a target"), "--site": No("of codes from RTL"),
            "--shape": ("2,4",), "--call": No("of codes from RTL"), "--schemes": No("a B to compare with"),
            "--plot": ("out.png",),
        },
    ),
    "explain targets": (
        ("explain", "tflm", "tosa"),
        {**EXPLAINED, "--config": ("int8",), "--site": No("of codes from RTL"), "--call": No("of codes from RTL")},
    ),
    "explain schemes": (
        ("explain", "tiny.hwsim", "--schemes", "half_even,half_up"),
        {
            **EXPLAINED, "--site": ("encoder.*",), "--config": No("A or B is a target"),
            "--shape": No("not --schemes"), "--call": No("not --schemes"), "--plot": No("not --schemes"),
        },
    ),
    "targets": (("targets",), {"NAME": ("ita",), "--schemes": ()}),
    "one target": (("targets", "ita"), {"--schemes": No("leave ita out")}),
    "bench": (
        ("bench",),
        {
            "--only": ("model",), "--threads": (1,), "--repeats": (3,), "--sentences": (9,), "--target": ("ita",),
            "--growth": (), "--seed": (4,), "--json": ("out.json",), "--force": NAMED,
        },
    ),
    "bench products": (
        ("bench", "--only", "gemm"),
        {
            "--only": ("model",), "--sentences": No("neither models nor operators"),
            "--target": No("neither models nor operators"), "--seed": (4,), "--growth": (), "--repeats": (3,),
        },
    ),
    "bench a target": (
        ("bench", "--only", "model", "--target", "ita"), {"--seed": No("no random operands"), "--growth": ()}
    ),
    "centre": (
        ("centre", *FOLDER), {"--top": (2.5,), "--model": ("elsewhere",), **CALIBRATE},
    ),
    "centre, calibrated": (("centre", *FOLDER, "--calibrate", "c.en"), CALIBRATED),
    "doctor": (("doctor",), {"--json": ("out.json",), "--force": NAMED}),
}  # fmt: skip
"""A command line of every kind, and for each option what is added to it, or why it is refused."""
VALUES: dict[str, tuple[object, ...]] = {
    "PROGRAM": ("p.hwsim",), "NAME": ("ita",), "--config": ("int8",), "--target": ("pulp",), "--force": (),
    "--reference": ("a.de",), "--text": ("a.en",), "--sentences": (100,), "--model": ("m",), "--kernels": (),
    "--accumulator": ("16:wrap",), "--beam": (1,), "--site": ("x",), "--shape": ("2,4",), "--call": ("encode",),
    "--schemes": ("half_even,floor",), "--schemes of one target": (),
    "--plot": ("out.png",), "--seed": (0,), "--validation": ("v.en",),
    "--validation-reference": ("v.de",), "--calibrate-reference": ("c.de",), "--bleu": (),
}  # fmt: skip
"""Of what is refused; --sentences, --beam and --seed as they are by default."""
CELLS = [(kind, option, cell) for kind, (_, cells) in TABLE.items() for option, cell in cells.items()]
OWN = {name: getattr(shared, name) for name in ("read_text", "read_source", "calibrated", "show")}
"""What other tests replace, and this one does not: they refuse."""
ROW = SimpleNamespace(kind="group")
NETWORK = SimpleNamespace(config="a config", state_dict=dict)
PROGRAMS = ("verify", "show", "vectors", "explain")
Result = tuple[int, str, str, str]
Work = Callable[..., Result]


@dataclass
class Facts:
    """What is written of a computer or of a run."""

    some: object = None
    folder: object = None
    seconds: object = field(default=None, repr=False)
    seed: object = None


@pytest.fixture
def work(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Work:
    """A command whose work is only noted: exit code, both streams, and all that it was asked for, files included."""

    def call(*words: object) -> Result:
        name = "calls_of_programs" if words[0] in PROGRAMS else "calls_of_models"
        calls = request.getfixturevalue(name)
        (tmp_path / "the model").mkdir(exist_ok=True)
        (tmp_path / "the model" / "vocabulary.model").write_bytes(b"words")
        (tmp_path / "own.toml").write_text('name = "own"\ntarget = "ita"\n')
        if words[0] in PROGRAMS:
            made = SimpleNamespace(program=request.getfixturevalue("program"))
            calls.record(monkeypatch, "analysis.workload.configure", made)
        _note_the_rest(calls, monkeypatch)
        calls.clear()
        monkeypatch.setattr("sys.argv", ["hwsim", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if "runs/" not in str(path))
        return code, out, err, re.sub(r" at 0x[0-9a-f]+", "", repr((sorted(calls.items()), files)))

    return call


def _note_the_rest(calls: Any, patch: pytest.MonkeyPatch) -> None:
    """What the fixtures of other tests leave to do."""
    text = ParallelText(source=tuple(map(str, range(300))), target=tuple(map(str, range(300))))
    for name, own in OWN.items():
        patch.setattr(shared, name, own)
    for where in ("reference.data", "analysis.translation.calibration"):
        calls.record(patch, f"{where}.read_parallel", text)
        calls.record(patch, f"{where}.read_lines", text.source)
    calls.record(patch, "reference.data.corpus", text)
    calls.record(patch, "analysis.translation.calibration.calibration_text", text)
    calls.record(patch, "analysis.translation.calibration.ranges_of", {"a site": "a range"})
    patch.setattr("analysis.translation.calibration.check_vocabulary", lambda model: None)
    patch.setattr("analysis.report.study.study", lambda *given: calls.update(study=given) or [ROW])
    patch.setattr("analysis.report.sensitivity_table", lambda rows: "a table")
    calls.record(patch, "analysis.translation.floating.own_translations", text)
    calls.record(patch, "analysis.accuracy.kernel_errors.kernel_table", [])
    calls.record(patch, "analysis.report.kernel_table.table", "a table")
    calls.record(patch, "analysis.report.kernel_table.files", {"kernels.json": b"{}"})
    calls.record(patch, "analysis.inspect.vectors.write_vectors", "2 operations")
    found = SimpleNamespace(equal=True, json=lambda: b"{}", table=lambda: "a table", exit_code=0)
    calls.record(patch, "analysis.proof.explain.explain", found)
    calls.record(patch, "analysis.proof.explain.compare_schemes", found)
    calls.record(patch, "analysis.proof.explain.read_dump", "a dump")
    calls.record(patch, "analysis.proof.explain.render", ["a table"])
    calls.record(patch, "analysis.proof.explain.plot.figure", "a figure")
    patch.setattr("analysis.plots.png", lambda figure: figure.encode())
    calls.record(patch, "analysis.bench.job.run", job.Result())
    patch.setattr("analysis.bench.job.record", lambda *given: {})
    patch.setattr("analysis.bench.machine.examine", Facts)
    patch.setattr("analysis.output.context.context", Facts)
    calls.record(patch, "reference.quantize.centring.centred", NETWORK)
    patch.setattr("analysis.translation.calibration.CalibrationText.batches", lambda text, model: repr(text))
    patch.setattr("reference.checkpoint.checkpoint_files", lambda *given: {"config.json": b"{}"})
    patch.setattr("analysis.bench.doctor.table", lambda found: "a table")


def typed(name: str) -> set[str]:
    """Options and optional arguments of a command, as they are typed to change something."""
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    required = {"out"} | ({"site"} if name == "vectors" else set())
    switched = {"tied": "--no-tied"} if name == "train" else {"sensitivity": "--no-sensitivity"}
    return {
        switched.get(one.name, shared._shown(one))
        for one in command.params
        if one.name != "help" and not (one.required and (one.param_type_name == "argument" or one.name in required))
    }


def test_every_option_of_every_command_has_a_cell() -> None:
    names = set(typer.main.get_command(app).commands) - {"estimate"}  # type: ignore[attr-defined]
    assert {words[0] for words, _ in TABLE.values()} == names
    for name in names:
        told = {option for words, cells in TABLE.values() if words[0] == name for option in cells}
        given = {str(word) for words, _ in TABLE.values() if words[0] == name for word in words}
        optional = typed(name)
        assert told <= optional | {"PROGRAM", "NAME"}, name
        assert optional <= told | given | {"--force", "B", "PROGRAM"}, name


@pytest.mark.parametrize(("kind", "option"), [case[:2] for case in CELLS if not isinstance(case[2], No)])
def test_an_option_changes_what_is_done(work: Work, kind: str, option: str) -> None:
    words, cells = TABLE[kind]
    added = () if option.isupper() else (option,)
    force = ("--force",) if "--out" in words and words[0] != "train" else ()
    before, after = work(*words, *force), work(*words, *force, *added, *cells[option])
    assert (before[0], after[0]) == (0, 0), before[2] + after[2]
    assert before[1:] != after[1:]


@pytest.mark.parametrize(("kind", "option", "why"), [case for case in CELLS if isinstance(case[2], No)])
def test_an_option_that_would_change_nothing_is_refused(work: Work, kind: str, option: str, why: str) -> None:
    words = TABLE[kind][0]
    code, out, err, _ = work(
        *words, *(() if option.isupper() else (option,)), *VALUES.get(f"{option} of {kind}", VALUES[option])
    )
    refused((code, out, err), why)
    assert out == ""


FEW = [
    *(("run", "--sentences"), ("sensitivity", *FOLDER, "--sentences"), ("verify", "p.hwsim", "--sentences")),
    *(("show", "tiny.hwsim", "--accumulators", "--sentences"), ("bench", "--sentences")),
    ("vectors", "tiny.hwsim", "--site", "*.scores", *FOLDER, "--sentences"),
    ("explain", "tiny.hwsim", "tiny.hwsim", "--sentences"),
    ("explain", "tiny.hwsim", "--schemes", "half_even,half_up", "--sentences"),
]


@pytest.mark.parametrize("words", FEW)
def test_a_text_with_fewer_sentences_is_said(work: Work, words: tuple[object, ...]) -> None:
    code, _, err, _ = work(*words, 1234)
    assert (code, err) == (0, "--sentences 1,234: the text has 300, and all are taken\n")


@pytest.mark.parametrize("words", FEW)
def test_as_many_as_there_are_is_no_word_worth(work: Work, words: tuple[object, ...]) -> None:
    assert work(*words, 300)[2] == ""


def test_every_command_with_sentences_is_among_them() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    have = {name for name, one in commands.items() if any("--sentences" in part.opts for part in one.params)}
    assert {words[0] for words in FEW} == have


def test_a_default_that_is_more_than_there_is_is_no_word_worth(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.commands.options.SENSITIVITY_SENTENCES", 1000)
    assert work("sensitivity", *FOLDER)[2] == ""


def test_a_configuration_twice_is_run_once(work: Work) -> None:
    assert work("run", "--config", "int4", "--config", "int4")[3].count("Scheme(name='int4'") == work(
        "run", "--config", "int4"
    )[3].count("Scheme(name='int4'")


def test_a_training_that_is_done_says_so(work: Work) -> None:
    code, out, _, _ = work("train", *FOLDER, "--epochs", 3)
    assert code == 0 and out.startswith("made: ") and out.endswith("epochs are done, nothing is left to train\n")
