"""Strict fake-quant LayerNorm of quantized numerator, denominator and quotient: section 5 of docs/numerics.md."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from reference.quantize.plan.constants import LayerNormConstants
from reference.quantize.strict.blocks import keep_, part, rows_of, scale_, scratch, slices, stopped, widened
from reference.quantize.strict.exact import CODE_BITS, FLOAT64_EXACT, magnitude, ratio, reach, tracked
from reference.quantize.strict.stages import divide_, ends_of, raised, ratio_of, shaped

VARIANCE_END = 1 << 52


class LayerNormCodes(NamedTuple):
    """Codes (..., n) and denominators (..., 1), of which `unraised` are those before they were raised to 1.

    Only `output` has a gradient; the rest is empty where nobody asked for it.
    """

    numerator: Tensor
    denominator: Tensor
    quotient: Tensor
    output: Tensor
    unraised: Tensor

    @property
    def denominator_clamps(self) -> int:
        """How many denominators were raised to 1."""
        return int((self.unraised < 1).sum())


def isqrt(v: Tensor) -> Tensor:
    """Floor of the square root, int64, 0 <= v < 2^52.

    Below 2^52 the root of (r + 1)^2 - 1 lies a float64 or more under r + 1, so that none is rounded up to an integer.
    """
    return v.double().sqrt_().long()


class Row(NamedTuple):
    """Codes of a LayerNorm's rows, V of eq (5b), and where its gradients end."""

    output: Tensor
    numerator: Tensor | None
    unraised: Tensor | None
    quotient: Tensor | None
    variance: Tensor | None
    stops: list[Tensor | None]


def _variance(wide: Tensor, total: Tensor, eps: int) -> Tensor:
    """V of eq (5b), (rows, 1), float64."""
    n = wide.shape[-1]
    if n >= 1 << 15:
        raise ValueError(f"a row of {n}; allowed are fewer than 2^15")
    squares = torch.mul(wide, wide, out=scratch("squares", wide.shape)).sum(-1, keepdim=True)
    if 2 * n * n << 2 * CODE_BITS < FLOAT64_EXACT:
        exact = squares.mul_(n).addcmul_(total, total, value=-1).add_(eps)
    else:
        exact = (n * squares.long() - total.long().square() + eps).double()
    if n * n << 2 * CODE_BITS - 2 >= VARIANCE_END - eps and int(exact.max()) >= VARIANCE_END:
        raise ValueError(f"n^2*variance + eps of {int(exact.max())}; it must be below 2^52")
    return exact


def _rows(x: Tensor, gamma: Tensor, beta: Tensor, c: LayerNormConstants, bound: int, keep: bool, grads: bool) -> Row:
    count, n = x.shape
    made = Row(
        output=torch.empty(x.shape),
        numerator=torch.empty(x.shape) if keep else None,
        unraised=torch.empty(count, 1) if keep else None,
        quotient=torch.empty(x.shape) if keep else None,
        variance=torch.empty(count, 1, dtype=torch.float64) if grads else None,
        stops=[torch.empty(x.shape, dtype=torch.bool) if grads else None for _ in range(3)],
    )
    ends = [ends_of(to) for to in (c.numerator, c.quotient, c.output)]
    for few in slices(count, n):
        stops = [part(where, few) for where in made.stops]
        wide = widened(part(x, few))
        total = wide.sum(-1, keepdim=True)
        variance = _variance(wide, total, c.eps)
        keep_(made.variance, few, variance)
        below = scale_(variance.sqrt_().floor_(), *ratio_of(c.denominator), 1 << 26).round_()
        keep_(made.unraised, few, below.clamp_(max=c.denominator.fmt.max))
        scale_(wide.mul_(n).sub_(total), *ratio_of(c.numerator), n << CODE_BITS)
        ends[0].finish(wide, part(made.numerator, few), stops[0])
        divide_(wide, below.clamp_(min=1), c.quotient, magnitude(c.numerator.fmt))
        ends[1].finish(wide, part(made.quotient, few), stops[1])
        scale_(wide.mul_(gamma).add_(beta), *ratio_of(c.output), bound)
        ends[2].finish(wide, part(made.output, few), stops[2])
    return made


class _LayerNorm(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, constants: LayerNormConstants, bound: int
    ) -> tuple[Any, ...]:
        made = _rows(rows_of(x), gamma.double(), beta.double(), constants, bound, keep=True, grads=True)
        ctx.save_for_backward(x, gamma, made.numerator, made.unraised, made.quotient, made.variance, *made.stops)
        ctx.constants, ctx.beta = constants, beta.dtype
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(made.numerator, made.unraised, made.quotient)
        return made.output.view(x.shape), made.numerator, made.unraised, made.quotient

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, gamma, numerator, unraised, quotients, variance, *stops = ctx.saved_tensors
        if grads[0] is None:
            return None, None, None, None, None
        c, n, below = ctx.constants, x.shape[-1], unraised.clamp(min=1)
        r_n, r_d, r_q, r_o = (ratio(*ratio_of(to)) for to in (c.numerator, c.denominator, c.quotient, c.output))
        grad = stopped(rows_of(grads[0]), stops[2]) * r_o
        work = scratch("work", grad.shape, torch.float32)
        to_gamma, to_beta = torch.mul(grad, quotients, out=work).sum(0), grad.sum(0)
        grad.mul_(gamma.float()).masked_fill_(stops[1], 0.0).mul_(r_q / below)
        to_root = torch.mul(grad, numerator, out=work).sum(-1, keepdim=True) / below * -r_d
        grad.masked_fill_(stops[0], 0.0).mul_(r_n * n)
        grad.sub_(grad.mean(-1, keepdim=True))
        # What goes through the root: its own gradient is (n*x - sum(x))/sqrt(V).
        rows, rate = rows_of(x), to_root / variance.clamp(min=1).sqrt().float()
        centred = torch.mul(rows, float(n), out=work).sub_(rows.sum(-1, keepdim=True))
        grad.add_(centred.mul_(rate))
        return grad.view(x.shape), to_gamma.to(gamma.dtype), to_beta.to(ctx.beta), None, None


def affine_bound(gamma: Tensor, beta: Tensor, constants: LayerNormConstants) -> int:
    """The greatest |quotient*gamma + beta| of eq (5f)."""
    bound = magnitude(constants.quotient.fmt) * reach(gamma) + reach(beta)
    if bound > FLOAT64_EXACT:
        raise ValueError(f"quotient*gamma + beta may be {bound}; a float64 tensor carries at most 2^53")
    return bound


def layernorm(
    x: Tensor,
    gamma_codes: Tensor,
    beta_codes: Tensor,
    constants: LayerNormConstants,
    bound: int | None = None,
    inner: bool = True,
) -> LayerNormCodes:
    """LayerNorm over the last axis: eqs (5a) to (5f).

    Parameters
    ----------
    x
        Codes, float32, (..., n), n < 2^15, with any zero point.
    gamma_codes, beta_codes
        Integers, (n,).
    bound
        `affine_bound` of these, if it is known.
    inner
        Whether anybody asks for more than the output.

    The denominator has the gradient of the unclamped real one even where it was clamped.
    """
    if bound is None:
        bound = affine_bound(gamma_codes, beta_codes, constants)
    if tracked(x, gamma_codes, beta_codes):
        output, numerator, unraised, quotients = _LayerNorm.apply(  # type: ignore[no-untyped-call]
            x, gamma_codes, beta_codes, constants, bound
        )
    else:
        gamma, beta = gamma_codes.double(), beta_codes.double()
        output, numerator, unraised, quotients, *_ = _rows(rows_of(x), gamma, beta, constants, bound, inner, False)
    below = shaped(unraised, (*x.shape[:-1], 1))
    inner_codes = shaped(numerator, x.shape), raised(below), shaped(quotients, x.shape)
    return LayerNormCodes(*inner_codes, output.view(x.shape), below)
