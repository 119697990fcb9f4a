"""A vector unit that ticks off every operation that it does; a width of 0 is one that the page leaves open."""

from collections import Counter
from fractions import Fraction
from math import floor, isqrt, trunc
from typing import NamedTuple

Event = tuple[str, int, int]
"""Component, bits, second_bits."""
INT32_MAX = 2**31 - 1


class Ratio(NamedTuple):
    """m/2^e as a scheme encodes it, and the bits that the hardware has for m."""

    scheme: str
    m: int
    e: int
    bits: int
    rounding: str = "half_even"


class Format(NamedTuple):
    """Zero point and limits of codes."""

    zero: int
    lo: int
    hi: int


def half_up(v: Fraction) -> int:
    return floor(v + Fraction(1, 2))


def half_away(v: Fraction) -> int:
    return half_up(v) if v > 0 else -half_up(-v)


def half_even(v: Fraction) -> int:
    return round(v)


ROUNDINGS = {"half_up": half_up, "half_away": half_away, "half_even": half_even, "floor": floor, "toward_zero": trunc}
ONE_ROUNDING = {"q31_single": "half_up", "q15": "half_up", "dyadic": "half_even"}
ONE_ROUNDING |= {"narrow_after": "half_up", "narrow_before": "half_up", "nvdla": "half_away"}


def high(a: int, b: int) -> int:
    """S(a, b) of operators/requantization.md, 1."""
    return min(INT32_MAX, half_up(Fraction(a * b, 2**31)))


def binary32(v: Fraction) -> Fraction:
    """The nearest number with a mantissa of 24 bits."""
    unit = Fraction(1)
    while abs(v) >= unit * 2**24:
        unit *= 2
    while v and abs(v) < unit * 2**23:
        unit /= 2
    return half_even(v / unit) * unit


def scaled(x: int, ratio: Ratio) -> int:
    """scale(x; m, e), (R2) to (R9)."""
    if ratio.scheme.startswith("q31_double"):
        y, right = high(x * 2 ** max(31 - ratio.e, 0), ratio.m), max(ratio.e - 31, 0)
        return (half_up if ratio.scheme.endswith("half_up") else half_away)(Fraction(y, 2**right))
    exact = Fraction(x * ratio.m, 2**ratio.e)
    if ratio.scheme == "float32":
        return half_even(binary32(binary32(Fraction(x)) * Fraction(ratio.m, 2**ratio.e)))
    return ROUNDINGS[ratio.rounding if ratio.scheme == "shift" else ONE_ROUNDING[ratio.scheme]](exact)


class Unit:
    """Does what it is told and counts it by (component, bits, second_bits)."""

    def __init__(self) -> None:
        self.counts: Counter[Event] = Counter()

    def tick(self, component: str, bits: int = 0, second_bits: int = 0) -> None:
        self.counts[component, bits, second_bits] += 1

    def add(self, x: int, y: int, bits: int = 32, component: str = "vector_add") -> int:
        self.tick(component, bits)
        return x + y

    def multiply(self, x: int, y: int, bits: int = 32, second: int = 32, component: str = "vector_multiply") -> int:
        self.tick(component, bits, second)
        return x * y

    def high(self, x: int, y: int) -> int:
        """S, one multiplication."""
        self.tick("vector_multiply", 32, 32)
        return high(x, y)

    def shift(self, x: int, e: int, bits: int = 0) -> int:
        """x >> e, to the left if e is negative."""
        self.tick("requantize_shift", bits)
        return x >> e if e >= 0 else x << -e

    def rounded(self, v: Fraction, rounding: str = "half_even", bits: int = 0) -> int:
        """A shift that rounds; v is what is exact."""
        self.tick("requantize_shift", bits)
        self.tick("requantize_add", bits)
        return ROUNDINGS[rounding](v)

    def rescale(self, x: int, ratio: Ratio, bits: int) -> int:
        """scale(x; m, e) of x that has `bits`: multiplication, shift, rounding."""
        if ratio.scheme != "shift":
            self.tick("requantize_multiply", bits, ratio.bits)
        self.tick("requantize_shift", bits + ratio.bits)
        self.tick("requantize_add", bits + ratio.bits)
        return scaled(x, ratio)

    def clamp(self, x: int, lo: int, hi: int) -> int:
        self.tick("clamp")
        return min(max(x, lo), hi)

    def finish(self, x: int, result: Format) -> int:
        """clamp(x + z); no addition of 0."""
        if result.zero:
            self.tick("requantize_add")
        return self.clamp(x + result.zero, result.lo, result.hi)

    def requantize(self, x: int, ratio: Ratio, bits: int, result: Format) -> int:
        """(1), (R1)"""
        if ratio.scheme != "float32_inside":
            return self.finish(self.rescale(x, ratio, bits), result)
        self.rescale(0, ratio._replace(scheme="float32"), bits)
        product = binary32(binary32(Fraction(x)) * Fraction(ratio.m, 2**ratio.e))
        code = half_even(binary32(product + result.zero))
        return self.finish(code - result.zero, result)

    def quotient(self, x: int, m: int, divisor: int, lo: int, hi: int) -> int:
        """clamp(HALF_EVEN(x*m / divisor)), m of 16 bits."""
        self.tick("requantize_multiply", 0, 16)
        self.tick("divide")
        return self.clamp(half_even(Fraction(x * m, divisor)), lo, hi)

    def divide(self, x: int, y: int, rounding: str = "floor") -> int:
        self.tick("divide")
        return ROUNDINGS[rounding](Fraction(x, y))

    def root(self, x: int) -> int:
        self.tick("square_root")
        return isqrt(x)

    def greater(self, x: int, y: int) -> int:
        self.tick("compare")
        return max(x, y)

    def greatest(self, codes: list[int], allowed: list[bool]) -> int | None:
        """The running maximum of a row; a masked key is compared and passed over."""
        top: int | None = None
        for code, keep in zip(codes, allowed, strict=True):
            self.tick("compare")
            if keep and (top is None or code > top):
                top = code
        return top
