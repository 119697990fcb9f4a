"""Greedy and beam search over toy models whose best translation is found by enumeration."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference.decoding import beam, greedy, length_limit, length_penalty, log_softmax
from reference.tokenizer import BOS, EOS

Logits = Callable[[int, tuple[int, ...]], NDArray[Any]]
"""(sentence, tokens so far, BOS among them) to logits."""


class Toy:
    """A stepper whose cache is the whole history of a row, so that a wrong parent gives wrong logits."""

    def __init__(self, logits: Logits, sentences: Sequence[int], logit_scale: float = 1.0) -> None:
        self.logit_scale = logit_scale
        self.rows_at_step: list[int] = []
        self._logits = logits
        self._histories: list[tuple[int, tuple[int, ...]]] = [(sentence, ()) for sentence in sentences]

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[Any]:
        previous = self._histories
        pairs = zip(tokens.tolist(), parents.tolist(), strict=True)
        self._histories = [(previous[parent][0], (*previous[parent][1], token)) for token, parent in pairs]
        self.rows_at_step.append(len(tokens))
        return np.stack([self._logits(*history) for history in self._histories])


def random_logits(seed: int, vocabulary: int) -> Logits:
    """Logits that depend on the sentence and on every token before."""
    return lambda sentence, prefix: np.random.default_rng([seed, sentence, *prefix]).normal(size=vocabulary)


def chain(*tokens: int, vocabulary: int = 6) -> Callable[[int], NDArray[np.float64]]:
    """Logits by position that all but force these tokens."""
    return lambda position: 50.0 * (np.arange(vocabulary) == tokens[position])


def enumerate_best(logits: Logits, sentence: int, limit: int, vocabulary: int, alpha: float) -> list[int]:
    """The translation with the greatest penalised log probability, of all that there are."""

    def score(output: tuple[int, ...]) -> float:
        prefixes = ((BOS, *output[:i]) for i in range(len(output)))
        steps = zip(prefixes, output, strict=True)
        total = sum(float(log_softmax(logits(sentence, p)[None], 1.0)[0, token]) for p, token in steps)
        return total / length_penalty(len(output), alpha)

    others = [token for token in range(vocabulary) if token != EOS]
    complete: list[tuple[int, ...]] = [(*body, EOS) for n in range(limit) for body in product(others, repeat=n)]
    cut_off: list[tuple[int, ...]] = list(product(others, repeat=limit))
    best = max([*complete, *cut_off], key=score)
    return list(best)


def test_greedy_gives_the_known_answer_and_stops_at_eos_or_the_limit() -> None:
    answers = [chain(4, 5, EOS, 0), chain(EOS, 0), chain(5, 5, 5, 5, 5)]
    toy = Toy(lambda sentence, prefix: answers[sentence](len(prefix) - 1), [0, 1, 2])
    assert greedy(toy, [9, 9, 5]) == [[4, 5, EOS], [EOS], [5, 5, 5, 5, 5]]


def test_finished_rows_leave_the_batch() -> None:
    answers = [chain(4, 5, EOS), chain(EOS), chain(5, 5, 5, 5, 5)]
    toy = Toy(lambda sentence, prefix: answers[sentence](len(prefix) - 1), [0, 1, 2])
    greedy(toy, [9, 9, 5])
    assert toy.rows_at_step == [3, 2, 2, 1, 1]
    toy = Toy(lambda sentence, prefix: answers[sentence](len(prefix) - 1), [0, 1, 2])
    assert beam(toy, [9, 9, 5], width=1) == [[4, 5, EOS], [EOS], [5, 5, 5, 5, 5]]
    assert toy.rows_at_step == [3, 2, 2, 1, 1]


def test_greedy_breaks_ties_to_the_lowest_id() -> None:
    toy = Toy(lambda sentence, prefix: np.array([0, 0, 0, 0, 7, 7], dtype=np.int32), [0])
    assert greedy(toy, [3]) == [[4, 4, 4]]


def test_beam_breaks_ties_to_the_lowest_id_and_the_earlier_beam() -> None:
    def tied(sentence: int, prefix: tuple[int, ...]) -> NDArray[Any]:
        return np.array([0, 0, 0, 90, 0, 0]) if len(prefix) == 3 else np.array([0, 0, 0, 0, 50, 50])

    assert beam(Toy(tied, [0]), [9], width=4) == [[4, 4, EOS]]
    assert beam(Toy(tied, [0]), [2], width=4) == [[4, 4]]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_the_best_of_all_translations(seed: int, alpha: float) -> None:
    vocabulary, limits = 5, [4, 1, 3, 2]
    logits = random_logits(seed, vocabulary)
    found = beam(Toy(logits, range(4)), limits, width=vocabulary ** max(limits), alpha=alpha)
    assert found == [enumerate_best(logits, s, limit, vocabulary, alpha) for s, limit in enumerate(limits)]


def exhaustive_beam(logits: Logits, sentence: int, limit: int, width: int, alpha: float) -> list[int]:
    """Beam search of one sentence to the very end: no stop while any hypothesis lives."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, (BOS,))]
    finished: list[tuple[float, tuple[int, ...]]] = []
    for length in range(1, limit + 1):
        steps = [log_softmax(logits(sentence, output)[None], 1.0)[0] for _, output in live]
        grown = [
            (score + float(value), (*output, token))
            for (score, output), values in zip(live, steps, strict=True)
            for token, value in enumerate(values)
        ]
        best = sorted(grown, key=lambda item: -item[0])[: 2 * width]  # stable, as the search is
        done = [item for item in best if item[1][-1] == EOS or length == limit]
        finished += [(score / length_penalty(length, alpha), output) for score, output in done]
        live = [item for item in best if item not in done][:width]
    return list(max(finished, key=lambda item: item[0])[1][1:])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 4), alpha=st.sampled_from([0.0, 0.6, 1.0, 2.0]))
def test_stopping_early_never_changes_the_answer(seed: int, width: int, alpha: float) -> None:
    logits, limits = random_logits(seed, 6), [9, 5, 1]
    found = beam(Toy(logits, range(3)), limits, width=width, alpha=alpha)
    assert found == [exhaustive_beam(logits, s, limit, width, alpha) for s, limit in enumerate(limits)]


def test_a_longer_translation_may_still_overtake_a_finished_one() -> None:
    def slow(sentence: int, prefix: tuple[int, ...]) -> NDArray[Any]:
        if len(prefix) == 1:
            return np.log([0.04, 0.04, 0.04, 0.5, 0.34, 0.04])  # EOS at once, or a sentence of 13 sure tokens
        return chain(*[4] * 12, EOS)(len(prefix) - 1)

    assert beam(Toy(slow, [0]), [13], width=1, alpha=0.0) == [[EOS]]
    assert beam(Toy(slow, [0]), [13], width=1, alpha=1.0) == [[4] * 12 + [EOS]]


def test_a_sentence_stops_when_nothing_can_overtake_it() -> None:
    toy = Toy(lambda sentence, prefix: chain(4, EOS, *[5] * 20)(len(prefix) - 1), [0])
    assert beam(toy, [20], width=1) == [[4, EOS]]
    assert len(toy.rows_at_step) == 2


def test_a_beam_finds_what_greedy_misses() -> None:
    def garden_path(sentence: int, prefix: tuple[int, ...]) -> NDArray[Any]:
        if len(prefix) == 1:
            return np.array([-99.0, -99, -99, -99, 1.0, 0.9])  # 4 looks best, but nothing good follows it
        if prefix[-1] == 5:
            return np.array([0.0, 0, 0, 50, 0, 0])
        return np.zeros(6)

    assert greedy(Toy(garden_path, [0]), [2]) == [[4, 0]]
    assert beam(Toy(garden_path, [0]), [2], width=2) == [[5, EOS]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 4), alpha=st.sampled_from([0.0, 0.6, 1.5]))
def test_a_beam_agrees_with_greedy_where_the_model_is_certain(seed: int, width: int, alpha: float) -> None:
    def certain(sentence: int, prefix: tuple[int, ...]) -> NDArray[Any]:
        return 40.0 * np.random.default_rng([seed, sentence, *prefix]).permutation(6)

    limits = [5, 8, 3]
    assert beam(Toy(certain, range(3)), limits, width=width, alpha=alpha) == greedy(Toy(certain, range(3)), limits)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 5), limits=st.lists(st.integers(1, 9), max_size=5))
def test_a_sentence_does_not_depend_on_its_batch(seed: int, width: int, limits: list[int]) -> None:
    logits = random_logits(seed, 7)
    together = range(len(limits))
    for decode in (greedy, lambda stepper, limits: beam(stepper, limits, width=width)):
        alone = [decode(Toy(logits, [s]), [limits[s]])[0] for s in together]
        assert decode(Toy(logits, together), limits) == alone
        for output, limit in zip(alone, limits, strict=True):
            assert 1 <= len(output) <= limit
            assert EOS not in output[:-1]
            assert output[-1] == EOS or len(output) == limit


def test_integer_logits_are_read_at_their_scale() -> None:
    def codes(sentence: int, prefix: tuple[int, ...]) -> NDArray[np.int32]:
        return np.random.default_rng([1, sentence, *prefix]).integers(-40, 40, 6).astype(np.int32)

    scaled = beam(Toy(codes, range(5), logit_scale=0.02), [6] * 5)
    real = beam(Toy(lambda s, p: codes(s, p) * 0.02, range(5)), [6] * 5)
    unscaled = beam(Toy(codes, range(5)), [6] * 5)
    assert scaled == real != unscaled


def test_log_softmax_is_a_distribution_even_for_great_logits() -> None:
    values = log_softmax(np.array([[2**31 - 1, 0, -(2**31)], [5, 5, 5]], dtype=np.int64), 1.0)
    assert values.dtype == np.float64
    assert np.allclose(np.exp(values).sum(-1), 1)
    assert np.allclose(values[1], -np.log(3))
    assert values[0].tolist() == [0.0, 1.0 - 2**31, 1.0 - 2**32]


def test_the_length_penalty_and_limit_are_the_published_ones() -> None:
    assert length_penalty(1, 0.6) == 1.0
    assert length_penalty(7, 1.0) == 2.0
    assert length_penalty(99, 0.0) == 1.0
    assert [length_limit(n, 64) for n in (1, 20, 27, 28)] == [12, 50, 64, 64]


def test_a_beam_without_width_is_refused_and_an_empty_batch_is_not() -> None:
    with pytest.raises(ValueError, match="beam width is 0; it must be at least 1"):
        beam(Toy(random_logits(0, 5), [0]), [3], width=0)
    assert beam(Toy(random_logits(0, 5), []), []) == greedy(Toy(random_logits(0, 5), []), []) == []
