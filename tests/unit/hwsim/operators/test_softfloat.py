"""Binary32 in integers against fractions: numbers far apart, side by side, and at ties."""

from fractions import Fraction
from itertools import product

import numpy as np

from hwsim.arithmetic import softfloat
from tests.oracle.scaling import fl32
from tests.oracle.softmaxes import number_of
from tests.unit.hwsim.operators.kernel_checks import thin

EDGES = [0, 1, 0x7FFFFF, 0x800000, 0x800001, 0x3EFFFFFF, 0x3F000000, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FFFFFFF]
EDGES += [0x4B7FFFFF, 0x4B800000, 0x4B800001, 0x4BFFFFFF, 0x60000001, 0x7EFFFFFF]
"""0, subnormal numbers, the ends of some powers of two, and large ones."""


def real(number: softfloat.Number) -> Fraction:
    return Fraction(int(number[0])) * Fraction(2) ** int(number[1])


def pairs() -> list[tuple[int, int]]:
    """Bits of two numbers: all edges, then numbers whose powers of two lie up to 42 apart."""
    rng = np.random.default_rng(4)
    found = list(product(EDGES, EDGES))
    for gap in thin(range(43)):
        for _ in range(20):
            mantissas = rng.integers(0, 1 << 23, 2) & ~int(rng.choice([0, 0xFFFF, 0x3FFFFF]))
            power = int(rng.integers(60, 180))
            a, b = int(mantissas[0]) | power << 23, int(mantissas[1]) | (power - gap) << 23
            found += [(a, b), (b, a)]
    return found


def test_bits_are_numbers() -> None:
    for bits in [*EDGES, *np.random.default_rng(3).integers(0, softfloat.FINITE_BITS, 500).tolist()]:
        assert real(softfloat.from_bits(bits)) == number_of(bits), hex(bits)
    assert real(softfloat.from_bits(softfloat.FINITE_BITS)) == 2**128 - 2**104


def test_sums() -> None:
    for a, b in pairs():
        exact = number_of(a) + number_of(b)
        got = softfloat.add(softfloat.from_bits(a), softfloat.from_bits(b))
        assert real(got) == (exact if exact < Fraction(1, 2**126) else fl32(exact)), (hex(a), hex(b))
        assert got[0] <= 1 << 24


def test_a_half_of_the_last_bit_counts_and_less_does_not() -> None:
    """2^24 - 1 and 2^24 beside 1/2, 1 and a little more."""
    one, more, half = (softfloat.from_bits(bits) for bits in (0x3F800000, 0x3F800001, 0x3F000000))
    odd, even = softfloat.from_bits(0x4B7FFFFF), softfloat.from_bits(0x4B800000)
    assert [int(real(softfloat.add(*two))) for two in ((even, one), (even, more), (odd, half), (odd, one))] == [
        2**24,
        2**24 + 2,
        2**24,
        2**24,
    ]
