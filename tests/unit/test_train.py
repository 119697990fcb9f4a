"""Training: batches, schedule and loss are as stated, it learns, and an interruption changes nothing."""

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
from reference.model import TransformerConfig
from reference.tokenizer import BOS, EOS, PAD
from reference.train import Trainer, TrainingRecipe, bucketed, learning_rate, loss_per_token, make_batch

CONFIG = TransformerConfig(
    vocabulary_size=64, d_model=16, n_heads=2, d_head=8, d_ff=32, encoder_layers=1, decoder_layers=1, max_positions=64
)
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
    trainer = Trainer(folder, CONFIG, RECIPE, text, text.head(20))
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
