"""Strict products of two activations, eqs (2), (3) and (1) in one pass: exact forward, straight-through backward."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from reference.quantize.strict.blocks import Ends, part, rows_of, slices, stopped, widened
from reference.quantize.strict.exact import tracked


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Zero points of the operands, k of (3) or 0, m/2^e, what carries the sums exactly, and where codes end."""

    a_zero: int
    b_zero: int
    shift: int
    slope: float
    carrier: torch.dtype
    ends: Ends


def _centred(x: Tensor, zero: int, dtype: torch.dtype) -> Tensor:
    if x.dtype is not dtype:
        x = x.to(dtype)
    return x - zero if zero else x


def unchanged() -> AbstractContextManager[object]:
    """Without autocast, which would round operands to bfloat16."""
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext()


def _codes(a: Tensor, b: Tensor, c: Constants, stops: Tensor | None, see: Callable[[Tensor], object] | None) -> Tensor:
    with unchanged():
        acc = torch.matmul(_centred(a, c.a_zero, c.carrier), _centred(b, c.b_zero, c.carrier))
    if c.shift:
        acc.mul_(2.0**-c.shift).round_()
    if see is not None:
        see(acc)
    sums = rows_of(acc)
    codes = torch.empty(sums.shape, dtype=c.ends.dtype)
    for few in slices(*sums.shape):
        wide = widened(part(sums, few)).mul_(c.slope)
        c.ends.finish(wide, part(codes, few), part(stops, few))
    return codes.view(acc.shape)


class _Product(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, c: Constants, see: Callable[[Tensor], object] | None) -> Tensor:
        rows = a.numel() // a.shape[-1]
        stops = c.ends.stops((rows, b.shape[-1]))
        codes = _codes(a, b, c, stops, see)
        ctx.save_for_backward(a, b, stops)
        ctx.constants = c
        return codes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (a, b, stops), c = ctx.saved_tensors, ctx.constants
        grad = stopped(rows_of(grads[0]), stops).view(grads[0].shape) * (c.slope * 2.0**-c.shift)
        grad_a = torch.matmul(grad, _centred(b, c.b_zero, torch.float32).mT)
        return grad_a, torch.matmul(_centred(a, c.a_zero, torch.float32).mT, grad), None, None


def product(a: Tensor, b: Tensor, c: Constants, see: Callable[[Tensor], object] | None = None) -> Tensor:
    """clamp(HALF_EVEN(HALF_EVEN((a - a_zero) @ (b - b_zero)/2^shift)*m/2^e) + z).

    Parameters
    ----------
    a, b
        Codes, float32, (..., m, k) and (..., k, n) of the same leading dimensions.
    see
        Called with the shifted sums, integers of `c.carrier`, which are not to be changed.

    Returns
    -------
    Tensor
        Codes, (..., m, n). The gradient is that of the real product, 0 where clamped.
    """
    if tracked(a, b):
        return _Product.apply(a, b, c, see)  # type: ignore[no-any-return, no-untyped-call]
    return _codes(a, b, c, None, see)
