"""Strict products with weights, eqs (2), (6) and (1) in one pass: exact forward, straight-through backward.

Codes of at most 8 bits are multiplied as int8 where `bytes` is exact, others as float32 or float64 by the bound of
their sums. What zero points add to a sum, and the bias, are one constant for each row of a weight, added in float64.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from hwsim.formats import IntFormat
from reference.quantize.strict import bytes
from reference.quantize.strict.blocks import Ends, fits, part, rows_of, scratch, slices, stopped, widened
from reference.quantize.strict.exact import magnitude
from reference.quantize.strict.matmul import accumulator_dtype

PRODUCT_BLOCK = 1 << 19
"""Sums that are made at once, as many as stay in a last-level cache."""
INT32_MAX = (1 << 31) - 1


@dataclass(frozen=True, kw_only=True)
class Site:
    """A product's constants: formats and zero points of its input and output, m/2^e (n,) float64, the largest m."""

    a_format: IntFormat
    a_zero: int
    slope: Tensor
    multiplier: int
    to_format: IntFormat
    to_zero: int
    relu: bool


@dataclass(frozen=True, kw_only=True)
class Weight:
    """Codes of a weight, ready for one site; `codes` is float32 (n, k), `bound` that of |bias| + sum |a - a_zero|*|w|.

    `carrier` is what is multiplied, int8, float32 or float64, (k, n); `raised` is what is taken from a code to fit
    int8; `offset` is what is to be added to a sum, times the slope: float64 (n,), or None if it is 0 everywhere.
    """

    codes: Tensor
    carrier: Tensor
    raised: int
    offset: Tensor | None
    bound: int
    ends: Ends


def row_sums(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the sum and the sum of sizes, float64."""
    total = codes.sum(-1, dtype=torch.float64)
    return total, torch.linalg.vector_norm(codes, 1, -1, dtype=torch.float64)


def prepare(site: Site, codes: Tensor, bias: Tensor | None) -> Weight | None:
    """Codes of a weight, float32 (n, k), and of its bias, float64 (n,), for a site.

    None if float64 cannot hold what the requantization multiplies.
    """
    total, sizes = row_sums(codes)
    fmt, zero = site.a_format, site.a_zero
    own = torch.zeros_like(total) if bias is None else bias
    bound = int((sizes * max(fmt.max - zero, zero - fmt.min) + own.abs()).max())
    raised = 128 if not fmt.signed and fmt.bits == 8 else 0
    reach = int(sizes.max()) * (128 if raised else magnitude(fmt))
    in_bytes = fmt.bits <= 8 and reach <= INT32_MAX and _are_bytes(codes) and bytes.serves(codes.shape[-1])
    if not in_bytes:
        raised, reach = 0, int(sizes.max()) * magnitude(fmt)
    offset = own - total * (zero - raised)
    if not fits(reach + int(offset.abs().max()), site.multiplier):
        return None
    kind = torch.int8 if in_bytes else accumulator_dtype(reach)
    return Weight(
        codes=codes,
        carrier=codes.to(kind).T,
        raised=raised,
        offset=offset * site.slope if bool(offset.any()) else None,
        bound=bound,
        ends=Ends(site.to_format, site.to_zero, bound * float(site.slope.max()) + 1, site.relu),
    )


def _are_bytes(codes: Tensor) -> bool:
    least, most = torch.aminmax(codes)
    return int(least) >= -128 and int(most) <= 127


def _sums(a: Tensor, weight: Weight) -> Tensor:
    """(a - raised) @ w.T in scratch memory, int32, float32 or float64."""
    kind, shape = weight.carrier.dtype, (len(a), weight.carrier.shape[1])
    if kind is not torch.int8:
        return torch.mm(a.to(kind), weight.carrier, out=scratch("sums", shape, kind))
    lowered = torch.sub(a, weight.raised, out=scratch("lowered", a.shape, a.dtype)) if weight.raised else a
    operand = scratch("operand", a.shape, kind).copy_(lowered)
    return bytes.multiply(operand, weight.carrier, scratch("sums", shape, torch.int32))


def product(a: Tensor, site: Site, weight: Weight, stops: Tensor | None) -> Tensor:
    """Codes of clamp(HALF_EVEN(f(acc)*m/2^e) + z), f the identity or max(., 0), as a new tensor; no gradient.

    Parameters
    ----------
    a
        Codes, (..., k).
    stops
        bool, (rows, n), to be filled as in `Ends.finish`.

    Returns
    -------
    Tensor
        float32, or float64 if the site has more than 24 bits, (..., n).
    """
    flat, width = rows_of(a), len(weight.codes)
    codes = torch.empty((len(flat), width), dtype=weight.ends.dtype)
    in_place = codes.dtype is torch.float64
    for many in slices(len(flat), width, PRODUCT_BLOCK):
        sums, made, where = _sums(part(flat, many), weight), part(codes, many), part(stops, many)
        for few in slices(len(sums), width):
            to = part(made, few)
            wide = (to.copy_(part(sums, few)) if in_place else widened(part(sums, few))).mul_(site.slope)
            if weight.offset is not None:
                wide.add_(weight.offset)
            weight.ends.finish(wide, to, part(where, few))
    return codes.view(*a.shape[:-1], width)


class Dense(Function):
    """`product` of codes with parameters: the gradient goes to a, to the parameters' codes, and not to constants."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, codes: Tensor, bias: Tensor | None, site: Site, weight: Weight) -> Tensor:
        shape = (a.numel() // a.shape[-1], len(codes))
        stops = weight.ends.stops(shape)
        made = product(a, site, weight, stops)
        ctx.save_for_backward(a, codes, site.slope, stops)
        ctx.zero, ctx.bias = site.a_zero, None if bias is None else bias.dtype
        return made

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        a, codes, slope, stops = ctx.saved_tensors
        narrow, flat = slope.float(), rows_of(a)
        grad = stopped(rows_of(grads[0]), stops)
        wants_a, wants_codes, wants_bias, _, _ = ctx.needs_input_grad
        grad_a = torch.mm(grad, codes * narrow[:, None]).view(a.shape) if wants_a else None
        total = grad.sum(0).mul_(narrow)
        grad_codes = None
        if wants_codes:
            grad_codes = torch.mm(grad.T, flat).mul_(narrow[:, None])
            if ctx.zero:
                grad_codes.sub_(total[:, None], alpha=ctx.zero)
        return grad_a, grad_codes, total.to(ctx.bias) if wants_bias else None, None, None
