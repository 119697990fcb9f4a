"""LayerNorm of one row of residual codes, (5) and (L1) to (L17), every intermediate in its register."""

from math import isqrt
from typing import NamedTuple

from tests.oracle.formats import clamp
from tests.oracle.gemmlowp import invsqrt
from tests.replay.context import Result
from tests.replay.rounding import half_away, half_even, half_even_ratio, toward_zero_ratio
from tests.replay.scaling import Function, Ratio, doubling_high
from tests.replay.widths import LayerNorm


class Affine(NamedTuple):
    """Gamma and beta, one a channel."""

    gamma: list[int]
    beta: list[int]


class Parts(NamedTuple):
    """The inner tensors of (5)."""

    numerator: list[int]
    denominator: int
    quotient: list[int]
    output: list[int]


class PartsConstants(NamedTuple):
    """Ratio and limits of numerator, denominator and quotient, what makes codes, and eps_int."""

    numerator: tuple[Ratio, Result]
    denominator: tuple[Ratio, Result]
    quotient: tuple[Ratio, Result]
    output: Function
    eps: int


def four_parts(x: list[int], affine: Affine, constants: PartsConstants, held: LayerNorm) -> Parts:
    """(5a) to (5f)."""
    product, n, total = held.product, len(x), held.total.hold(sum(x))
    variance = held.squares.hold(n * sum(value * value for value in x) - total * total + constants.eps)
    (to_n, n_limits), (to_d, d_limits), (to_q, q_limits) = constants[:3]
    deviations = [held.deviation.hold(n * value - total) for value in x]
    numerator = [clamp(half_even(product.hold(c * to_n.m), to_n.e), *n_limits[1:]) for c in deviations]
    root = half_even(product.hold(isqrt(variance) * to_d.m), to_d.e)
    denominator = max(1, clamp(root, 0, d_limits.high))
    divisor = product.hold(denominator << to_q.e)
    quotient = [clamp(half_even_ratio(product.hold(c * to_q.m), divisor), *q_limits[1:]) for c in numerator]
    sums = [held.affine.hold(q * g + b) for q, g, b in zip(quotient, *affine, strict=True)]
    return Parts(numerator, denominator, quotient, [constants.output(value) for value in sums])


def ibert_layernorm(
    x: list[int], affine: Affine, zero: int, variance_shift: int, codes: list[Function], held: LayerNorm
) -> list[int]:
    """(L1) to (L5); `codes` make one of o, one function or one a channel."""
    mean = half_even_ratio(held.total.hold(sum(x) - len(x) * zero), len(x))
    y = [held.deviation.hold(value - zero - mean) for value in x]
    variance = held.squares.hold(sum((value >> variance_shift) ** 2 for value in y))
    factor = 2**31 // max(1, isqrt(variance) << variance_shift)
    products = [held.product.hold(value * factor) >> 1 for value in y]
    o = [held.affine.hold(value * g + b) for value, g, b in zip(products, *affine, strict=True)]
    return [codes[j % len(codes)](value) for j, value in enumerate(o)]


class PulpConstants(NamedTuple):
    """Zero point of x, shift D, whether the mean is taken off, and whether a code that does not fit wraps."""

    zero: int
    shift: int
    centred: bool = True
    wraps: bool = False


def pulp_layernorm(
    x: list[int], affine: Affine, constants: PulpConstants, result: Result, bits: int, held: LayerNorm
) -> list[int]:
    """(L6) to (L8)."""
    zero, shift, centred, wraps = constants
    total = held.total.hold(sum(x) - len(x) * zero)
    mean = toward_zero_ratio(total, len(x)) if centred else 0
    y = [held.deviation.hold(value - zero - mean) for value in x]
    squares = held.squares.hold(sum(value * value for value in y))
    sigma = isqrt(toward_zero_ratio(squares, len(x)) + 1)
    keep, add = held.product.keeper(), held.affine.keeper()
    ratios = [toward_zero_ratio(keep(value * w), sigma) for value, w in zip(y, affine.gamma, strict=True)]
    codes = [(add(value + add(b)) >> shift) + result.zero for value, b in zip(ratios, affine.beta, strict=True)]
    if wraps:
        return [held.affine._replace(bits=bits, signed=result.low < 0).hold(code) for code in codes]
    return [clamp(code, result.low, result.high) for code in codes]


def tflite_layernorm(
    x: list[int], affine: Affine, zero: int, variance_limit: int, code: Function, held: LayerNorm
) -> list[int]:
    """(L9) to (L14)."""
    n, codes = len(x), [value - zero for value in x]
    mean = toward_zero_ratio(held.total.hold(1024 * sum(codes)), n)
    squares = held.squares.hold(sum(value * value for value in codes) * (2**20 // n) - mean * mean)
    variance = toward_zero_ratio(squares, 2**20)
    inverse, shift = invsqrt(variance_limit if variance < 1 else variance)
    deviations = [held.deviation.hold(1024 * value - mean) for value in codes]
    normalised = [half_away(doubling_high(value, inverse), shift) for value in deviations]
    sums = [held.affine.hold(held.product.hold(r * w) + b) for r, w, b in zip(normalised, *affine, strict=True)]
    return [code(toward_zero_ratio(u + (512 if u > 0 else -512), 1024)) for u in sums]


def gemmini_layernorm(x: list[int], affine: Affine, zero: int, code: Function, held: LayerNorm) -> list[int]:
    """(L15) to (L17)."""
    n = len(x)
    mean = toward_zero_ratio(held.total.hold(sum(x) - n * zero), n)
    y = [held.deviation.hold(value - zero - mean) for value in x]
    sigma = isqrt(toward_zero_ratio(held.squares.hold(sum(value * value for value in y)), n)) or 1
    quotients = [clamp(half_even_ratio(value, sigma), -128, 127) for value in y]
    sums = [held.affine.hold(held.product.hold(u * w) + b) for u, w, b in zip(quotients, *affine, strict=True)]
    return [code(value) for value in sums]
