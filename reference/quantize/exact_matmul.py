"""Strict fake-quant matrix products: eq (2) of docs/numerics.md, proven or in order."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hwsim.formats import Accumulator, Overflow
from reference.quantize.exact import FLOAT32_EXACT, FLOAT64_EXACT, straight_through, tracked


def accumulator_dtype(bound: int) -> torch.dtype:
    """The cheapest float that carries every integer up to `bound`."""
    if bound > FLOAT64_EXACT:
        raise ValueError(f"an accumulator bound of {bound}; a float64 tensor carries at most 2^53")
    return torch.float32 if bound <= FLOAT32_EXACT else torch.float64


class _Product(Function):
    """a @ b.T in `dtype`; its gradients, which need not be exact, in the dtype of the codes."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(a, b)
        with torch.autocast("cpu", enabled=False):  # training runs under autocast, which would round to bfloat16
            return torch.matmul(a.to(dtype), b.to(dtype).mT)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, b = ctx.saved_tensors
        grad = grads[0].to(a.dtype)
        wants_a, wants_b, _ = ctx.needs_input_grad
        grad_a = torch.matmul(grad, b).sum_to_size(a.shape) if wants_a else None
        if not wants_b:
            return grad_a, None, None
        if b.dim() == 2:  # a weight: one product over all rows of the batch
            return grad_a, grad.flatten(0, -2).T @ a.flatten(0, -2), None
        return grad_a, torch.matmul(grad.mT, a).sum_to_size(b.shape), None


def _product(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    acc: Tensor = _Product.apply(a, b, dtype)  # type: ignore[no-untyped-call]
    return acc if bias is None else acc + bias.to(dtype)


def _centred(q: Tensor, zero: int) -> Tensor:
    return q - zero if zero else q


def matmul(a: Tensor, b: Tensor, bias: Tensor | None, a_zero: int, b_zero: int, bound: int) -> Tensor:
    """bias + (a - a_zero) @ (b - b_zero).T: eq (2), `proven`.

    Parameters
    ----------
    a, b
        Codes, float32, (..., m, k) and (..., n, k).
    bias
        Integers, (n,), or None.
    bound
        Proven maximum of |bias| + sum_k |a - a_zero|*|b - b_zero|, hence of every partial sum in any order.

    Returns
    -------
    Tensor
        (..., m, n), float32 if bound <= 2^24, else float64. Gradients are those of the real product.

    Raises
    ------
    ValueError
        If bound > 2^53.
    """
    return _product(_centred(a, a_zero), _centred(b, b_zero), bias, accumulator_dtype(bound))


def _fit(t: Tensor, accumulator: Accumulator) -> tuple[Tensor, int]:
    """`t` (int64) saturated or wrapped into the accumulator, and the number of values that were outside."""
    saturated = t.clamp(accumulator.min, accumulator.max)
    events = int((saturated != t).sum())
    if accumulator.overflow is Overflow.SATURATE:
        return saturated, events
    unused = 64 - accumulator.bits
    return (t << unused) >> unused, events  # drop the high bits, then extend the sign


def _in_order(a: Tensor, b: Tensor, bias: Tensor | None, accumulator: Accumulator) -> tuple[Tensor, int]:
    rows, columns = a.long().unsqueeze(-2), b.long().unsqueeze(-3)  # (..., m, 1, k), (..., 1, n, k)
    shape = torch.broadcast_shapes(rows.shape[:-1], columns.shape[:-1])
    start = torch.zeros((), dtype=torch.int64) if bias is None else bias.long()
    acc, events = _fit(start.expand(shape), accumulator)
    for k in range(a.shape[-1]):
        acc, more = _fit(acc + rows[..., k] * columns[..., k], accumulator)
        events += more
    return acc, events


def matmul_ordered(
    a: Tensor, b: Tensor, bias: Tensor | None, a_zero: int, b_zero: int, accumulator: Accumulator
) -> tuple[Tensor, int]:
    """Eq (2) with an accumulator that saturates or wraps at every step, k = 0, 1, ... in order.

    Returns
    -------
    acc
        (..., m, n), float64; int64 without gradient if the accumulator has more than 54 bits. The gradient is that of
        the product without overflow.
    overflow_events
        Steps that left the accumulator, and loads of a bias outside it, one for every output that loads it.
    """
    if accumulator.overflow is Overflow.PROVEN:
        raise ValueError("a proven accumulator has no order: use matmul; allowed here are saturate and wrap")
    a, b = _centred(a, a_zero), _centred(b, b_zero)
    detached = None if bias is None else bias.detach()
    exact, events = _in_order(a.detach(), b.detach(), detached, accumulator)
    if accumulator.bits > 54:
        return exact, events
    if not tracked(a, b, bias):
        return exact.double(), events
    return straight_through(_product(a, b, bias, torch.float64), exact.double(), 1.0), events
