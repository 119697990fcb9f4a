"""GELU by polynomial, functions by table, the mean of a row (operators/activation.md, (G1) to (G9))."""

from fractions import Fraction

from .formats import clamp, limits
from .interpolation import lookup
from .real_functions import FUNCTIONS, nearest
from .rounding import half_away, half_up, sign, tie_sign


def gelu_polynomial(x: int, b: int, c: int) -> int:
    """L = sgn(x) * ((min(|x|, b) - b)^2 + c)."""
    return sign(x) * ((min(abs(x), b) - b) ** 2 + c)


def ibert_gelu(x: list[int], zero: int, b: int, c: int, shift: int) -> list[int]:
    """acc = -x' * ((L >> 14) + sh) (G1), (G2)."""
    return [-code * ((gelu_polynomial(code, b, c) >> 14) + shift) for code in (value - zero for value in x)]


def within(values: list[int], bits: int) -> list[int]:
    """The values, all of which a signed number of so many bits holds; otherwise they are refused."""
    lo, hi = limits(bits, signed=True, narrow=False)
    for value in values:
        if not lo <= value <= hi:
            raise ValueError(f"{value} has more than {bits} bits")
    return values


def ita_gelu(x: list[int], zero: int, b: int, c: int) -> list[int]:
    """acc = x' * (L + c), L = sgn(x') * ((min(|x'|, -b) + b)^2 + c), in 26 bits (G3), (G4)."""
    return within([code * (gelu_polynomial(code, -b, c) + c) for code in (value - zero for value in x)], 26)


def pulp_gelu(x: list[int], zero: int, b: int, one: int) -> list[int]:
    """acc = x' * ((one + L) >> 1), L = sgn(x') * (one - (min(|x'|, -b) + b)^2) (G7)."""
    codes = [value - zero for value in x]
    return [code * ((one + sign(code) * (one - (min(abs(code), -b) + b) ** 2)) >> 1) for code in codes]


def pulp_mean(x: list[list[int]], zero: int) -> tuple[list[int], list[int]]:
    """The mean of each row, HALF_UP if n is a power of two, else HALF_AWAY, and the sign of every tie (G8)."""
    means = [Fraction(sum(value - zero for value in row), len(row)) for row in x]
    rounds = [half_up if len(row).bit_count() == 1 else half_away for row in x]
    ties = [tie_sign(mean) for mean in means]
    return [by(mean) for by, mean in zip(rounds, means, strict=True)], [tie for tie in ties if tie]


def gemmini_gelu(x: list[int], q1: int, qb: int, qc: int) -> list[int]:
    """acc = x * (sgn'(x) * ((min(|x|, -qb) + qb)^2 + qc) + q1), sgn'(x) = -1 for x < 0, else 1, in int32 (G9)."""
    within([abs(code) for code in x], 32)
    polynomial = [(min(abs(code), -qb) + qb) ** 2 + qc for code in x]
    signed = [-value if code < 0 else value for code, value in zip(x, polynomial, strict=True)]
    return within([code * (value + q1) for code, value in zip(x, signed, strict=True)], 32)


def code_table(
    function: str, scale: float, zero: int, limits: tuple[int, int],
    output_scale: float, output_zero: int, output_limits: tuple[int, int],
) -> list[int]:  # fmt: skip
    """T[i] = clamp(HALF_AWAY(f(s * (q - z)) / s_out) + z_out), q = lo + i, correctly rounded from the real f (G5)."""
    f, factor = FUNCTIONS[function], 1 / Fraction(output_scale)
    lo, hi = limits
    return [
        clamp(nearest(f, Fraction(scale) * (q - zero), factor) + output_zero, *output_limits) for q in range(lo, hi + 1)
    ]


def table_lookup(x: list[int], table: list[int], lo: int) -> list[int]:
    """output[j] = T[x[j] - lo] (G5)."""
    return [table[code - lo] for code in x]


def table_interpolate(x: list[int], table: list[int]) -> list[int]:
    """output[j] = lookup(T, x[j]) (G6)."""
    return [lookup(table, code) for code in x]
