"""Encoder-decoder Transformers: post-norm, ReLU (Vaswani et al., 2017, sections 3 and 6.2, table 3)."""

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
    encoder_block,
    feed_forward,
    key_value,
    logits,
    post_norm,
    stacked,
)
from hwsim.accelerator.workloads.sizes import Activation, Shape, Sizes, Widths


class EncoderDecoder(Shape, frozen=True, kw_only=True):
    """Phases `encode`, which ends with the keys and values of cross-attention, and `decode`, a step a target token.

    Attributes
    ----------
    vocabulary
        Of the target: the generator's columns.
    positions
        Greatest length; None is any.
    """

    encoder_layers: Size
    decoder_layers: Size
    vocabulary: Size
    positions: Size | None = None
    activation: Activation = Activation.RELU

    DEFAULTS: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"batch": 1, "source_length": 20, "target_length": 20, "context": 0, "beam": 1}
    )

    def phases(self, sizes: Sizes, widths: Widths) -> tuple[Phase, ...]:
        grown = partial(_self_attention, self, sizes, widths)
        decode = tuple(decoded(sizes.steps, _first_step(self, sizes, widths), grown))
        return (
            Phase(name="encode", tokens=sizes.batch * sizes.source_length, layers=_encode(self, sizes, widths)),
            Phase(name="decode", tokens=sizes.batch * sizes.target_length, layers=decode),
        )


def _encode(model: EncoderDecoder, sizes: Sizes, widths: Widths) -> tuple[Layer, ...]:
    rows = sizes.batch * sizes.source_length
    memory = key_value("cross_attention", rows, model, widths, cached=True)
    return (
        embedding("encoder.embedding", rows, model.d_model, widths, widths.activation),
        *stacked(model.encoder_layers, encoder_block(sizes.batch, sizes.source_length, model, widths), "encoder"),
        *stacked(model.decoder_layers, memory, "decoder"),
    )


def _self_attention(model: EncoderDecoder, sizes: Sizes, widths: Widths, keys: int) -> tuple[Layer, ...]:
    return attention("self_attention", sizes.hypotheses, 1, keys, model, widths, cached=True, fresh=True)


def _first_step(model: EncoderDecoder, sizes: Sizes, widths: Widths) -> tuple[Layer, ...]:
    """Every decode step with the keys of the first: one query a hypothesis, which reads caches of its own."""
    w, rows, bits = widths, sizes.hypotheses, widths.activation
    own = (
        *key_value("self_attention", rows, model, w, cached=True),
        *attend("self_attention", rows, 1, sizes.steps[0], model, w, residual_bits=bits, cached=True, fresh=True),
    )
    cross = attend("cross_attention", rows, 1, sizes.source_length, model, w, residual_bits=bits, cached=True)
    block = (
        *post_norm(own, rows, model, w),
        *post_norm(cross, rows, model, w),
        *post_norm(feed_forward("feed_forward", rows, model, w, residual_bits=bits), rows, model, w),
    )
    return (
        embedding("decoder.embedding", rows, model.d_model, w, bits),
        *stacked(model.decoder_layers, block, "decoder"),
        logits("generator.logits", rows, model.d_model, model.vocabulary, w),
    )


BASE = EncoderDecoder(encoder_layers=6, decoder_layers=6, d_model=512, n_heads=8, d_ff=2048, vocabulary=37000)
"""Vaswani et al., table 3, base: a shared vocabulary of about 37000 tokens."""
BIG = EncoderDecoder(encoder_layers=6, decoder_layers=6, d_model=1024, n_heads=16, d_ff=4096, vocabulary=37000)
"""The same table, big."""
TINY11 = EncoderDecoder(
    encoder_layers=3, decoder_layers=3, d_model=256, n_heads=4, d_ff=1024, vocabulary=4000, positions=256
)
"""The model that this project ships."""
