"""Every option of `hwsim verify`, `show`, `vectors` and `explain` reaches the work, which is not done here."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis import cli
from analysis.commands import shared
from analysis.commands.options import DEFAULT_SENTENCES
from hwsim.program import Program
from reference.data import ParallelText
from reference.quantize.scheme import Scheme
from tests.small.programs import tiny_program
from tests.small.sentences import sentences
from tests.unit.analysis.commands.test_command_options import Calls

TEXT = ParallelText(source=tuple(f"source {i}" for i in range(150)), target=tuple(f"target {i}" for i in range(150)))
QUERY = "encoder.0.self_attention.query"
Call = Callable[..., int]


@pytest.fixture(scope="module")
def program() -> Program:
    return tiny_program(Scheme(name="plain"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Program) -> Calls:
    made = Calls()
    monkeypatch.chdir(tmp_path)
    program.save(tmp_path / "tiny.hwsim")

    def encode(lines: Any, what: str) -> list[list[int]]:
        made["encode"] = (tuple(lines), what)
        return sentences(min(2, len(lines)))

    def encode_all(lines: Any, most: int, what: str) -> list[list[int]]:
        assert most == program.manifest.max_positions
        return encode(lines, what)

    model = SimpleNamespace(folder=tmp_path / "the model", encode=encode)
    vocabulary = SimpleNamespace(encode_all=encode_all, check_ids=lambda tokenizer_sha256: None)
    own = SimpleNamespace(scheme=SimpleNamespace(target="ita"))
    found = SimpleNamespace(equality=SimpleNamespace(equal=True))
    made.record(monkeypatch, "analysis.workload.load_model", model)
    made.record(monkeypatch, "analysis.commands.shared.vocabulary", vocabulary)
    made.record(monkeypatch, "analysis.workload.reconfigure", own)
    made.record(monkeypatch, "analysis.proof.verification.verify", found)
    made.record(monkeypatch, "analysis.proof.verification.lines", ["one", "two"])
    made.record(monkeypatch, "analysis.proof.verification.tables", ["a table"])
    made.record(monkeypatch, "analysis.report.verify_record.files", {"verify.json": b"{}"})
    made.record(monkeypatch, "analysis.translation.translate.translate_integer")
    made.record(monkeypatch, "analysis.accuracy.kernel_errors.kernel_table", [])
    made.record(monkeypatch, "analysis.output.context.context", "context")
    made.record(monkeypatch, "analysis.commands.shared.read_source", lambda source: TEXT.source)
    made.record(monkeypatch, "analysis.commands.shared.read_text", lambda source, reference: TEXT)
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


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_by_default(call: Call, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("verify", "p.hwsim") == 0
    assert capsys.readouterr().out == "one\ntwo\n"
    assert calls["show"] == ("a table",)
    asked = calls["verify"]
    assert calls["encode"] == (TEXT.source[:100], "source text")
    assert asked["references"] == TEXT.target[:100]
    assert (asked["accumulator"], asked["watched"], asked["beam_width"]) == (None, False, 1)
    assert calls["read_text"] == {"source": None, "reference": None}
    assert calls["load_model"] == {"folder": None}
    assert calls["reconfigure"]["path"] == Path("p.hwsim")
    assert calls["comparing"] == 2  # once for each row that was encoded
    assert calls["lines"]["path"] == "p.hwsim"
    assert "files" not in calls


def test_verify_with_every_option(call: Call, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--text", "a.en", "--reference", "a.de", "--sentences", 3, "--target", "ita", "--model", "elsewhere")
    assert call("verify", "p.hwsim", *asked, "--beam", 4, "--accumulator", "16:saturate:tile=32", "--out", "made") == 0
    assert calls["read_text"] == {"source": Path("a.en"), "reference": Path("a.de")}
    assert calls["encode"] == (TEXT.source[:3], "source text")
    found = calls["verify"]
    assert found["references"] == TEXT.target[:3]
    accumulator = found["accumulator"]
    assert (accumulator.bits, accumulator.overflow.value) == (16, "saturate")
    assert (accumulator.granularity.value, accumulator.tile) == ("tile", 32)
    assert (found["watched"], found["beam_width"]) == (True, 4)
    assert calls["load_model"] == {"folder": Path("elsewhere")}
    assert calls["comparing"] == 4  # with its own accumulators too
    assert calls["files"]["context"] == "context"
    assert Path("made", "verify.json").read_bytes() == b"{}"
    assert capsys.readouterr().out.splitlines()[-1] == "record: made/verify.json"


def test_verify_of_text_without_translations(call: Call, calls: Calls) -> None:
    assert call("verify", "p.hwsim", "--text", "a.en", "--accumulator", "16:wrap") == 0
    assert calls["read_source"] == {"source": Path("a.en")}
    assert calls["verify"]["references"] is None
    assert calls["comparing"] == 2  # nothing to score


def test_verify_that_differs_exits_with_1(call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(equality=SimpleNamespace(equal=False))
    calls.record(monkeypatch, "analysis.proof.verification.verify", found)
    assert call("verify", "p.hwsim", "--out", "made") == 1
    assert Path("made", "verify.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "pulp"), "p.hwsim is a program of target ita, not pulp"),
        (("--kernels",), "--kernels looks at the kernels alone: leave out PROGRAM"),
    ],
)
def test_verify_refuses(call: Call, words: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("verify", "p.hwsim", *words) == 2
    assert capsys.readouterr().err.startswith(f"hwsim: error: {message}")


@pytest.mark.parametrize(
    "words",
    [
        *(("--accumulator", "16:wrap"), ("--target", "ita"), ("--reference", "a.de"), ("--text", "a.en")),
        *(("--model", "m"), ("--sentences", 100), ("--beam", 1)),  # defaults, but typed
    ],
)
def test_kernels_alone_take_no_option_of_a_program(
    call: Call, calls: Calls, words: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("verify", "--kernels", *words) == 2
    assert capsys.readouterr().err.endswith(f"--kernels looks at the kernels alone: leave out {words[0]}\n")
    assert "kernel_table" not in calls


@pytest.mark.parametrize(("words", "out"), [((), None), (("--out", "made"), Path("made"))])
@pytest.mark.parametrize(("equal", "code"), [(True, 0), (False, 1)])
def test_kernels(
    call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch, words: Any, out: Path | None, equal: bool, code: int
) -> None:
    rows = [SimpleNamespace(codes_different=0 if equal else 1)]
    calls.record(monkeypatch, "analysis.accuracy.kernel_errors.kernel_table", rows)
    calls.record(monkeypatch, "analysis.report.kernel_table.table", "a table")
    calls.record(monkeypatch, "analysis.report.kernel_table.files", {"kernels.json": b"{}"})
    assert call("verify", "--kernels", *words) == code
    assert calls["show"] == ("a table",)
    assert list(Path().glob("*/kernels.json")) == ([] if out is None else [out / "kernels.json"])


# --- show -------------------------------------------------------------------------------------------------------------


def test_show_takes_a_pattern_and_writes_json(call: Call, calls: Calls) -> None:
    assert call("show", "tiny.hwsim", "--site", f"{QUERY}*", "--json", "out.json") == 0
    record = json.loads(Path("out.json").read_text())
    assert [site["name"] for site in record["sites"]] == [f"{QUERY}.accumulator", QUERY, f"{QUERY}.heads"]
    assert "accumulators" not in record
    assert len(calls["show"]) == 4  # header, sites, operations, constants
    assert call("show", "tiny.hwsim", "--json", "all.json") == 0
    assert len(json.loads(Path("all.json").read_text())["sites"]) > 50


def test_show_of_accumulators(call: Call, calls: Calls) -> None:
    assert call("show", "tiny.hwsim", "--site", f"{QUERY}*", "--accumulators", "--json", "out.json") == 0
    (width,) = json.loads(Path("out.json").read_text())["accumulators"]
    assert width["operation"] == f"{QUERY}.accumulator"
    assert width["observed"] is None
    assert "translate_integer" not in calls and "vocabulary" not in calls
    assert len(calls["show"]) == 2


@pytest.mark.parametrize(
    ("words", "count", "source"),
    [
        (("--sentences", 3), 3, None),
        (("--text", "a.en"), DEFAULT_SENTENCES, Path("a.en")),
        (("--text", "a.en", "--sentences", 5), 5, Path("a.en")),
    ],
)
def test_show_observes_a_text(call: Call, calls: Calls, words: Any, count: int, source: Path | None) -> None:
    assert call("show", "tiny.hwsim", "--accumulators", "--model", "elsewhere", *words) == 0
    assert calls["encode"] == (TEXT.source[:count], "source text")
    assert calls["read_source"] == {"source": source}
    assert calls["vocabulary"] == {"model": Path("elsewhere")}
    assert not calls["translate_integer"]["alone"]  # padding is left out
    assert calls["observing"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--text", "a.en"), "--text and --sentences need --accumulators"),
        (("--sentences", 3), "--text and --sentences need --accumulators"),
        (("--model", "m"), "--model says nothing without a text to observe: give --text or --sentences"),
        (
            ("--model", "m", "--accumulators"),
            "--model says nothing without a text to observe: give --text or --sentences",
        ),
    ],
)
def test_show_refuses_what_would_change_nothing(
    call: Call, words: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("show", "tiny.hwsim", *words) == 2
    assert capsys.readouterr().err == f"hwsim: error: {message}\n"


# --- vectors ----------------------------------------------------------------------------------------------------------


def test_vectors(call: Call, calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls.record(monkeypatch, "analysis.inspect.vectors.write_vectors", "2 operations, 9 files")
    assert call("vectors", "tiny.hwsim", "--site", "a.*", "--out", "made") == 0
    made = calls["write_vectors"]
    assert (made["pattern"], made["steps"]) == ("a.*", 2)
    assert [path.name for path in Path("made").iterdir()] == ["SHA256SUMS"]
    assert calls["encode"] == (TEXT.source[:1], "source text")
    assert calls["vocabulary"] == {"model": None}
    assert capsys.readouterr().out == "made: 2 operations, 9 files\n"
    asked = ("--text", "a.en", "--sentences", 4, "--steps", 7, "--model", "elsewhere")
    assert call("vectors", "tiny.hwsim", "--site", "b", "--out", "more", *asked) == 0
    made = calls["write_vectors"]
    assert (made["pattern"], made["steps"]) == ("b", 7)
    assert [path.name for path in Path("more").iterdir()] == ["SHA256SUMS"]
    assert calls["encode"] == (TEXT.source[:4], "source text")
    assert calls["read_source"] == {"source": Path("a.en")}
    assert calls["vocabulary"] == {"model": Path("elsewhere")}


# --- explain ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def explained(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = SimpleNamespace(equal=True, json=lambda: b"explained")
    calls.record(monkeypatch, "analysis.proof.explain.explain", found)
    calls.record(monkeypatch, "analysis.proof.explain.render", ["a table"])
    calls.record(monkeypatch, "analysis.proof.explain.plot.figure", "a figure")
    calls.record(monkeypatch, "analysis.plots.png", lambda figure: figure.encode())
    same = SimpleNamespace(table=lambda: "schemes", exit_code=0, json=lambda: b"compared")
    calls.record(monkeypatch, "analysis.proof.explain.compare_schemes", same)
    calls.record(monkeypatch, "analysis.workload.configure", lambda *_: SimpleNamespace(program="of a target"))
    calls.record(monkeypatch, "analysis.commands.shared.calibrated", {"a site": "a range"})
    return calls


def test_explain_by_default(call: Call, explained: Calls) -> None:
    assert call("explain", "tiny.hwsim", "tiny.hwsim") == 0
    asked = explained["explain"]
    assert (asked["steps"], asked["names"]) == (None, ("tiny.hwsim", "tiny.hwsim"))
    assert explained["encode"] == (TEXT.source[:1], "source text")
    assert explained["show"] == ("a table",)


def test_explain_with_every_option(call: Call, explained: Calls) -> None:
    asked = ("--text", "a.en", "--sentences", 6, "--steps", 9, "--model", "elsewhere", "--json", "j", "--plot", "p")
    assert call("explain", "tiny.hwsim", "tiny.hwsim", *asked) == 0
    assert explained["encode"] == (TEXT.source[:6], "source text")
    assert explained["read_source"] == {"source": Path("a.en")}
    assert explained["vocabulary"] == {"model": Path("elsewhere")} and "load_model" not in explained
    assert explained["explain"]["steps"] == 9
    assert (Path("j").read_bytes(), Path("p").read_bytes()) == (b"explained", b"a figure")


@pytest.mark.parametrize(("words", "name"), [((), "ita-native"), (("--config", "int4"), "ita-int4")])
def test_explain_of_a_target_takes_a_configuration(call: Call, explained: Calls, words: Any, name: str) -> None:
    assert call("explain", "tiny.hwsim", "ita", *words) == 0
    assert explained["configure"]["scheme"].name == name
    assert explained["configure"]["ranges"] == {"a site": "a range"}
    assert explained["explain"]["names"] == ("tiny.hwsim", "ita")


def test_explain_of_codes_from_rtl(call: Call, explained: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    explained.record(monkeypatch, "analysis.proof.explain.read_dump", "no dump of its own sentences")
    asked = ("--site", QUERY, "--shape", "2, 4,8", "--call", "3")
    assert call("explain", "tiny.hwsim", "codes.hex", *asked) == 0
    dump = explained["read_dump"]
    assert (dump["path"], dump["site"], dump["shape"], dump["call"]) == (Path("codes.hex"), QUERY, [2, 4, 8], "3")
    assert call("explain", "tiny.hwsim", "codes.npz", "--site", QUERY) == 0
    assert (explained["read_dump"]["shape"], explained["read_dump"]["call"]) == (None, None)


def test_explain_of_schemes(call: Call, explained: Calls) -> None:
    assert call("explain", "tiny.hwsim", "--schemes", "half_even, floor") == 0
    asked = explained["compare_schemes"]
    assert (asked["pattern"], asked["one"], asked["other"], asked["steps"]) == ("*", "half_even", "floor", 4)
    more = ("--site", "a.*", "--steps", 0, "--json", "j", "--text", "a.en", "--sentences", 2, "--model", "elsewhere")
    assert call("explain", "tiny.hwsim", "--schemes", "one,other", *more) == 0
    asked = explained["compare_schemes"]
    assert (asked["pattern"], asked["one"], asked["other"], asked["steps"]) == ("a.*", "one", "other", 0)
    assert Path("j").read_bytes() == b"compared"
    assert explained["encode"] == (TEXT.source[:2], "source text")
    assert explained["show"] == ("schemes",)


def test_explain_exits_with_what_was_found(call: Call, explained: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    explained.record(monkeypatch, "analysis.proof.explain.explain", SimpleNamespace(equal=False))
    assert call("explain", "tiny.hwsim", "tiny.hwsim") == 1
    unlike = SimpleNamespace(table=lambda: "schemes", exit_code=1)
    explained.record(monkeypatch, "analysis.proof.explain.compare_schemes", unlike)
    assert call("explain", "tiny.hwsim", "--schemes", "one,other") == 1
