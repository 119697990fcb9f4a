"""Strict fake-quant softmax by a table: section 4 of docs/numerics.md."""

import decimal
import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from hwsim.formats import IntFormat
from reference.quantize.plan.constants import Rescale
from reference.quantize.strict.blocks import keep_, part, rows_of, scale_, scratch, slices, stopped
from reference.quantize.strict.exact import CODE_BITS, ratio, tracked
from reference.quantize.strict.stages import divide_, ends_of, raised, ratio_of, shaped

MAX_SCORE_BITS = 12


class SoftmaxCodes(NamedTuple):
    """Codes (..., n) and denominators (..., 1), of which `unraised` are those before they were raised to 1.

    Only `output` has a gradient; the rest is empty where nobody asked for it.
    """

    numerator: Tensor
    denominator: Tensor
    output: Tensor
    unraised: Tensor

    @property
    def denominator_clamps(self) -> int:
        """How many denominators were raised to 1."""
        return int((self.unraised < 1).sum())


@functools.cache
def exp_table(scale: float, score_bits: int, numerator_bits: int) -> Tensor:
    """T[d] = HALF_EVEN(exp(-scale*d)*(2^numerator_bits - 1)): eq (4b), int64, 2^score_bits entries.

    `scale` is taken at its exact binary value. exp of a rational other than 0 is irrational, so that only d = 0 is
    exact, and 80 digits decide every other entry.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"score scale {scale}; it must be finite and above 0")
    if not 2 <= score_bits <= MAX_SCORE_BITS or not 2 <= numerator_bits <= CODE_BITS:
        raise ValueError(f"a table of {score_bits} by {numerator_bits} bits; allowed are 2-12 by 2-16")
    context = decimal.Context(prec=80, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[])
    top, step = (1 << numerator_bits) - 1, decimal.Decimal(scale).copy_negate()
    real = (context.multiply(context.exp(context.multiply(step, d)), top) for d in range(1 << score_bits))
    return torch.tensor([int(value.to_integral_value(decimal.ROUND_HALF_EVEN, context)) for value in real])


MASKED, FORBIDDEN = -(1 << 22), -(1 << 20)
"""What a masked score counts as, and the least that a maximum counts as: far from each other and from all scores."""


class Stages(NamedTuple):
    """Constants of (4d) and (4e), and of the gradient of (4b)."""

    table_scale: float
    denominator: Rescale
    output: Rescale


class _Made(NamedTuple):
    """Codes of a softmax, and where its gradients end."""

    output: Tensor
    numerator: Tensor | None
    unraised: Tensor | None
    passes: Tensor | None
    stops: Tensor | None


@functools.lru_cache(maxsize=64)
def _numerators(table: Tensor) -> Tensor:
    """The table in float64, and a 0 for what is masked."""
    with torch.inference_mode(False):
        return torch.cat((table, table.new_zeros(1))).double()


def _softmax(scores: Tensor, allowed: Tensor | None, table: Tensor, to: Stages, keep: bool, grads: bool) -> _Made:
    rows = rows_of(scores if allowed is None else scores.masked_fill(~allowed, MASKED))
    count, width = rows.shape
    numbers, top = _numerators(table), int(table[0])
    made = _Made(
        output=torch.empty(rows.shape),
        numerator=torch.empty(rows.shape) if keep else None,
        unraised=torch.empty(count, 1) if keep else None,
        passes=torch.empty(count, 1) if grads else None,
        stops=torch.empty(rows.shape, dtype=torch.bool) if grads else None,
    )
    ends = ends_of(to.output)
    for few in slices(count, width):
        greatest = part(rows, few).amax(-1, keepdim=True)
        apart = torch.sub(greatest if allowed is None else greatest.clamp_(min=FORBIDDEN), part(rows, few))
        if allowed is not None:
            apart.clamp_(max=len(table))
        index = scratch("index", (apart.numel(),), torch.int64).copy_(apart.view(-1))
        wide = torch.index_select(numbers, 0, index, out=scratch("wide", (len(index),))).view(-1, width)
        keep_(made.numerator, few, wide)
        total = scale_(wide.sum(-1, keepdim=True), *ratio_of(to.denominator), width * top).round_()
        codes = total.clamp(max=to.denominator.fmt.max)
        keep_(made.unraised, few, codes)
        codes.clamp_(min=1)
        if grads:
            keep_(made.passes, few, codes == total)
        ends.finish(divide_(wide, codes, to.output, top), part(made.output, few), part(made.stops, few))
    return made


class _Softmax(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, allowed: Tensor | None, table: Tensor, to: Stages) -> tuple[Any, ...]:
        made = _softmax(scores, allowed, table, to, keep=True, grads=True)
        ctx.save_for_backward(made.numerator, made.unraised, made.passes, made.stops)
        ctx.to = to
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(made.numerator, made.unraised)
        return made.output.view(scores.shape), made.numerator, made.unraised

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        numerator, unraised, passes, stops = ctx.saved_tensors
        if grads[0] is None:
            return None, None, None, None
        to, below = ctx.to, unraised.clamp(min=1)
        direct = stopped(rows_of(grads[0]), stops) * (ratio(*ratio_of(to.output)) / below)
        work = torch.mul(direct, numerator, out=scratch("work", direct.shape, torch.float32))
        slope = ratio(*ratio_of(to.denominator))
        direct.sub_(work.sum(-1, keepdim=True) / below * (passes * slope))
        return direct.mul_(numerator).mul_(to.table_scale).view(grads[0].shape), None, None, None


def softmax(
    scores: Tensor,
    allowed: Tensor | None,
    table: Tensor,
    table_scale: float,
    *,
    denominator_multiplier: int,
    denominator_shift: int,
    denominator_fmt: IntFormat,
    output_multiplier: int,
    output_shift: int,
    output_fmt: IntFormat,
    inner: bool = True,
) -> SoftmaxCodes:
    """Softmax over the last axis: eqs (4a) to (4e).

    Parameters
    ----------
    scores
        Codes, float32, (..., n), of a format whose 2^bits is the length of `table`.
    allowed
        bool, broadcasts to `scores`; None allows all.
    table, table_scale
        `exp_table(table_scale, ...)`. d numerator/d score = table_scale*numerator, the maximum being a constant.
    inner
        Whether anybody asks for more than the output.
    """
    to = Stages(
        table_scale=table_scale,
        denominator=Rescale(multiplier=denominator_multiplier, shift=denominator_shift, fmt=denominator_fmt),
        output=Rescale(multiplier=output_multiplier, shift=output_shift, fmt=output_fmt),
    )
    if tracked(scores):
        output, numerator, unraised = _Softmax.apply(scores, allowed, table, to)  # type: ignore[no-untyped-call]
    else:
        output, numerator, unraised, *_ = _softmax(scores, allowed, table, to, keep=inner, grads=False)
    below = shaped(unraised, (*scores.shape[:-1], 1))
    return SoftmaxCodes(shaped(numerator, scores.shape), raised(below), output.view(scores.shape), below)
