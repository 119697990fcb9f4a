"""What every command works on: a model, its tokenizer, text, and configurations made ready to run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec

from hwsim.formats import Accumulator
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.loading import load
from reference.checkpoint import load_checkpoint
from reference.data import ParallelText, assets, corpus
from reference.lower import lower
from reference.models.translation import Transformer
from reference.quantize.calibrate import Range, calibrate
from reference.quantize.graph import trace
from reference.quantize.origin import Origin, checkpoint_hash, read_origin
from reference.quantize.plan import Plan
from reference.quantize.scheme import Scheme
from reference.quantize.sites import enumerate_sites
from reference.quantize.strict import StrictArithmetic
from reference.tokenizer import Tokenizer
from reference.train import Batch, bucketed

CALIBRATION_SENTENCES = 512
TOKENS_PER_BATCH = 2500
TOKENS_PER_SHORT_BATCH = 600
NO_TEXTS: Mapping[str, Sequence[str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Model:
    """A checkpoint, loaded."""

    folder: Path
    network: Transformer
    tokenizer: Tokenizer

    def encode(self, sentences: Sequence[str], what: str) -> list[list[int]]:
        """Ids of every sentence.

        Raises
        ------
        ValueError
            If one is longer than the position table; names its line.
        """
        return self.tokenizer.encode_all(sentences, self.network.config.max_positions, what)

    def batches(self, text: ParallelText, what: str) -> list[Batch]:
        """Teacher-forced batches in the order of the text."""
        return list(bucketed(self._pairs(text, what), TOKENS_PER_BATCH))

    def batches_by_length(self, text: ParallelText, what: str) -> list[Batch]:
        """As the function of that name."""
        source, target = zip(*self._pairs(text, what), strict=True)
        return batches_by_length(source, target)

    def _pairs(self, text: ParallelText, what: str) -> list[tuple[list[int], list[int]]]:
        source, target = self.encode(text.source, f"{what} source"), self.encode(text.target, f"{what} target")
        return list(zip(source, target, strict=True))


def batches_by_length(source: Sequence[list[int]], target: Sequence[list[int]]) -> list[Batch]:
    """Batches of similar length, where the order is no matter: half the time, since little is padding."""
    pairs = sorted(zip(source, target, strict=True), key=lambda pair: (max(map(len, pair)), len(pair[1])))
    return list(bucketed(pairs, TOKENS_PER_SHORT_BATCH))


def load_model(folder: Path | None = None) -> Model:
    """The checkpoint in a folder; without one, the shipped English-German model."""
    folder = folder or assets() / "model"
    network, tokenizer = load_checkpoint(folder)
    return Model(folder=folder, network=network, tokenizer=tokenizer)


def check_inputs(model: Model, schemes: Sequence[Scheme], texts: Mapping[str, Sequence[str]] = NO_TEXTS) -> None:
    """Refuse schemes that do not fit the model, and sentences of named texts that are too long, before long work."""
    graph = trace(model.network)
    for scheme in schemes:
        scheme.resolve(enumerate_sites(graph, scheme.arithmetic))
    for what, sentences in texts.items():
        model.encode(sentences, what)


def calibration_text() -> ParallelText:
    """The first training sentences: what ranges are calibrated on by default."""
    return corpus("train").head(CALIBRATION_SENTENCES)


def is_of_corpus(model: Model) -> bool:
    """Whether a model speaks the vocabulary of the shipped corpus."""
    return model.tokenizer.hash == Tokenizer(assets() / "model" / "vocabulary.model").hash


def check_vocabulary(model: Model) -> None:
    """Refuse to calibrate a model of another vocabulary on the shipped text, which would say nothing about it."""
    if not is_of_corpus(model):
        raise ValueError(f"{model.folder} has a vocabulary of its own; calibrate it on its own text (--calibrate)")


def calibration_batches(model: Model, text: ParallelText | None = None) -> list[Batch]:
    """Teacher-forced batches of a text; by default of training sentences of the shipped corpus.

    Raises
    ------
    ValueError
        As `check_vocabulary`, if there is no text.
    """
    if text is None:
        check_vocabulary(model)
    return model.batches(text or calibration_text(), "calibration")


def calibrate_model(model: Model, text: ParallelText | None = None) -> dict[str, Range]:
    """Ranges of all sites on `calibration_batches`."""
    return calibrate(model.network, calibration_batches(model, text))


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One scheme of a model: its plan, the strict fake-quant model, its program, and a machine that runs it."""

    scheme: Scheme
    plan: Plan
    strict: StrictArithmetic
    program: Program
    machine: Machine

    def forget(self) -> None:
        """Let go of what runs have kept, over 100 MB; a run after this makes it again."""
        self.strict.kept.clear()
        self.machine.forget()


def configure(model: Model, scheme: Scheme, ranges: dict[str, Range]) -> Configuration:
    """Plan, lower and validate."""
    origin = Origin(scheme=scheme, ranges=ranges, checkpoint_sha256=checkpoint_hash(model.folder))
    plan = origin.plan(model.network)
    program = lower(model.network, plan, name=scheme.name, tokenizer=model.tokenizer, origin=origin.text())
    strict = StrictArithmetic(model.network, plan)
    return Configuration(scheme=scheme, plan=plan, strict=strict, program=program, machine=Machine(program))


def reconfigure(model: Model, path: Path) -> Configuration:
    """Load a program file, and make the fake-quant model again that it was lowered from.

    Raises
    ------
    ValueError
        If the file is no valid program, or was lowered from another model.
    """
    program = load(path)
    model.tokenizer.check_ids(program.manifest.tokenizer_sha256)
    origin = read_origin(program.manifest.origin, model.folder)
    if origin.scheme.target != program.manifest.target:
        raise ValueError(
            f"{path} is of target {program.manifest.target}, but was lowered from a scheme of {origin.scheme.target}"
        )
    plan = origin.plan(model.network)
    if plan.logit_scale != program.manifest.logit_scale:
        raise ValueError(
            f"{path} says logit_scale {program.manifest.logit_scale}; "
            f"the plan that it was lowered from has {plan.logit_scale}"
        )
    strict = StrictArithmetic(model.network, plan)
    return Configuration(scheme=origin.scheme, plan=plan, strict=strict, program=program, machine=Machine(program))


def with_accumulator(model: Model, configuration: Configuration, accumulator: Accumulator) -> Configuration:
    """The configuration of a program file again, planned and lowered with another accumulator for every product."""
    origin = read_origin(configuration.program.manifest.origin, model.folder)
    return configure(model, msgspec.structs.replace(origin.scheme, accumulator=accumulator), origin.ranges)
