"""Trains the float Transformer: Adam, warm-up, label smoothing, length-bucketed batches, resumable, seeded."""

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hwsim.files import write_whole
from reference.checkpoint import save_checkpoint
from reference.data import ParallelText
from reference.floating import FloatArithmetic
from reference.model import Arithmetic, Transformer, TransformerConfig, V, causal_mask, source_mask
from reference.tokenizer import BOS, PAD, Tokenizer, train_tokenizer


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """Everything besides model and data that decides the result."""

    epochs: int = 21
    tokens_per_batch: int = 2500
    peak_learning_rate: float = 1e-3
    warmup_steps: int = 800
    dropout: float = 0.2
    label_smoothing: float = 0.1
    average_decay: float = 0.999
    seed: int = 2026
    max_length: int = 100


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded ids: source (b,s) ended by EOS, target (b,t) begun by BOS, and the labels (b,t) ended by EOS."""

    source: Tensor
    target: Tensor
    labels: Tensor


def pad(rows: list[list[int]]) -> Tensor:
    """Ids of unequal length to one (rows, longest) tensor, filled up with PAD."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)


def make_batch(pairs: list[tuple[list[int], list[int]]]) -> Batch:
    return Batch(
        source=pad([source for source, _ in pairs]),
        target=pad([[BOS, *target[:-1]] for _, target in pairs]),
        labels=pad([target for _, target in pairs]),
    )


def bucketed(pairs: list[tuple[list[int], list[int]]], tokens: int) -> Iterator[Batch]:
    """Batches of pairs in the given order, each at most `tokens` padded target ids (but at least one pair)."""
    group: list[tuple[list[int], list[int]]] = []
    longest = 0
    for pair in pairs:
        length = max(map(len, pair))
        if group and max(longest, length) * (len(group) + 1) > tokens:
            yield make_batch(group)
            group, longest = [], 0
        group.append(pair)
        longest = max(longest, length)
    if group:
        yield make_batch(group)


def teacher_forced(model: Transformer, ops: Arithmetic[V], batch: Batch) -> V:
    """Logits (b,t,v) with the reference target as the decoder's input."""
    mask = source_mask(batch.source, PAD)
    memory = model.encode(ops, batch.source, mask)
    logits, _ = model.decode(
        ops,
        batch.target,
        memory,
        None,
        mask,
        first_position=torch.zeros((), dtype=torch.int64),
        target_mask=causal_mask(batch.target.shape[1]),
    )
    return logits


def loss_per_token(logits: Tensor, labels: Tensor, smoothing: float = 0.0, reduction: str = "mean") -> Tensor:
    """Cross entropy in nat over the labels that are not padding: logits (..., v), labels (...)."""
    return functional.cross_entropy(
        logits.float().flatten(0, -2),
        labels.flatten(),
        ignore_index=PAD,
        label_smoothing=smoothing,
        reduction=reduction,
    )


def learning_rate(step: int, total: int, recipe: TrainingRecipe) -> float:
    """Linear warm-up, then a half cosine down to zero at the last step."""
    if step < recipe.warmup_steps:
        return recipe.peak_learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, total - recipe.warmup_steps)
    return recipe.peak_learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Trainer:
    """Training state between epochs, saved in `folder` after each one."""

    def __init__(
        self,
        folder: Path,
        config: TransformerConfig,
        recipe: TrainingRecipe,
        train: ParallelText,
        held_out: ParallelText,
    ) -> None:
        torch.manual_seed(recipe.seed)
        torch.set_flush_denormal(True)  # Adam's moments of rows that a batch lacks decay into denormals: slow
        self.folder, self.config, self.recipe = folder, config, recipe
        vocabulary = folder / "vocabulary.model"
        if not vocabulary.exists():
            folder.mkdir(parents=True, exist_ok=True)
            train_tokenizer([*train.source, *train.target], config.vocabulary_size, vocabulary)
        self.tokenizer = Tokenizer(vocabulary)
        self.pairs = [p for p in self._encode(train) if max(map(len, p)) <= recipe.max_length]
        self.held_out = list(bucketed(self._encode(held_out), recipe.tokens_per_batch))
        self.model = Transformer(config)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
        self.optimizer = torch.optim.Adam(self.model.parameters(), betas=(0.9, 0.98), eps=1e-9)
        self.log: list[dict[str, Any]] = []
        self.steps_per_epoch = len(self._epoch(0))
        if (folder / "state.pt").exists():
            self._resume()

    @property
    def epoch(self) -> int:
        """Epochs finished so far."""
        return len(self.log)

    def _encode(self, text: ParallelText) -> list[tuple[list[int], list[int]]]:
        encode = self.tokenizer.encode
        return [(encode(s), encode(t)) for s, t in zip(text.source, text.target, strict=True)]

    def _epoch(self, epoch: int) -> list[Batch]:
        """The batches of one epoch: similar lengths together, in an order that the seed and the epoch decide."""
        rng = random.Random(self.recipe.seed * 10_007 + epoch)
        noisy = sorted(self.pairs, key=lambda pair: len(pair[1]) + 3 * rng.random())
        batches = list(bucketed(noisy, self.recipe.tokens_per_batch))
        rng.shuffle(batches)
        return batches

    def run_epoch(self, advance: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Train one epoch, validate the averaged weights, save everything; `advance` is called after each step."""
        began, total_loss = time.perf_counter(), 0.0
        batches = self._epoch(self.epoch)
        torch.manual_seed(self.recipe.seed + self.epoch)
        ops = FloatArithmetic(dropout=self.recipe.dropout)
        for index, batch in enumerate(batches):
            step = self.epoch * self.steps_per_epoch + index
            rate = learning_rate(step, self.recipe.epochs * self.steps_per_epoch, self.recipe)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16):
                logits = teacher_forced(self.model, ops, batch)
            loss = loss_per_token(logits, batch.labels, self.recipe.label_smoothing)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.average.update_parameters(self.model)
            total_loss += loss.item()
            advance()
        self.log.append(
            {
                "epoch": self.epoch + 1,
                "training_loss": round(total_loss / len(batches), 4),
                "validation_loss": round(self.validate(), 4),
                "seconds": round(time.perf_counter() - began, 1),
            }
        )
        self._save()
        return self.log[-1]

    @torch.no_grad()
    def validate(self) -> float:
        """Mean loss per token (nat, no smoothing) of the averaged weights on the held-out text."""
        model, ops = cast(Transformer, self.average.module), FloatArithmetic()
        loss = sum(
            float(loss_per_token(teacher_forced(model, ops, b), b.labels, reduction="sum")) for b in self.held_out
        )
        return loss / sum(int((b.labels != PAD).sum()) for b in self.held_out)

    def _save(self) -> None:
        save_checkpoint(self.folder, self.config, self.average.module.state_dict())
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "log": self.log,
        }
        torch.save(state, self.folder / "state.tmp")
        (self.folder / "state.tmp").replace(self.folder / "state.pt")
        record = {"recipe": asdict(self.recipe), "epochs": self.log}
        write_whole(self.folder / "training.json", json.dumps(record, indent=1) + "\n")

    def _resume(self) -> None:
        state = torch.load(self.folder / "state.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log = state["log"]
