"""Tables of 513 entries that int16 values are looked up in, with interpolation (operators/softmax.md, 3 and 7)."""

from fractions import Fraction

from .formats import clamp
from .real_functions import Enclosing, exponential, nearest, reciprocal
from .rounding import half_away

INT16 = (-(2**15), 2**15 - 1)
STEPS = 512


def lookup(table: list[int], v: int) -> int:
    """T[i] + (((T[i+1] - T[i]) * o + 64) >> 7), i = 256 + (v >> 7), o = v & 127."""
    i, o = 256 + (v >> 7), v & 127
    return table[i] + (((table[i + 1] - table[i]) * o + 64) >> 7)


def entry(f: Enclosing, x: Fraction, step: Fraction, factor: Fraction) -> int:
    """An entry but the last, before its clamp: half of the interpolation error at the midpoint is taken off."""
    here = nearest(f, x, factor)
    interpolated = nearest(f, x + step, factor / 2, Fraction(here, 2))
    error = interpolated - nearest(f, x + step / 2, factor)
    return here - half_away(Fraction(error, 2))


def interpolation_table(f: Enclosing, lo: Fraction, hi: Fraction, factor: Fraction = Fraction(2**15)) -> list[int]:
    """513 entries of f * factor over [lo, hi], clamped to int16 (section 7)."""
    step = (hi - lo) / STEPS
    entries = [entry(f, lo + i * step, step, factor) for i in range(STEPS)]
    return [clamp(value, *INT16) for value in [*entries, nearest(f, hi, factor)]]


def softmax_tables() -> tuple[list[int], list[int]]:
    """exp over [-10, 0] and 1/(1+x) over [0, 1], those of `softmax_int16`."""
    exp = interpolation_table(exponential, Fraction(-10), Fraction(0))
    return exp, interpolation_table(reciprocal, Fraction(0), Fraction(1))
