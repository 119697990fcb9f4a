"""Translations: rates, ratios and agreement by hand; then every contender on a tiny model."""

from dataclasses import replace

import pytest

from analysis.bench import ctranslate, memory, model, subjects
from analysis.bench.timing import Spread
from reference.decoding import length_limit
from reference.quantize.scheme import preset
from tests.small.models import LEARNING, ODD, small_model


def test_rates_and_ratios_by_hand() -> None:
    """8 tokens in 4 s are 2 a second; 30 in 3 s are 10: a fifth as fast, whatever the other tokens are."""
    seconds = {
        "integer": Spread(min=1.0, median=4.0, max=9.0),
        "ctranslate2_int8": Spread(min=1.0, median=3.0, max=9.0),
    }
    found = model.rates({"integer": 8, "ctranslate2_int8": 30}, seconds)
    assert found["tokens_per_s"]["integer"] == pytest.approx(2.0)
    assert found["tokens_per_s"]["ctranslate2_int8"] == pytest.approx(10.0)
    assert found["tokens_per_s"]["fake_quant"] is None
    assert found["ratio"] == {"float32": None, "fake_quant": None, "ctranslate2_int8": pytest.approx(0.2)}


def test_agreement_by_hand() -> None:
    """3 of 5 positions: the longer translation counts."""
    assert model.agreement([[5, 6, 3], [7, 3]], [[5, 9, 3], [7]]) == pytest.approx(3 / 5)
    assert model.agreement([], []) == 0
    said = {"float32": [[5, 3]], "integer": [[5, 4]], "fake_quant": [[5, 4]], "ctranslate2_int8": [[9, 3]]}
    assert model.agreements(said) == {"integer": 0.5, "fake_quant": 1.0, "ctranslate2_int8": 0.5}


@pytest.fixture(scope="module")
def subject() -> subjects.Subject:
    network = small_model(LEARNING)
    ranges = subjects.random_ranges(network, 1)
    rows = subjects.random_rows(network.config, 5, 7, 2)
    return subjects.subject("tiny", network, preset("int8", "fullyqt"), ranges, [rows[:3], rows[3:]])


def test_a_process_of_its_own_translates_the_same(subject: subjects.Subject) -> None:
    said = model.own(subject)
    peak, alone = memory.peak_of(subject.program, subject.batches)
    assert alone == said["integer"]() == said["fake_quant"]() == memory.translate(subject.machine, subject.batches)
    assert len(alone) == 5 and 30e6 < peak < 2e9


def test_a_process_that_fails_says_so(subject: subjects.Subject) -> None:
    with pytest.raises(ValueError, match=r"peak memory failed: .*source_ids holds 1000000"):
        memory.peak_of(subject.program, [[[10**6]]])


def test_a_tiny_model_is_measured(subject: subjects.Subject) -> None:
    row = model.measure(subject, threads=1, repeats=1)
    assert (row.name, row.batch, row.sentences, row.threads, row.repeats) == ("tiny", 3, 5, 1, 1)
    assert row.agreement["fake_quant"] == 1.0
    for name, tokens in row.tokens.items():
        assert row.tokens_per_s[name] == pytest.approx(tokens / row.seconds[name].median)


def test_ctranslate2_says_what_the_float_model_says(subject: subjects.Subject) -> None:
    pytest.importorskip("ctranslate2")
    others = model.Others(subject, 1)
    assert others.settings == {"ctranslate2_int8": "1 x 1", "ctranslate2_float32": "1 x 1"}
    assert others.cut(others.passes["ctranslate2_float32"]()) == model.own(subject)["float32"]()
    others.peer.close()
    assert not others.peer.path.exists()


def test_heads_that_ctranslate2_has_no_width_for() -> None:
    assert ctranslate.refusal(small_model(ODD)) == "ctranslate2: 2 heads of 5 are not d_model 12"
    assert ctranslate.refusal(small_model(LEARNING)) is None


def test_translations_are_cut_to_our_limits(subject: subjects.Subject) -> None:
    pytest.importorskip("ctranslate2")
    others = model.Others(replace(subject, batches=[[[5, 3], [6, 6, 6, 3]]]), 1)
    assert [length_limit(2, 64), length_limit(4, 64)] == [14, 18] and others.limits == [18]
    assert [len(row) for row in others.cut([[7] * 18, [7] * 18])] == [14, 18]
    others.peer.close()
