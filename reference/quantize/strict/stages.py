"""What softmax and LayerNorm of docs/numerics.md share: stages on blocks, by a multiplier and a shift each."""

import math

import torch
from torch import Tensor

from reference.quantize.plan.constants import Rescale
from reference.quantize.strict.blocks import Ends
from reference.quantize.strict.exact import ratio, rounded_quotient

NOTHING = torch.empty(0)
"""In place of codes that nobody asked for."""


def ratio_of(to: Rescale) -> tuple[int, int]:
    """Multiplier and shift."""
    return to.multiplier, to.shift


def ends_of(to: Rescale) -> Ends:
    """The clamp of a stage."""
    return Ends(to.fmt, to.zero_point, math.inf)


def divide_(wide: Tensor, denominator: Tensor, to: Rescale, bound: int) -> Tensor:
    """wide*m/(denominator*2^e) in place, yet to be rounded where that is exact (`rounded_quotient`), else rounded."""
    if 2 * bound * to.multiplier < 1 << 52:
        return wide.mul_(ratio(*ratio_of(to))).div_(denominator)
    return wide.copy_(rounded_quotient(wide, denominator, to.multiplier, to.shift, bound))


def shaped(codes: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Codes in a shape, or nothing."""
    return NOTHING if codes is None else codes.view(shape)


def raised(unraised: Tensor) -> Tensor:
    """Denominators, at least 1."""
    return unraised if unraised is NOTHING else unraised.clamp(min=1)
