"""Small Transformers of random weights, by the names of their sizes, and their sites."""

import functools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hwsim.program.targets import DEFAULT_TARGET, TARGETS
from reference.checkpoint import save_checkpoint
from reference.models.translation import Transformer, TransformerConfig
from reference.quantize.graph import trace
from reference.quantize.sites import Site, enumerate_sites

TINY = TransformerConfig(
    vocabulary_size=20,
    d_model=8,
    n_heads=2,
    d_head=4,
    d_ff=12,
    encoder_layers=1,
    decoder_layers=1,
    max_positions=12,
)
"""One layer each, small enough for pure Python."""
TINY_TEXT = replace(TINY, vocabulary_size=64, max_positions=32)
"""TINY for real words: it has a row for each of the 64 pieces of the fixture `vocabulary`."""
LEARNING = replace(TINY_TEXT, d_model=16, d_head=8, d_ff=32, max_positions=64)
"""As TINY_TEXT, and wide enough to learn the words of the fixture `small_text`."""
ODD = replace(TINY, d_model=12, d_head=5, d_ff=14)
"""As TINY, but no width is a power of two, and d_head is not d_model / n_heads."""
TWO_LAYERS = {"encoder_layers": 2, "decoder_layers": 2}
"""The change that makes a model of one layer each one of two."""


def small_model(config: TransformerConfig = TINY, seed: int = 0, **changes: Any) -> Transformer:
    """The model that the seed gives, in evaluation mode; `changes` are fields of the configuration."""
    torch.manual_seed(seed)
    return Transformer(replace(config, **changes)).eval()


def save_tiny_model(folder: Path, vocabulary: Path, **changes: Any) -> Transformer:
    """A TINY_TEXT with changed fields, stored with its vocabulary as `hwsim` reads models; the model is returned."""
    model = small_model(TINY_TEXT, seed=5, **changes)
    save_checkpoint(folder, model.config, model.state_dict())
    shutil.copy(vocabulary, folder / "vocabulary.model")
    return model


@functools.cache
def sites_of(
    encoder_layers: int = 1, decoder_layers: int = 1, *, target: str = DEFAULT_TARGET, tied: bool = True
) -> dict[str, Site]:
    """Every site of a model with so many layers under a target; no width decides them."""
    config = replace(TINY, encoder_layers=encoder_layers, decoder_layers=decoder_layers, tied=tied)
    return enumerate_sites(trace(Transformer(config)), TARGETS[target])
