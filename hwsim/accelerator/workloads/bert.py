"""Encoders: BERT (Devlin et al., 2019, section 3) and MobileBERT (Sun et al., 2020, table 1 and section 3)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import msgspec
from msgspec import structs

from hwsim.accelerator.datapath import requantize_terms
from hwsim.accelerator.events import Operand
from hwsim.accelerator.layers import Layer, Phase, Rows, Size, Stream
from hwsim.accelerator.workloads.blocks import (
    ID_BITS,
    MULTIPLIER_BITS,
    attend,
    embedding,
    encoder_block,
    feed_forward,
    layernorm,
    linear,
    logits,
    nonorm,
    row_layer,
    stacked,
)
from hwsim.accelerator.workloads.sizes import Activation, Shape, Sizes, Widths

FORWARD: Mapping[str, int] = MappingProxyType({"batch": 1, "source_length": 128})


class Bert(Shape, frozen=True, kw_only=True):
    """Phase `forward`: embedding and its LayerNorm, post-norm blocks with GELU by table, a head if it has labels.

    Segments are folded into the position table.

    Attributes
    ----------
    labels
        Of the classifier behind the pooler, on the first token; None: neither is there.
    """

    layers: Size
    positions: Size | None = 512
    labels: Size | None = None

    DEFAULTS: ClassVar[Mapping[str, int]] = FORWARD

    def phases(self, sizes: Sizes, widths: Widths) -> tuple[Phase, ...]:
        rows, d_model = sizes.batch * sizes.source_length, self.d_model
        layers = (
            embedding("encoder.embedding", rows, d_model, widths, widths.residual),
            layernorm("encoder.embedding.layernorm.output", rows, d_model, widths),
            *stacked(self.layers, encoder_block(sizes.batch, sizes.source_length, self, widths), "encoder"),
            *(_head(self, self.labels, sizes, widths) if self.labels else ()),
        )
        return (Phase(name="forward", tokens=rows, layers=layers),)


def _head(model: Bert, labels: int, sizes: Sizes, widths: Widths) -> tuple[Layer, ...]:
    """Pooler, with tanh by table, and classifier."""
    rows, d_model = sizes.batch, model.d_model
    return (
        linear("pooler.output", rows, d_model, d_model, widths, activation=Activation.TABLE),
        logits("classifier.logits", rows, d_model, labels, widths, bias=True),
    )


class MobileBert(msgspec.Struct, frozen=True, kw_only=True):
    """Phase `forward`: blocks whose attention and stacked feed-forwards run at the bottleneck's width, NoNorm, ReLU.

    Queries and keys read a bottleneck of their own, values the block's input.

    Attributes
    ----------
    d_model
        Between blocks; the bottleneck is d_model of `inner`.
    d_embedding
        Of a token; three neighbours together are projected to d_model.
    """

    layers: Size
    d_model: Size
    d_embedding: Size
    feed_forwards: Size
    inner: Shape
    positions: Size | None = 512

    DEFAULTS: ClassVar[Mapping[str, int]] = FORWARD

    def phases(self, sizes: Sizes, widths: Widths) -> tuple[Phase, ...]:
        rows = sizes.batch * sizes.source_length
        layers = (
            *_trigrams(self, rows, widths),
            *stacked(self.layers, _bottleneck_block(self, sizes, widths), "encoder"),
        )
        return (Phase(name="forward", tokens=rows, layers=layers),)


def _trigrams(model: MobileBert, rows: int, widths: Widths) -> tuple[Layer, ...]:
    """Look-up, three tokens to d_model, positions (segments folded in) as the residual operand, NoNorm."""
    n, bits = model.d_embedding, widths.activation
    read = (
        Stream(operand=Operand.ACTIVATION, elements=1, bits=ID_BITS),
        Stream(operand=Operand.WEIGHT, elements=n, bits=widths.weight),
        Stream(operand=Operand.WEIGHT, elements=1, bits=MULTIPLIER_BITS),
    )
    projection = linear("encoder.embedding.projection", rows, 3 * n, model.d_model, widths, residual_bits=widths.weight)
    assert projection.product is not None
    looked_up = Rows(rows=rows, inputs=read, outputs=(Stream(operand=Operand.ACTIVATION, elements=n, bits=bits),))
    return (
        row_layer("encoder.embedding", "embed", looked_up, requantize_terms(rows * n, widths.weight, bits), passes=1),
        structs.replace(projection, product=structs.replace(projection.product, residual=Operand.WEIGHT)),
        nonorm("encoder.embedding.nonorm.output", rows, model.d_model, widths, widths.residual),
    )


def _bottleneck_block(model: MobileBert, sizes: Sizes, widths: Widths) -> tuple[Layer, ...]:
    """One block: bottlenecks, attention, feed-forwards, and the way back to d_model with the block's residual sum."""
    w, inner, rows, bits = widths, model.inner, sizes.batch * sizes.source_length, widths.activation
    wide, narrow, heads = model.d_model, inner.d_model, inner.n_heads
    projected = heads * inner.head

    def normed(layer: Layer, n: int, input_bits: int) -> tuple[Layer, Layer]:
        return layer, nonorm(f"{layer.name.removesuffix('.output')}.nonorm.output", rows, n, w, input_bits)

    *mix, mixed = attend(
        "self_attention", sizes.batch, sizes.source_length, sizes.source_length, inner, w, residual_bits=bits
    )
    layers = [
        *normed(linear("bottleneck.input", rows, wide, narrow, w), narrow, bits),
        *normed(linear("bottleneck.shared", rows, wide, narrow, w), narrow, bits),
        linear("self_attention.key", rows, narrow, projected, w, output_heads=heads),
        linear("self_attention.value", rows, wide, projected, w, output_heads=heads),
        *mix,
        *normed(mixed, narrow, w.residual),
    ]
    for index in range(model.feed_forwards):
        hidden, output = feed_forward(f"feed_forward.{index}", rows, inner, w, residual_bits=bits)
        layers += (hidden, *normed(output, narrow, w.residual))
    back = linear("bottleneck.output", rows, narrow, wide, w, residual_bits=bits)
    return *layers, *normed(back, wide, w.residual)


BASE = Bert(layers=12, d_model=768, n_heads=12, d_ff=3072)
LARGE = Bert(layers=24, d_model=1024, n_heads=16, d_ff=4096)
MOBILE = MobileBert(
    layers=24,
    d_model=512,
    d_embedding=128,
    feed_forwards=4,
    inner=Shape(d_model=128, n_heads=4, d_ff=512, activation=Activation.RELU),
)
