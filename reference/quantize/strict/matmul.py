"""Strict fake-quant matrix products: eq (2) of docs/numerics.md, proven, or with what accumulator.md makes of it."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hwsim.formats import Accumulator, Granularity, Overflow
from reference.quantize.strict.exact import FLOAT32_EXACT, FLOAT64_EXACT, reach, straight_through, tracked

PREFIX = 32
"""Of (A1), how many products are done one by one."""


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


def _sum_of_products(a: Tensor, b: Tensor, product_bound: int) -> Tensor:
    return _product(a, b, None, accumulator_dtype(a.shape[-1] * product_bound)).long()


def _step_by_step(
    acc: Tensor, a: Tensor, b: Tensor, unsafe: Tensor, accumulator: Accumulator
) -> tuple[Any, Tensor, int]:
    """(A1) of the outputs that `unsafe` selects, or of all if it selects many: their index, their sums, the events."""
    few = 4 * int(unsafe.sum()) < unsafe.numel()
    where: Any = unsafe.nonzero(as_tuple=True) if few else ...
    kept, events, shape = acc[where], 0, acc.shape
    rows, columns = a.long().unsqueeze(-2), b.long().unsqueeze(-3)  # (..., m, 1, k), (..., 1, n, k)
    for k in range(a.shape[-1]):
        products = rows[..., k].expand(shape)[where] * columns[..., k].expand(shape)[where]
        kept, more = _fit(products.add_(kept), accumulator)
        events += more
    return where, kept, events


def _after_every_product(
    acc: Tensor, a: Tensor, b: Tensor, accumulator: Accumulator, product_bound: int
) -> tuple[Tensor, int]:
    """(A1): at once where neither the positive nor the negative products alone leave the range, else by halves."""
    total, sizes = _sum_of_products(a, b, product_bound), _sum_of_products(a.abs(), b.abs(), product_bound)
    positive = (sizes + total) >> 1
    unsafe = (acc + positive > accumulator.max) | (acc + total - positive < accumulator.min)
    if not unsafe.any():
        return acc + total, 0
    length = a.shape[-1]
    if length <= PREFIX:
        where, kept, events = _step_by_step(acc, a, b, unsafe, accumulator)
        acc = acc + total
        acc[where] = kept
        return acc, events
    events = 0
    for part in zip(a.split(-(-length // 2), -1), b.split(-(-length // 2), -1), strict=True):
        acc, more = _after_every_product(acc, *part, accumulator, product_bound)
        events += more
    return acc, events


def _accumulate(a: Tensor, b: Tensor, bias: Tensor | None, accumulator: Accumulator) -> tuple[Tensor, int]:
    """(A1) to (A3): int64, and the events."""
    shape = (*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-2])
    start = torch.zeros((), dtype=torch.int64) if bias is None else bias.long()
    acc, events = _fit(start.expand(shape), accumulator)
    product_bound = reach(a) * reach(b)
    if accumulator.granularity is Granularity.MAC:
        acc, more = _after_every_product(acc, a, b, accumulator, product_bound)
        return acc, events + more
    length = accumulator.tile if accumulator.granularity is Granularity.TILE else a.shape[-1]
    for tile in zip(a.split(length, -1), b.split(length, -1), strict=True):
        acc, more = _fit(acc + _sum_of_products(*tile, product_bound), accumulator)
        events += more
    return acc, events


def matmul_ordered(
    a: Tensor, b: Tensor, bias: Tensor | None, a_zero: int, b_zero: int, accumulator: Accumulator
) -> tuple[Tensor, int]:
    """Eq (2) with an accumulator that saturates or wraps: (A1) to (A3) of docs/operators/accumulator.md.

    Parameters
    ----------
    a, b, bias
        As in `matmul`.
    accumulator
        Its `granularity` says after which products, k = 0, 1, ... in order, the sum is brought into range.

    Returns
    -------
    acc
        (..., m, n), float64; int64 without gradient if the accumulator has more than 54 bits. The gradient is that of
        the product without overflow.
    overflow_events
        Sums that left the accumulator, and loads of a bias outside it, one for every output that loads it.

    Raises
    ------
    ValueError
        If the accumulator is `proven`, or the exact sum of a tile may exceed 2^53.
    """
    if accumulator.overflow is Overflow.PROVEN:
        raise ValueError("a proven accumulator has no order: use matmul; allowed here are saturate and wrap")
    a, b = _centred(a, a_zero), _centred(b, b_zero)
    detached = None if bias is None else bias.detach()
    exact, events = _accumulate(a.detach(), b.detach(), detached, accumulator)
    if accumulator.bits > 54:
        return exact, events
    if not tracked(a, b, bias):
        return exact.double(), events
    return straight_through(_product(a, b, bias, torch.float64), exact.double(), 1.0), events
