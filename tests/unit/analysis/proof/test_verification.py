"""What `verify` says and records: every number in its place, and a difference that is ours less the program's own."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.accuracy.accumulators import Watch, parse_accumulator
from analysis.accuracy.bleu import Bleu
from analysis.output.context import Context
from analysis.proof import verification
from analysis.proof.equality import Divergence, Equality
from analysis.proof.verification import Score, Verification, lines, tables, verify
from analysis.report.verify_record import files, record
from analysis.workload import Configuration
from hwsim.machine import Machine
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program

OURS = Bleu(score=31.24, low=29.86, high=32.44, signature="ours")
OWN = Bleu(score=33.04, low=30.5, high=34.5, signature="own")
SATURATING = parse_accumulator("16:saturate")
FIRST = Divergence(
    site="x", call="encode", sentence=2, index=(0, 1), machine=5, reference=6, accumulator=11, before_rounding=5.5
)
CONTEXT = Context(
    command="hwsim verify",
    model=None,
    seed=1,
    hwsim_version="0",
    commit=None,
    python_version="3",
    torch_version="2",
    machine="m",
    finished="now",
    seconds=1.5,
)


def configuration() -> Configuration:
    program = tiny_program(preset("int8"))
    plan: Any = SimpleNamespace(sites={})
    return Configuration(
        scheme=preset("int8"),
        plan=plan,
        strict=SimpleNamespace(),  # type: ignore[arg-type]
        program=program,
        machine=Machine(program),
    )


@pytest.fixture(scope="module")
def found() -> Verification:
    equality = Equality(
        codes_compared=12345, codes_different=6, tokens_different=3, overflows=2, overflows_fake_quant=1, first=FIRST
    )
    return Verification(
        configuration=configuration(),
        sentences=7,
        accumulator=SATURATING,
        equality=equality,
        score=Score(ours=OURS, own=OWN, difference=(-2.06, 0.44)),
        widths=[],
        overflowing=[],
    )


def test_every_line(found: Verification) -> None:
    said = lines("p.hwsim", found)
    assert said[0] == ("p.hwsim: 7 sentences, 12,345 codes compared, 6 different, 3 tokens different, 2 overflows")
    assert said[2:] == [
        "accumulators of 16 bits, saturate after every product, in place of the program's own",
        "BLEU 31.2 [29.9, 32.4]; with its own accumulators 33.0, difference [-2.1, +0.4]",
        "first divergence: sentence 2, encode, site x, index (0, 1): machine 5, fake-quant 6, 5.500000 before rounding",
    ]


def test_lines_of_what_was_not_asked_for(found: Verification) -> None:
    bare = replace(found, accumulator=None, score=None, equality=Equality(codes_compared=3))
    assert lines("p", bare)[0] == "p: 7 sentences, 3 codes compared, 0 different, 0 tokens different, 0 overflows"
    assert len(lines("p", bare)) == 2
    one = replace(bare, score=Score(ours=OURS, own=None, difference=None))
    assert lines("p", one)[2:] == ["BLEU 31.2 [29.9, 32.4]"]


def test_every_field_of_the_record(found: Verification, tmp_path: Path) -> None:
    fields = record(found, CONTEXT)
    assert fields["bleu"] == {
        "score": 31.24,
        "interval_95_percent": [29.86, 32.44],
        "with_own_accumulators": 33.04,
        "difference_95_percent": [-2.06, 0.44],
        "signature": "ours",
    }
    assert (fields["sentences"], fields["program"]) == (7, "tiny")
    assert (fields["codes_compared"], fields["codes_different"]) == (12345, 6)
    assert (fields["tokens_different"], fields["overflows"]) == (3, 2)
    assert fields["first_divergence"]["machine"] == 5 and fields["first_divergence"]["reference"] == 6
    assert fields["accumulator"]["bits"] == 16 and fields["accumulator"]["overflow"] == "saturate"
    assert fields["context"]["seconds"] == 1.5
    assert json.loads(files(found, CONTEXT)["verify.json"])["bleu"] == fields["bleu"]
    alone = record(replace(found, score=Score(ours=OURS, own=None, difference=None)), CONTEXT)["bleu"]
    assert alone["with_own_accumulators"] is None and alone["difference_95_percent"] is None


def test_widths_are_shown_beside_another_accumulator_only(found: Verification) -> None:
    assert len(tables(found)) == 1 and tables(replace(found, accumulator=None)) == []


# --- verify itself ----------------------------------------------------------------------------------------------------

REFERENCES = [f"the cat number {i} sat on the mat today" for i in range(8)]
WORSE = [text.replace("cat", "dog") for text in REFERENCES]
ROWS = [[4, 3]] * 8


class Calls:
    """Stands for the runs that verify starts: the machine translates WORSE, the program as it is translates well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.configuration, self.seen = configuration(), []
        self.other = configuration()
        monkeypatch.setattr(verification, "prove_text", self.prove)
        monkeypatch.setattr(verification, "translate_integer", self.translate)
        monkeypatch.setattr(verification, "with_accumulator", lambda model, own, accumulator: self.other)

    def prove(self, model: object, verified: Configuration, rows: object, **options: Any) -> tuple[Any, Any, Any]:
        self.seen.append(("prove", verified.program, type(verified.machine), options["alone"], options["beam_width"]))
        return Equality(codes_compared=1), SimpleNamespace(text=WORSE), None

    def translate(self, model: object, machine: Machine, rows: object, **options: Any) -> Any:
        self.seen.append(("translate", machine, options["beam_width"]))
        return SimpleNamespace(text=REFERENCES)

    def verify(self, **options: Any) -> Verification:
        model: Any = SimpleNamespace(tokenizer=None)
        return verify(model, self.configuration, ROWS, **options)


def test_a_difference_is_ours_less_the_program_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    found = calls.verify(references=REFERENCES, accumulator=SATURATING, beam_width=3)
    assert found.score is not None and found.score.own is not None and found.score.difference is not None
    assert found.score.own.score == pytest.approx(100.0) and found.score.ours.score < 90
    assert found.score.difference[0] <= found.score.difference[1] < -10
    assert calls.seen == [
        ("prove", calls.other.program, Watch, True, 3),
        ("translate", calls.configuration.machine, 3),
    ]
    assert found.accumulator == SATURATING and found.sentences == 8
    assert len(found.widths) > 10


def test_without_an_accumulator_nothing_is_translated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    found = calls.verify(references=REFERENCES)
    assert calls.seen == [("prove", calls.configuration.program, Machine, False, 1)]
    assert found.score is not None and found.score.own is None and found.score.difference is None
    assert found.widths == [] and found.overflowing == []


def test_watching_alone_measures_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    found = calls.verify(watched=True)
    assert calls.seen == [("prove", calls.configuration.program, Watch, True, 1)]
    assert found.score is None and len(found.widths) > 10
    calls = Calls(monkeypatch)
    assert calls.verify(accumulator=SATURATING).score is None and len(calls.seen) == 1


@pytest.mark.parametrize("accumulator", [None, SATURATING])
@pytest.mark.parametrize("references", [None, REFERENCES])
def test_how_often_a_text_is_translated(accumulator: Any, references: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    calls.verify(references=references, accumulator=accumulator)
    assert (len(calls.seen) == 2) is verification.translates_twice(accumulator, references)
    assert verification.translates_twice(accumulator, references) is (
        accumulator is not None and references is not None
    )
