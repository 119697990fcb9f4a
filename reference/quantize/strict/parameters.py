"""Strict fake-quant of parameters: codes of weights and biases, with straight-through gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hwsim.formats import IntFormat
from reference.quantize.strict.blocks import part, scratch, slices, widened
from reference.quantize.strict.exact import tracked


def _codes(w: Tensor, scale: Tensor, fmt: IntFormat) -> tuple[Tensor, Tensor | None]:
    """Codes, and where they were clamped if any was."""
    if fmt.bits > 53:
        raise ValueError(f"a result of {fmt.bits} bits; a float64 tensor carries at most 53")
    flat = w.reshape(len(w), -1) if scale.dim() == w.dim() > 1 else w.reshape(1, -1)
    by_row = scale.numel() > 1 and len(flat) > 1
    scales = scale.reshape(-1, 1) if by_row else scale.reshape(1, -1)
    codes = torch.empty(flat.shape, dtype=torch.float32 if fmt.bits <= 24 else torch.float64)
    stops = None
    for few in slices(*flat.shape):
        wide = widened(part(flat, few))
        wide.div_(part(scales, few) if by_row else scales).round_()
        clamped = torch.clamp(wide, fmt.min, fmt.max, out=scratch("clamped", wide.shape))
        if not torch.equal(wide, clamped):
            stops = torch.zeros(flat.shape, dtype=torch.bool) if stops is None else stops
            torch.ne(wide, clamped, out=part(stops, few))
        part(codes, few).copy_(clamped)
    return codes.view(w.shape), None if stops is None else stops.view(w.shape)


class _Quantized(Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, scale: Tensor, fmt: IntFormat) -> Tensor:
        codes, stops = _codes(w, scale, fmt)
        ctx.save_for_backward(scale, stops)
        ctx.dtype = w.dtype
        return codes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        scale, stops = ctx.saved_tensors
        grad = grads[0] * (1.0 / scale).to(grads[0].dtype)
        if stops is not None:
            grad.masked_fill_(stops, 0.0)
        return grad.to(ctx.dtype), None, None


def quantize_parameter(w: Tensor, scale: float | Tensor, fmt: IntFormat) -> Tensor:
    """clamp(HALF_EVEN(w/scale)), the division in float64; gradient 1/scale inside the clamp, none for the scale.

    Parameters
    ----------
    w
        (rows, ...) or (n,).
    scale
        One for all; (rows, 1, ...) with as many dimensions as w; or (n,) for a `w` of (n,).

    Returns
    -------
    Tensor
        float32; float64 if `fmt` has more than 24 bits.
    """
    wide = torch.as_tensor(scale, dtype=torch.float64).detach()
    if tracked(w):
        return _Quantized.apply(w, wide, fmt)  # type: ignore[no-any-return, no-untyped-call]
    return _codes(w.detach(), wide, fmt)[0]


def quantize_bias(b: Tensor, scale: float | Tensor, bits: int = 32) -> Tensor:
    """`quantize_parameter` to signed `bits`, always float64."""
    return quantize_parameter(b, scale, IntFormat(bits=bits)).double()
