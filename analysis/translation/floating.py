"""Whole texts translated by the float model."""

from collections.abc import Sequence
from functools import partial

import torch

from analysis.translation.torch_steppers import float_stepper
from analysis.translation.translate import Advance, Translations, batches, nothing, translate
from analysis.workload import TOKENS_PER_BATCH, Model
from reference.data import ParallelText
from reference.tokenizer import EOS
from reference.train import Batch, bucketed


@torch.inference_mode()
def translate_float(
    model: Model, rows: list[list[int]], beam_width: int = 1, advance: Advance = nothing
) -> Translations:
    """Translations of the float model, in the order of the rows."""
    order, stepper_of = batches(rows, beam_width, alone=False), partial(float_stepper, model.network)
    limit = model.network.config.max_positions
    return translate(model.tokenizer, stepper_of, rows, order, limit, beam_width, advance)


def own_translations(model: Model, sentences: Sequence[str], what: str) -> ParallelText:
    """Text without translations with those that the float model makes of it.

    One that met the model's limit may be longer when it is read again: such a pair is left out.
    """
    made, limit = translate_float(model, model.encode(sentences, what)), model.network.config.max_positions
    pairs = zip(sentences, made.text, strict=True)
    kept = [(source, target) for source, target in pairs if len(model.tokenizer.encode(target)) <= limit]
    if not kept:
        raise ValueError(f"{what}: the model's own translations are all longer than its {limit} positions")
    source, target = zip(*kept, strict=True)
    return ParallelText(source=source, target=target, left_out=len(sentences) - len(kept))


def forced_text(model: Model, source: Sequence[str], references: Sequence[str] | None) -> ParallelText:
    """What a decoder is forced on: the references, or, without any, what the float model makes of the sentences."""
    if references is None:
        return own_translations(model, source, "source text")
    return ParallelText(source=tuple(source), target=tuple(references))


def batches_of_own_translations(model: Model, sentences: Sequence[str], what: str) -> list[Batch]:
    """Teacher-forced batches of text without translations: the decoder reads what the float model makes of it."""
    rows = model.encode(sentences, what)
    targets = translate_float(model, rows).ids
    pairs = [(row, [*target[:-1], EOS]) for row, target in zip(rows, targets, strict=True)]
    return list(bucketed(pairs, TOKENS_PER_BATCH))
