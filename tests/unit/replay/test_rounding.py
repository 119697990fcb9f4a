"""Roundings by shifts and remainders, and binary32 in integers, against exact rationals and the format itself."""

import random
import struct
from fractions import Fraction

import pytest

from tests.oracle.rounding import ROUNDINGS
from tests.oracle.rounding import half_even as half_even_of
from tests.oracle.rounding import toward_zero as toward_zero_of
from tests.oracle.scaling import fl32
from tests.replay.rounding import (
    SHIFTS,
    Binary,
    binary32,
    binary32_product,
    binary32_quotient,
    binary32_sum,
    half_even_ratio,
    nearest_integer,
    nearest_integer_quotient,
    of_bits,
    toward_zero_ratio,
)


def rational(value: Binary) -> Fraction:
    return value.mantissa * Fraction(2) ** value.exponent


@pytest.mark.parametrize("name", ROUNDINGS)
def test_shifts_round_as_the_rationals_do(name: str) -> None:
    """Every p of seven bits and sign under every shift that leaves something of it: all ties are there."""
    for e in range(8):
        for p in range(-130, 131):
            assert SHIFTS[name](p, e) == ROUNDINGS[name](Fraction(p, 2**e)), (p, e)


def test_every_rounding_is_there() -> None:
    assert SHIFTS.keys() == ROUNDINGS.keys()


@pytest.mark.parametrize("b", [1, 2, 3, 6, 7, 10])
def test_ratios_round_as_the_rationals_do(b: int) -> None:
    for a in range(-60, 61):
        assert half_even_ratio(a, b) == half_even_of(Fraction(a, b))
        assert toward_zero_ratio(a, b) == toward_zero_of(Fraction(a, b))


@pytest.mark.parametrize("value", [0, 1, -1, 2**24 - 1, 2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**31 - 1, -(2**31)])
def test_binary32_is_what_the_format_stores(value: int) -> None:
    (stored,) = struct.unpack("<f", struct.pack("<f", value))
    assert rational(binary32(value)) == Fraction(stored)


def test_binary32_of_many_integers_is_what_the_format_stores() -> None:
    rng = random.Random(1)
    for _ in range(500):
        value = rng.randrange(-(2**40), 2**40) >> rng.randrange(30)
        (stored,) = struct.unpack("<f", struct.pack("<f", value))
        assert rational(binary32(value)) == Fraction(stored)


def test_products_and_quotients_are_the_nearest_binary32() -> None:
    rng = random.Random(2)
    for _ in range(500):
        a, b = rng.randrange(1, 2**24), rng.randrange(1, 2**31)
        assert rational(binary32_quotient(127, b)) == fl32(Fraction(127, b))
        product = binary32_product(Binary(a, -20), binary32(-b))
        assert rational(product) == fl32(Fraction(a, 2**20) * fl32(Fraction(-b)))


@pytest.mark.parametrize("bits", [0, 1, 0x7FFFFF, 0x800000, 0x800001, 0x3F800000, 0x3F7FFFFF, 0x7F7FFFFF])
def test_a_binary32_is_read_from_its_bits(bits: int) -> None:
    """Zero, the least and the greatest subnormal, the least normal numbers, 1 and what is below it, the greatest."""
    exponent, mantissa = bits >> 23, bits & 0x7FFFFF  # not by the processor, which may flush subnormals to zero
    expected = (
        Fraction(mantissa, 2**149)
        if exponent == 0
        else Fraction(2**23 + mantissa, 2**23) * Fraction(2) ** (exponent - 127)
    )
    assert rational(of_bits(bits)) == expected


def test_sums_are_the_nearest_binary32() -> None:
    """Operands of like and unlike magnitude, in either order; a tie goes to the even mantissa, up and down."""
    rng = random.Random(4)
    for _ in range(500):
        a, b = (Binary(rng.randrange(1, 2**24), rng.randrange(-40, -10)) for _ in range(2))
        assert rational(binary32_sum(a, b)) == fl32(rational(a) + rational(b))
    one = Binary(1, 0)
    assert [rational(binary32_sum(Binary(2**24 + k, 0), one)) for k in (0, 2)] == [2**24, 2**24 + 4]


def test_quotients_of_binary_numbers_round_half_to_even() -> None:
    for a, b in ((5, 2), (7, 2), (9, 4), (1, 3), (2, 3)):
        expected = half_even_of(Fraction(a, b))
        for up in (-3, 0, 3):
            pair = Binary(a << 4, up - 4), Binary(b, up)
            assert nearest_integer_quotient(*pair) == expected
            assert nearest_integer_quotient(Binary(a, up), Binary(b << 5, up - 5)) == expected


@pytest.mark.parametrize(
    ("mantissa", "exponent", "code"), [(5, -1, 2), (7, -1, 4), (-5, -1, -2), (3, 2, 12), (9, 0, 9)]
)
def test_the_nearest_integer_of_a_binary_number(mantissa: int, exponent: int, code: int) -> None:
    assert nearest_integer(Binary(mantissa, exponent)) == code
