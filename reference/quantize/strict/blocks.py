"""Elementwise stages over blocks that stay in a cache, in memory that is kept: fresh memory costs more than arithmetic.

A stage reads integers of any float or int32, computes in float64 and writes codes. What it may compute in float64 is
decided by `fits`: integers, and their products with a multiplier, below 2^53.
"""

import math
import threading
from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from hwsim.formats import IntFormat
from reference.quantize.strict.exact import FLOAT64_EXACT, ratio, scaled_int64

BLOCK = 1 << 15
"""Elements; two float64 blocks are half of a usual second-level cache."""


MAX_VIEWS = 4096


class _Memory(threading.local):
    """One thread's scratch tensors by use and dtype, and views of them; a use that comes again overwrites them."""

    def __init__(self) -> None:
        self.tensors: dict[tuple[str, torch.dtype], Tensor] = {}
        self.views: dict[tuple[str, torch.dtype, tuple[int, ...]], Tensor] = {}


_memory = _Memory()


def scratch(use: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """Memory of a shape, with anything in it, until the same thread asks again for the same use and dtype."""
    view = _memory.views.get((use, dtype, shape))
    return _view(use, shape, dtype) if view is None else view


def _view(use: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    count, kept = math.prod(shape), _memory.tensors.get((use, dtype))
    with torch.inference_mode(False):  # tensors of inference mode may not be written outside it
        if kept is None or len(kept) < count or len(_memory.views) >= MAX_VIEWS:
            _memory.views = {key: x for key, x in _memory.views.items() if key[:2] != (use, dtype)}
        if kept is None or len(kept) < count:
            kept = _memory.tensors[use, dtype] = torch.empty(max(count, BLOCK), dtype=dtype)
        view = _memory.views[use, dtype, shape] = kept[:count].view(shape)
    return view


def fits(bound: int, multiplier: int) -> bool:
    """Whether float64 holds every product of an integer up to `bound` with a multiplier: then rounding is exact."""
    return bound * multiplier < FLOAT64_EXACT


def rows_of(x: Tensor) -> Tensor:
    """(..., n) as (rows, n)."""
    return x.reshape(-1, x.shape[-1])


def slices(rows: int, width: int, block: int | None = None) -> Sequence[slice | None]:
    """Rows of one block after another, at least one row each; None for all, if they are one block."""
    step = max(1, (block or BLOCK) // max(width, 1))
    return (None,) if rows <= step else [slice(first, first + step) for first in range(0, rows, step)]


@overload
def part(x: Tensor, few: slice | None) -> Tensor: ...
@overload
def part(x: Tensor | None, few: slice | None) -> Tensor | None: ...
def part(x: Tensor | None, few: slice | None) -> Tensor | None:
    """Some rows of what may not be there."""
    return x if x is None or few is None else x[few]


def keep_(where: Tensor | None, few: slice | None, codes: Tensor) -> None:
    """Write a block to its rows of what is kept, if it is."""
    if where is not None:
        part(where, few).copy_(codes)


def widened(x: Tensor) -> Tensor:
    """A block in float64, in scratch memory."""
    return scratch("wide", x.shape).copy_(x)


class Ends:
    """What codes are clamped to: nothing if `reach`, the greatest |value|, cannot leave the format.

    `relu` is (6) of docs/numerics.md ahead of the rounding: no code is below the zero point.
    """

    def __init__(self, fmt: IntFormat, zero_point: int, reach: float, relu: bool = False) -> None:
        self.low = max(fmt.min, zero_point) if relu else fmt.min
        self.high, self.zero, self.relu = fmt.max, zero_point, relu
        self.safe = not relu and zero_point + reach <= fmt.max and zero_point - reach >= fmt.min
        self.dtype = torch.float32 if fmt.bits <= 24 else torch.float64

    def finish(self, wide: Tensor, codes: Tensor | None, stops: Tensor | None) -> None:
        """Round and clamp `wide` in place, and write it to `codes` if it is to be kept.

        `stops` becomes True where the gradient ends: in a clamp, or below 0 of a ReLU.
        """
        if stops is not None and self.relu:
            torch.le(wide, 0.0, out=stops)
        wide.round_()
        if self.zero:
            wide.add_(self.zero)
        if not self.safe:
            if stops is not None:
                if not self.relu:
                    torch.lt(wide, self.low, out=stops)
                stops.logical_or_(torch.gt(wide, self.high, out=scratch("above", wide.shape, torch.bool)))
            wide.clamp_(self.low, self.high)
        if codes is not None and codes is not wide:
            codes.copy_(wide)

    def stops(self, shape: tuple[int, ...]) -> Tensor | None:
        """Memory for the `stops` of a whole tensor, or None if its gradient ends nowhere."""
        return None if self.safe else torch.empty(shape, dtype=torch.bool)


def scale_(wide: Tensor, multiplier: int, shift: int, bound: int) -> Tensor:
    """wide*multiplier/2^shift in place, yet to be rounded; rounded already where float64 cannot hold the product."""
    slope = ratio(multiplier, shift)
    if fits(bound, multiplier):
        return wide.mul_(slope)
    return wide.copy_(scaled_int64(wide, multiplier, shift, bound))


def stopped(grad: Tensor, stops: Tensor | None, use: str = "stopped") -> Tensor:
    """The gradient in float32, 0 where it ends; `grad` itself, or scratch memory of `use`."""
    if stops is None:
        return grad.to(torch.float32)
    return scratch(use, grad.shape, torch.float32).copy_(grad).masked_fill_(stops, 0.0)
