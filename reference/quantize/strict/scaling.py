"""Strict fake-quant requantization: the schemes of docs/operators/requantization.md in float64, int64 and binary32."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hwsim.formats import IntFormat, Scaling
from reference.quantize.strict.exact import (
    FLOAT64_EXACT,
    check_carrier,
    check_range,
    clamp_codes,
    int64_product,
    largest,
    ratio,
    reach,
    scaled_half_even,
    smallest,
    straight_through,
)

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
INPUT_END = 1 << 31
"""The greatest |x| of the Q31 and binary32 schemes."""
_HALF = torch.tensor(0.5, dtype=torch.float64)
_Q31 = {Scaling.Q31_DOUBLE: Scaling.HALF_AWAY, Scaling.Q31_DOUBLE_HALF_UP: Scaling.HALF_UP}
"""The second rounding of (R2) and (R3)."""
_FLOAT32 = (Scaling.FLOAT32, Scaling.FLOAT32_INSIDE)


def _ratio(scaling: Scaling, multiplier: int | Tensor, shift: int | Tensor) -> float | Tensor:
    """m/2^e; ITA's multiplier, HALF_UP, may be 0."""
    return ratio(multiplier, shift, least=0 if scaling is Scaling.HALF_UP else 1)


# One product, one rounding


_IN_FLOAT: dict[Scaling, Callable[[Tensor], Tensor]] = {
    Scaling.HALF_UP: lambda v: v.add_(0.5).floor_(),
    Scaling.HALF_AWAY: lambda v: v.add_(torch.copysign(_HALF, v)).trunc_(),
    Scaling.FLOOR: Tensor.floor_,
    Scaling.TOWARD_ZERO: Tensor.trunc_,
}
"""In place, of a float64 to which 1/2 can be added exactly."""


def rounded_shift(product: Tensor, shift: int | Tensor, rounding: Scaling) -> Tensor:
    """product/2^shift to an integer, int64, by any of the five roundings but HALF_EVEN.

    |product| + 2^(shift-1) must be below 2^63; HALF_EVEN is `exact.scaled_int64`.
    """
    if rounding is Scaling.FLOOR:
        return product >> shift
    half = (torch.ones_like(shift) << shift if isinstance(shift, Tensor) else 1 << shift) >> 1
    if rounding is Scaling.HALF_UP:
        return (product + half) >> shift
    size = product.abs()
    if rounding is Scaling.HALF_AWAY:
        size += half
    return product.sign() * (size >> shift)


def _rounded(x: Tensor, rounding: Scaling, multiplier: int | Tensor, shift: int | Tensor, bound: int) -> Tensor:
    """x*multiplier/2^shift, rounded, as a new float64 tensor, by the cheapest exact way."""
    slope = _ratio(rounding, multiplier, shift)
    if rounding is Scaling.HALF_EVEN:
        return scaled_half_even(x, multiplier, shift, slope, bound)
    # With p the product, p/2^e + 1/2 = (2p + 2^e)/2^(e+1): a float64 if its numerator is.
    if 2 * bound * largest(multiplier) + (1 << largest(shift)) <= FLOAT64_EXACT:
        return _IN_FLOAT[rounding](x.double() * slope)
    return rounded_shift(int64_product(x, multiplier, shift, bound), shift, rounding).double()


# The schemes of two roundings, and of binary32


def _q31(x: Tensor, second: Scaling, multiplier: int | Tensor, shift: int | Tensor, bound: int) -> Tensor:
    """(R2), (R3): x*2^l*m/2^31 is x*m/2^min(e, 31), and S cannot saturate since |x|*2^l <= 2^31 and m < 2^31."""
    check_range("Q31 multiplier", multiplier, 1 << 30, INT32_MAX)
    reach = bound << max(31 - smallest(shift), 0)
    if reach > INPUT_END:
        raise ValueError(f"|x|*2^max(31-shift, 0) may be {reach}; a doubling high multiply takes at most 2^31")
    first = shift.clamp(max=31) if isinstance(shift, Tensor) else min(shift, 31)
    high = _rounded(x, Scaling.HALF_UP, multiplier, first, bound)
    return high if largest(shift) <= 31 else _rounded(high, second, 1, shift - first, INT32_MAX)


def _float32(x: Tensor, multiplier: int | Tensor, shift: int | Tensor, bound: int, zero_point: int) -> Tensor:
    """(R9) in torch's own binary32, whose operations round half to even; a zero point of 0 changes no sum."""
    check_range("binary32 multiplier", multiplier, 1, (1 << 24) - 1)
    if bound > INPUT_END:
        raise ValueError(f"|x| may be {bound}; the binary32 schemes take at most 2^31")
    product = x.to(torch.float32) * torch.as_tensor(ratio(multiplier, shift), dtype=torch.float32)
    return (product + zero_point if zero_point else product).round_().double()


def _scale(
    x: Tensor, scaling: Scaling, multiplier: int | Tensor, shift: int | Tensor, bound: int, zero_point: int
) -> Tensor:
    if scaling in _Q31:
        return _q31(x, _Q31[scaling], multiplier, shift, bound)
    if scaling in _FLOAT32:
        return _float32(x, multiplier, shift, bound, zero_point)
    return _rounded(x, scaling, multiplier, shift, bound)


def scale(
    x: Tensor,
    scaling: Scaling,
    multiplier: int | Tensor,
    shift: int | Tensor,
    bound: int,
    zero_point: int = 0,
) -> Tensor:
    """scale(x; m, e) of any scheme: (R2) to (R9) of docs/operators/requantization.md.

    Parameters
    ----------
    x
        Integers, float32, float64 or int64, (..., channels).
    multiplier, shift
        One for all, or int64 per channel.
    bound
        Proven maximum of |x|.
    zero_point
        What `FLOAT32_INSIDE` adds before it rounds; 0 for every other scheme.

    Returns
    -------
    Tensor
        float64 integers; those beyond 2^53 are the nearest float64. The gradient is multiplier/2^shift.

    Raises
    ------
    ValueError
        If a constant or `bound` is outside what the scheme takes, or bound*multiplier + 2^(shift-1) reaches 2^63.
    """
    if zero_point and scaling is not Scaling.FLOAT32_INSIDE:
        raise ValueError(f"a zero point of {zero_point} inside {scaling.name}; only FLOAT32_INSIDE has one there")
    return straight_through(
        x, _scale(x.detach(), scaling, multiplier, shift, bound, zero_point), _ratio(scaling, multiplier, shift)
    )


def requantize_by(
    acc: Tensor,
    scaling: Scaling,
    multiplier: int | Tensor,
    shift: int | Tensor,
    zero_point: int,
    fmt: IntFormat,
    bound: int,
) -> Tensor:
    """clamp(scale(acc; m, e) + zero_point): (R1), or the second equation of (R9) for `FLOAT32_INSIDE`.

    Parameters and errors as in `scale`.

    Returns
    -------
    Tensor
        Codes, float32; float64 if `fmt` has more than 24 bits. The gradient is multiplier/2^shift, 0 where clamped.
    """
    inside = scaling is Scaling.FLOAT32_INSIDE
    rounded = _scale(acc.detach(), scaling, multiplier, shift, bound, zero_point if inside else 0)
    if zero_point and not inside:
        rounded += zero_point
    return clamp_codes(acc, rounded, _ratio(scaling, multiplier, shift), fmt)


# Residual sum


def rescaled_add(
    a: Tensor,
    b: Tensor,
    *,
    a_zero: int,
    b_zero: int,
    left_shift: int,
    scaling: Scaling,
    a_multiplier: int,
    a_shift: int,
    b_multiplier: int,
    b_shift: int,
    output_multiplier: int | None,
    output_shift: int,
    zero_point: int,
    fmt: IntFormat,
    operand: IntFormat | None = None,
) -> Tensor:
    """clamp(scale_o(c(scale_a((a-a_zero)*2^L)) + c(scale_b((b-b_zero)*2^L))) + zero_point): (R10).

    Parameters
    ----------
    a, b
        Codes, float32, of shapes that broadcast.
    output_multiplier
        None for no output scheme: `output_shift` is not used, scale_o is the identity.
    operand
        What c clamps each rescaled operand to; None for no clamp.

    Returns
    -------
    Tensor
        Codes, float32. The gradient of an operand is the product of its ratios, and 0 where clamped.

    Raises
    ------
    ValueError
        As in `scale`, of the values that there are; or if a sum exceeds 2^53.
    """

    def term(x: Tensor, zero: int, multiplier: int, shift: int) -> Tensor:
        raised = (x.double() - zero) * float(1 << left_shift)
        rescaled = scale(raised, scaling, multiplier, shift, reach(raised))
        return rescaled if operand is None else clamp_codes(rescaled, rescaled.detach(), 1.0, operand).double()

    total = term(a, a_zero, a_multiplier, a_shift) + term(b, b_zero, b_multiplier, b_shift)
    check_carrier(total, reach(total))
    if output_multiplier is not None:
        total = scale(total, scaling, output_multiplier, output_shift, reach(total))
    return clamp_codes(total, total.detach() + zero_point, 1.0, fmt)


# Sum of heads


class HeadSum(NamedTuple):
    """Of (R14): the codes of each head, (..., h, n, d), and their total, (..., n, d)."""

    heads: Tensor
    total: Tensor


def sum_of_heads(
    heads: Tensor,
    multiplier: int | Tensor,
    shift: int | Tensor,
    fmt: IntFormat,
    bound: int,
    scaling: Scaling = Scaling.HALF_UP,
) -> HeadSum:
    """c[h] = clamp(scale(acc[h]; m[h], e[h])) and sum_h c[h]: (R14) but for its products and its last scaling.

    Parameters
    ----------
    heads
        Accumulators, float32, float64 or int64, (..., h, n, d): the products of each head; the first has the bias.
    multiplier, shift
        One for all, or int64, (h,).
    fmt
        Of the codes of a head; ITA's is int8.
    bound
        Proven maximum of |acc|.
    scaling
        Of the scheme; ITA's is HALF_UP.

    Returns
    -------
    HeadSum
        float32, or float64 if `fmt` has more than 24 bits. The gradient is multiplier/2^shift, 0 where clamped.
    """
    for name, constant in (("multipliers", multiplier), ("shifts", shift)):
        if isinstance(constant, Tensor) and constant.shape != heads.shape[-3:-2]:
            raise ValueError(f"{name} {tuple(constant.shape)} of {heads.shape[-3]} heads; allowed is one a head")
    m, e = (x.view(-1, 1, 1) if isinstance(x, Tensor) else x for x in (multiplier, shift))
    codes = requantize_by(heads, scaling, m, e, 0, fmt, bound)
    return HeadSum(codes, codes.sum(-3))


# gemmlowp's fixed point, on int64 tensors of int32 values


def high_multiply(a: Tensor, b: int | Tensor) -> Tensor:
    """S(a, b) = min(2^31-1, HALF_UP(a*b/2^31)), the doubling high multiply."""
    return rounded_shift(a * b, 31, Scaling.HALF_UP).clamp_(max=INT32_MAX)


def divide_by_power(a: Tensor, exponent: int | Tensor) -> Tensor:
    """R(a, r) = HALF_AWAY(a/2^r)."""
    return rounded_shift(a, exponent, Scaling.HALF_AWAY)


def saturating_shift(a: Tensor, k: int) -> Tensor:
    """satshl(a, k) = clamp_int32(a*2^k)."""
    return (a << k).clamp_(INT32_MIN, INT32_MAX)


def leading_zeros(v: Tensor) -> Tensor:
    """Leading zeros of 0 <= v < 2^32 in 32 bits."""
    return 32 - torch.frexp(v.double()).exponent.long()  # v = f * 2^exponent, 1/2 <= f < 1


_EXP_EIGHTH, _THIRD = 1895147668, 715827883
_EXP_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^k) for k = -2..4, Q0.31."""


def exp_q(a: Tensor) -> Tensor:
    """exp(a), Q5.26 to Q0.31, -2^31 <= a <= 0; int64."""
    fraction = (a & (1 << 24) - 1) - (1 << 24)
    x = saturating_shift(fraction, 5) + (1 << 28)
    x2 = high_multiply(x, x)
    x3, x4 = high_multiply(x2, x), high_multiply(x2, x2)
    y = divide_by_power(high_multiply(divide_by_power(x4, 2) + x3, _THIRD) + x2, 1)
    result = _EXP_EIGHTH + high_multiply(x + y, _EXP_EIGHTH)
    remainder = fraction - a
    for bit, power in enumerate(_EXP_POWERS, 24):
        result = torch.where((remainder >> bit) & 1 == 1, high_multiply(result, power), result)
    return torch.where(a == 0, INT32_MAX, result)


def reciprocal_q(v: Tensor) -> Tensor:
    """1/(1+v), Q0.31, 0 <= v < 2^31; int64."""
    half = (v + (1 << 31)) >> 1
    x = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        x = x + saturating_shift(high_multiply(x, (1 << 29) - high_multiply(half, x)), 2)
    return saturating_shift(x, 1)


def lookup(table: Tensor, v: Tensor) -> Tensor:
    """lookup(T, v): between entries of a table of 513, int64, v int16; int64."""
    index, offset = 256 + (v >> 7), v & 127
    return table[index] + ((table[index + 1] - table[index]) * offset + 64 >> 7)
