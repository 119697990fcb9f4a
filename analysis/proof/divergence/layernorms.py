"""The last rounding of every LayerNorm: docs/numerics.md, section 5, and docs/operators/layernorm.md."""

from math import isqrt

from analysis.proof.divergence.element import Element
from analysis.proof.divergence.stage import Stage, half_away, half_even, half_up, toward_zero
from hwsim.arithmetic.gemmlowp import inverse_sqrt
from hwsim.formats import Overflow
from hwsim.program.operations import GemminiLayerNorm, IBertLayerNorm, LayerNorm, PulpLayerNorm, TfliteLayerNorm


def fullyqt(operation: LayerNorm, at: Element) -> Stage:
    """(5c) to (5f)."""
    if at.site in (operation.numerator, operation.denominator):
        x = at.row(operation.input)
        total, variance = at.shared(lambda: (sum(x), len(x) * sum(c * c for c in x) - sum(x) ** 2 + operation.eps))
        if at.site == operation.numerator:
            return at.scaled(len(x) * x[at.index[-1]] - total, operation.numerator_requantization)
        return at.scaled(isqrt(variance), operation.denominator_requantization, lowest=1)
    if at.site == operation.quotient:
        (denominator,) = at.row(operation.denominator)
        return at.scaled(at.of(operation.numerator), operation.quotient_requantization, denominator)
    gamma, beta = at.parameter(operation.gamma), at.parameter(operation.beta)
    return at.scaled(at.of(operation.quotient) * gamma + beta, operation.output_requantization)


def ibert(operation: IBertLayerNorm, at: Element) -> Stage:
    """(L1) to (L5)."""

    def row() -> tuple[list[int], int]:
        x = at.centred_row(operation.input)
        mean, t = half_even(sum(x), len(x)), operation.variance_shift
        y = [code - mean for code in x]
        sigma = isqrt(sum((deviation >> t) ** 2 for deviation in y)) << t
        return y, (1 << 31) // max(1, sigma)

    y, factor = at.shared(row)
    normal = (y[at.index[-1]] * factor) >> 1
    return at.scaled(normal * at.parameter(operation.gamma) + at.parameter(operation.beta), operation.requantization)


def pulp(operation: PulpLayerNorm, at: Element) -> Stage:
    """(L6) to (L8)."""

    def row() -> tuple[list[int], int]:
        x = at.centred_row(operation.input)
        mean = toward_zero(sum(x), len(x))
        y = [code - mean for code in x]
        return y, isqrt(toward_zero(sum(deviation**2 for deviation in y), len(y)) + 1)

    y, sigma = at.shared(row)
    quotient = toward_zero(y[at.index[-1]] * at.parameter(operation.gamma), sigma)
    stage = at.stage(quotient + at.parameter(operation.beta), 1, operation.shift, "floor")
    return stage._replace(wraps=operation.overflow is Overflow.WRAP)


def gemmini(operation: GemminiLayerNorm, at: Element) -> Stage:
    """(L15) to (L17)."""

    def row() -> tuple[list[int], int]:
        x = at.centred_row(operation.input)
        mean = toward_zero(sum(x), len(x))
        y = [code - mean for code in x]
        return y, max(1, isqrt(sum(deviation**2 for deviation in y) // len(y)))

    y, sigma = at.shared(row)
    unit = min(max(half_even(y[at.index[-1]], sigma), -128), 127)
    return at.scaled(unit * at.parameter(operation.gamma) + at.parameter(operation.beta), operation.requantization)


def tflite(operation: TfliteLayerNorm, at: Element) -> Stage:
    """(L9) to (L14)."""

    def row() -> tuple[list[int], int, int]:
        x = at.centred_row(operation.input)
        n = len(x)
        mean = toward_zero(1024 * sum(x), n)
        variance = toward_zero(sum(c * c for c in x) * ((1 << 20) // n) - mean**2, 1 << 20)
        inverse, k = inverse_sqrt(variance if variance >= 1 else operation.variance_limit)
        return [1024 * code - mean for code in x], int(inverse), int(k)

    y, inverse, k = at.shared(row)
    r = half_away(half_up(y[at.index[-1]] * inverse, 1 << 31), 1 << k)
    u = r * at.parameter(operation.gamma) + at.parameter(operation.beta)
    return at.scaled(toward_zero(u + (512 if u > 0 else -512), 1024), operation.requantization)
