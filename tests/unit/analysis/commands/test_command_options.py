"""Every option of `hwsim run`, `sensitivity`, `quantize` and `train` reaches the work, which is not done here."""

import importlib
import inspect
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis import cli
from analysis.commands import shared
from reference.data import ParallelText

LINES = tuple(f"line {number}" for number in range(300))
TEXT = ParallelText(source=LINES, target=LINES)
Call = Callable[..., int]


class Calls(dict[str, Any]):
    """Arguments of the work's functions, by the function's name."""

    def record(self, patch: pytest.MonkeyPatch, where: str, result: Any = None) -> None:
        """Replace a function by one that notes its arguments, by name."""
        package, _, name = where.rpartition(".")
        signature = inspect.signature(getattr(__import__(package, fromlist=["x"]), name))

        def noted(*given: Any, **named: Any) -> Any:
            bound = signature.bind(*given, **named)
            bound.apply_defaults()
            self[name] = dict(bound.arguments)
            return result(*given) if callable(result) else result

        noted.__signature__ = signature  # type: ignore[attr-defined]  # it may be replaced again
        patch.setattr(where, noted)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    made = Calls()
    equal = SimpleNamespace(configurations=[SimpleNamespace(equality=SimpleNamespace(equal=True))])
    model = SimpleNamespace(folder=tmp_path / "the model", network=SimpleNamespace(config=SimpleNamespace(d_head=64)))
    program = SimpleNamespace(encoded=lambda: b"a program", weight_bytes=1234)
    plan = SimpleNamespace(sites={})
    trainer = SimpleNamespace(epoch=10**9)
    monkeypatch.chdir(tmp_path)
    for name in ("analysis.run", "analysis.report.study"):  # who is imported later would keep a replacement for good
        importlib.import_module(name)
    made.record(monkeypatch, "analysis.workload.load_model", model)
    made.record(monkeypatch, "analysis.workload.check_inputs")
    made.record(monkeypatch, "analysis.workload.configure", SimpleNamespace(program=program, plan=plan))
    made.record(monkeypatch, "analysis.commands.shared.read_text", TEXT)
    made.record(monkeypatch, "analysis.commands.shared.calibrated", {"a site": "a range"})
    made.record(monkeypatch, "analysis.run.run", equal)
    made.record(monkeypatch, "analysis.report.study.study", ["a row"])
    made.record(monkeypatch, "analysis.report.study.study_files", {"a": b"study"})
    made.record(monkeypatch, "analysis.report.report_files", {"a": b"report"})
    made.record(monkeypatch, "analysis.report.summary_table", "summary")
    made.record(monkeypatch, "analysis.output.context.context", "context")
    made.record(monkeypatch, "reference.train.prepare", trainer)
    monkeypatch.setattr("analysis.report.sensitivity_table", lambda rows: f"table of {rows}")
    monkeypatch.setattr(shared, "progress", lambda what, total: nullcontext(made.update({what: total})))
    monkeypatch.setattr(shared, "show", lambda *shown: made.update(show=shown))
    return made


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> Call:
    def run(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["hwsim", *map(str, words)])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


def names(schemes: Any) -> list[str]:
    return [one.name for one in schemes]


# --- run --------------------------------------------------------------------------------------------------------------


def test_run_by_default(call: Call, calls: Calls, tmp_path: Path) -> None:
    assert call("run") == 0
    asked = calls["run"]
    assert names(asked["schemes"]) == ["int8", "int6", "int4", "w4a8"]
    assert (asked["source"], asked["references"]) == (LINES[:100], LINES[:100])
    assert asked["ranges"] == {"a site": "a range"}
    assert (asked["beam_width"], asked["accelerator"].name) == (1, "edge-256")
    assert calls["load_model"] == {"folder": None}
    assert calls["read_text"] == {"source": None, "reference": None}
    assert (calls["calibrated"]["source"], calls["calibrated"]["reference"]) == (None, None)
    assert calls["translating and comparing"] == 100 * 5  # in float, and by four schemes
    assert calls["check_inputs"]["schemes"] == asked["schemes"]
    assert calls["check_inputs"]["texts"] == {"text source": LINES[:200], "text target": LINES[:200]}
    study = calls["study"]
    assert study["text"].source == LINES[:200]
    assert (study["kinds"], study["with_bleu"], study["names"]) == (("group",), False, ["fullyqt"])
    assert calls["report_files"]["rows"] == ["a row"]
    (folder,) = Path("runs").iterdir()
    assert (folder / "a").read_bytes() == b"report"
    assert calls["show"] == ("summary", "table of ['a row']")
    assert calls["context"]["model_folder"] == tmp_path / "the model"


def test_run_with_every_option(call: Call, calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('name = "own"\ntarget = "ita"\n')
    asked = ("--config", "int8", "--config", "w4a8", "--target", "ita", "--target", "pulp", "--scheme", "own.toml")
    asked += ("--sentences", 7, "--out", "folder", "--model", "elsewhere", "--text", "a.en", "--reference", "a.de")
    asked += ("--calibrate", "c.en", "--calibrate-reference", "c.de", "--beam", 5, "--accelerator", "gemmini-16")
    assert call("run", *asked) == 0
    assert names(calls["run"]["schemes"]) == ["ita-int8", "ita-w4a8", "pulp-int8", "pulp-w4a8", "own"]
    assert (calls["run"]["source"], calls["run"]["references"]) == (LINES[:7], LINES[:7])
    assert calls["translating and comparing"] == 7 * 6
    assert (calls["run"]["beam_width"], calls["run"]["accelerator"].name) == (5, "gemmini-16")
    assert calls["load_model"] == {"folder": Path("elsewhere")}
    assert calls["read_text"] == {"source": Path("a.en"), "reference": Path("a.de")}
    assert (calls["calibrated"]["source"], calls["calibrated"]["reference"]) == (Path("c.en"), Path("c.de"))
    assert calls["study"]["names"] == ["ita", "pulp"]
    assert Path("folder", "a").read_bytes() == b"report"


def test_run_of_text_without_translations(call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sensitivity is measured on what the float model makes of the text."""
    own = ParallelText(source=LINES[:200], target=LINES[100:])
    calls.record(monkeypatch, "analysis.commands.shared.read_source", LINES)
    calls.record(monkeypatch, "analysis.translation.floating.own_translations", own)
    assert call("run", "--text", "a.en", "--sentences", 7, "--out", "folder") == 0
    assert calls["read_source"] == {"source": Path("a.en")}
    assert (calls["run"]["source"], calls["run"]["references"]) == (LINES[:7], None)
    assert calls["check_inputs"]["texts"] == {"text source": LINES[:200], "text target": ()}
    assert calls["own_translations"]["sentences"] == LINES[:200]
    assert calls["study"]["text"] is own
    assert "read_text" not in calls


def test_run_without_sensitivity(call: Call, calls: Calls) -> None:
    assert call("run", "--no-sensitivity", "--out", "folder") == 0
    assert "study" not in calls
    assert calls["report_files"]["rows"] == []
    assert calls["show"] == ("summary",)


def test_run_that_differs_exits_with_1(call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = [SimpleNamespace(equality=SimpleNamespace(equal=one)) for one in (True, False)]
    calls.record(monkeypatch, "analysis.run.run", SimpleNamespace(configurations=sides))
    assert call("run", "--out", "folder") == 1
    assert Path("folder", "a").read_bytes() == b"report"


# --- sensitivity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text", "kinds", "bleu", "target"),
    [
        ((), 200, ("group", "layer", "site"), False, "fullyqt"),
        (("--sentences", 9), 9, ("group", "layer", "site"), False, "fullyqt"),
        (("--by", "site", "--by", "group"), 200, ("group", "site"), False, "fullyqt"),
        (("--bleu",), 200, ("group", "layer", "site"), True, "fullyqt"),
        (("--target", "ita"), 200, ("group", "layer", "site"), False, "ita"),
    ],
)
def test_sensitivity(
    call: Call,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    words: Any,
    text: int,
    kinds: Any,
    bleu: bool,
    target: str,
) -> None:
    rows = [SimpleNamespace(kind=kind) for kind in ("group", "site")]
    calls.record(monkeypatch, "analysis.report.study.study", rows)
    monkeypatch.setattr("analysis.report.sensitivity_table", lambda given: [row.kind for row in given])
    assert call("sensitivity", "--out", "folder", *words) == 0
    study = calls["study"]
    assert study["text"].source == LINES[:text]
    assert (study["kinds"], study["with_bleu"], study["names"]) == (kinds, bleu, [target])
    written = calls["study_files"]
    assert (written["rows"], written["sentences"], written["has_references"]) == (rows, text, True)
    assert Path("folder", "a").read_bytes() == b"study"
    assert calls["show"] == (["group"],)  # sites are too many for a terminal


def test_sensitivity_of_text_without_translations(
    call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `run` does it: forced on what the float model makes of the text, which is said."""
    own = ParallelText(source=LINES[:7], target=LINES[100:107])
    calls.record(monkeypatch, "analysis.commands.shared.read_source", LINES)
    calls.record(monkeypatch, "analysis.translation.floating.own_translations", own)
    calls.record(monkeypatch, "analysis.report.study.study", [])
    assert call("sensitivity", "--text", "a.en", "--sentences", 7, "--out", "folder") == 0
    assert calls["read_source"] == {"source": Path("a.en")}
    assert calls["own_translations"]["sentences"] == LINES[:7]
    assert calls["study"]["text"] is own and not calls["study"]["with_bleu"]
    assert not calls["study_files"]["has_references"]
    said = "no reference: losses are teacher-forced on the float model's own translations\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("has_references", [True, False])
def test_the_record_of_a_study_says_what_the_decoder_read(
    monkeypatch: pytest.MonkeyPatch, has_references: bool
) -> None:
    from analysis.report import study

    monkeypatch.setattr("analysis.report.figures.sensitivity_pictures", lambda rows: [])
    monkeypatch.setattr(study, "sensitivity_csv", lambda rows: "")
    monkeypatch.setattr(study, "asdict", lambda origin: {})
    files = study.study_files([], SimpleNamespace(), 7, has_references, SimpleNamespace())  # type: ignore[arg-type]
    found = json.loads(files["sensitivity.json"])
    said = "reference" if has_references else "float translation"
    assert (found["sentences"], found["teacher_forced_on"]) == (7, said)


def test_sensitivity_of_sites_alone_shows_them(call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.record(monkeypatch, "analysis.report.study.study", [SimpleNamespace(kind="site")])
    monkeypatch.setattr("analysis.report.sensitivity_table", lambda given: [row.kind for row in given])
    assert call("sensitivity", "--out", "folder", "--by", "site") == 0
    assert calls["show"] == (["site"],)


def test_sensitivity_of_the_users_text_and_model(call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.record(monkeypatch, "analysis.report.study.study", [])
    files = ("--text", "a.en", "--reference", "a.de", "--calibrate", "c.en", "--calibrate-reference", "c.de")
    assert call("sensitivity", "--out", "folder", "--model", "elsewhere", *files) == 0
    assert calls["load_model"] == {"folder": Path("elsewhere")}
    assert calls["read_text"] == {"source": Path("a.en"), "reference": Path("a.de")}
    assert (calls["calibrated"]["source"], calls["calibrated"]["reference"]) == (Path("c.en"), Path("c.de"))


# --- quantize ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "scheme", "target"),
    [
        ((), "int8", "fullyqt"),
        (("--config", "w4a8"), "w4a8", "fullyqt"),
        (("--target", "ita"), "ita-native", "ita"),
        (("--target", "deeploy", "--config", "int4"), "deeploy-int4", "deeploy"),
        (("--scheme", "own.toml"), "own", "ita"),
    ],
)
def test_quantize(
    call: Call, calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Any, scheme: str, target: str
) -> None:
    (tmp_path / "own.toml").write_text('name = "own"\ntarget = "ita"\n')
    files = ("--model", "elsewhere", "--calibrate", "c.en", "--calibrate-reference", "c.de")
    assert call("quantize", "--out", "p.hwsim", *words, *files) == 0
    made = calls["configure"]
    assert (made["scheme"].name, made["scheme"].target) == (scheme, target)
    assert made["ranges"] == {"a site": "a range"}
    assert names(calls["check_inputs"]["schemes"]) == [scheme]
    assert calls["load_model"] == {"folder": Path("elsewhere")}
    assert (calls["calibrated"]["source"], calls["calibrated"]["reference"]) == (Path("c.en"), Path("c.de"))
    assert Path("p.hwsim").read_bytes() == b"a program"
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"p.hwsim: scheme {scheme}, 1,234 bytes of weights, accumulators proven"
    assert second.startswith(f"target {target}: ")


def test_quantize_says_what_a_dropped_root_does(
    call: Call, calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """sqrt(32) is 5.657, the nearest power of two 4 or 8: scores are 0.7071 or 1.4142 times their value."""
    (tmp_path / "own.toml").write_text('name = "own"\nsqrt_mode = "dropped"\n')
    network = SimpleNamespace(config=SimpleNamespace(d_head=32))
    calls.record(monkeypatch, "analysis.workload.load_model", SimpleNamespace(network=network))
    assert call("quantize", "--out", "p.hwsim", "--scheme", "own.toml") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last in {f"sqrt_mode dropped: scores are {factor} times their real value" for factor in ("0.7071", "1.4142")}


# --- train ------------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "vocabulary_size": 4000, "d_model": 256, "n_heads": 4, "d_head": 64, "d_ff": 1024, "encoder_layers": 3,
    "decoder_layers": 3, "tied": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "config", "recipe"),
    [
        ((), {}, (21, 2026)),
        (("--vocabulary", 77), {"vocabulary_size": 77}, (21, 2026)),
        (("--d-model", 128), {"d_model": 128}, (21, 2026)),
        (("--heads", 2), {"n_heads": 2}, (21, 2026)),
        (("--d-head", 32), {"d_head": 32}, (21, 2026)),
        (("--d-ff", 99), {"d_ff": 99}, (21, 2026)),
        (("--layers", 5), {"encoder_layers": 5, "decoder_layers": 5}, (21, 2026)),
        (("--no-tied",), {"tied": False}, (21, 2026)),
        (("--epochs", 3), {}, (3, 2026)),
        (("--seed", 8), {}, (21, 8)),
    ],
)
def test_train(call: Call, calls: Calls, words: Any, config: dict[str, Any], recipe: tuple[int, int]) -> None:
    assert call("train", "--out", "folder", *words) == 0
    out, made, its_recipe, body, held_out = calls["prepare"].values()
    assert out == Path("folder")
    assert {name: getattr(made, name) for name in DEFAULTS} == DEFAULTS | config
    assert (its_recipe.epochs, its_recipe.seed) == recipe
    assert len(body) > len(held_out) > 0  # the shipped corpora
    assert "read_text" not in calls


def test_train_on_the_users_text(call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(shared, "read_text", lambda source, reference: asked.append((source, reference)) or TEXT)
    files = ("--text", "a.en", "--reference", "a.de", "--validation", "v.en", "--validation-reference", "v.de")
    assert call("train", "--out", "folder", *files) == 0
    assert asked == [(Path("a.en"), Path("a.de")), (Path("v.en"), Path("v.de"))]


def test_train_prints_every_epoch(
    call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = SimpleNamespace(epoch=1, steps_per_epoch=40)

    def run_epoch(advance: Any) -> dict[str, object]:
        trainer.epoch += 1
        return {"epoch": trainer.epoch, "loss": 2.5}

    trainer.run_epoch = run_epoch
    calls.record(monkeypatch, "reference.train.prepare", trainer)
    monkeypatch.setattr(shared, "progress", lambda what, total: nullcontext(calls.update({what: total}) or max))
    assert call("train", "--out", "folder", "--epochs", 3) == 0
    assert (calls["epoch 2 of 3"], calls["epoch 3 of 3"]) == (40, 40)
    assert capsys.readouterr().out == "epoch 2, loss 2.5\nepoch 3, loss 2.5\n"
