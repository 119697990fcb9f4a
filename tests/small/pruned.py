"""Ways to prune or spoil a model: rows, heads, layers and embeddings that are 0, vanish, or never speak."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from reference.models.translation import Attention, Transformer

Pruning = Callable[[Transformer], None]


def _zero(*modules: nn.Module) -> None:
    for module in modules:
        for parameter in module.parameters():
            parameter.zero_()


def _bias_only(layer: nn.Module, value: float) -> None:
    """Weights of 0 and one bias."""
    assert isinstance(layer, nn.Linear | nn.LayerNorm)
    layer.weight.zero_()
    layer.bias.fill_(value)


def _row(layer: nn.Linear, weight: float, bias: float) -> None:
    layer.weight[1] = weight
    layer.bias[1] = bias


def _faint(layer: nn.Module, factor: float, bias: float) -> None:
    assert isinstance(layer, nn.Linear | nn.LayerNorm)
    layer.weight.mul_(factor)
    layer.bias.fill_(bias)


def _head(attention: Attention) -> None:
    """The first head, all of it."""
    width = len(attention.query.weight) // attention.n_heads
    for layer in (attention.query, attention.key, attention.value):
        layer.weight[:width] = 0
        layer.bias[:width] = 0
    attention.output.weight[:, :width] = 0


def _biases(model: Transformer) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()


def _beside_eps(layer: Any) -> None:
    """What the LayerNorm after the feed-forward layer reads is far below the root of its eps."""
    _faint(layer.attention_residual.norm, 1e-7, 0.0)
    _zero(layer.feed_forward)


def _even(layer: Any) -> None:
    """What the LayerNorm after the feed-forward layer reads has one value in all channels, beside a great gamma."""
    _bias_only(layer.attention_residual.norm, 0.5)
    _zero(layer.feed_forward)
    _faint(layer.feed_forward_residual.norm, 300.0, 1e-6)


def _e(model: Transformer) -> Any:
    return model.encoder[0]


def _d(model: Transformer) -> Any:
    return model.decoder[0]


PRUNINGS: dict[str, Pruning] = {
    "a row": lambda m: _row(_e(m).self_attention.key, 0.0, 0.0),
    "a row but its bias": lambda m: _row(_e(m).feed_forward.expand, 0.0, 5.0),
    "a column": lambda m: _e(m).feed_forward.expand.weight[:, 1].zero_(),
    "a head": lambda m: _head(_d(m).cross_attention),
    "a value projection": lambda m: _zero(_e(m).self_attention.value),
    "a value projection but its bias": lambda m: _bias_only(_d(m).cross_attention.value, 0.7),
    "queries": lambda m: _zero(_e(m).self_attention.query),
    "keys of a cache": lambda m: _zero(_d(m).self_attention.key),
    "queries but their bias": lambda m: _bias_only(_e(m).self_attention.query, 0.3),
    "an attention's output": lambda m: _zero(_d(m).self_attention.output),
    "an attention's output but its bias": lambda m: _bias_only(_e(m).self_attention.output, 0.5),
    "a feed-forward layer": lambda m: _zero(_e(m).feed_forward),
    "a dead ReLU": lambda m: _e(m).feed_forward.expand.bias.fill_(-100.0),
    "a dead ReLU by far": lambda m: _d(m).feed_forward.expand.bias.fill_(-1e9),
    "a dead unit by far": lambda m: _row(_d(m).feed_forward.expand, 0.1, -1e12),
    "a decoder layer": lambda m: _zero(_d(m)),
    "an encoder layer": lambda m: _zero(_e(m)),
    "embedding rows": lambda m: m.source_embedding.weight[5:9].zero_(),
    "source embeddings": lambda m: _zero(m.source_embedding),
    "target embeddings": lambda m: _zero(m.target_embedding),
    "the generator": lambda m: _zero(m.generator),
    "gammas of channels": lambda m: _e(m).attention_residual.norm.weight[:3].zero_(),
    "a gamma": lambda m: _zero(_e(m).attention_residual.norm),
    "a gamma but its beta": lambda m: _bias_only(_d(m).feed_forward_residual.norm, 0.75),
    "biases": _biases,
    "everything": lambda m: _zero(m),
}
"""What is 0 of a model, or what makes it 0."""

VANISHINGS: dict[str, Pruning] = {
    "a row of queries beside its bias": lambda m: _row(_e(m).self_attention.query, 1e-9, 5.0),
    "a row of values beside its bias": lambda m: _row(_e(m).self_attention.value, 1e-9, 5.0),
    "a row of an output beside its bias": lambda m: _row(_e(m).feed_forward.contract, 1e-9, 5.0),
    "a row": lambda m: _row(_e(m).self_attention.query, 1e-30, 0.0),
    "a subnormal row": lambda m: _row(_e(m).self_attention.query, 1e-44, 0.0),
    "a matrix beside its bias": lambda m: _faint(_e(m).feed_forward.contract, 1e-9, 0.5),
    "values": lambda m: _faint(_e(m).self_attention.value, 1e-12, 0.0),
    "values beside their bias": lambda m: _faint(_d(m).self_attention.value, 1e-12, 0.5),
    "an output": lambda m: _faint(_e(m).feed_forward.contract, 1e-12, 0.0),
    "queries": lambda m: _faint(_e(m).self_attention.query, 1e-12, 0.0),
    "hidden units": lambda m: _faint(_e(m).feed_forward.expand, 1e-12, 0.0),
    "a gamma": lambda m: _faint(_e(m).attention_residual.norm, 1e-9, 0.0),
    "a gamma beside its beta": lambda m: _faint(_e(m).attention_residual.norm, 1e-9, 0.75),
    "a deviation beside eps": lambda m: _beside_eps(_e(m)),
    "differences between channels": lambda m: _even(_e(m)),
}
"""What of a model is too small to be heard."""


@torch.no_grad()
def pruned(model: Transformer, *prunings: Pruning) -> Transformer:
    """The model itself, pruned."""
    for prune in prunings:
        prune(model)
    return model
