"""Bootstrap intervals of a mean: ends by hand for few sentences, by the normal distribution for many."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from analysis.accuracy import bootstrap
from analysis.accuracy.bootstrap import interval_of_mean


def test_of_two_sentences_the_ends_are_those_of_either_alone() -> None:
    """Drawn are the first twice, both, the second twice, by 1, 2 and 1 quarters: 0, 6/4 and 6/3 a token."""
    assert interval_of_mean(np.array([0.0, 6.0]), np.array([1, 3])) == (0.0, 2.0)


def test_tokens_are_counted_and_not_sentences() -> None:
    assert interval_of_mean(np.array([1.0, 3.0, 10.0]), np.array([1, 3, 10])) == (1.0, 1.0)


def test_of_three_sentences_every_draw_is_a_ratio_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 of 1, 8 of 2 and 3 of 6 tokens, each of the 27 draws once: least 0, then 3/8 (a, a, c), most 4, before it 16/5
    (a, b, b). The ends lie at ranks 0.025 * 26 = 0.65 and 25.35: 0.65 * 3/8, and 16/5 + 0.35 * 4/5.

    A mean of the sentences' own ratios 0, 4 and 1/2 has 1/6 and 8/3 there instead.
    """
    draws = product(range(3), repeat=3)
    every = SimpleNamespace(integers=lambda low, high, count: np.array(next(draws)))
    monkeypatch.setattr(bootstrap, "RESAMPLES", 27)
    monkeypatch.setattr(np.random, "default_rng", lambda seed: every)
    found = interval_of_mean(np.array([0.0, 8.0, 3.0]), np.array([1, 2, 6]))
    assert found == (pytest.approx(0.24375), pytest.approx(3.48))
    assert next(draws, None) is None


def test_of_many_sentences_it_is_two_standard_errors() -> None:
    """Half of 400 are 0, half 1: a mean of 0.5, a standard error of 0.5 / 20, and 1.96 of it on either side."""
    found = interval_of_mean(np.arange(400) % 2 * 1.0, np.ones(400))
    assert found == (pytest.approx(0.451, abs=0.005), pytest.approx(0.549, abs=0.005))


def test_one_sentence_has_none() -> None:
    assert interval_of_mean(np.array([1.0]), np.array([4])) is None


def test_the_seed_decides() -> None:
    sums, counts = np.random.default_rng(1).normal(size=50), np.ones(50)
    assert interval_of_mean(sums, counts) == interval_of_mean(sums, counts)
    assert interval_of_mean(sums, counts) != interval_of_mean(sums, counts, seed=1)
