"""How far each softmax lies from the real one: the greatest error of a domain, in LSB of the output, and its bound.

The domain of 8-bit scores is every pair of codes (every difference, as only that counts) and 400 rows of 1 to 64 keys;
that of int16 scores is every 61st difference and 400 rows. A bound is tight: the measured error exceeds half of it.
"""

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise

import pytest

from tests import oracle
from tests.oracle.gemmlowp import EXP_FACTORS, EXP_MINUS_EIGHTH, ONE_THIRD, exp_q, recip
from tests.oracle.interpolation import lookup
from tests.oracle.softmaxes import gemmini_exponential, ibert_exponential

from .real_mathematics import real_exp, real_root

ROWS = 400
Row = list[int]
Softmax = Callable[[Row], Row]


def all_of(row: Row) -> list[bool]:
    return [True] * len(row)


def domain(lo: int, hi: int, step: int) -> Iterator[Row]:
    """Pairs of every difference, and rows of scores far apart and close together."""
    yield from ([lo, lo + d] for d in range(0, hi - lo + 1, step))
    rng = random.Random(2)
    for _ in range(ROWS):
        n, spread = rng.choice([1, 2, 3, 8, 16, 64]), rng.choice([3, 10, 40, hi - lo])
        start = rng.randint(lo, hi - spread)
        yield [rng.randint(start, start + spread) for _ in range(n)]


def greatest_error(softmax: Softmax, scale: float, one: int, top: int, step: int = 1, bits: int = 8) -> float:
    """Against min(one * p, top), p the real softmax in float64; codes start at 0 here."""
    worst = 0.0
    for row in domain(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, step):
        weights = [math.exp(scale * (x - max(row))) for x in row]
        total = math.fsum(weights)
        errors = [abs(code - min(one * w / total, top)) for code, w in zip(softmax(row), weights, strict=True)]
        worst = max(worst, *errors)
    return worst


def assert_tight(measured: float, bound: float) -> None:
    assert bound / 2 < measured <= bound


@pytest.mark.parametrize("scale", [0.002, 0.01, 0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize(("bits", "bound"), [(8, 0.51), (16, 0.75)])
def test_gemmlowp(scale: float, bits: int, bound: float) -> None:
    """Rounded nearly as the real function would be: 1/2 LSB is due to the last rounding."""
    q, left = oracle.gemmlowp_constants(scale)

    def softmax(row: Row) -> Row:
        return [code + 2 ** (bits - 1) for code in oracle.gemmlowp_softmax(row, all_of(row), q, left, bits).output]

    assert_tight(greatest_error(softmax, scale, 2**bits, 2**bits - 1), bound)


TABLES = oracle.softmax_tables()


@pytest.mark.parametrize(
    ("scale", "multiplier", "shift", "bound"),
    [
        (1e-5, 1125882727, 34, 2.1),
        (10 / 65535, 2**30, 30, 2.1),
        (0.001, 1759191761, 28, 130),
        (0.01, 1099494851, 24, 130),
    ],
)
def test_int16(scale: float, multiplier: int, shift: int, bound: float) -> None:
    """2 LSB, and for rows that reach below -10 up to 2 LSB more a key: exp(-10) is 1.5 LSB and counts as 2."""

    def softmax(row: Row) -> Row:
        return oracle.softmax_int16(row, all_of(row), multiplier, shift, *TABLES).output

    assert_tight(greatest_error(softmax, scale, 2**15, 2**15 - 1, 61, 16), bound)


@pytest.mark.parametrize(
    ("scale", "bound", "bound_16"),
    [
        (0.002, 1.4, 60),
        (0.005, 1.4, 80),
        (0.01, 2, 260),
        (0.03, 6, 1200),
        (0.05, 2.3, 350),
        (0.1, 2.3, 350),
        (0.2, 24, 6000),
    ],
)
def test_ibert(scale: float, bound: float, bound_16: float) -> None:
    """ln2 = 0.6931/s rounded up to an integer sets the error: at s = 0.2 it is 4 for 3.47."""
    polynomial = oracle.ibert_constants(scale)
    narrow = oracle.ibert_16_bit(polynomial.c)

    def softmax(bits: int) -> Softmax:
        return lambda row: oracle.ibert_softmax(row, all_of(row), polynomial, *narrow, bits).output

    assert_tight(greatest_error(softmax(8), scale, 2**8, 2**8 - 1), bound)
    assert_tight(greatest_error(softmax(16), scale, 2**16, 2**16 - 1), bound_16)


@pytest.mark.parametrize(("fraction_bits", "bound"), [(0, 1.8), (1, 30), (2, 30), (3, 30), (5, 30), (8, 30)])
@pytest.mark.parametrize("group", [0, 16])
def test_itamax(fraction_bits: int, bound: float, group: int) -> None:
    """Whole powers of two: a fraction of an exponent is rounded away, up to a factor of sqrt(2); B = 0 has none."""

    def softmax(row: Row) -> Row:
        return oracle.itamax(row, all_of(row), fraction_bits, group, 8).output

    assert_tight(greatest_error(softmax, math.log(2) / 2**fraction_bits, 255, 255), bound)


@pytest.mark.parametrize(
    ("scale", "bound"), [(0.002, 0.65), (0.01, 0.75), (0.03, 0.9), (0.05, 5), (0.1, 13), (0.2, 20)]
)
def test_gemmini(scale: float, bound: float) -> None:
    """ln2 = 0.693/s cut to an integer sets the error: at s = 0.2 it is 3 for 3.47."""
    polynomial = oracle.gemmini_constants(scale)

    def softmax(row: Row) -> Row:
        return oracle.gemmini_softmax(row, all_of(row), polynomial, 8).output

    assert_tight(greatest_error(softmax, scale, 127, 127), bound)


@pytest.mark.parametrize(("scale", "bound"), [(0.002, 1.4), (0.01, 1.5), (0.05, 10), (0.1, 25), (0.2, 40)])
def test_pulp(scale: float, bound: float) -> None:
    """As Gemmini's, with a floor in the place of the rounding."""
    polynomial = oracle.pulp_constants(scale)

    def softmax(row: Row) -> Row:
        return oracle.pulp_softmax(row, all_of(row), polynomial, 8).output

    assert_tight(greatest_error(softmax, scale, 255, 255), bound)


@pytest.mark.parametrize("scale", [0.002, 0.01, 0.05, 0.1, 0.3, 1.0])
def test_qlinear(scale: float) -> None:
    """The nearest code but beside a tie: 64 additions in 24 bits, and a scale in binary32."""
    table = oracle.qlinear_table(scale, 8, 64)

    def softmax(row: Row) -> Row:
        return [code + 128 for code in oracle.qlinear_softmax(row, all_of(row), table, 256, 8).output]

    assert_tight(greatest_error(softmax, scale, 256, 255), 0.501)


# Their parts


def test_constants_of_gemmlowp_are_what_the_page_says() -> None:
    assert abs(EXP_MINUS_EIGHTH - real_exp(Fraction(-1, 8)) * 2**31) < 1
    assert abs(Fraction(2**31, 3) - ONE_THIRD) < 1
    for k, factor in zip(range(-2, 5), EXP_FACTORS, strict=True):
        assert abs(factor - real_exp(-(Fraction(2) ** k)) * 2**31) < 1
    assert abs(Fraction(48, 17) * 2**29 - 1515870810) < 1
    assert abs(Fraction(-32, 17) * 2**29 + 1010580540) < 1
    assert abs(real_root(Fraction(1, 2)) * 2**31 - 1518500250) < 1


def test_exp_and_reciprocal_of_gemmlowp() -> None:
    """exp to 492 of 2^31 (2.3e-7), the reciprocal to 7 of 2^31 (3.1e-9)."""
    rng = random.Random(3)
    arguments = [-rng.randrange(2**31) for _ in range(4000)] + list(range(-(2**27), 1, 2**27 // 4000))
    assert_tight(max(abs(exp_q(a) - 2**31 * math.exp(a / 2**26)) for a in arguments), 500)
    assert_tight(max(abs(recip(v) - 2**31 / (1 + v / 2**31)) for v in range(0, 2**31, 399989)), 7)
    assert (exp_q(0), exp_q(-(2**31))) == (2**31 - 1, 0)


@pytest.mark.parametrize(("which", "bound"), [(0, 1.95), (1, 1.5)])
def test_interpolated_tables_of_the_softmax(which: int, bound: float) -> None:
    """Every int16 argument of exp over [-10, 0] and of 1/(1+x) over [0, 1], 512 steps of 128 codes."""
    real = [lambda u: math.exp(10 * (u - 1)), lambda u: 1 / (1 + u)][which]
    codes = range(-(2**15), 2**15)
    errors = [abs(lookup(TABLES[which], v) - min(2**15 * real((v + 2**15) / 2**16), 2**15 - 1)) for v in codes]
    assert_tight(max(errors), bound)


def test_published_entries_of_the_tables() -> None:
    """The ends of the tables that TensorFlow Lite and CMSIS-NN publish."""
    assert TABLES[0][:4] == [2, 2, 2, 2]
    assert TABLES[0][-2:] == [32133, 32767]
    assert TABLES[1][:5] == [32767, 32704, 32640, 32578, 32514]
    assert TABLES[1][-1] == 16384


@pytest.mark.parametrize("scale", [0.0005, 0.002, 0.01, 0.05, 0.3])
def test_constants_of_ibert_leave_room(scale: float) -> None:
    """c * 2^30 * m < 2^63, and the greatest exponential is nearly 2^15 - 1; a finer scale is refused."""
    c = oracle.ibert_constants(scale).c
    m, e = oracle.ibert_16_bit(c)
    assert c * 2**30 * m < 2**63
    assert 2**15 * (1 - 2.0**-7) < Fraction(c * 2**30 * m, 2**e) <= 2**15 - 1
    with pytest.raises(ValueError, match="to 24 bits"):
        oracle.ibert_16_bit(2**24)


@pytest.mark.parametrize("scale", [0.002, 0.01, 0.05])
def test_integer_exponentials_fall_and_stay_positive(scale: float) -> None:
    """Between neighbouring d a polynomial rises by no more than its error at the joints, where z steps."""
    ibert, gemmini = oracle.ibert_constants(scale), oracle.gemmini_constants(scale)
    for values in (
        [ibert_exponential(d, ibert) / (ibert.c * 2**30) for d in range(256)],
        [gemmini_exponential(d, gemmini) / (gemmini.b**2 + gemmini.c) for d in range(256)],
    ):
        assert min(values) >= 0
        assert max(later - earlier for earlier, later in pairwise(values)) < 0.01
