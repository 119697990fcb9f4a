"""What a number system must offer to run a model: a small set of tensor operations, each told the site that it makes.

Dimensions: b batch, s source, t target, n positions, h heads, e = d_head, d = d_model, v vocabulary.
"""

from typing import Generic, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

V = TypeVar("V")
"""A value of an arithmetic: a float tensor, a tensor of codes, or a name in a program."""


class Mask(NamedTuple):
    """Which keys a query may see: `name` for a program's reader, `allowed` (bool, broadcast to b,h,queries,keys)."""

    name: str
    allowed: Tensor


class KeyValue(NamedTuple, Generic[V]):
    """Projected keys and values of one attention, (b, h, positions, e) each."""

    keys: V
    values: V


class Arithmetic(Protocol[V]):
    """What a number system must offer to run the model. `site` names the result; `d` etc. are real dimensions."""

    def embed(self, site: str, ids: Tensor, first_position: Tensor, embedding: nn.Embedding, positions: Tensor) -> V:
        """embedding[ids] * sqrt(d) + positions[first_position + 0, 1, ...]: (b,n) -> (b,n,d)."""

    def linear(self, site: str, x: V, layer: nn.Linear) -> V:
        """x @ weight.T + bias: (b,n,in) -> (b,n,out)."""

    def linear_relu(self, site: str, x: V, layer: nn.Linear) -> V:
        """max(0, x @ weight.T + bias); only the result after ReLU has a site."""

    def split_heads(self, x: V, n_heads: int) -> V:
        """(b,n,h*e) -> (b,h,n,e)."""

    def project_heads(self, site: str, x: V, layer: nn.Linear) -> V:
        """Heads side by side @ weight.T + bias: (b,h,n,e) -> (b,n,d). Inner sites: heads (b,h,n,d), output."""

    def scores(self, site: str, queries: V, keys: V) -> V:
        """queries @ keys.T / sqrt(e): (b,h,t,e), (b,h,s,e) -> (b,h,t,s)."""

    def softmax(self, site: str, scores: V, mask: Mask | None) -> V:
        """Softmax over keys; what the mask forbids gets 0. Inner sites: numerator, denominator, output."""

    def context(self, site: str, probabilities: V, values: V) -> V:
        """probabilities @ values: (b,h,t,s), (b,h,s,e) -> (b,h,t,e)."""

    def add(self, site: str, x: V, y: V) -> V:
        """Residual sum of two (b,n,d)."""

    def layernorm(self, site: str, x: V, norm: nn.LayerNorm) -> V:
        """LayerNorm over d. Inner sites: numerator, denominator, quotient, output."""

    def extend(self, site: str, past: V, x: V) -> V:
        """Append x to a cache along positions: (b,h,p,e), (b,h,n,e) -> (b,h,p+n,e)."""

    def logits(self, site: str, x: V, embedding: nn.Embedding) -> V:
        """x @ embedding.T: (b,n,d) -> (b,n,v)."""

    def dropout(self, x: V) -> V:
        """Training noise; the identity in evaluation."""
