"""Strict residual sum of one rounding: eq (7) of docs/numerics.md."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hwsim.formats import IntFormat
from reference.quantize.strict.blocks import Ends, fits, part, rows_of, slices, stopped, widened
from reference.quantize.strict.exact import CODE_BITS, requantize, tracked


def _codes(a: Tensor, b: Tensor, a_slope: float, b_slope: float, offset: float, ends: Ends, grads: bool) -> Any:
    left, right = rows_of(a), rows_of(b)
    codes = torch.empty(left.shape, dtype=ends.dtype)
    stops = ends.stops(tuple(left.shape)) if grads else None
    for few in slices(*left.shape):
        wide = widened(part(left, few)).mul_(a_slope)
        wide.add_(part(right, few), alpha=b_slope)
        if offset:
            wide.sub_(offset)
        ends.finish(wide, part(codes, few), part(stops, few))
    return codes.view(a.shape), stops


class _Sum(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, a_slope: float, b_slope: float, offset: float, ends: Ends) -> Tensor:
        codes, stops = _codes(a, b, a_slope, b_slope, offset, ends, grads=True)
        ctx.save_for_backward(stops)
        ctx.slopes = a_slope, b_slope
        return codes  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        (stops,) = ctx.saved_tensors
        grad = stopped(rows_of(grads[0]), stops).view(grads[0].shape)
        a_slope, b_slope = ctx.slopes
        return grad * a_slope, grad * b_slope, None, None, None, None


def add(
    a: Tensor,
    b: Tensor,
    a_zero: int,
    b_zero: int,
    a_multiplier: int,
    b_multiplier: int,
    shift: int,
    zero_point: int,
    fmt: IntFormat,
) -> Tensor:
    """clamp(HALF_EVEN(((a-a_zero)*a_multiplier + (b-b_zero)*b_multiplier)/2^shift) + zero_point): eq (7).

    a, b: codes, float32, of one shape. Multipliers of at most 2^31 - 1.
    """
    bound = (a_multiplier + b_multiplier) << CODE_BITS
    offset = a_zero * a_multiplier + b_zero * b_multiplier
    if not fits(bound + abs(offset), 1) or a.shape != b.shape:
        acc = torch.add(a.double() * a_multiplier, b.double(), alpha=b_multiplier)
        return requantize(acc - offset if offset else acc, 1, shift, zero_point, fmt, bound)
    unit = 2.0**-shift
    ends = Ends(fmt, zero_point, bound * unit + 1)
    constants = (a_multiplier * unit, b_multiplier * unit, offset * unit, ends)
    if tracked(a, b):
        return _Sum.apply(a, b, *constants)  # type: ignore[no-any-return, no-untyped-call]
    return _codes(a, b, *constants, grads=False)[0]  # type: ignore[no-any-return]
