"""The models that are timed: the shipped one under every target, and Transformer-base with random weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from analysis.translation.translate import by_length
from analysis.workload import Model
from hwsim.machine import Machine
from hwsim.program import Program
from reference.decoding import length_limit
from reference.lower import lower
from reference.models.translation import Transformer, TransformerConfig
from reference.quantize.calibrate import Range, calibrate
from reference.quantize.plan import Plan, make_plan
from reference.quantize.scheme import Scheme
from reference.quantize.strict import StrictArithmetic
from reference.tokenizer import EOS
from reference.train import Batch, bucketed

Rows = Sequence[list[int]]

BASE = TransformerConfig(
    vocabulary_size=32_000,
    d_model=512,
    n_heads=8,
    d_head=64,
    d_ff=2048,
    encoder_layers=6,
    decoder_layers=6,
    max_positions=256,
)
"""The base model of Vaswani et al. (2017), table 3, with a vocabulary of 32,000; tied embeddings as there."""
RANDOM_LENGTH = 16
"""Tokens of a random sentence; all alike, so that no contender may decode further than another."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model under one scheme, in all its forms, and what it translates."""

    name: str
    network: Transformer
    plan: Plan
    strict: StrictArithmetic
    program: Program
    machine: Machine
    batches: Sequence[Rows]

    def limits(self, rows: Rows) -> list[int]:
        """Most tokens of each translation of a batch."""
        return [length_limit(len(row), self.network.config.max_positions) for row in rows]


def subject(
    name: str, network: Transformer, scheme: Scheme, ranges: dict[str, Range], batches: Sequence[Rows]
) -> Subject:
    """Planned, lowered and validated."""
    plan = make_plan(network, scheme, ranges)
    program = lower(network, plan, name=name)
    return Subject(
        name=name,
        network=network,
        plan=plan,
        strict=StrictArithmetic(network, plan),
        program=program,
        machine=Machine(program),
        batches=batches,
    )


def batches_of(model: Model, sentences: Sequence[str], size: int) -> list[Rows]:
    """Ids in batches of similar length."""
    rows = model.encode(sentences, "text")
    return [[rows[i] for i in indices] for indices in by_length(rows, size)]


def random_rows(config: TransformerConfig, count: int, length: int, seed: int) -> list[list[int]]:
    """Sentences of random ids and one length, EOS included."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(EOS + 1, config.vocabulary_size, (count, length - 1), generator=generator)
    return [[*row, EOS] for row in ids.tolist()]


def random_model(config: TransformerConfig, seed: int) -> Transformer:
    """The model that a seed gives; the state of torch's generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(config).eval()


def random_ranges(network: Transformer, seed: int) -> dict[str, Range]:
    """What its sites take on random sentences."""
    rows = random_rows(network.config, 16, RANDOM_LENGTH, seed)
    pairs = list(zip(rows, rows[::-1], strict=True))
    found: list[Batch] = list(bucketed(pairs, len(rows) * RANDOM_LENGTH))
    return calibrate(network, found)
