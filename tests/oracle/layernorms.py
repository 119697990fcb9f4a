"""The four LayerNorms of operators/layernorm.md that are not (5a) to (5f): one row of codes each, (L1) to (L17)."""

from fractions import Fraction
from math import isqrt
from typing import NamedTuple

from .formats import limits, saturate_row, wrap
from .gemmlowp import invsqrt
from .rounding import half_even, toward_zero
from .scaling import Ratio, doubling_high, rounding_shift, scale


class ShortNormRow(NamedTuple):
    """The codes of one row and its events: the sign of every tie counted among them."""

    output: list[int]
    output_saturated: int
    ties: list[int]
    denominator_below_one: int
    overflows: int = 0


class Result(NamedTuple):
    """Zero point and limits of the result."""

    zero_point: int
    lo: int
    hi: int


def without(x: list[int], zero: int) -> list[int]:
    """x' = x - z_x."""
    return [value - zero for value in x]


def finished(values: list[int], ties: list[int], result: Result, below_one: bool = False) -> ShortNormRow:
    """clamp(value + z_o), the last step of each of them."""
    output, saturated = saturate_row([value + result.zero_point for value in values], result.lo, result.hi)
    return ShortNormRow(output, saturated, [tie for tie in ties if tie], int(below_one))


def ibert_layernorm(
    x: list[int], zero: int, centred: bool, variance_shift: int, gamma: list[int], bias: list[int],
    ratios: list[tuple[int, int]], result: Result,
) -> ShortNormRow:  # fmt: skip
    """(L1) to (L5); one (m, e) a channel."""
    codes = without(x, zero)
    mean = half_even(Fraction(sum(codes), len(codes))) if centred else 0
    y = [code - mean for code in codes]
    variance = sum((value // 2**variance_shift) ** 2 for value in y)
    assert variance < 2**32
    sigma = isqrt(variance) * 2**variance_shift
    factor = 2**31 // max(1, sigma)
    o = [value * factor // 2 * g + b for value, g, b in zip(y, gamma, bias, strict=True)]
    scaled = [scale(value, Ratio("dyadic", m, e)) for value, (m, e) in zip(o, ratios, strict=True)]
    return finished([code.value for code in scaled], [code.tie for code in scaled], result, sigma < 1)


def wrapped(values: list[int], result: Result) -> ShortNormRow:
    """The low bits of value + z_o instead of its clamp; each code that this changed is an overflow (L8)."""
    sums = [value + result.zero_point for value in values]
    bits = (result.hi - result.lo).bit_length()
    output = [wrap(value, result.lo, bits) for value in sums]
    return ShortNormRow(output, 0, [], 0, sum(code != value for code, value in zip(output, sums, strict=True)))


def pulp_layernorm(
    x: list[int], zero: int, centred: bool, weight: list[int], bias: list[int], shift: int, result: Result,
    overflow: str = "saturate", product_bits: int = 63,
) -> ShortNormRow:  # fmt: skip
    """(L6) to (L8); refuses a product y * w beyond `product_bits` bits."""
    codes = without(x, zero)
    mean = toward_zero(Fraction(sum(codes), len(codes))) if centred else 0
    y = [code - mean for code in codes]
    sigma = isqrt(toward_zero(Fraction(sum(value**2 for value in y), len(y))) + 1)
    least, greatest = limits(product_bits, signed=True, narrow=False)
    if not all(least <= value * w <= greatest for value, w in zip(y, weight, strict=True)):
        raise ValueError(f"a product y * w of more than {product_bits} bits")
    scaled = [
        (toward_zero(Fraction(value * w, sigma)) + b) >> shift for value, w, b in zip(y, weight, bias, strict=True)
    ]
    return wrapped(scaled, result) if overflow == "wrap" else finished(scaled, [], result)


def tflite_variance(codes: list[int], mean: int) -> int:
    """var of (L10), before its limit."""
    reciprocal = 2**20 // len(codes)
    return toward_zero(Fraction(sum(code**2 for code in codes) * reciprocal - mean**2, 2**20))


def tflite_layernorm(
    x: list[int], zero: int, centred: bool, weight: list[int], bias: list[int], variance_limit: int,
    ratio: tuple[int, int], result: Result,
) -> ShortNormRow:  # fmt: skip
    """(L9) to (L14); one (m, e) for the tensor."""
    codes = without(x, zero)
    mean = toward_zero(Fraction(1024 * sum(codes), len(codes))) if centred else 0
    variance = tflite_variance(codes, mean)
    inverse, shift = invsqrt(variance_limit if variance < 1 else variance)
    normalised = [rounding_shift(doubling_high(1024 * code - mean, inverse), shift) for code in codes]
    affine = [r * w + b for r, w, b in zip(normalised, weight, bias, strict=True)]
    values = [toward_zero(Fraction(u + 512 * (1 if u > 0 else -1), 1024)) for u in affine]
    scaled = [scale(value, Ratio("q31_double", *ratio)) for value in values]
    return finished([code.value for code in scaled], [code.tie for code in scaled], result, variance < 1)


def gemmini_normalised(codes: list[int]) -> tuple[list[int], int]:
    """u of (L15), (L16) and how many codes its clamp changed; sums beyond int32 are refused."""
    if not -(2**31) <= sum(codes) < 2**31:
        raise ValueError(f"a sum of {sum(codes)}, beyond int32")
    mean = toward_zero(Fraction(sum(codes), len(codes)))
    y = [code - mean for code in codes]
    squares = sum(value**2 for value in y)
    if squares >= 2**31:
        raise ValueError(f"a sum of squares of {squares}, beyond int32")
    sigma = max(isqrt(squares // len(y)), 1)
    return saturate_row([half_even(Fraction(value, sigma)) for value in y], -128, 127)


def gemmini_layernorm(
    x: list[int], zero: int, weight: list[int], bias: list[int], ratio: tuple[int, int], result: Result
) -> ShortNormRow:
    """(L15) to (L17)."""
    u, inner = gemmini_normalised(without(x, zero))
    affine = [value * w + b for value, w, b in zip(u, weight, bias, strict=True)]
    scaled = [scale(value, Ratio("float32", *ratio)) for value in affine]
    row = finished([code.value for code in scaled], [code.tie for code in scaled], result)
    return row._replace(output_saturated=row.output_saturated + inner)
