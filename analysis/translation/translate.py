"""Whole texts translated by a float model or by a machine."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from analysis.translation.steppers import MachineStepper, float_stepper
from analysis.workload import ROWS_PER_BATCH, TOKENS_PER_BATCH, Model, by_length
from hwsim.machine import Machine
from reference.decoding import Stepper, beam, greedy, length_limit
from reference.tokenizer import EOS
from reference.train import Batch, bucketed

Advance = Callable[[int], None]


def nothing(count: int) -> None:
    """No progress to report."""


@dataclass(frozen=True, kw_only=True)
class Translations:
    """Ids and text of one translation of each sentence, in the order of the text."""

    ids: list[list[int]]
    text: list[str]


def decoded(model: Model, ids: list[list[int]]) -> Translations:
    return Translations(ids=ids, text=[model.tokenizer.decode(row) for row in ids])


def translate_float(
    model: Model, rows: list[list[int]], beam_width: int = 1, advance: Advance = nothing
) -> Translations:
    """Translations of the float model, in the order of the rows."""
    order = batches(rows, beam_width, alone=False)
    return _translate(model, partial(float_stepper, model.network), rows, order, beam_width, advance)


def translate_integer(
    model: Model,
    machine: Machine,
    rows: list[list[int]],
    *,
    beam_width: int = 1,
    alone: bool = False,
    advance: Advance = nothing,
) -> Translations:
    """Translations of a machine, in the order of the rows; `alone` as in `prove_text`."""
    return _translate(
        model, partial(MachineStepper, machine), rows, batches(rows, beam_width, alone), beam_width, advance
    )


def batches(rows: list[list[int]], beam_width: int, alone: bool) -> Iterable[list[int]]:
    """Indices of the rows of each batch."""
    return [[i] for i in range(len(rows))] if alone else by_length(rows, max(1, ROWS_PER_BATCH // beam_width))


@torch.inference_mode()
def _translate(
    model: Model,
    stepper_of: Callable[[list[list[int]]], Stepper],
    rows: list[list[int]],
    order: Iterable[list[int]],
    beam_width: int,
    advance: Advance,
) -> Translations:
    ids: list[list[int]] = [[] for _ in rows]
    for indices in order:
        sources = [rows[i] for i in indices]
        limits = [length_limit(len(source), model.network.config.max_positions) for source in sources]
        stepper = stepper_of(sources)
        outputs = greedy(stepper, limits) if beam_width == 1 else beam(stepper, limits, width=beam_width)
        for i, output in zip(indices, outputs, strict=True):
            ids[i] = output
        advance(len(indices))
    return decoded(model, ids)


def batches_of_own_translations(model: Model, sentences: Sequence[str], what: str) -> list[Batch]:
    """Teacher-forced batches of text without translations: the decoder reads what the float model makes of it."""
    rows = model.encode(sentences, what)
    targets = translate_float(model, rows).ids
    pairs = [(row, [*target[:-1], EOS]) for row, target in zip(rows, targets, strict=True)]
    return list(bucketed(pairs, TOKENS_PER_BATCH))
