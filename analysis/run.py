"""The main job: translate in float, fake-quant and integer, prove them equal, measure and price each configuration."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from analysis.accuracy.accuracy import Accuracy, float_passes, measure_all
from analysis.accuracy.bleu import Bleu, bleu, paired_difference
from analysis.proof.equality import Equality, prove_equal
from analysis.translation.steppers import MachineStepper, float_stepper
from analysis.workload import ROWS_PER_BATCH, Configuration, Model, by_length, calibrate_on_ids, configure
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.lowered import program_workload
from hwsim.accelerator.presets import PRESETS, hardware
from hwsim.formats import Overflow
from hwsim.machine.machine import Machine
from hwsim.machine.zeros import ZeroCounter, ZeroCounts
from reference.data import ParallelText
from reference.decoding import Stepper, beam, greedy, length_limit
from reference.quantize.calibrate import Range
from reference.quantize.scheme import Scheme
from reference.tokenizer import EOS

Advance = Callable[[int], None]


def nothing(count: int) -> None:
    """No progress to report."""


@dataclass(frozen=True, kw_only=True)
class Translations:
    """Ids and text of one translation of each sentence, in the order of the text."""

    ids: list[list[int]]
    text: list[str]


Proof = tuple[Equality, Translations, Translations]
"""Equality, and the translations by the machine and by fake-quant."""


@dataclass(frozen=True, kw_only=True)
class ConfigurationResult:
    """All that is said of one scheme."""

    configuration: Configuration
    equality: Equality
    integer: Translations
    bleu_integer: Bleu
    bleu_fake_quant: Bleu
    bleu_difference: tuple[float, float]
    accuracy: Accuracy
    estimate: Estimate
    zeros: ZeroCounts


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """All that is said of a text under some schemes."""

    text: ParallelText
    beam_width: int
    floating: Translations
    bleu_float: Bleu
    configurations: list[ConfigurationResult]


def run(
    model: Model,
    schemes: Sequence[Scheme],
    text: ParallelText,
    ranges: dict[str, Range],
    *,
    beam_width: int = 1,
    accelerator: Hardware | None = None,
    advance: Advance = nothing,
) -> RunResult:
    """Run every scheme over a text.

    Parameters
    ----------
    ranges
        Calibrated ranges.
    beam_width
        1 is greedy.
    accelerator
        What the translations are priced on; default: the first preset.
    advance
        Called with the number of sentences done; each is done once in float and once a scheme.
    """
    rows = model.encode(text.source, "source text")
    configurations = [configure(model, scheme, ranges) for scheme in schemes]
    accelerator = accelerator or hardware(PRESETS[0])
    for one in configurations:  # what cannot be priced is refused before the work
        estimate(program_workload(one.program, [(1, 1)]), accelerator)
    floating = translate_float(model, rows, beam_width, advance)
    counters = [ZeroCounter(one.program) for one in configurations]
    proofs = [
        prove_text(model, one, rows, beam_width=beam_width, zeros=zeros, advance=advance)
        for one, zeros in zip(configurations, counters, strict=True)
    ]
    passes = float_passes(model.network, model.batches_by_length(text, "text"), keep_sites=True)
    accuracies = measure_all(model.network, [one.plan for one in configurations], passes)
    results = [
        _result(configuration, proof, accuracy, rows, floating, text, accelerator, counter.counts)
        for configuration, proof, accuracy, counter in zip(configurations, proofs, accuracies, counters, strict=True)
    ]
    return RunResult(
        text=text,
        beam_width=beam_width,
        floating=floating,
        bleu_float=bleu(floating.text, text.target),
        configurations=results,
    )


def _result(
    configuration: Configuration,
    proof: Proof,
    accuracy: Accuracy,
    rows: list[list[int]],
    floating: Translations,
    text: ParallelText,
    machine: Hardware,
    zeros: ZeroCounts,
) -> ConfigurationResult:
    equality, integer, fake_quant = proof
    lengths = [(len(source), len(target)) for source, target in zip(rows, integer.ids, strict=True)]
    return ConfigurationResult(
        configuration=configuration,
        equality=equality,
        integer=integer,
        bleu_integer=bleu(integer.text, text.target),
        bleu_fake_quant=bleu(fake_quant.text, text.target),
        bleu_difference=paired_difference(integer.text, floating.text, text.target),
        accuracy=accuracy,
        estimate=estimate(program_workload(configuration.program, lengths, zeros), machine),
        zeros=zeros,
    )


def prove_text(
    model: Model,
    configuration: Configuration,
    rows: list[list[int]],
    *,
    beam_width: int = 1,
    alone: bool = False,
    zeros: ZeroCounter | None = None,
    advance: Advance = nothing,
) -> Proof:
    """Equality over a whole text, and its translations by the machine and by fake-quant; `zeros` counts the machine's.

    Sentences run one by one, in the order of the text, if `alone` says so or where accumulators can overflow: a batch
    would count the overflows of its padding too.

    Raises
    ------
    ValueError
        If the text is empty, and as `prove_equal`.
    """
    if not rows:
        raise ValueError("no sentence to compare; at least one is needed")
    alone = alone or configuration.scheme.accumulator.overflow is not Overflow.PROVEN
    total = Equality()
    integer: list[list[int]] = [[] for _ in rows]
    fake_quant: list[list[int]] = [[] for _ in rows]
    for indices in _batches(rows, beam_width, alone):
        sources = [rows[i] for i in indices]
        part = prove_equal(
            model.network, configuration.strict, configuration.machine, sources, beam_width=beam_width, zeros=zeros
        )
        if part.first is not None:
            part.first = replace(part.first, sentence=indices[part.first.sentence - 1] + 1)
        total.merge(part)
        for i, ours, theirs in zip(indices, part.integer, part.fake_quant, strict=True):
            integer[i], fake_quant[i] = ours, theirs
        advance(len(indices))
    return total, _translations(model, integer), _translations(model, fake_quant)


def _translations(model: Model, ids: list[list[int]]) -> Translations:
    return Translations(ids=ids, text=[model.tokenizer.decode(row) for row in ids])


def translate_float(
    model: Model, rows: list[list[int]], beam_width: int = 1, advance: Advance = nothing
) -> Translations:
    """Translations of the float model, in the order of the rows."""
    batches = _batches(rows, beam_width, alone=False)
    return _translate(model, partial(float_stepper, model.network), rows, batches, beam_width, advance)


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
        model, partial(MachineStepper, machine), rows, _batches(rows, beam_width, alone), beam_width, advance
    )


def _batches(rows: list[list[int]], beam_width: int, alone: bool) -> Iterable[list[int]]:
    """Indices of the rows of each batch."""
    return [[i] for i in range(len(rows))] if alone else by_length(rows, max(1, ROWS_PER_BATCH // beam_width))


@torch.inference_mode()
def _translate(
    model: Model,
    stepper_of: Callable[[list[list[int]]], Stepper],
    rows: list[list[int]],
    batches: Iterable[list[int]],
    beam_width: int,
    advance: Advance,
) -> Translations:
    ids: list[list[int]] = [[] for _ in rows]
    for indices in batches:
        sources = [rows[i] for i in indices]
        limits = [length_limit(len(source), model.network.config.max_positions) for source in sources]
        stepper = stepper_of(sources)
        outputs = greedy(stepper, limits) if beam_width == 1 else beam(stepper, limits, width=beam_width)
        for i, output in zip(indices, outputs, strict=True):
            ids[i] = output
        advance(len(indices))
    return _translations(model, ids)


def calibrate_on_own_translations(model: Model, sentences: Sequence[str], what: str) -> dict[str, Range]:
    """Ranges on text without translations: the decoder reads what the float model makes of it, greedily."""
    rows = model.encode(sentences, what)
    targets = translate_float(model, rows).ids
    pairs = [(row, [*target[:-1], EOS]) for row, target in zip(rows, targets, strict=True)]
    return calibrate_on_ids(model, pairs)
