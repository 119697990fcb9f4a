"""Tables of exp, correctly rounded: the softmax numerator (4b), and the binary32 numbers of (S30)."""

from decimal import Context, Decimal, Inexact
from fractions import Fraction

from .rounding import half_even
from .scaling import fl32, nearest_binary

# Holds the product of a float64 (at most 767 digits) and an index of at most 12 bits; Inexact would raise.
EXACT = Context(prec=1200, traps=[Inexact])


def enclosure(exponent: Decimal, maximum: int, digits: int) -> tuple[Fraction, Fraction]:
    """Rationals on both sides of exp(-exponent) * maximum, from `digits` digits of exp."""
    value = Fraction(Context(prec=digits).exp(exponent.copy_negate()))  # a minus would round to 28 digits
    slack = value * Fraction(10) ** (1 - digits)  # twice the half unit that a correctly rounded exp may be off
    return (value - slack) * maximum, (value + slack) * maximum


def rounded_exp(exponent: Decimal, maximum: int, digits: int = 40) -> int:
    """HALF_EVEN(exp(-exponent) * maximum), exponent >= 0 and exact.

    exp of a rational other than 0 is irrational, so no tie exists and more digits always decide.
    """
    if exponent == 0:
        return maximum
    if exponent > maximum.bit_length() + 1:  # exp(-x) < 2^-x: less than one half
        return 0
    low, high = enclosure(exponent, maximum, digits)
    if half_even(low) == half_even(high):
        return half_even(low)
    return rounded_exp(exponent, maximum, 2 * digits)


def exp_table(scale: float, score_bits: int, numerator_bits: int) -> list[int]:
    """T[d] = HALF_EVEN(exp(-s_scores * d) * (2^b_n - 1)) for 0 <= d < 2^b_scores (4b)."""
    maximum = 2**numerator_bits - 1
    return [rounded_exp(EXACT.multiply(Decimal(scale), Decimal(d)), maximum) for d in range(2**score_bits)]


def bits_of(value: Fraction) -> int:
    """The 32 bits of the binary32 nearest to a value above 0: below 2^-126 a multiple of 2^-149."""
    if value < Fraction(1, 2**126):
        return half_even(value * 2**149)
    number, exponent = fl32(value), 0
    while number >= 2:
        number, exponent = number / 2, exponent + 1
    while number < 1:
        number, exponent = number * 2, exponent - 1
    return (exponent + 127) * 2**23 + int((number - 1) * 2**23)


def qlinear_table(scale: float, score_bits: int, keys: int) -> list[int]:
    """T of operators/softmax.md, section 7, as 32 bits each, for rows of so many keys."""
    precise = Context(prec=60)
    step = fl32(Fraction(scale))
    room = fl32(Fraction(2**128 - 2**104, keys))
    logarithm = fl32(Fraction(precise.ln(Decimal(int(room)))))
    top = nearest_binary((logarithm - 5) / step, 53)
    exponents = (nearest_binary(nearest_binary(top - d, 53) * step, 53) for d in range(2**score_bits))
    return [bits_of(Fraction(precise.exp(EXACT.divide(e.numerator, e.denominator)))) for e in exponents]
