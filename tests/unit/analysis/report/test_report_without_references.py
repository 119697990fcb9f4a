"""A run of text without translations: what would need them is left out, what stands in for them is named."""

import json
from pathlib import Path

import pytest

from analysis.output.context import Context
from analysis.run import RunResult, run
from analysis.workload import Model, calibrate_model
from reference.data import ParallelText
from reference.quantize.scheme import preset
from tests.unit.analysis.report.reading import page_of, read_csv, read_json, write_report

FEW = 5


@pytest.fixture(scope="module")
def alone(model: Model, small_text: ParallelText) -> RunResult:
    ranges = calibrate_model(model, small_text.head(FEW))
    return run(model, [preset("int8"), preset("int4")], small_text.head(FEW).source, None, ranges)


@pytest.fixture
def folder(alone: RunResult, origin: Context, tmp_path: Path) -> Path:
    write_report(alone, [], tmp_path / "report", origin)
    return tmp_path / "report"


def test_lengths_of_the_float_translations_are_priced(alone: RunResult) -> None:
    tokens = sum(len(ids) for ids in alone.floating.ids)
    assert {one.estimate.total.tokens for one in alone.configurations} == {tokens}
    own = [sum(len(ids) for ids in one.integer.ids) for one in alone.configurations]
    assert [one.own_estimate.total.tokens for one in alone.configurations] == own


def test_lengths_of_the_references_are_priced(model: Model, small_text: ParallelText) -> None:
    """They end with EOS, which is a decode step too."""
    text = small_text.head(FEW)
    found = run(model, [preset("int4")], text.source, text.target, calibrate_model(model, text))
    (one,) = found.configurations
    assert one.estimate.total.tokens == sum(len(model.tokenizer.encode(line)) for line in text.target)
    assert one.own_estimate.total.tokens == sum(len(ids) for ids in one.integer.ids)
    assert one.estimate.total.tokens != one.own_estimate.total.tokens


def test_losses_are_of_the_float_translations(alone: RunResult) -> None:
    """The likeliest tokens of all: a random model gives them less than log of the vocabulary."""
    assert len({one.accuracy.loss_float for one in alone.configurations}) == 1
    assert all(one.accuracy.loss_increase != 0.0 for one in alone.configurations)


def test_records_have_no_score(folder: Path) -> None:
    report = read_json(folder)
    assert report["context"]["teacher_forced_on"] == report["context"]["priced_lengths"] == "float translation"
    for one in report["configurations"]:
        assert {key for key, value in one.items() if key.startswith("bleu") and value is not None} == set()
        assert one["loss_increase"] is not None
    rows = read_csv(folder / "configurations.csv")
    assert [row["bleu_integer"] for row in rows] == ["", ""]
    header = (folder / "translations.tsv").read_text().splitlines()[0]
    assert header.split("\t") == ["source", "float", "int8", "int4"]


def test_the_page_has_no_score_and_says_why(folder: Path) -> None:
    text = " ".join(page_of(folder).text_content().split())
    assert "There is no reference, hence no BLEU." in text
    assert text.count("BLEU") == 1
    assert "Loss is teacher-forced on the float model's own translation." in text
    assert "reference translation" not in text and "None" not in text
    assert not (folder / "bleu.png").exists() and (folder / "energy.png").exists()
    assert "NaN" not in json.dumps(read_json(folder))
