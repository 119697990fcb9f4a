"""GELU by polynomial, and functions by table (operators/activation.md, (G1) to (G6))."""

from fractions import Fraction

from .formats import clamp
from .interpolation import lookup
from .real_functions import FUNCTIONS, nearest
from .rounding import sign


def gelu_polynomial(x: int, b: int, c: int) -> int:
    """L = sgn(x) * ((min(|x|, b) - b)^2 + c)."""
    return sign(x) * ((min(abs(x), b) - b) ** 2 + c)


def ibert_gelu(x: list[int], zero: int, b: int, c: int, shift: int) -> list[int]:
    """acc = -x' * ((L >> 14) + sh) (G1), (G2)."""
    return [-code * ((gelu_polynomial(code, b, c) >> 14) + shift) for code in (value - zero for value in x)]


def ita_gelu(x: list[int], zero: int, b: int, c: int) -> list[int]:
    """acc = -x'' * (L + c), x'' = max(x', -127) (G3), (G4)."""
    return [-code * (gelu_polynomial(code, b, c) + c) for code in (max(value - zero, -127) for value in x)]


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
