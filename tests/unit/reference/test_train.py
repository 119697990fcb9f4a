"""Training: batches, schedule and loss are as stated, it learns, and an interruption changes nothing."""

import errno
import io
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference.checkpoint import load_checkpoint
from reference.data import ParallelText
from reference.tokenizer import BOS, EOS, PAD, Tokenizer, train_tokenizer
from reference.train import (
    Trainer,
    TrainingRecipe,
    bucketed,
    learning_rate,
    loss_per_token,
    make_batch,
    prepare,
)
from tests.small.models import LEARNING

RECIPE = TrainingRecipe(
    epochs=3, tokens_per_batch=200, peak_learning_rate=1e-2, warmup_steps=4, average_decay=0.8, dropout=0.1, seed=7
)

sentences = st.lists(st.integers(4, 60), max_size=12).map(lambda ids: [*ids, EOS])


@given(st.lists(st.tuples(sentences, sentences)), st.integers(1, 60))
def test_batches_hold_every_pair_in_order_within_the_size(pairs: list[tuple[list[int], list[int]]], size: int) -> None:
    batches = list(bucketed(pairs, size))
    for batch in batches:
        rows, longest = len(batch.source), max(batch.source.shape[1], batch.labels.shape[1])
        assert rows == 1 or rows * longest <= size
    unpadded = [
        tuple([i for i in row.tolist() if i != PAD] for row in rows)
        for batch in batches
        for rows in zip(batch.source, batch.labels, strict=True)
    ]
    assert unpadded == pairs


def test_the_decoder_reads_the_labels_one_position_late() -> None:
    batch = make_batch([([5, EOS], [6, 7, EOS]), ([5, 8, 9, EOS], [6, EOS])])
    assert batch.source.tolist() == [[5, EOS, PAD, PAD], [5, 8, 9, EOS]]
    assert batch.target.tolist() == [[BOS, 6, 7], [BOS, 6, PAD]]
    assert batch.labels.tolist() == [[6, 7, EOS], [6, EOS, PAD]]


def test_the_loss_skips_padding() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 9), torch.tensor([[4, 5, EOS], [6, EOS, PAD]])
    each = -torch.log_softmax(logits, -1).gather(-1, labels[..., None])[..., 0]
    total = each[labels != PAD].sum()
    torch.testing.assert_close(loss_per_token(logits, labels, reduction="sum"), total)
    torch.testing.assert_close(loss_per_token(logits, labels), total / 5)


def test_the_learning_rate_rises_linearly_and_falls_as_a_half_cosine() -> None:
    recipe, total = replace(RECIPE, peak_learning_rate=2.0, warmup_steps=10), 110
    rates = [learning_rate(step, total, recipe) for step in range(total + 1)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == max(rates) == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert rates[total] == pytest.approx(0.0)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(total + 5, total, recipe) == pytest.approx(0.0)  # epochs may differ by a batch
    assert learning_rate(0, total, replace(recipe, warmup_steps=0)) == 2.0


def weights(state: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """Every tensor of a nested state, by path."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, dict):
            found |= weights(value, f"{prefix}{key}.")
    return found


def run(folder: Path, text: ParallelText, epochs: int) -> Trainer:
    trainer = prepare(folder, LEARNING, RECIPE, text, text.head(20))
    for _ in range(epochs):
        trainer.run_epoch()
    return trainer


@pytest.fixture(scope="module")
def uninterrupted(small_text: ParallelText, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    return run(tmp_path_factory.mktemp("run") / "model", small_text, 3)


def test_training_reduces_both_losses(uninterrupted: Trainer) -> None:
    for name in ("training_loss", "validation_loss"):
        losses = [epoch[name] for epoch in uninterrupted.log]
        assert losses[0] > losses[1] > losses[2]
    assert uninterrupted.log[-1]["training_loss"] < 0.8 * uninterrupted.log[0]["training_loss"]


def test_an_interrupted_run_ends_with_the_same_weights(
    uninterrupted: Trainer, small_text: ParallelText, tmp_path: Path
) -> None:
    run(tmp_path, small_text, 1)
    torch.randn(17)  # whatever the process did in between must not matter
    resumed = run(tmp_path, small_text, 2)
    assert resumed.epoch == 3
    for name in ("model", "average", "optimizer"):
        expected = weights(getattr(uninterrupted, name).state_dict())
        got = weights(getattr(resumed, name).state_dict())
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected)
    losses = [[epoch[key] for key in ("training_loss", "validation_loss")] for epoch in resumed.log]
    assert losses == [[epoch[key] for key in ("training_loss", "validation_loss")] for epoch in uninterrupted.log]


def test_the_folder_holds_the_averaged_model_and_nothing_half_written(uninterrupted: Trainer) -> None:
    names = {path.name for path in uninterrupted.folder.iterdir()}
    assert names == {"model.safetensors", "config.json", "vocabulary.model", "state.pt", "training.json"}
    loaded, tokenizer = load_checkpoint(uninterrupted.folder)
    average = uninterrupted.average.module.state_dict()
    assert all(torch.equal(average[name].half().float(), tensor) for name, tensor in loaded.state_dict().items())
    assert tokenizer.hash == uninterrupted.tokenizer.hash


def test_epochs_differ_in_order_and_hold_every_pair(uninterrupted: Trainer) -> None:
    def pairs(epoch: int) -> list[tuple[list[int], list[int]]]:
        batches = uninterrupted._epoch(epoch)
        return [(s.tolist(), t.tolist()) for b in batches for s, t in zip(b.source, b.labels, strict=True)]

    def unpadded(rows: list[tuple[list[int], list[int]]]) -> list[tuple[list[int], ...]]:
        return sorted(tuple([i for i in side if i != PAD] for side in row) for row in rows)

    assert pairs(0) == pairs(0)
    assert pairs(0) != pairs(1)
    assert unpadded(pairs(0)) == unpadded(pairs(1)) == sorted(uninterrupted.pairs)


def test_the_schedule_follows_the_true_number_of_steps(
    small_text: ParallelText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("reference.train.learning_rate", lambda step, total, recipe: asked.append(step) or 1e-3)
    steps = 0
    for epoch in range(3):
        trainer = prepare(tmp_path, LEARNING, RECIPE, small_text, small_text.head(20))  # resumed each time
        assert (trainer.epoch, trainer.steps) == (epoch, steps)
        steps += len(trainer._epoch(epoch)[: 5 - epoch])
        monkeypatch.setattr(trainer, "_epoch", lambda epoch, whole=trainer._epoch: whole(epoch)[: 5 - epoch])
        trainer.run_epoch()
    assert asked == list(range(5 + 4 + 3))


# --- Starting -----------------------------------------------------------------------------------------------------


def test_the_constructor_leaves_the_disk_alone(small_text: ParallelText, vocabulary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    trainer = Trainer(folder, LEARNING, RECIPE, Tokenizer(vocabulary), small_text, small_text)
    assert (trainer.epoch, trainer.steps) == (0, 0)
    assert not folder.exists()


def test_a_vocabulary_in_the_folder_is_used(small_text: ParallelText, vocabulary: Path, tmp_path: Path) -> None:
    other = small_text.head(40)
    shutil.copy(vocabulary, tmp_path / "vocabulary.model")
    assert prepare(tmp_path, LEARNING, RECIPE, other, other).tokenizer.hash == Tokenizer(vocabulary).hash
    with pytest.raises(ValueError, match=r"vocabulary\.model has 64 pieces, but 60 were asked"):
        prepare(tmp_path, replace(LEARNING, vocabulary_size=60), RECIPE, other, other)


def test_a_vocabulary_that_the_text_does_not_allow_makes_no_folder(small_text: ParallelText, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"9999 pieces .* at most"):
        prepare(tmp_path / "model", replace(LEARNING, vocabulary_size=9999), RECIPE, small_text, small_text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("max_length", "max_positions"), [(12, 64), (100, 12)])
def test_long_sentences_are_left_out_of_both_texts(
    small_text: ParallelText, vocabulary: Path, max_length: int, max_positions: int, tmp_path: Path
) -> None:
    config, recipe = replace(LEARNING, max_positions=max_positions), replace(RECIPE, max_length=max_length)
    tokenizer = Tokenizer(vocabulary)
    lengths = [
        max(len(tokenizer.encode(side)) for side in pair)
        for pair in zip(small_text.source, small_text.target, strict=True)
    ]
    short = sum(length <= 12 for length in lengths)
    assert 0 < short < len(lengths)
    assert 12 in lengths  # the limit itself is allowed
    trainer = Trainer(tmp_path, config, recipe, tokenizer, small_text, small_text)
    assert len(trainer.pairs) == sum(len(batch.source) for batch in trainer.held_out) == short
    assert max(batch.labels.shape[1] for batch in trainer.held_out) <= 12
    assert math.isfinite(trainer.validate())


def test_text_without_a_short_sentence_is_refused(small_text: ParallelText, vocabulary: Path, tmp_path: Path) -> None:
    long = ParallelText(source=("a menu " * 50,), target=("ein menü " * 50,))
    tokenizer = Tokenizer(vocabulary)
    with pytest.raises(ValueError, match="none of the 1 training pairs has at most 64 tokens on each side"):
        Trainer(tmp_path, LEARNING, RECIPE, tokenizer, long, small_text)
    with pytest.raises(ValueError, match="none of the 1 held-out pairs has at most 64 tokens"):
        Trainer(tmp_path, LEARNING, RECIPE, tokenizer, small_text, long)
    with pytest.raises(ValueError, match="none of the 0 held-out pairs"):
        Trainer(tmp_path, LEARNING, RECIPE, tokenizer, small_text, small_text.head(0))


# --- Resuming -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(uninterrupted: Trainer, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    folder = tmp_path / "model"
    shutil.copytree(uninterrupted.folder, folder)
    return folder


@pytest.mark.parametrize(
    ("config", "recipe", "message"),
    [
        ({"d_ff": 48}, {}, r"settings: d_ff 32 -> 48; resume"),
        ({"tied": False, "vocabulary_size": 60}, {}, r"settings: vocabulary_size 64 -> 60, tied True -> False; resume"),
        ({}, {"seed": 8, "dropout": 0.2}, r"settings: dropout 0\.1 -> 0\.2, seed 7 -> 8; resume"),
        ({}, {"max_length": 1}, r"settings: max_length 100 -> 1; resume"),
        ({}, {"epochs": 5}, r"settings: epochs 3 -> 5; another number of epochs would bend the learning-rate curve"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    stopped: Path, small_text: ParallelText, config: dict[str, Any], recipe: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"state\.pt is of a run with other {message}"):
        prepare(stopped, replace(LEARNING, **config), replace(RECIPE, **recipe), small_text, small_text.head(20))
    assert prepare(stopped, LEARNING, RECIPE, small_text, small_text.head(20)).epoch == 3


def test_a_run_is_not_resumed_with_other_text_or_vocabulary(stopped: Path, small_text: ParallelText) -> None:
    held_out, hashed = small_text.head(20), r"[0-9a-f]{12} -> [0-9a-f]{12}"
    with pytest.raises(ValueError, match=rf"settings: training_text {hashed}; resume"):
        prepare(stopped, LEARNING, RECIPE, small_text.head(90), held_out)
    with pytest.raises(ValueError, match=rf"settings: held_out_text {hashed}; resume"):
        prepare(stopped, LEARNING, RECIPE, small_text, small_text.head(21))
    train_tokenizer(small_text.source, 64, stopped / "vocabulary.model")
    with pytest.raises(ValueError, match=rf"settings: tokenizer {hashed}; resume"):
        prepare(stopped, LEARNING, RECIPE, small_text, held_out)
    (stopped / "vocabulary.model").unlink()
    with pytest.raises(ValueError, match=r"cannot read vocabulary .*vocabulary\.model"):
        prepare(stopped, LEARNING, RECIPE, small_text, held_out)
    assert not (stopped / "vocabulary.model").exists()  # a new one would not be the one of the run


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def without(name: str) -> Callable[[bytes], bytes]:
    def change(whole: bytes) -> bytes:
        state = torch.load(io.BytesIO(whole), weights_only=True)
        del state[name]
        return saved(state)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        *(lambda whole, part=part: whole[: len(whole) * part // 8] for part in range(8)),
        lambda whole: whole[:-1],
        lambda whole: b"not a state\n",
        lambda whole: b"\x80\x02.",
        lambda whole: saved([1, 2]),
        lambda whole: saved({"model": {}}),
        lambda whole: saved(RECIPE),  # a class of ours: no code is loaded from a state
        *map(without, ("settings", "steps", "log", "model", "average", "optimizer")),
    ],
)
def test_a_damaged_or_foreign_state_is_refused(
    stopped: Path, small_text: ParallelText, damage: Callable[[bytes], bytes]
) -> None:
    path = stopped / "state.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"state\.pt is (damaged|no training state)"):
        prepare(stopped, LEARNING, RECIPE, small_text, small_text.head(20))


@pytest.mark.parametrize("part", ["model", "average", "optimizer"])
def test_a_state_whose_tensors_do_not_fit_is_refused(stopped: Path, small_text: ParallelText, part: str) -> None:
    path = stopped / "state.pt"
    state = torch.load(path, weights_only=True)
    state[part] = {}
    path.write_bytes(saved(state))
    with pytest.raises(ValueError, match=r"state\.pt does not fit the model"):
        prepare(stopped, LEARNING, RECIPE, small_text, small_text.head(20))


def test_a_state_that_cannot_be_read_is_refused(stopped: Path, small_text: ParallelText) -> None:
    (stopped / "state.pt").unlink()
    (stopped / "state.pt").mkdir()
    with pytest.raises(ValueError, match=r"cannot read .*state\.pt: it is not a regular file"):
        prepare(stopped, LEARNING, RECIPE, small_text, small_text.head(20))


def test_a_failed_save_leaves_the_old_state_and_nothing_else(
    small_text: ParallelText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = run(tmp_path, small_text, 1)
    before = (tmp_path / "state.pt").read_bytes()
    names = sorted(path.name for path in tmp_path.iterdir())
    original = os.replace

    def full(old: Path, new: Path) -> None:
        if Path(new).name == "state.pt":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(old, new)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"No space left on device: .*state\.pt"):
        trainer.run_epoch()
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "state.pt").read_bytes() == before
