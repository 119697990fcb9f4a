"""The model written down as a list of nodes: which operation makes which site from which."""

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from reference.models.arithmetic import KeyValue, Mask
from reference.models.translation import Transformer


class Kind(str, Enum):
    """Operations of `reference.models.arithmetic.Arithmetic`, one member each."""

    EMBED = "embed"
    LINEAR = "linear"
    LINEAR_RELU = "linear_relu"
    SPLIT_HEADS = "split_heads"
    PROJECT_HEADS = "project_heads"
    SCORES = "scores"
    SOFTMAX = "softmax"
    CONTEXT = "context"
    ADD = "add"
    LAYERNORM = "layernorm"
    EXTEND = "extend"
    LOGITS = "logits"


@dataclass(frozen=True, kw_only=True)
class Symbol:
    """A tensor in the graph: its name, the site whose quantizer its codes have, and its dimensions."""

    name: str
    site: str
    dims: tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation. `site` names it; softmax and LayerNorm have inner sites, the last of them `output`.

    Projected heads are named by their output, as what they are where a target merges heads: a product with a weight.
    """

    kind: Kind
    site: str
    function: str
    inputs: tuple[Symbol, ...]
    output: Symbol
    module: nn.Module | None = None
    mask: str | None = None


class Tracer:
    """`reference.models.arithmetic.Arithmetic` over symbols: runs the model once and keeps its nodes."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.function = ""

    def _add(
        self,
        kind: Kind,
        site: str,
        inputs: tuple[Symbol, ...],
        output: Symbol,
        module: nn.Module | None = None,
        mask: Mask | None = None,
    ) -> Symbol:
        self.nodes.append(
            Node(
                kind=kind,
                site=site,
                function=self.function,
                inputs=inputs,
                output=output,
                module=module,
                mask=mask.name if mask else None,
            )
        )
        return output

    def embed(
        self, site: str, ids: Tensor, first_position: Tensor, embedding: nn.Embedding, positions: Tensor
    ) -> Symbol:
        length = "source" if site.startswith("encoder") else "target"
        output = Symbol(name=site, site=site, dims=("batch", length, embedding.embedding_dim))
        return self._add(Kind.EMBED, site, (), output, embedding)

    def linear(self, site: str, x: Symbol, layer: nn.Linear) -> Symbol:
        return self._add(Kind.LINEAR, site, (x,), _like(x, site, layer.out_features), layer)

    def linear_relu(self, site: str, x: Symbol, layer: nn.Linear) -> Symbol:
        return self._add(Kind.LINEAR_RELU, site, (x,), _like(x, site, layer.out_features), layer)

    def split_heads(self, x: Symbol, n_heads: int) -> Symbol:
        batch, length, inner = x.dims
        dims = (batch, n_heads, length, int(inner) // n_heads)
        return self._add(Kind.SPLIT_HEADS, x.site, (x,), Symbol(name=f"{x.name}.heads", site=x.site, dims=dims))

    def project_heads(self, site: str, x: Symbol, layer: nn.Linear) -> Symbol:
        output = Symbol(name=f"{site}.output", site=f"{site}.output", dims=(x.dims[0], x.dims[2], layer.out_features))
        return self._add(Kind.PROJECT_HEADS, output.site, (x,), output, layer)

    def scores(self, site: str, queries: Symbol, keys: Symbol) -> Symbol:
        return self._add(Kind.SCORES, site, (queries, keys), _like(queries, site, keys.dims[2]))

    def softmax(self, site: str, scores: Symbol, mask: Mask | None) -> Symbol:
        output = _like(scores, f"{site}.output", scores.dims[-1])
        return self._add(Kind.SOFTMAX, site, (scores,), output, mask=mask)

    def context(self, site: str, probabilities: Symbol, values: Symbol) -> Symbol:
        return self._add(Kind.CONTEXT, site, (probabilities, values), _like(probabilities, site, values.dims[-1]))

    def add(self, site: str, x: Symbol, y: Symbol) -> Symbol:
        return self._add(Kind.ADD, site, (x, y), _like(x, site, x.dims[-1]))

    def layernorm(self, site: str, x: Symbol, norm: nn.LayerNorm) -> Symbol:
        return self._add(Kind.LAYERNORM, site, (x,), _like(x, f"{site}.output", x.dims[-1]), norm)

    def extend(self, site: str, past: Symbol, x: Symbol) -> Symbol:
        output = Symbol(name=site, site=x.site, dims=(*x.dims[:2], "keys", x.dims[3]))
        return self._add(Kind.EXTEND, site, (past, x), output)

    def logits(self, site: str, x: Symbol, embedding: nn.Embedding) -> Symbol:
        return self._add(Kind.LOGITS, site, (x,), _like(x, site, embedding.num_embeddings), embedding)

    def dropout(self, x: Symbol) -> Symbol:
        return x


def _like(x: Symbol, site: str, last: str | int) -> Symbol:
    """A new tensor with the dimensions of x, but for the last."""
    return Symbol(name=site, site=site, dims=(*x.dims[:-1], last))


@dataclass(frozen=True, kw_only=True)
class Graph:
    """All nodes in order, functions `encode` then `decode_step`, and the tensors that go between calls."""

    nodes: tuple[Node, ...]
    cross: tuple[KeyValue[Symbol], ...]
    past: tuple[KeyValue[Symbol], ...]
    present: tuple[KeyValue[Symbol], ...]
    logits: Symbol


def trace(model: Transformer) -> Graph:
    """The graph of one `encode` and one `decode_step` (one new position, a cache of earlier ones)."""
    tracer = Tracer()
    nothing = torch.zeros(1, 1, dtype=torch.int64)
    mask = Mask("source_mask", nothing.bool())
    tracer.function = "encode"
    cross = model.encode(tracer, nothing, mask)
    tracer.function = "decode_step"
    dims = ("batch", model.config.n_heads, "past", model.config.d_head)
    past = []
    for i in range(model.config.decoder_layers):
        names = [f"decoder.{i}.self_attention.{part}" for part in ("key", "value")]
        past.append(KeyValue(*(Symbol(name=f"{name}_past", site=name, dims=dims) for name in names)))
    position = torch.zeros((), dtype=torch.int64)
    logits, present = model.decode(tracer, nothing, cross, past, mask, first_position=position, target_mask=None)
    return Graph(nodes=tuple(tracer.nodes), cross=tuple(cross), past=tuple(past), present=tuple(present), logits=logits)
