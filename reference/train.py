"""Trains the float Transformer: Adam, warm-up, label smoothing, length-bucketed batches, resumable, seeded."""

import hashlib
import io
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
from hwsim.reading import read_whole
from reference.checkpoint import save_checkpoint
from reference.data import ParallelText
from reference.floating import FloatArithmetic
from reference.models.arithmetic import Arithmetic, V
from reference.models.translation import Transformer, TransformerConfig, causal_mask, source_mask
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


def _settings(
    config: TransformerConfig,
    recipe: TrainingRecipe,
    tokenizer: Tokenizer,
    train: ParallelText,
    held_out: ParallelText,
) -> dict[str, Any]:
    """Everything that decides the result of a run, by name; texts and vocabulary by their hash."""
    hashes = {
        name: hashlib.sha256(json.dumps([text.source, text.target]).encode()).hexdigest()
        for name, text in (("training_text", train), ("held_out_text", held_out))
    }
    return asdict(config) | asdict(recipe) | {"tokenizer": tokenizer.hash} | hashes


class Trainer:
    """Training state between epochs, saved in `folder` after each one; `prepare` makes one that is ready to go.

    Pairs longer than `recipe.max_length` tokens, or than the model has positions, are left out of both texts.

    Raises
    ------
    ValueError
        If that leaves none of the training or of the held-out pairs.
    """

    def __init__(
        self,
        folder: Path,
        config: TransformerConfig,
        recipe: TrainingRecipe,
        tokenizer: Tokenizer,
        train: ParallelText,
        held_out: ParallelText,
    ) -> None:
        self.folder, self.config, self.recipe, self.tokenizer = folder, config, recipe, tokenizer
        self.settings = _settings(config, recipe, tokenizer, train, held_out)
        self.pairs = self._encode(train, "training")
        self.held_out = list(bucketed(self._encode(held_out, "held-out"), recipe.tokens_per_batch))
        self.model = Transformer(config)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
        self.optimizer = torch.optim.Adam(self.model.parameters(), betas=(0.9, 0.98), eps=1e-9)
        self.log: list[dict[str, Any]] = []
        self.steps = 0
        self.steps_per_epoch = len(self._epoch(0))

    @property
    def epoch(self) -> int:
        """Epochs finished so far."""
        return len(self.log)

    def _encode(self, text: ParallelText, name: str) -> list[tuple[list[int], list[int]]]:
        """The pairs that are short enough."""
        encode, limit = self.tokenizer.encode, min(self.recipe.max_length, self.config.max_positions)
        pairs = [(encode(s), encode(t)) for s, t in zip(text.source, text.target, strict=True)]
        short = [pair for pair in pairs if max(map(len, pair)) <= limit]
        if not short:
            raise ValueError(f"none of the {len(pairs)} {name} pairs has at most {limit} tokens on each side")
        return short

    def _epoch(self, epoch: int) -> list[Batch]:
        """The batches of one epoch: similar lengths together, in an order that the seed and the epoch decide."""
        rng = random.Random(self.recipe.seed * 10_007 + epoch)
        noisy = sorted(self.pairs, key=lambda pair: len(pair[1]) + 3 * rng.random())
        batches = list(bucketed(noisy, self.recipe.tokens_per_batch))
        rng.shuffle(batches)
        return batches

    def run_epoch(self, advance: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Train one epoch, validate the averaged weights, save everything; `advance` is called after each step.

        The learning rate follows the true number of steps. Their total is only taken to be that of the first epoch
        times the epochs: others may have a few batches more or less, and the last rates are so much above zero, or
        zero.
        """
        began, total_loss = time.perf_counter(), 0.0
        batches = self._epoch(self.epoch)
        torch.manual_seed(self.recipe.seed + self.epoch)
        ops = FloatArithmetic(dropout=self.recipe.dropout)
        total_steps = self.recipe.epochs * self.steps_per_epoch
        for batch in batches:
            rate = learning_rate(self.steps, total_steps, self.recipe)
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
            self.steps += 1
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

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, and the settings that it must share."""
        return {
            "settings": self.settings,
            "steps": self.steps,
            "log": self.log,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.log = state["steps"], list(state["log"])

    def _save(self) -> None:
        """The state first: whoever is stopped behind it makes the rest again from it."""
        stream = io.BytesIO()
        torch.save(self.state(), stream)
        write_whole(self.folder / STATE, stream.getvalue())
        self.publish()

    def publish(self) -> None:
        """Write the model and the record that the state stands for."""
        save_checkpoint(self.folder, self.config, self.average.module.state_dict())
        record = {"recipe": asdict(self.recipe), "epochs": self.log}
        write_whole(self.folder / "training.json", json.dumps(record, indent=1) + "\n")


STATE, VOCABULARY = "state.pt", "vocabulary.model"

_STATE = {"settings": dict, "steps": int, "log": list, "model": dict, "average": dict, "optimizer": dict}
"""What is in state.pt, and of which type."""


def prepare(
    folder: Path, config: TransformerConfig, recipe: TrainingRecipe, train: ParallelText, held_out: ParallelText
) -> Trainer:
    """Start a run in `folder`, or resume the one that was stopped there after its last whole epoch.

    The folder and its vocabulary are made if they are missing. Two things of the whole process are set: torch's random
    seed, and that denormal floats count as 0.

    Raises
    ------
    ValueError
        If the folder holds something else than a run; if the text allows no such vocabulary or holds no sentence that
        is short enough; if the run in the folder had another configuration, recipe, vocabulary or text (the message
        names what differs); or if one of its files is damaged or foreign.
    OSError
        If the folder cannot be written.
    """
    vocabulary, path = folder / VOCABULARY, folder / STATE
    state = _read_state(path) if path.exists() else None
    if state is None:
        _check_new(folder)
    if state is None and not vocabulary.exists():
        train_tokenizer([*train.source, *train.target], config.vocabulary_size, vocabulary)
    tokenizer = Tokenizer(vocabulary)
    settings = _settings(config, recipe, tokenizer, train, held_out)
    if state is not None:
        _check_same(path, state["settings"], settings)
    if tokenizer.vocabulary_size != config.vocabulary_size:
        raise ValueError(
            f"{vocabulary} has {tokenizer.vocabulary_size} pieces, but {config.vocabulary_size} were asked; "
            "ask for as many, or name another folder"
        )
    torch.set_flush_denormal(True)  # Adam's moments of rows that a batch lacks decay into denormals: slow
    torch.manual_seed(recipe.seed)
    trainer = Trainer(folder, config, recipe, tokenizer, train, held_out)
    if state is not None:
        try:
            trainer.restore(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{path} does not fit the model that its settings describe: {error}") from error
        trainer.publish()
    return trainer


def _check_new(folder: Path) -> None:
    """Refuse to begin where something else is; a run that was stopped in its first epoch has a vocabulary."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    others = sorted(name for name in names if name != VOCABULARY and not name.startswith("."))
    if others:
        raise ValueError(
            f"{folder} holds {others[0]}, but no {STATE} of a training run to resume; name a new or an empty folder"
        )


def _check_same(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to go on with a run under other settings."""
    different = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if not different:
        return
    changes = ", ".join(f"{name} {str(old.get(name))[:12]} -> {str(new.get(name))[:12]}" for name in different)
    why = "; another number of epochs would bend the learning-rate curve" if "epochs" in different else ""
    raise ValueError(
        f"{path} is of a run with other settings: {changes}{why}; "
        "resume with the same ones, or name another folder for a new run"
    )


def _read_state(path: Path) -> dict[str, Any]:
    """What `Trainer.state` gave when it was saved."""
    content = read_whole(path, "training state")
    try:
        state = torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # what a damaged file makes torch raise is not documented
        raise ValueError(f"{path} is damaged, or is no training state; only without it a new run can start") from error
    if not isinstance(state, dict) or any(not isinstance(state.get(k), kind) for k, kind in _STATE.items()):
        raise ValueError(f"{path} is no training state of this version; only without it a new run can start")
    return state
