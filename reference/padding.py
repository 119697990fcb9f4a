"""Which elements of a site are real: padding and what a mask forbids are neither calibrated nor compared."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Visibility:
    """Valid positions of one batch: `source` (b,s), `target` (b,t), and which keys `causal` (t,t) lets a target see.

    In a decoding step t is 1 and `causal` is None: every key of the cache is real.
    """

    source: Tensor
    target: Tensor
    causal: Tensor | None = None

    def mask(self, site: str, shape: tuple[int, ...]) -> Tensor:
        """Bool mask that broadcasts to a site's tensor of this shape."""
        name = site.rsplit("attention.", 1)[-1]
        in_encoder = site.startswith("encoder") or site.endswith(("cross_attention.key", "cross_attention.value"))
        rows = self.source if in_encoder else self.target
        if not name.startswith(("scores", "softmax")):
            return rows[:, None, :, None] if len(shape) == 4 else rows[:, :, None]
        seen = rows[:, None, :, None]
        if name == "softmax.denominator":
            return seen
        if in_encoder or "cross_attention" in site:
            return seen & self.source[:, None, None, :]
        return seen if self.causal is None else seen & self.causal

    def select(self, site: str, x: Tensor) -> Tensor:
        """The real elements of a site's tensor, in an order that depends on the shape alone."""
        mask = self.mask(site, tuple(x.shape))
        if mask.shape[-1] == 1:  # whole rows are real or not: much faster than element by element
            return x[mask[..., 0]] if x.dim() == 3 else x.transpose(1, 2)[mask[:, 0, :, 0]]
        return x[mask.expand(x.shape)]


def full_sequence(source_ids: Tensor, target_ids: Tensor, pad: int) -> Visibility:
    """Visibility of a teacher-forced pass over whole sentences."""
    length = target_ids.shape[1]
    return Visibility(
        source=source_ids != pad,
        target=target_ids != pad,
        causal=torch.ones(length, length, dtype=torch.bool).tril(),
    )
