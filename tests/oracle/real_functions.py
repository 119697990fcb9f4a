"""exp, sigmoid, tanh, SiLU and GELU of rationals, enclosed as tightly as a rounding needs: decimal, no float.

An enclosure (low, high) is open, low < f(x) < high, unless both are f(x) itself: a tie at one of its ends is decided by
the side that the value lies on. More digits always decide, since none of these functions of a rational other than 0 is
rational, as far as anyone knows.
"""

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from fractions import Fraction
from math import ceil, floor

HALF = Fraction(1, 2)
Enclosure = tuple[Fraction, Fraction]
Enclosing = Callable[[Fraction, int], Enclosure]
"""Rationals on both sides of f(x), to so many digits."""


def context(digits: int) -> Context:
    """Arithmetic of `digits` digits and some that errors of a few thousand operations may eat."""
    return Context(prec=digits + 20, Emin=MIN_EMIN, Emax=MAX_EMAX)


def widened(value: Fraction, digits: int) -> Enclosure:
    slack = abs(value) / 10**digits
    return value - slack, value + slack


def decimal(x: Fraction, arithmetic: Context) -> Decimal:
    return arithmetic.divide(Decimal(x.numerator), Decimal(x.denominator))


def decay(x: Fraction, digits: int) -> Enclosure:
    """exp(-x), x >= 0."""
    if x == 0:
        return Fraction(1), Fraction(1)
    if x > 3 * digits:
        return Fraction(0), Fraction(1, 10**digits)
    arithmetic = context(digits)
    return widened(Fraction(arithmetic.exp(decimal(-x, arithmetic))), digits)


def exponential(x: Fraction, digits: int) -> Enclosure:
    """exp(x), x <= 0."""
    return decay(-x, digits)


def ordered(one: Fraction, other: Fraction) -> Enclosure:
    return min(one, other), max(one, other)


def sigmoid(x: Fraction, digits: int) -> Enclosure:
    u, v = decay(abs(x), digits)
    return ordered(1 / (1 + u), 1 / (1 + v)) if x >= 0 else ordered(u / (1 + u), v / (1 + v))


def times(x: Fraction, enclosure: Enclosure) -> Enclosure:
    return ordered(x * enclosure[0], x * enclosure[1])


def silu(x: Fraction, digits: int) -> Enclosure:
    return times(x, sigmoid(x, digits))


def tanh(x: Fraction, digits: int) -> Enclosure:
    u, v = decay(2 * abs(x), digits)
    return times(Fraction(1 if x >= 0 else -1), ordered((1 - u) / (1 + u), (1 - v) / (1 + v)))


def inverse_tangent(one_over: int, digits: int) -> Fraction:
    """arctan(1/one_over) by its series; what is left out is smaller than the last term."""
    total, n = Fraction(0), 0
    while (term := Fraction(1, (2 * n + 1) * one_over ** (2 * n + 1))) > Fraction(1, 10 ** (digits + 5)):
        total += term if n % 2 == 0 else -term
        n += 1
    return total


def root_of_two_pi(digits: int) -> Decimal:
    """sqrt(2 pi), pi by Machin's formula."""
    arithmetic = context(digits)
    pi = 16 * inverse_tangent(5, digits + 20) - 4 * inverse_tangent(239, digits + 20)
    return arithmetic.sqrt(decimal(2 * pi, arithmetic))


def above_one_half(x: Fraction, digits: int) -> Enclosure:
    """Phi(x) - 1/2, x > 0: density times the series of x^(2n+1) / (2n+1)!!, whose terms are all positive."""
    if x * x > 6 * digits:  # 1 - Phi(x) < exp(-x^2 / 2)
        return HALF - Fraction(1, 10**digits), HALF
    arithmetic = context(digits)
    variable, square = decimal(x, arithmetic), decimal(x * x, arithmetic)
    term, total, n = variable, variable, 0
    while square >= n + 1 or term > total.scaleb(-digits - 5):  # beyond, every term is less than half the one before
        n += 1
        term = arithmetic.divide(arithmetic.multiply(term, square), Decimal(2 * n + 1))
        total = arithmetic.add(total, term)
    density = arithmetic.divide(arithmetic.exp(arithmetic.divide(square, Decimal(-2))), root_of_two_pi(digits))
    return widened(Fraction(arithmetic.multiply(density, total)), digits)


def gelu(x: Fraction, digits: int) -> Enclosure:
    """x * (1 + erf(x / sqrt 2)) / 2 = x * Phi(x)."""
    if x == 0:
        return Fraction(0), Fraction(0)
    low, high = above_one_half(abs(x), digits)
    return times(x, (HALF + low, HALF + high) if x > 0 else (HALF - high, HALF - low))


def reciprocal(x: Fraction, _: int) -> Enclosure:
    """1/(1+x), a rational."""
    return 1 / (1 + x), 1 / (1 + x)


FUNCTIONS: dict[str, Enclosing] = {"gelu": gelu, "silu": silu, "tanh": tanh, "sigmoid": sigmoid}


def nearest(f: Enclosing, x: Fraction, factor: Fraction, offset: Fraction = Fraction(0), digits: int = 25) -> int:
    """HALF_AWAY(f(x) * factor + offset), factor > 0, from as many digits as that takes."""
    low, high = (bound * factor + offset for bound in f(x, digits))
    if low == high:
        return floor(low + HALF) if low > 0 else ceil(low - HALF)
    if high <= 0:  # v in (low, high): the mirror image of the other case
        least, greatest = floor(low - HALF) + 1, ceil(high - HALF)
    else:
        least, greatest = floor(low + HALF), ceil(high + HALF) - 1
    if least == greatest:
        return least
    return nearest(f, x, factor, offset, 2 * digits)
