"""Rows that are lost beside their bias: (12d) and (12e) of docs/numerics.md."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a product with their bias, at scales of the weights that would use all of their codes.

    Attributes
    ----------
    weight, bias
        (rows, k) and (rows,), float64.
    ideal
        Scales of the weights, (rows,) or (1,), float64.
    s_in, s_out
        Scales of what the weights multiply, and of the result.
    reach
        The greatest |a - z_a|.
    held
        L: the greatest integer that the bias and its accumulator hold.
    """

    weight: Tensor
    bias: Tensor
    ideal: Tensor
    s_in: float
    s_out: float
    reach: int
    held: int

    def sums(self) -> Tensor:
        """S of (12d), (rows,)."""
        return (self.weight / self.ideal[:, None]).round().abs().sum(-1) * self.reach

    def crowded(self) -> Tensor:
        """Which rows leave their accumulator for their bias, (rows,)."""
        codes = self.bias.abs() / (self.s_in * self.ideal)
        return codes > self.held - self.sums().clamp(max=self.held / 2)

    def silent(self) -> Tensor:
        """Which rows a ReLU turns to 0 whatever their input: (12e), (rows,)."""
        return (self.bias < 0) & (self.bias.abs() >= 2 * self.sums() * self.s_in * self.ideal) & self.crowded()

    def without_bias(self, rows: Tensor) -> "Rows":
        """These rows, with a bias of 0 at those of a mask."""
        return replace(self, bias=self.bias.masked_fill(rows, 0.0))

    def coarser(self, rows: Tensor) -> Tensor:
        """(12d): the ideal scales, or those at which the bias of `rows` (a mask) takes half of what is held."""
        wanted = torch.where(rows, self.bias.abs() / (self.s_in * (self.held // 2)), 0.0)
        return torch.maximum(self.ideal, wanted if len(self.ideal) > 1 else wanted.max()[None])

    def lost(self, scale: Tensor) -> Tensor:
        """By how many codes of the result a row's weights can be wrong at a scale, (rows,)."""
        codes = (self.weight / scale[:, None]).round()
        error = (self.weight - codes * scale[:, None]).abs().sum(-1)
        return error * self.reach * (self.s_in / self.s_out)


def beside_bias(site: str, rows: Rows, advice: str) -> Tensor:
    """The scales of the weights, (rows,) or (1,): the ideal ones but where a bias would leave its accumulator.

    Raises
    ------
    ValueError
        If a row would lose more than half a code by it; names the row.
    """
    crowded = rows.crowded()
    if not bool(crowded.any()):
        return rows.ideal
    scale = rows.coarser(crowded)
    refused = crowded if len(scale) > 1 else torch.ones_like(crowded)
    lost = torch.where(refused, rows.lost(scale), 0.0)
    if float(lost.max()) > 0.5:
        row = int(torch.where(crowded, rows.bias.abs(), -1.0).argmax()) if len(scale) == 1 else int(lost.argmax())
        codes = float(rows.bias[row].abs() / (rows.s_in * rows.ideal[row if len(scale) > 1 else 0]))
        raise ValueError(
            f"site {site}: the bias of row {row} is {codes:.3g} at the scale of its weights, and with their products "
            f"more than the {rows.held:,} that are held; a coarser scale would lose {float(lost.max()):.3g} codes of "
            f"the output; {advice}"
        )
    return scale
