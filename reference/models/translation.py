"""The Transformer of Vaswani et al. (2017): encoder-decoder, post-norm, ReLU, sinusoidal positions.

The model is written once, over an `Arithmetic`: a small set of tensor operations, each told the *site* (the name) of
the tensor that it makes. `reference.floating` gives the operations in float, `reference.quantize.strict` in fake-quant;
`reference.quantize.graph` writes them down, which is what lowering reads. So all three run the same model.

Dimensions: b batch, s source, t target, h heads, e = d_head, d = d_model, f = d_ff, v vocabulary.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from reference.models.arithmetic import Arithmetic, KeyValue, Mask, V

MOST = 1 << 24
"""Of any size, and of the elements of the position table, which is the one array that no weight bears out."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    vocabulary_size: int
    d_model: int = 256
    n_heads: int = 4
    d_head: int = 64
    d_ff: int = 1024
    encoder_layers: int = 3
    decoder_layers: int = 3
    max_positions: int = 256
    tied: bool = True

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            kind = bool if name == "tied" else int
            if type(value) is not kind:
                raise ValueError(f"{name} is {value!r:.60}; it must be of type {kind.__name__}")
            if kind is int and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
            if value > MOST:
                raise ValueError(f"{name} is above {MOST}, the most")
        if self.d_model % 2:
            raise ValueError(f"d_model is {self.d_model}; sinusoidal positions need an even number")
        if (elements := self.max_positions * self.d_model) > MOST:
            raise ValueError(f"max_positions * d_model is {elements}; it must be at most {MOST}")


def sinusoidal_positions(count: int, d_model: int) -> Tensor:
    """Position table (count, d_model), sine and cosine interleaved (Vaswani et al., section 3.5)."""
    position = torch.arange(count, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float64) * (-math.log(10000.0) / d_model))
    table = torch.stack((torch.sin(position * rate), torch.cos(position * rate)), dim=-1)
    return table.reshape(count, d_model).float()


class Attention(nn.Module):
    """Multi-head attention; `site` is its name in the model, for example encoder.0.self_attention."""

    def __init__(self, site: str, config: TransformerConfig) -> None:
        super().__init__()
        inner = config.n_heads * config.d_head
        self.site, self.n_heads = site, config.n_heads
        self.query = nn.Linear(config.d_model, inner)
        self.key = nn.Linear(config.d_model, inner)
        self.value = nn.Linear(config.d_model, inner)
        self.output = nn.Linear(inner, config.d_model)

    def remember(self, ops: Arithmetic[V], memory: V) -> KeyValue[V]:
        """Keys and values of the positions that are attended to."""
        return KeyValue(
            ops.split_heads(ops.linear(f"{self.site}.key", memory, self.key), self.n_heads),
            ops.split_heads(ops.linear(f"{self.site}.value", memory, self.value), self.n_heads),
        )

    def forward(self, ops: Arithmetic[V], x: V, memory: KeyValue[V], mask: Mask | None) -> V:
        queries = ops.split_heads(ops.linear(f"{self.site}.query", x, self.query), self.n_heads)  # b,h,t,e
        scores = ops.scores(f"{self.site}.scores", queries, memory.keys)  # b,h,t,s
        probabilities = ops.softmax(f"{self.site}.softmax", scores, mask)  # b,h,t,s
        context = ops.context(f"{self.site}.context", probabilities, memory.values)  # b,h,t,e
        return ops.project_heads(self.site, context, self.output)  # b,t,d


class Residual(nn.Module):
    """LayerNorm(x + sublayer(x)), the post-norm residual."""

    def __init__(self, site: str, config: TransformerConfig) -> None:
        super().__init__()
        self.site = site
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, ops: Arithmetic[V], x: V, sublayer_output: V) -> V:
        total = ops.add(f"{self.site}.residual", x, ops.dropout(sublayer_output))
        return ops.layernorm(f"{self.site}.layernorm", total, self.norm)


class FeedForward(nn.Module):
    def __init__(self, site: str, config: TransformerConfig) -> None:
        super().__init__()
        self.site = site
        self.expand = nn.Linear(config.d_model, config.d_ff)
        self.contract = nn.Linear(config.d_ff, config.d_model)

    def forward(self, ops: Arithmetic[V], x: V) -> V:
        hidden = ops.linear_relu(f"{self.site}.hidden", x, self.expand)  # b,n,f
        return ops.linear(f"{self.site}.output", ops.dropout(hidden), self.contract)  # b,n,d


class EncoderLayer(nn.Module):
    def __init__(self, site: str, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = Attention(f"{site}.self_attention", config)
        self.attention_residual = Residual(f"{site}.self_attention", config)
        self.feed_forward = FeedForward(f"{site}.feed_forward", config)
        self.feed_forward_residual = Residual(f"{site}.feed_forward", config)

    def forward(self, ops: Arithmetic[V], x: V, mask: Mask) -> V:
        memory = self.self_attention.remember(ops, x)
        x = self.attention_residual(ops, x, self.self_attention(ops, x, memory, mask))
        return self.feed_forward_residual(ops, x, self.feed_forward(ops, x))  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    def __init__(self, site: str, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = Attention(f"{site}.self_attention", config)
        self.self_attention_residual = Residual(f"{site}.self_attention", config)
        self.cross_attention = Attention(f"{site}.cross_attention", config)
        self.cross_attention_residual = Residual(f"{site}.cross_attention", config)
        self.feed_forward = FeedForward(f"{site}.feed_forward", config)
        self.feed_forward_residual = Residual(f"{site}.feed_forward", config)

    def forward(
        self,
        ops: Arithmetic[V],
        x: V,
        source: KeyValue[V],
        past: KeyValue[V] | None,
        source_mask: Mask,
        target_mask: Mask | None,
    ) -> tuple[V, KeyValue[V]]:
        memory = self.self_attention.remember(ops, x)
        if past is not None:
            name = self.self_attention.site
            memory = KeyValue(
                ops.extend(f"{name}.key_cache", past.keys, memory.keys),
                ops.extend(f"{name}.value_cache", past.values, memory.values),
            )
        x = self.self_attention_residual(ops, x, self.self_attention(ops, x, memory, target_mask))
        x = self.cross_attention_residual(ops, x, self.cross_attention(ops, x, source, source_mask))
        return self.feed_forward_residual(ops, x, self.feed_forward(ops, x)), memory


class Transformer(nn.Module):
    """The whole model. Weights only; the arithmetic comes as an argument. `positions` is the table, if there is one."""

    positions: Tensor

    def __init__(self, config: TransformerConfig, positions: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.source_embedding = nn.Embedding(config.vocabulary_size, config.d_model)
        self.target_embedding = self.source_embedding
        self.generator = self.source_embedding
        if not config.tied:
            self.target_embedding = nn.Embedding(config.vocabulary_size, config.d_model)
            self.generator = nn.Embedding(config.vocabulary_size, config.d_model)
        if positions is None:
            positions = sinusoidal_positions(config.max_positions, config.d_model)
        self.register_buffer("positions", positions, persistent=False)
        self.encoder = nn.ModuleList(EncoderLayer(f"encoder.{i}", config) for i in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(f"decoder.{i}", config) for i in range(config.decoder_layers))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for embedding in dict.fromkeys((self.source_embedding, self.target_embedding, self.generator)):
            nn.init.normal_(embedding.weight, std=config.d_model**-0.5)

    def encode(self, ops: Arithmetic[V], ids: Tensor, mask: Mask) -> list[KeyValue[V]]:
        """Source ids (b,s) to the keys and values that each decoder layer's cross attention reads."""
        start = torch.zeros((), dtype=torch.int64)
        x = ops.dropout(ops.embed("encoder.embedding", ids, start, self.source_embedding, self.positions))
        for layer in self.encoder:
            x = layer(ops, x, mask)
        return [cast(DecoderLayer, layer).cross_attention.remember(ops, x) for layer in self.decoder]

    def decode(
        self,
        ops: Arithmetic[V],
        ids: Tensor,
        source: list[KeyValue[V]],
        past: list[KeyValue[V]] | None,
        source_mask: Mask,
        *,
        first_position: Tensor,
        target_mask: Mask | None,
    ) -> tuple[V, list[KeyValue[V]]]:
        """Target ids (b,t) to logits (b,t,v), and the keys and values to pass as `past` for the next position.

        With `past` None the whole target is decoded at once, under a causal `target_mask`.
        """
        x = ops.dropout(ops.embed("decoder.embedding", ids, first_position, self.target_embedding, self.positions))
        present = []
        for i, layer in enumerate(self.decoder):
            x, memory = layer(ops, x, source[i], past[i] if past is not None else None, source_mask, target_mask)
            present.append(memory)
        return ops.logits("generator.logits", x, self.generator), present


def source_mask(ids: Tensor, pad: int) -> Mask:
    """Padding of the source is invisible: (b,s) ids to (b,1,1,s)."""
    return Mask("source_mask", (ids != pad)[:, None, None, :])


def causal_mask(length: int) -> Mask:
    """Position i sees positions 0..i: (1,1,length,length)."""
    return Mask("causal_mask", torch.ones(length, length, dtype=torch.bool).tril()[None, None])
