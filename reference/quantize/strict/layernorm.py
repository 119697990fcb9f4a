"""Strict fake-quant LayerNorms of other machines: docs/operators/layernorm.md, sections 2 to 5.

Inside, int64; the gradients are those of the real formula, by autograd.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hwsim.formats import IntFormat, Overflow, Scaling
from reference.quantize.strict.exact import (
    check_range,
    clamp_codes,
    quotient_int64,
    ratio,
    reach,
    straight_through,
    tracked,
)
from reference.quantize.strict.fullyqt_layernorm import isqrt
from reference.quantize.strict.scaling import (
    INT32_MAX,
    INT32_MIN,
    divide_by_power,
    high_multiply,
    leading_zeros,
    saturating_shift,
    scale,
)

MAX_CONSTANT_SHIFT = 31
MAX_ROW = 1 << 20
VARIANCE_END, SQUARES_END = 1 << 32, 1 << 50


# What all share


def _towards_zero(a: Tensor, b: int | Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode="trunc")


def _half_even(a: Tensor, b: int) -> Tensor:
    return quotient_int64(a, torch.tensor(b))


def _deviations(x: Tensor, zero: int, centred: bool, quotient: Callable[[Tensor, int], Tensor]) -> Tensor:
    """y of (L1), (L6): int64."""
    q = x.detach().long() - zero
    return q - quotient(q.sum(-1, keepdim=True), q.shape[-1]) if centred else q


def _real_deviations(x: Tensor, zero: int, centred: bool) -> Tensor:
    wide = x.double() - zero
    return wide - wide.mean(-1, keepdim=True) if centred else wide


def _integers(name: str, gamma: Tensor, fmt: IntFormat, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gamma, codes of `fmt`, and bias in int64, neither so large that a sum could leave it."""
    weight, offset = gamma.detach().long(), bias.detach().long()
    check_range(f"{name} gamma", weight, fmt.min, fmt.max)
    check_range(f"{name} bias", offset, -(1 << 62), 1 << 62)
    return weight, offset


def _codes(exact: Tensor, fmt: IntFormat, real: Callable[[], Tensor], *sources: Tensor) -> Tensor:
    """`exact` clamped; where it was not, with the gradient of `real`, evaluated only if one is wanted."""
    return clamp_codes(real() if tracked(*sources) else exact, exact, 1.0, fmt)


def _wrapped(exact: Tensor, fmt: IntFormat, real: Callable[[], Tensor], *sources: Tensor) -> Tensor:
    """The low bits of `exact`, int64; where they are all of it, with the gradient of `real`, as `_codes`."""
    if fmt.narrow or fmt.bits > 24:
        raise ValueError(f"codes that wrap to {fmt}; allowed are formats of 2 to 24 bits that are not narrow")
    codes = (exact - fmt.min & (1 << fmt.bits) - 1) + fmt.min
    return straight_through(real() if tracked(*sources) else exact, codes.float(), 1.0, codes == exact)


# I-BERT


def ibert_layernorm(
    x: Tensor,
    gamma: Tensor,
    bias: Tensor,
    multipliers: Tensor,
    shifts: Tensor,
    *,
    zero: int,
    variance_shift: int,
    zero_point: int,
    fmt: IntFormat,
    centred: bool = True,
) -> Tensor:
    """I-BERT's LayerNorm over the last axis: (L1) to (L5).

    Parameters
    ----------
    x
        Codes, float32, (..., n), of the zero point `zero`.
    gamma
        -1, 0 or 1, float, (n,): its magnitude is in the ratio.
    bias
        Integers, float64 or int64, (n,).
    multipliers, shifts
        int64, (n,).
    centred
        False leaves the mean in: RMSNorm.

    Returns
    -------
    Tensor
        Codes, float32, (..., n).

    Raises
    ------
    ValueError
        If the shifted variance of a row reaches 2^32, or a constant is outside its range.
    """
    check_range("ibert_layernorm variance shift", variance_shift, 0, MAX_CONSTANT_SHIFT)
    sign, offset = _integers("ibert_layernorm", gamma, IntFormat(bits=2, narrow=True), bias)
    y = _deviations(x, zero, centred, _half_even)
    variance = (y >> variance_shift).square().sum(-1, keepdim=True)
    if int(variance.max()) >= VARIANCE_END:
        raise ValueError(f"ibert_layernorm: a shifted variance of {int(variance.max())}; it must be below 2^32")
    factor = (1 << 31) // (isqrt(variance) << variance_shift).clamp_(min=1)
    wide = (y * factor >> 1) * sign + offset
    exact = scale(wide, Scaling.HALF_EVEN, multipliers, shifts, reach(wide)) + zero_point

    def real() -> Tensor:
        centre = _real_deviations(x, zero, centred)
        sigma = centre.square().sum(-1, keepdim=True).clamp(min=1).sqrt()
        return (centre / sigma * 2.0**30 * gamma + bias) * ratio(multipliers, shifts)

    return _codes(exact, fmt, real, x, gamma, bias)


# PULP


def pulp_layernorm(
    x: Tensor,
    gamma: Tensor,
    bias: Tensor,
    *,
    zero: int,
    shift: int,
    zero_point: int,
    fmt: IntFormat,
    centred: bool = True,
    overflow: Overflow = Overflow.SATURATE,
    product_bits: int = 63,
) -> Tensor:
    """PULP's LayerNorm over the last axis: (L6) to (L8).

    Parameters
    ----------
    gamma
        Signed codes of at most 32 bits, float32 to 24 bits, else float64 or int64, (n,).
    overflow
        SATURATE clamps; WRAP keeps the low bits of a code, with the gradient 0 where they differ from it.
    product_bits
        Of the signed integer that holds a product y*w, 2 to 63.

    The rest, and the result, are as in `ibert_layernorm`.

    Raises
    ------
    ValueError
        If a product does not fit, `overflow` is neither of the two, or a constant is outside its range.
    """
    check_range("pulp_layernorm shift", shift, 0, MAX_CONSTANT_SHIFT)
    check_range("pulp_layernorm product bits", product_bits, 2, 63)
    weight, offset = _integers("pulp_layernorm", gamma, IntFormat(bits=32), bias)
    y = _deviations(x, zero, centred, _towards_zero)
    product, end = y * weight, 1 << product_bits - 1
    check_range("pulp_layernorm product", product, -end, end - 1)
    sigma = isqrt(y.square().sum(-1, keepdim=True) // y.shape[-1] + 1)
    exact = (_towards_zero(product, sigma) + offset >> shift) + zero_point

    def real() -> Tensor:
        centre = _real_deviations(x, zero, centred)
        return (centre / (centre.square().mean(-1, keepdim=True) + 1).sqrt() * gamma + bias) / 2.0**shift

    if overflow is Overflow.WRAP:
        return _wrapped(exact, fmt, real, x, gamma, bias)
    if overflow is not Overflow.SATURATE:
        raise ValueError(f"pulp_layernorm overflow {overflow.value}; allowed are saturate and wrap")
    return _codes(exact.double(), fmt, real, x, gamma, bias)


# TFLite int16

_SQRT_HALF = 1518500250
"""Q0.31."""


def inverse_sqrt(v: Tensor) -> tuple[Tensor, Tensor]:
    """invsqrt(v) of (L11), 1 <= v < 2^31: a Q31 multiplier I and a right shift k, 1/sqrt(v) ~ I/2^(31+k); int64."""
    large = v >= 1 << 29  # then v/4 is below, so that one step of the loop is all
    value = torch.where(large, v >> 2, v)
    pairs = (leading_zeros(value) - 1 >> 1) - 1
    exponent = 11 + large.long() - pairs
    half = divide_by_power(value << 2 * pairs >> 1, 1)
    root = torch.full_like(v, 1 << 28)
    for _ in range(5):
        cube = saturating_shift(high_multiply(high_multiply(root, root), root), 6)
        root = saturating_shift(high_multiply(root, 3 << 27) - high_multiply(half, cube), 3)
    root = high_multiply(root, _SQRT_HALF) << (-exponent).clamp(min=0)
    return torch.where(v == 1, INT32_MAX, root), exponent.clamp(min=0).masked_fill(v == 1, 0)


def _tflite_moments(q: Tensor, centred: bool) -> tuple[Tensor, Tensor]:
    """(L9), (L10): the mean times 1024, and the variance before its limit, (..., 1)."""
    n, total, squares = q.shape[-1], q.sum(-1, keepdim=True), q.square().sum(-1, keepdim=True)
    check_range("tflite_layernorm row", n, 1, MAX_ROW)
    squares = squares * (MAX_ROW // n)
    if int(squares.max()) > SQUARES_END:
        raise ValueError(f"tflite_layernorm: sum(x^2)*floor(2^20/n) of {int(squares.max())}; it must be at most 2^50")
    mean = _towards_zero(1024 * total, n) if centred else torch.zeros_like(total)
    return mean, _towards_zero(squares - mean.square(), 1 << 20)


def tflite_layernorm(
    x: Tensor,
    gamma: Tensor,
    bias: Tensor,
    *,
    zero: int,
    variance_limit: int,
    multiplier: int,
    shift: int,
    zero_point: int,
    fmt: IntFormat,
    centred: bool = True,
) -> Tensor:
    """TFLite's int16 LayerNorm over the last axis, n <= 2^20: (L9) to (L14).

    `gamma` holds signed codes of at most 16 bits; the rest, and the result, are as in `ibert_layernorm`.

    Raises
    ------
    ValueError
        If sum(x'^2)*floor(2^20/n) exceeds 2^50, or |v|*2^max(31-shift, 0) reaches 2^31, or a constant is outside its
        range.
    """
    check_range("tflite_layernorm variance limit", variance_limit, 1, INT32_MAX)
    weight, offset = _integers("tflite_layernorm", gamma, IntFormat(bits=16), bias)
    q = x.detach().long() - zero
    mean, variance = _tflite_moments(q, centred)
    limited = variance < 1
    inverse, exponent = inverse_sqrt(variance.masked_fill(limited, variance_limit))
    u = divide_by_power(high_multiply(1024 * q - mean, inverse), exponent) * weight + offset
    v = _towards_zero(u + torch.where(u > 0, 512, -512), 1024)
    exact = scale(v, Scaling.Q31_DOUBLE, multiplier, shift, reach(v)) + zero_point

    def real() -> Tensor:
        centre = _real_deviations(x, zero, centred)
        square = centre.square().mean(-1, keepdim=True).clamp(min=1).masked_fill(limited, variance_limit)
        return (centre / square.sqrt() * gamma + bias / 1024) * ratio(multiplier, shift)

    return _codes(exact, fmt, real, x, gamma, bias)


# Gemmini

UNIT = IntFormat(bits=8)
"""Of u in (L16)."""
MAX_ROOT = 46340
"""The greatest integer whose square is below 2^31."""


def _gemmini_sigma(q: Tensor, y: Tensor) -> Tensor:
    """(L15) behind the deviations y of q: (..., 1)."""
    check_range("gemmini_layernorm sum", q.sum(-1, keepdim=True), INT32_MIN, INT32_MAX)
    check_range("gemmini_layernorm deviation", y, -MAX_ROOT, MAX_ROOT)
    squares = y.square().sum(-1, keepdim=True)
    check_range("gemmini_layernorm sum of squares", squares, 0, INT32_MAX)
    return isqrt(squares // y.shape[-1]).clamp_(min=1)


def gemmini_layernorm(
    x: Tensor,
    gamma: Tensor,
    bias: Tensor,
    *,
    zero: int,
    multiplier: int,
    shift: int,
    zero_point: int,
    fmt: IntFormat,
) -> Tensor:
    """Gemmini's LayerNorm over the last axis: (L15) to (L17).

    Parameters
    ----------
    x
        Integers of at most 32 bits, float32, float64 or int64, (..., n), of the zero point `zero`.
    gamma
        Signed codes of at most 8 bits, float, (n,).
    multiplier, shift
        The binary32 ratio of (R9), one for the tensor.

    The rest, and the result, are as in `ibert_layernorm`. What multiplies gamma, in the gradient too, is the code u.

    Raises
    ------
    ValueError
        If the sum or the sum of squares of a row leaves int32, |u*w + b| exceeds 2^31, or a constant its range.
    """
    weight, offset = _integers("gemmini_layernorm", gamma, IntFormat(bits=8), bias)
    y = _deviations(x, zero, True, _towards_zero)
    sigma = _gemmini_sigma(x.detach().long() - zero, y)
    unclamped = quotient_int64(y, sigma)
    units = unclamped.clamp(UNIT.min, UNIT.max)
    affine = units * weight + offset
    exact = scale(affine, Scaling.FLOAT32, multiplier, shift, reach(affine)) + zero_point

    def real() -> Tensor:
        centre = _real_deviations(x, zero, True)
        deviation = centre.square().mean(-1, keepdim=True).clamp(min=1).sqrt()
        unit = straight_through(centre / deviation, units.double(), 1.0, units == unclamped)
        return (unit * gamma + bias) * ratio(multiplier, shift)

    return _codes(exact, fmt, real, x, gamma, bias)
