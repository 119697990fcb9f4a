"""BLEU's bootstrap stands on per-sentence statistics, which must add up to sacreBLEU's own score."""

import pytest
from sacrebleu.metrics.bleu import BLEU

from analysis.accuracy import bleu as ours

REFERENCES = ["the cat sat on the mat .", "a menu opens when you click it .", "delete the selected rows now ."] * 8
HYPOTHESES = ["the cat sat on a mat .", "a menu opens if you click on it .", "delete selected rows ."] * 8


def test_the_score_is_sacrebleus() -> None:
    expected = BLEU().corpus_score(HYPOTHESES, [REFERENCES]).score
    assert ours.bleu(HYPOTHESES, REFERENCES).score == pytest.approx(expected)


def test_resamples_of_equal_sentences_all_have_the_corpus_score() -> None:
    result = ours.bleu(HYPOTHESES[:1] * 20, REFERENCES[:1] * 20)
    assert result.low == pytest.approx(result.score) == pytest.approx(result.high)
    assert 0 < result.score < 100


def test_the_interval_holds_the_score_and_names_the_metric() -> None:
    result = ours.bleu(HYPOTHESES, REFERENCES)
    assert result.low < result.score < result.high
    assert "tok:13a" in result.signature


def test_the_paired_difference_has_the_sign_of_the_better_system() -> None:
    low, high = ours.paired_difference(REFERENCES, HYPOTHESES, REFERENCES)
    assert 0 < low <= high
    assert ours.paired_difference(HYPOTHESES, HYPOTHESES, REFERENCES) == (0.0, 0.0)


def test_the_seed_decides() -> None:
    assert ours.bleu(HYPOTHESES, REFERENCES) == ours.bleu(HYPOTHESES, REFERENCES)
