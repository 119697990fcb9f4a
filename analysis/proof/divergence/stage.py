"""One rounding in Python integers: integer * multiplier / (divisor * 2^shift) by any rule, zero point, clamp.

docs/operators/requantization.md, section 1.
"""

from collections.abc import Callable
from fractions import Fraction
from math import floor
from typing import NamedTuple

from hwsim.formats import IntFormat

INT32_MAX = (1 << 31) - 1
MANTISSA = 24


def half_up(n: int, d: int) -> int:
    return (2 * n + d) // (2 * d)


def half_down(n: int, d: int) -> int:
    return -half_up(-n, d)


def half_away(n: int, d: int) -> int:
    return half_up(n, d) if n >= 0 else half_down(n, d)


def half_toward_zero(n: int, d: int) -> int:
    return half_down(n, d) if n >= 0 else half_up(n, d)


def half_even(n: int, d: int) -> int:
    up, down = half_up(n, d), half_down(n, d)
    return up if up % 2 == 0 else down


def half_odd(n: int, d: int) -> int:
    up, down = half_up(n, d), half_down(n, d)
    return up if up % 2 else down


def toward_zero(n: int, d: int) -> int:
    return n // d if n >= 0 else -(-n // d)


ROUNDINGS: dict[str, Callable[[int, int], int]] = {
    "half_up": half_up,
    "half_away": half_away,
    "half_even": half_even,
    "floor": lambda n, d: n // d,
    "toward_zero": toward_zero,
    "half_down": half_down,
    "half_toward_zero": half_toward_zero,
    "half_odd": half_odd,
    "ceiling": lambda n, d: -(-n // d),
}
"""Rational n/d, d > 0, to an integer: the five rules of the page, then four that only faults have."""

NEAREST = ("half_up", "half_away", "half_even", "half_down", "half_toward_zero", "half_odd")
"""Rules that differ at ties only."""

SCALINGS = ("q31_double", "q31_double_half_up", "float32", "float32_inside")
"""(R2), (R3) and (R9): more than one rounding."""


def doubling_high_multiply(a: int, b: int) -> int:
    """S(a, b)."""
    return min(INT32_MAX, half_up(a * b, 1 << 31))


def binary32(n: int, d: int) -> tuple[int, int]:
    """fl32(n/d) as a fraction: 24 bits of mantissa, a tie to the even one."""
    exponent = abs(n).bit_length() - d.bit_length()
    if abs(n) << max(-exponent, 0) < d << max(exponent, 0):
        exponent -= 1  # now 2^exponent <= |n/d| < 2^(exponent + 1)
    up = MANTISSA - 1 - exponent
    mantissa = half_even(n << max(up, 0), d << max(-up, 0))
    return mantissa << max(-up, 0), 1 << max(up, 0)


class Quotient(NamedTuple):
    """What the last rounding rounds, numerator / denominator, by which rule, and the zero point added after it."""

    numerator: int
    denominator: int
    rule: str
    zero_point: int


class Stage(NamedTuple):
    """One rounding: integer * multiplier / (divisor * 2^shift) by `scaling`, a name of ROUNDINGS or SCALINGS.

    Attributes
    ----------
    zero_point, format
        What is added to the rounded value, and the format that its sum is clamped to.
    lowest
        1 for a denominator, which is raised to it.
    terms
        Of a sum of rescaled operands, what they are exactly, at the scale of the code.
    """

    integer: int
    multiplier: int
    shift: int
    scaling: str
    zero_point: int
    format: IntFormat
    divisor: int = 1
    lowest: int | None = None
    terms: tuple[Fraction, ...] = ()

    @property
    def quotient(self) -> Quotient:
        """What the last rounding rounds."""
        x, m, e = self.integer, self.multiplier, self.shift
        if self.scaling not in SCALINGS:
            return Quotient(x * m, self.divisor << e, self.scaling, self.zero_point)
        if self.scaling.startswith("q31"):
            if e <= 31:
                return Quotient((x << (31 - e)) * m, 1 << 31, "half_up", self.zero_point)
            rule = "half_away" if self.scaling == "q31_double" else "half_up"
            return Quotient(doubling_high_multiply(x, m), 1 << (e - 31), rule, self.zero_point)
        n, d = binary32(x, 1)
        n, d = binary32(n * m, d << e)
        if self.scaling == "float32":
            return Quotient(n, d, "half_even", self.zero_point)
        return Quotient(*binary32(n + self.zero_point * d, d), "half_even", 0)

    @property
    def last_rule(self) -> str:
        return self.quotient.rule

    @property
    def encodable(self) -> bool:
        """Whether the scaling takes these numbers."""
        if self.scaling not in SCALINGS:
            return True
        if self.divisor != 1:
            return False
        if self.scaling.startswith("q31"):
            return -INT32_MAX - 1 <= self.integer << max(31 - self.shift, 0) <= INT32_MAX
        return abs(self.integer) <= 1 << 31 and self.multiplier < 1 << MANTISSA

    @property
    def value(self) -> Fraction:
        """The code before the last rounding and the clamp, zero point included."""
        n, d, _, z = self.quotient
        return Fraction(n, d) + z

    @property
    def is_tie(self) -> bool:
        n, d, _, _ = self.quotient
        return 2 * (n % d) == d

    @property
    def unclamped(self) -> int:
        """Rounded, the zero point added."""
        n, d, rule, z = self.quotient
        return ROUNDINGS[rule](n, d) + z

    def fit(self, value: int) -> int:
        """Clamped to the format, and raised."""
        clamped = min(max(value, self.format.min), self.format.max)
        return clamped if self.lowest is None else max(clamped, self.lowest)

    @property
    def code(self) -> int:
        return self.fit(self.unclamped)

    def by(self, rule: str) -> int:
        """The code by another last rounding."""
        n, d, _, z = self.quotient
        return self.fit(ROUNDINGS[rule](n, d) + z)

    def scaled(self, scaling: str) -> int | None:
        """The code by another scaling, None if that does not take the numbers."""
        other = self._replace(scaling=scaling)
        return other.code if other.encodable else None

    def each(self, rule: str) -> int:
        """The code of a sum whose operands are rounded before they are added."""
        return self.fit(sum(ROUNDINGS[rule](*term.as_integer_ratio()) for term in self.terms) + self.zero_point)

    def together(self, rule: str) -> int:
        """The code of a sum whose operands are added exactly, and rounded once."""
        return self.fit(ROUNDINGS[rule](*sum(self.terms).as_integer_ratio()) + self.zero_point)

    @property
    def wrapped(self) -> int:
        """The low bits of the rounded value."""
        return wrapped(self.unclamped, self.format.bits, signed=self.format.signed)

    def between(self, low: int, high: int) -> int:
        """The rounded value clamped to another range."""
        return min(max(self.unclamped, low), high)


def tie_distance(value: Fraction) -> Fraction:
    """How far a value is from the nearest tie, in LSB; 0 is a tie."""
    return abs(value - floor(value) - Fraction(1, 2))


def wrapped(value: int, bits: int, *, signed: bool = True) -> int:
    """The low bits of a value as a number of their own."""
    low = value & ((1 << bits) - 1)
    return low - (1 << bits) if signed and low >> (bits - 1) else low
