"""The main job: translate in float, fake-quant and integer, prove them equal, measure and price each configuration."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from analysis.accuracy.accuracy import Accuracy, float_passes, measure_all
from analysis.accuracy.bleu import Bleu, bleu, paired_difference
from analysis.proof.equality import Equality
from analysis.proof.text import Proof, prove_text
from analysis.translation.floating import translate_float
from analysis.translation.translate import Advance, Translations, nothing
from analysis.workload import Configuration, Model, batches_by_length, configure
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.lowered import program_workload
from hwsim.accelerator.presets import PRESETS, hardware
from hwsim.accelerator.zeros import ZeroCounter, ZeroCounts
from hwsim.program import Program
from reference.quantize.calibrate import Range
from reference.quantize.scheme import Scheme
from reference.tokenizer import EOS


@dataclass(frozen=True, kw_only=True)
class Scores:
    """BLEU of the machine and of fake-quant, and the 95% interval of the machine's less the float model's."""

    integer: Bleu
    fake_quant: Bleu
    difference: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ConfigurationResult:
    """All that is said of one scheme.

    Attributes
    ----------
    scores
        None without references.
    accuracy
        Teacher-forced on the references; without them, on the float model's translations.
    estimate, own_estimate
        The sentences priced at the lengths of those targets, alike for all schemes; and at those of what the machine
        made of them.
    """

    configuration: Configuration
    equality: Equality
    integer: Translations
    scores: Scores | None
    accuracy: Accuracy
    estimate: Estimate
    own_estimate: Estimate
    zeros: ZeroCounts


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """All that is said of a text under some schemes."""

    source: tuple[str, ...]
    references: tuple[str, ...] | None
    beam_width: int
    floating: Translations
    bleu_float: Bleu | None
    configurations: list[ConfigurationResult]


def run(
    model: Model,
    schemes: Sequence[Scheme],
    source: tuple[str, ...],
    references: tuple[str, ...] | None,
    ranges: dict[str, Range],
    *,
    beam_width: int = 1,
    accelerator: Hardware | None = None,
    advance: Advance = nothing,
) -> RunResult:
    """Run every scheme over a text.

    Parameters
    ----------
    references
        Translations of the sources, or None where there are none.
    ranges
        Calibrated ranges.
    beam_width
        1 is greedy.
    accelerator
        What the translations are priced on; default: the first preset.
    advance
        Called with the number of sentences done; each is done once in float and once a scheme.
    """
    rows = model.encode(source, "source text")
    configurations = [configure(model, scheme, ranges) for scheme in schemes]
    accelerator = accelerator or hardware(PRESETS[0])
    for one in configurations:  # what cannot be priced is refused before the work
        estimate(program_workload(one.program, [(1, 1)]), accelerator)
    floating = translate_float(model, rows, beam_width, advance)
    counters = [ZeroCounter(one.program) for one in configurations]
    proofs = []
    for one, zeros in zip(configurations, counters, strict=True):
        proofs.append(prove_text(model, one, rows, beam_width=beam_width, zeros=zeros, advance=advance))
        one.forget()
        _give_back()
    targets = floating.ids if references is None else model.encode(references, "reference")
    forced = [[*target[:-1], EOS] for target in targets]  # a translation that met its limit has none
    passes = float_passes(model.network, batches_by_length(rows, forced), keep_sites=True)
    accuracies = measure_all(model.network, [one.plan for one in configurations], passes)
    results = [
        _result(
            configuration, proof, accuracy, references, floating, _Priced(accelerator, rows, targets, counter.counts)
        )
        for configuration, proof, accuracy, counter in zip(configurations, proofs, accuracies, counters, strict=True)
    ]
    return RunResult(
        source=source,
        references=references,
        beam_width=beam_width,
        floating=floating,
        bleu_float=None if references is None else bleu(floating.text, references),
        configurations=results,
    )


def _give_back() -> None:
    """Hand what was freed back to the system, if the C library can: a heap keeps 300 MB of the first proof for good."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Priced(NamedTuple):
    """What the cost of a configuration is made of."""

    machine: Hardware
    rows: list[list[int]]
    targets: list[list[int]]
    zeros: ZeroCounts

    def estimate(self, program: Program, targets: list[list[int]]) -> Estimate:
        lengths = [(len(source), len(target)) for source, target in zip(self.rows, targets, strict=True)]
        return estimate(program_workload(program, lengths, self.zeros), self.machine)


def _result(
    configuration: Configuration,
    proof: Proof,
    accuracy: Accuracy,
    references: Sequence[str] | None,
    floating: Translations,
    priced: _Priced,
) -> ConfigurationResult:
    equality, integer, fake_quant = proof
    return ConfigurationResult(
        configuration=configuration,
        equality=equality,
        integer=integer,
        scores=None if references is None else _scores(integer, fake_quant, floating, references),
        accuracy=accuracy,
        estimate=priced.estimate(configuration.program, priced.targets),
        own_estimate=priced.estimate(configuration.program, integer.ids),
        zeros=priced.zeros,
    )


def _scores(
    integer: Translations, fake_quant: Translations, floating: Translations, references: Sequence[str]
) -> Scores:
    return Scores(
        integer=bleu(integer.text, references),
        fake_quant=bleu(fake_quant.text, references),
        difference=paired_difference(integer.text, floating.text, references),
    )
