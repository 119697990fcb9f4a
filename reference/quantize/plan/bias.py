"""Rows that are lost beside their bias: (12d) and (12e) of docs/numerics.md."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hwsim.formats import MIN_BITS
from reference.quantize.scheme import SiteSettings

ROUNDED = 1.06
"""Of a number that is written with two digits: it is not below what is needed."""


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


def beside_bias(site: str, rows: Rows, advice: Callable[[Rows, Tensor, float], str]) -> Tensor:
    """The scales of the weights, (rows,) or (1,): the ideal ones but where a bias would leave its accumulator.

    Parameters
    ----------
    advice
        What to do, if some are refused: from these rows, a mask of what must have room, and the codes of the output
        that a coarser scale would lose.

    Raises
    ------
    ValueError
        If a row would lose more than half a code by it; names the row.
    """
    crowded = rows.crowded()
    if not bool(crowded.any()):
        return rows.ideal
    scale = rows.coarser(crowded)
    own = len(scale) > 1
    lost = torch.where(crowded if own else torch.ones_like(crowded), rows.lost(scale), 0.0)
    most = float(lost.max())
    if most > 0.5:
        row = int(lost.argmax()) if own else int(torch.where(crowded, rows.bias.abs(), -1.0).argmax())
        codes = float(rows.bias[row].abs() / (rows.s_in * rows.ideal[row if own else 0]))
        raise ValueError(
            f"site {site}: the bias of row {row} is {codes:.3g} at the scale of its weights, and with their products "
            f"more than the {rows.held:,} that are held; a coarser scale would lose {most:.3g} codes of "
            f"the output; {advice(rows, lost > 0.5 if own else crowded, most)}"
        )
    return scale


def coarser_codes(site: str, settings: SiteSettings, lost: float) -> str:
    """What makes so many codes of a site half a code of it."""
    bits = settings.bits - math.ceil(math.log2(2 * lost))
    if bits >= MIN_BITS:
        return f"give {site} bits = {bits}"
    return f"give {site} range = {2 * settings.range * lost * ROUNDED:.1e}"
