"""Key biases that move scores to where an integer softmax can see them; the float model stays the same function.

A softmax does not see what is added to a whole row. A vector c added to the key bias adds q.c / sqrt(d_head) to the row
of the query q: (C1) in docs/scheme.md.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor

from reference.floating import FloatArithmetic
from reference.models.translation import Attention, Transformer
from reference.padding import Visibility, full_sequence
from reference.tokenizer import PAD
from reference.train import Batch, teacher_forced

TOP = 1.5
"""Nat. ITAMax with B = 5 sees -2.77 to 2.75; chosen on held-out text (docs/results/targets/ablation.json)."""
RIDGE = 1e-3
"""Times the queries: a direction that no query has stays where it is."""


class _Maxima:
    """Normal equations of one attention, head by head: rows q / sqrt(d_head), wanted top less the greatest score."""

    def __init__(self, heads: int, width: int) -> None:
        self.squares = torch.zeros(heads, width, width, dtype=torch.float64)
        self.maxima = torch.zeros(heads, width, dtype=torch.float64)
        self.sums = torch.zeros(heads, width, dtype=torch.float64)
        self.rows = 0

    def add(self, queries: Tensor, greatest: Tensor) -> None:
        """Queries (h,n,e), divided by sqrt(e), and the greatest score (h,n) of each."""
        queries, greatest = queries.double(), greatest.double()
        self.squares += queries.mT @ queries
        self.maxima += (queries.mT @ greatest[..., None])[..., 0]
        self.sums += queries.sum(1)
        self.rows += greatest.shape[1]

    def solve(self, top: float) -> Tensor:
        """The vectors c (h,e) of (C1)."""
        width = self.squares.shape[-1]
        ridge = RIDGE * self.rows * torch.eye(width, dtype=torch.float64)
        solution: Tensor = torch.linalg.solve(self.squares + ridge, top * self.sums - self.maxima)
        return solution


@torch.no_grad()
def centred(model: Transformer, batches: Iterable[Batch], top: float = TOP) -> Transformer:
    """A copy of a model whose key biases put the greatest score of a row near `top` nat, in the least squares of (C1).

    Parameters
    ----------
    batches
        Teacher-forced; padded queries and keys that a mask hides take no part.
    top
        In nat.

    Raises
    ------
    ValueError
        If there is no batch, or a score is not finite.
    """
    attentions = {name: one for name, one in model.named_modules() if isinstance(one, Attention)}
    found: dict[str, _Maxima] = {}
    for batch in batches:
        visible = full_sequence(batch.source, batch.target, PAD)
        queries: dict[str, Tensor] = {}

        def observe(site: str, x: Tensor, visible: Visibility = visible, queries: dict[str, Tensor] = queries) -> None:
            name, _, what = site.rpartition(".")
            if what == "query":
                queries[name] = x.unflatten(-1, (attentions[name].n_heads, -1)).transpose(1, 2)
            elif what == "scores":
                _see(found, name, queries[name], x, visible)

        teacher_forced(model, FloatArithmetic(observe), batch)
    if not found:
        raise ValueError("calibration text is empty")
    result = copy.deepcopy(model)
    for name, maxima in found.items():
        attention = result.get_submodule(name)
        assert isinstance(attention, Attention)
        attention.key.bias.add_(maxima.solve(top).flatten().to(attention.key.bias.dtype))
    return result


def _see(found: dict[str, _Maxima], name: str, queries: Tensor, scores: Tensor, visible: Visibility) -> None:
    """Add the rows of real queries: queries (b,h,t,e), scores (b,h,t,s)."""
    mask = visible.mask(f"{name}.scores", tuple(scores.shape)).expand(scores.shape)
    greatest = scores.masked_fill(~mask, -torch.inf).amax(-1)  # b,h,t
    real = mask.any(-1)[:, 0]  # b,t
    if not torch.isfinite(greatest.transpose(0, 1)[:, real]).all():
        raise ValueError(f"site {name}.scores takes a value that is not finite in calibration")
    heads, width = queries.shape[1], queries.shape[-1]
    maxima = found.setdefault(name, _Maxima(heads, width))
    maxima.add(queries.transpose(0, 1)[:, real] / width**0.5, greatest.transpose(0, 1)[:, real])
