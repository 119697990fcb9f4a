"""Decoders: GPT-2 (Radford et al., 2019, section 2.3), pre-norm, GELU by table."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import ClassVar

from hwsim.accelerator.layers import Layer, Phase, Size
from hwsim.accelerator.workloads.blocks import (
    attend,
    attention,
    decoded,
    embedding,
    feed_forward,
    key_value,
    layernorm,
    logits,
    stacked,
)
from hwsim.accelerator.workloads.sizes import Shape, Sizes, Widths


class Gpt2(Shape, frozen=True, kw_only=True):
    """Phases `prefill` of `source_length` tokens, with logits of the last alone, and `decode`, a step a new token.

    Queries, keys and values are three products. The context is what was prefilled, if it is not told. Scores that the
    causal mask hides are counted.
    """

    layers: Size
    vocabulary: Size
    positions: Size | None = None

    DEFAULTS: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"batch": 1, "source_length": 128, "target_length": 32, "context": -1, "beam": 1}
    )

    def phases(self, sizes: Sizes, widths: Widths) -> tuple[Phase, ...]:
        s, rows = sizes, sizes.hypotheses
        prefill = _pass(self, s.batch, s.source_length, s.source_length, widths, fresh=False)
        step = _pass(self, rows, 1, s.steps[0], widths, fresh=True)
        grown = partial(_step_attention, self, rows, widths)
        return (
            Phase(name="prefill", tokens=s.batch * s.source_length, layers=prefill),
            Phase(name="decode", tokens=s.batch * s.target_length, layers=tuple(decoded(s.steps, step, grown))),
        )


def _step_attention(model: Gpt2, rows: int, widths: Widths, keys: int) -> tuple[Layer, ...]:
    return attention("self_attention", rows, 1, keys, model, widths, cached=True, fresh=True)


def _pass(model: Gpt2, sequences: int, queries: int, keys: int, widths: Widths, *, fresh: bool) -> tuple[Layer, ...]:
    """The whole model on `queries` tokens of each sequence: the residual stream keeps the residual's width."""
    w, rows, d_model = widths, sequences * queries, model.d_model
    block = (
        layernorm("self_attention.layernorm.output", rows, d_model, w),
        *key_value("self_attention", rows, model, w, cached=True),
        *attend(
            "self_attention", sequences, queries, keys, model, w, residual_bits=w.residual, cached=True, fresh=fresh
        ),
        layernorm("feed_forward.layernorm.output", rows, d_model, w),
        *feed_forward("feed_forward", rows, model, w, residual_bits=w.residual),
    )
    return (
        embedding("decoder.embedding", rows, d_model, w, w.residual),
        *stacked(model.layers, block, "decoder"),
        layernorm("decoder.layernorm.output", sequences, d_model, w),
        logits("generator.logits", sequences, d_model, model.vocabulary, w),
    )


SMALL = Gpt2(layers=12, d_model=768, n_heads=12, d_ff=3072, vocabulary=50257, positions=1024)
