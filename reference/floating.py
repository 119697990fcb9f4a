"""Float arithmetic for the model, with a hook that sees every site."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from reference.models.arithmetic import Mask

Observer = Callable[[str, Tensor], None]


class FloatArithmetic:
    """`reference.models.arithmetic.Arithmetic` on real values.

    Parameters
    ----------
    observe
        Called with (site, tensor) for every site, inner sites of softmax and LayerNorm included. Without it the fused
        library operations run.
    dropout
        Probability, in steps of 1/256; 0 for evaluation. Not applied to attention probabilities.
    """

    def __init__(self, observe: Observer | None = None, dropout: float = 0.0) -> None:
        self._observe, self._dropout = observe, dropout

    def _see(self, site: str, x: Tensor) -> Tensor:
        if self._observe is not None:
            self._observe(site, x)
        return x

    def embed(
        self, site: str, ids: Tensor, first_position: Tensor, embedding: nn.Embedding, positions: Tensor
    ) -> Tensor:
        where = first_position + torch.arange(ids.shape[1])
        return self._see(site, embedding(ids) * math.sqrt(embedding.embedding_dim) + positions[where])

    def linear(self, site: str, x: Tensor, layer: nn.Linear) -> Tensor:
        return self._see(site, layer(x))

    def linear_relu(self, site: str, x: Tensor, layer: nn.Linear) -> Tensor:
        return self._see(site, torch.relu(layer(x)))

    def split_heads(self, x: Tensor, n_heads: int) -> Tensor:
        return x.reshape(*x.shape[:-1], n_heads, -1).transpose(1, 2)

    def project_heads(self, site: str, x: Tensor, layer: nn.Linear) -> Tensor:
        if self._observe is not None:  # each head's share of the output, the bias in head 0's
            weights = layer.weight.unflatten(1, (x.shape[1], -1)).transpose(0, 1)  # h,d,e
            bias = nn.functional.pad(layer.bias[None, None], (0, 0, 0, 0, 0, x.shape[1] - 1))  # h,1,d
            self._see(f"{site}.heads", x @ weights.mT + bias)
        return self.linear(f"{site}.output", x.transpose(1, 2).flatten(-2), layer)

    def scores(self, site: str, queries: Tensor, keys: Tensor) -> Tensor:
        return self._see(site, queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1]))

    def softmax(self, site: str, scores: Tensor, mask: Mask | None) -> Tensor:
        if mask is not None:
            scores = scores.masked_fill(~mask.allowed, -torch.inf)
        if self._observe is None:
            return torch.softmax(scores, -1)
        numerator = self._see(f"{site}.numerator", torch.exp(scores - scores.amax(-1, keepdim=True)))
        denominator = self._see(f"{site}.denominator", numerator.sum(-1, keepdim=True))
        return self._see(f"{site}.output", numerator / denominator)

    def context(self, site: str, probabilities: Tensor, values: Tensor) -> Tensor:
        return self._see(site, probabilities @ values)

    def add(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        return self._see(site, x + y)

    def layernorm(self, site: str, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        if self._observe is None:
            return norm(x)  # type: ignore[no-any-return]
        numerator = self._see(f"{site}.numerator", x - x.mean(-1, keepdim=True))
        variance = numerator.square().mean(-1, keepdim=True)
        denominator = self._see(f"{site}.denominator", torch.sqrt(variance + norm.eps))
        quotient = self._see(f"{site}.quotient", numerator / denominator)
        return self._see(f"{site}.output", quotient * norm.weight + norm.bias)

    def extend(self, site: str, past: Tensor, x: Tensor) -> Tensor:
        return torch.cat((past, x), dim=2)

    def logits(self, site: str, x: Tensor, embedding: nn.Embedding) -> Tensor:
        return self._see(site, x @ embedding.weight.T)

    def dropout(self, x: Tensor) -> Tensor:
        if self._dropout == 0.0:
            return x
        # One random byte an element: about a tenth of the time of torch's own generator on a CPU.
        keep = round(256 * (1 - self._dropout))
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) < keep
        return x * (kept.to(x.dtype) * (256 / keep))
