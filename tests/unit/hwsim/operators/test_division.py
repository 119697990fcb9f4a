"""Division by multiplication equals division, and the square root is one, at every edge: against Python's integers."""

from fractions import Fraction
from itertools import product

import numba
import numpy as np
import pytest

from hwsim.arithmetic import division
from hwsim.arithmetic.fixedpoint import isqrt
from tests import oracle
from tests.unit.hwsim.operators.kernel_checks import thin

CODE_END = 2**16 - 1
MULTIPLIERS = [1, 2, 3, 181, 2**14, 3 * 2**14, 65535, 2**30 - 1, 2**30, 2**31 - 1]
DIVISORS = [1, 2, 3, 5, 127, 128, 129, 181, 32767, 32768, 65534, 65535]


def numerators(m: int, divisor: int) -> set[int]:
    """Ends, and the neighbours of the x whose quotients are nearest to some halves."""
    halves = [Fraction((2 * q + 1) * divisor, 2 * m) for q in (0, 1, 2, 127, 128, 2**15 - 1, 2**15, 2**16)]
    near = {int(half) + step for half in halves if half <= CODE_END for step in (-1, 0, 1)}
    return {sign * x for x in near | {0, 1, 2, *range(CODE_END - 4, CODE_END + 1)} if x <= CODE_END for sign in (1, -1)}


@pytest.mark.parametrize("m", MULTIPLIERS)
def test_quotients_by_a_reciprocal(m: int) -> None:
    """Every quotient, however great, and every tie."""
    ties = {1: 0, -1: 0}
    for d, shift in thin(list(product(DIVISORS, range(63)))):
        by = division.reciprocal(m, division.headroom(m), d, shift)
        for x in numerators(m, d << shift):
            ratio = Fraction(x * m, d << shift)
            quotient, tie = division.multiply(x, by)
            assert quotient == oracle.half_even(ratio), (x, m, d, shift)
            assert tie == abs(oracle.tie_sign(ratio)), (x, m, d, shift)
            ties[1 if x > 0 else -1] += int(tie)
    assert min(ties.values()) > 0


@pytest.mark.parametrize("quotient", [-3, -2, -1, 0, 1, 2, 3, 2**28])
def test_an_estimate_a_whole_step_off_is_settled(quotient: int) -> None:
    """Every rest of every small divisor, from the estimates on both sides."""
    for divisor in range(1, 9):
        for numerator in range(quotient * divisor - divisor, quotient * divisor + divisor + 1):
            for estimate in (quotient - 1, quotient, quotient + 1):
                rest = 2 * (numerator - estimate * divisor)
                if abs(rest) < 3 * divisor:
                    want = Fraction(numerator, divisor)
                    got = division.settle(estimate, rest, divisor)
                    assert got == (oracle.half_even(want), abs(oracle.tie_sign(want))), (numerator, divisor, estimate)


def test_floors_by_a_reciprocal() -> None:
    divisors = [1, 2, 3, 5, 7, 127, 255, 256, 65535, 2**17 + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**33 - 1]
    for d in divisors:
        by = division.divisor(d)
        most = min(2**32, division.FLOOR_QUOTIENT_LIMIT * d)
        multiples = {q * d for q in (0, 1, 2, 254, 255, 2**16, most // d - 1, most // d)}
        for n in {multiple + step for multiple in multiples for step in (-1, 0, 1)} | {most - 1}:
            if 0 <= n < most:
                assert division.floor_divide(n, by) == n // d, (n, d)


@numba.njit  # type: ignore[untyped-decorator]
def wrong_roots(first: int, last: int, step: int) -> int:
    """How many roots of first <= r <= last are not those of r^2 - 1, r^2 and r^2 + 2r."""
    wrong = 0
    for root in range(first, last + 1, step):
        square = np.int64(root) * root
        wrong += isqrt(square) != root or isqrt(square - 1) != root - 1 or isqrt(square + 2 * np.int64(root)) != root
    return wrong


def test_the_root_of_every_square() -> None:
    """Of every square below 2^52, of the number before it and of the last one with its root."""
    assert wrong_roots(1, 2**26 - 1, 40009 if numba.config.DISABLE_JIT else 1) == 0


def test_roots_around_powers_of_two() -> None:
    for bit in range(52):
        for value in {max(2**bit + step, 0) for step in range(-3, 4)}:
            if value < 2**52:
                root = isqrt(value)
                assert root * root <= value < (root + 1) ** 2, value
