"""The main job: translate in float, fake-quant and integer, prove them equal, measure and price each configuration."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.accuracy.accuracy import Accuracy, float_passes, measure_all
from analysis.accuracy.bleu import Bleu, bleu, paired_difference
from analysis.proof.equality import Equality
from analysis.proof.text import Proof, prove_text
from analysis.translation.floating import translate_float
from analysis.translation.translate import Advance, Translations, nothing
from analysis.workload import Configuration, Model, configure
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.lowered import program_workload
from hwsim.accelerator.presets import PRESETS, hardware
from hwsim.accelerator.zeros import ZeroCounter, ZeroCounts
from reference.data import ParallelText
from reference.quantize.calibrate import Range
from reference.quantize.scheme import Scheme


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
