"""LayerNorms of one row that count their operations."""

from fractions import Fraction

from .softmaxes import held, right, total_of
from .unit import Format, Ratio, Unit


def squares(unit: Unit, codes: list[int]) -> int:
    """The sum of squares, 64 bits."""
    return total_of(unit, [unit.multiply(code, code, 0, 0) for code in codes], 64)


def layernorm(
    unit: Unit, x: list[int], bits: int, eps: int, ratios: tuple[Ratio, Ratio, Ratio, Ratio],
    limits: tuple[Format, int, Format], affine: tuple[list[int], list[int]], result: Format,
) -> list[int]:  # fmt: skip
    """(5a) to (5f); ratios of numerator, denominator, quotient, output; limits of the first three."""
    n, total, square = len(x), total_of(unit, x), squares(unit, x)
    variance = unit.add(unit.multiply(n, square, 16, 64), -unit.multiply(total, total, 32, 32), 64)
    root = unit.root(unit.add(variance, eps, 64))
    to_numerator, to_denominator, to_quotient, to_output = ratios
    denominator = unit.requantize(root, to_denominator, 32, Format(0, 0, limits[1]))
    divisor = unit.shift(unit.greater(denominator, 1), -to_quotient.e)
    made = []
    for code, gamma, beta in zip(x, *affine, strict=True):
        c = unit.add(unit.multiply(n, code, 16, bits), -total)
        numerator = unit.requantize(c, to_numerator, 32, limits[0])
        quotient = unit.quotient(numerator, to_quotient.m, divisor, limits[2].lo, limits[2].hi)
        line = unit.add(unit.multiply(quotient, gamma, 0, 0), beta, 0, "bias_add")
        made.append(unit.requantize(line, to_output, 32, result))
    return made


def ibert_layernorm(
    unit: Unit, x: list[int], zero: int, t: int, affine: tuple[list[int], list[int]], ratios: list[Ratio],
    result: Format,
) -> list[int]:  # fmt: skip
    """(L1) to (L5); gamma holds signs, which cost nothing."""
    codes = [code - zero for code in x]
    mean = unit.divide(total_of(unit, codes), len(codes), "half_even")
    y = [unit.add(code, -mean) for code in codes]
    sigma = unit.root(squares(unit, [value // 2**t for value in y])) * 2**t
    factor = unit.divide(2**31, max(1, sigma))
    made = []
    for j, (value, sign, beta) in enumerate(zip(y, *affine, strict=True)):
        line = unit.add(unit.multiply(value, factor) // 2 * sign, beta, 0, "bias_add")
        made.append(unit.requantize(line, ratios[j % len(ratios)], 64, result))
    return made


def gemmini_layernorm(
    unit: Unit, x: list[int], zero: int, affine: tuple[list[int], list[int]], ratio: Ratio, result: Format
) -> list[int]:
    """(L15) to (L17)."""
    codes = [code - zero for code in x]
    mean = unit.divide(total_of(unit, codes), len(codes), "toward_zero")
    y = [unit.add(code, -mean) for code in codes]
    sigma = max(1, unit.root(unit.divide(squares(unit, y), len(y), "toward_zero")))
    made = []
    for value, weight, beta in zip(y, *affine, strict=True):
        u = unit.clamp(unit.divide(value, sigma, "half_even"), -128, 127)
        line = unit.add(unit.multiply(u, weight, 0, 0), beta, 0, "bias_add")
        made.append(unit.requantize(line, ratio, 32, result))
    return made


def pulp_layernorm(
    unit: Unit, x: list[int], zero: int, affine: tuple[list[int], list[int]], shift: int, result: Format,
    wraps: bool = False,
) -> list[int]:  # fmt: skip
    """(L6) to (L8); a result that wraps is cast."""
    codes = [code - zero for code in x]
    mean = unit.divide(total_of(unit, codes), len(codes), "toward_zero")
    y = [unit.add(code, -mean) for code in codes]
    sigma = unit.root(unit.add(unit.divide(squares(unit, y), len(y), "toward_zero"), 1, 0))
    made = []
    for value, weight, beta in zip(y, *affine, strict=True):
        quotient = unit.divide(unit.multiply(value, weight, 0, 0), sigma, "toward_zero")
        shifted = unit.shift(unit.add(quotient, beta, 0, "bias_add"), shift)
        code = unit.finish(shifted, result)
        size = result.hi - result.lo + 1
        made.append((shifted + result.zero - result.lo) % size + result.lo if wraps else code)
    return made


def inverse_root(unit: Unit, variance: int) -> tuple[int, int]:
    """(I, k) of (L11); the five steps are made of a 1 too, whose result is known."""
    v, k = variance, 11
    while v >= 2**29:
        v, k = v // 4, k + 1
    p = (31 - v.bit_length()) // 2 - 1
    v, k = v * 4**p, k - p
    half, x = right(v >> 1, 1), 2**28
    for _ in range(5):
        cube = held(64 * unit.high(unit.high(x, x), x))
        x = held(8 * unit.add(unit.high(402653184, x), -unit.high(half, cube)))
    inverse = unit.high(x, 1518500250)
    if variance == 1:
        return 2**31 - 1, 0
    return (inverse << -k, 0) if k < 0 else (inverse, k)


def tflite_layernorm(
    unit: Unit, x: list[int], zero: int, affine: tuple[list[int], list[int]], variance_limit: int, ratio: Ratio,
    result: Format,
) -> list[int]:  # fmt: skip
    """(L9) to (L14)."""
    codes, n = [code - zero for code in x], len(x)
    mean = unit.divide(1024 * total_of(unit, codes), n, "toward_zero")
    spread = unit.multiply(squares(unit, codes), 2**20 // n, 0, 0)
    spread = unit.add(spread, -unit.multiply(mean, mean, 0, 0), 64)
    variance = int(Fraction(spread, 2**20))
    inverse, k = inverse_root(unit, variance_limit if variance < 1 else variance)
    made = []
    for code, weight, beta in zip(codes, *affine, strict=True):
        r = unit.rounded(Fraction(unit.high(unit.add(1024 * code, -mean), inverse), 2**k), "half_away")
        u = unit.add(unit.multiply(r, weight, 0, 0), beta, 0, "bias_add")
        v = unit.rounded(Fraction(u + (512 if u > 0 else -512), 1024), "toward_zero")
        made.append(unit.requantize(v, ratio, 32, result))
    return made
