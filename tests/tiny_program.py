"""A lowered model small enough for pure Python, with every kind of operation."""

import random

import torch

from hwsim.program import Program
from reference.lower import lower
from reference.models.translation import Transformer, TransformerConfig
from reference.quantize.calibrate import calibrate
from reference.quantize.plan import make_plan
from reference.quantize.scheme import Scheme
from reference.tokenizer import EOS
from reference.train import make_batch

CONFIG = TransformerConfig(
    vocabulary_size=20,
    d_model=8,
    n_heads=2,
    d_head=4,
    d_ff=12,
    encoder_layers=1,
    decoder_layers=1,
    max_positions=12,
)


def sentences(count: int) -> list[list[int]]:
    """Sentences of different lengths, ended by EOS."""
    rng = random.Random(1)
    return [[*(rng.randrange(4, 20) for _ in range(2 + 2 * i)), EOS] for i in range(count)]


def tiny_program(scheme: Scheme) -> Program:
    """A model of random weights under a scheme."""
    torch.manual_seed(3)
    model = Transformer(CONFIG).eval()
    batch = make_batch([(row, row) for row in sentences(4)])
    return lower(model, make_plan(model, scheme, calibrate(model, [batch])), name="tiny")
