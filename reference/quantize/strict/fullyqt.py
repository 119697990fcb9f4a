"""Strict fake-quant softmax and LayerNorm: sections 4 and 5 of docs/numerics.md."""

import decimal
import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from hwsim.formats import IntFormat
from reference.quantize.plan.constants import LayerNormConstants, Rescale
from reference.quantize.strict.exact import CODE_BITS, magnitude, quotient, requantize, straight_through, tracked
from reference.quantize.strict.matmul import accumulator_dtype

MAX_SCORE_BITS = 12
VARIANCE_END = 1 << 52


class SoftmaxCodes(NamedTuple):
    """Codes (..., n), the denominator (..., 1), and how many denominators were raised to 1."""

    numerator: Tensor
    denominator: Tensor
    output: Tensor
    denominator_clamps: int


class LayerNormCodes(NamedTuple):
    """Codes (..., n), the denominator (..., 1), and how many denominators were raised to 1."""

    numerator: Tensor
    denominator: Tensor
    quotient: Tensor
    output: Tensor
    denominator_clamps: int


def _rescale(acc: Tensor, to: Rescale, bound: int, pass_clamped: bool = False) -> Tensor:
    return requantize(acc, to.multiplier, to.shift, to.zero_point, to.fmt, bound, pass_clamped=pass_clamped)


def _denominator(acc: Tensor, to: Rescale, bound: int, pass_clamped: bool) -> tuple[Tensor, int]:
    """Eqs (4d), (5d): the rescaled `acc`, at least 1, and how often that had to be enforced."""
    codes = _rescale(acc, to, bound, pass_clamped)
    raised = codes.detach().clamp(min=1)
    passes = codes.detach() == raised
    clamps = passes.numel() - int(passes.sum())
    return straight_through(codes, raised, 1.0, None if pass_clamped else passes), clamps


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


def _numerator(scores: Tensor, allowed: Tensor | None, table: Tensor, table_scale: float) -> Tensor:
    """Eqs (4a), (4b): float32; d numerator/d score = table_scale*numerator, the maximum being a constant."""
    q = scores.detach()
    if allowed is None:
        numerator = table.float()[(q.amax(-1, keepdim=True) - q).long()]
    else:
        seen = q.masked_fill(~allowed, -torch.inf)
        below = (seen.amax(-1, keepdim=True) - seen).masked_fill(~allowed, len(table))
        numerator = torch.cat((table, table.new_zeros(1))).float()[below.long()]
    return straight_through(scores, numerator, numerator * table_scale)


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
) -> SoftmaxCodes:
    """Softmax over the last axis: eqs (4a) to (4e).

    Parameters
    ----------
    scores
        Codes, float32, (..., n), of a format whose 2^bits is the length of `table`.
    allowed
        bool, broadcasts to `scores`; None allows all.
    table, table_scale
        `exp_table(table_scale, ...)`.
    """
    numerator = _numerator(scores, allowed, table, table_scale)
    top = int(table[0])
    to = Rescale(multiplier=denominator_multiplier, shift=denominator_shift, fmt=denominator_fmt)
    total = numerator.sum(-1, keepdim=True, dtype=torch.float64)
    denominator, clamps = _denominator(total, to, scores.shape[-1] * top, pass_clamped=False)
    output = quotient(numerator, denominator, output_multiplier, output_shift, output_fmt, top)
    return SoftmaxCodes(numerator, denominator, output, clamps)


def isqrt(v: Tensor) -> Tensor:
    """Floor of the square root, int64, 0 <= v < 2^52."""
    root = v.double().sqrt().long()
    root -= (root * root > v).long()
    return root + ((root + 1) * (root + 1) <= v)


def _row_root(x: Tensor, centred: Tensor, eps: int) -> Tensor:
    """isqrt(V) of eq (5b), (..., 1), float64; d/dx = centred/sqrt(V), and 0 if V is 0.

    x and centred: float64, (..., n); only x has the gradient.
    """
    n, q = x.shape[-1], x.detach()
    if n >= 1 << 15:
        raise ValueError(f"a row of {n}; allowed are fewer than 2^15")
    total = q.sum(-1, keepdim=True).long()
    variance = n * q.square().sum(-1, keepdim=True).long() - total * total + eps
    if int(variance.max()) >= VARIANCE_END:
        raise ValueError(f"n^2*variance + eps of {int(variance.max())}; it must be below 2^52")
    root = isqrt(variance).double()
    if not tracked(x):
        return root
    return straight_through(x, root, centred / variance.clamp(min=1).double().sqrt())


def _affine(codes: Tensor, gamma: Tensor, beta: Tensor, codes_fmt: IntFormat, to: Rescale) -> Tensor:
    """Eq (5f)."""
    bound = magnitude(codes_fmt) * int(gamma.abs().max()) + int(beta.abs().max())
    dtype = accumulator_dtype(bound)
    return _rescale(codes.to(dtype) * gamma.to(dtype) + beta.to(dtype), to, bound)


def layernorm(x: Tensor, gamma_codes: Tensor, beta_codes: Tensor, constants: LayerNormConstants) -> LayerNormCodes:
    """LayerNorm over the last axis: eqs (5a) to (5f).

    Parameters
    ----------
    x
        Codes, float32, (..., n), n < 2^15, with any zero point.
    gamma_codes, beta_codes
        Integers, (n,).

    The denominator has the gradient of the unclamped real one even where it was clamped.
    """
    wide = x.double()
    centred = x.shape[-1] * wide - wide.sum(-1, keepdim=True)
    numerator = _rescale(centred, constants.numerator, x.shape[-1] << CODE_BITS)
    root = _row_root(wide, centred.detach(), constants.eps)
    denominator, clamps = _denominator(root, constants.denominator, 1 << 26, pass_clamped=True)
    to = constants.quotient
    codes = quotient(numerator, denominator, to.multiplier, to.shift, to.fmt, magnitude(constants.numerator.fmt))
    output = _affine(codes, gamma_codes, beta_codes, to.fmt, constants.output)
    return LayerNormCodes(numerator, denominator, codes, output, clamps)
