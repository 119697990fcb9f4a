"""How far each LayerNorm, RMSNorm, GELU and table lies from the real function: the greatest error, and its bound.

LayerNorms: 40 rows of codes, normal around any mean, to 32 (8 bits) or 4096 (16 bits) codes for 1; the error is in LSB
of that. What it depends on is how many codes the standard deviation is. A bound is tight to a factor of 2.
"""

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest

from tests import oracle
from tests.oracle import Result
from tests.oracle.gemmlowp import invsqrt
from tests.oracle.interpolation import interpolation_table, lookup
from tests.oracle.real_functions import FUNCTIONS, nearest

Norm = Callable[[list[int], bool], list[int]]
INT8, INT16 = Result(0, -128, 127), Result(0, -(2**15), 2**15 - 1)


def assert_tight(measured: float, bound: float) -> None:
    assert bound / 2 < measured <= bound


def rows(deviation: float, n: int, limits: Result) -> Iterator[list[int]]:
    rng = random.Random(4)
    for _ in range(40):
        mean = rng.uniform(limits.lo / 2, limits.hi / 2)
        yield [min(max(round(rng.gauss(mean, deviation)), limits.lo), limits.hi) for _ in range(n)]


def real(x: list[int], centred: bool) -> list[float]:
    mean = math.fsum(x) / len(x) if centred else 0.0
    root = math.sqrt(math.fsum((value - mean) ** 2 for value in x) / len(x))
    return [(value - mean) / root for value in x]


def greatest_error(norm: Norm, centred: bool, deviation: float, n: int, limits: Result, one: int) -> float:
    worst = 0.0
    for x in rows(deviation, n, limits):
        wanted = [min(max(one * value, limits.lo), limits.hi) for value in real(x, centred)]
        worst = max(worst, *(abs(code - want) for code, want in zip(norm(x, centred), wanted, strict=True)))
    return worst


def encoded(ratio: float) -> tuple[int, int]:
    """A 31-bit multiplier and its shift."""
    fraction, exponent = math.frexp(ratio)
    return int(fraction * 2**31), 31 - exponent


def ibert(n: int, limits: Result, one: int) -> Norm:
    shift = next(t for t in range(32) if n * (limits.hi - limits.lo) ** 2 < 2**32 * 4**t)
    ratio = encoded(math.sqrt(n) / 2**30 * one)
    return lambda x, centred: oracle.ibert_layernorm(x, 0, centred, shift, [1] * n, [0] * n, [ratio] * n, limits).output


def pulp(n: int, limits: Result, one: int) -> Norm:
    """The bias is one half, which makes of the last shift a rounding."""
    shift = 8 if one == 32 else 2
    weight, half = one * 2**shift, 2 ** (shift - 1)
    return lambda x, centred: oracle.pulp_layernorm(x, 0, centred, [weight] * n, [half] * n, shift, limits).output


def tflite(n: int, limits: Result, one: int) -> Norm:
    ratio = encoded(one / 2**14)
    return lambda x, centred: oracle.tflite_layernorm(x, 0, centred, [2**14] * n, [0] * n, 1, ratio, limits).output


NORMS = [
    (ibert, True, 10, 4.0),
    (ibert, True, 30, 1.5),
    (ibert, False, 10, 1.3),
    (pulp, True, 10, 16),
    (pulp, True, 30, 5.0),
    (pulp, False, 30, 5.0),
    (tflite, True, 10, 1.2),
    (tflite, True, 30, 0.6),
    (tflite, False, 10, 0.8),
]


@pytest.mark.parametrize(("make", "centred", "deviation", "bound"), NORMS)
def test_norm_of_64_codes_of_8_bits(make: Callable[..., Norm], centred: bool, deviation: float, bound: float) -> None:
    assert_tight(greatest_error(make(64, INT8, 32), centred, deviation, 64, INT8, 32), bound)


@pytest.mark.parametrize(("make", "bound"), [(ibert, 10), (pulp, 6), (tflite, 2.5)])
def test_layernorm_of_64_codes_of_16_bits(make: Callable[..., Norm], bound: float) -> None:
    assert_tight(greatest_error(make(64, INT16, 4096), True, 3000, 64, INT16, 4096), bound)


@pytest.mark.parametrize(("n", "bound"), [(64, 3.0), (100, 20), (768, 80)])
def test_tflite_depends_on_n_being_a_power_of_two(n: int, bound: float) -> None:
    """floor(2^20 / n) makes the variance too small by up to n/2^20 of the mean square: bad where the mean is large."""
    assert_tight(greatest_error(tflite(n, INT16, 4096), True, 3000, n, INT16, 4096), bound)


def test_inverse_root() -> None:
    """1/sqrt(v) to a relative 1.3e-6, from 2 on; 1 is exact but for one unit."""
    rng = random.Random(5)
    for v in [*range(1, 3000), *(rng.randrange(2, 2**31) for _ in range(3000)), 2**31 - 1]:
        inverse, k = invsqrt(v)
        assert k >= 0
        assert abs(inverse / 2 ** (31 + k) * math.sqrt(v) - 1) < 1.3e-6
    assert invsqrt(1) == (2**31 - 1, 0)


# Activations


def real_gelu(x: float) -> float:
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


REAL = {
    "gelu": real_gelu,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
}


@pytest.mark.parametrize(("scale", "bound"), [(1e-4, 0.02), (0.001, 0.025), (0.01, 1.5), (0.03, 10)])
def test_ibert_gelu(scale: float, bound: float) -> None:
    """|x| <= 8, about 20,000 codes, as a real number: 0.018 is the polynomial's own error; 8-bit scales lose it all."""
    b, c, shift = oracle.ibert_gelu_constants(scale)
    unit = scale * 0.2888 * (scale / 1.4142) ** 2 * 2**14 / 2
    end = round(8 / scale)
    codes = list(range(-end, end + 1, max(1, end // 10000)))
    results = zip(codes, oracle.ibert_gelu(codes, 0, b, c, shift), strict=True)
    assert_tight(max(abs(acc * unit - real_gelu(code * scale)) for code, acc in results), bound)


@pytest.mark.parametrize(("scale", "bound"), [(0.015, 0.02), (0.03, 0.02), (0.05, 0.02), (0.1, 0.02)])
def test_ita_gelu(scale: float, bound: float) -> None:
    """Every code of 8 bits as a real number, -128 as it is; the scale of the accumulator is negative."""
    b, c = oracle.ita_gelu_constants(scale)
    unit = -scale * 0.2888 * scale**2 / 4
    assert_tight(greatest_gelu_error(lambda x: oracle.ita_gelu(x, 0, b, c), scale, unit), bound)


@pytest.mark.parametrize(("scale", "bound"), [(0.02, 0.025), (0.05, 0.025), (0.1, 0.03)])
def test_pulp_gelu(scale: float, bound: float) -> None:
    """Its constants rounded to int8 and int16; the accumulator keeps x * (one + L) / 2."""
    b, one = max(round(-1.769 * math.sqrt(2) / scale), -128), round(2 / (0.2888 * scale**2))
    assert_tight(greatest_gelu_error(lambda x: oracle.pulp_gelu(x, 0, b, one), scale, scale / one), bound)


@pytest.mark.parametrize(("scale", "bound"), [(0.002, 0.015), (0.02, 0.025), (0.05, 0.025), (0.1, 0.025)])
def test_gemmini_gelu(scale: float, bound: float) -> None:
    """Constants cut to integers; the scale of the accumulator is negative, and x * 2 * q1 is x."""
    q1, qb, qc = oracle.gemmini_gelu_constants(scale)
    unit = scale / (2 * q1)
    assert_tight(greatest_gelu_error(lambda x: oracle.gemmini_gelu(x, q1, qb, qc), scale, unit), bound)


def greatest_gelu_error(gelu: Callable[[list[int]], list[int]], scale: float, unit: float) -> float:
    codes = list(range(-128, 128))
    return max(abs(acc * unit - real_gelu(code * scale)) for code, acc in zip(codes, gelu(codes), strict=True))


@pytest.mark.parametrize("function", list(FUNCTIONS))
@pytest.mark.parametrize(("scale", "step"), [(0.003, 1 / 30000), (0.05, 0.05), (1.5, 0.011)])
def test_code_tables_are_rounded_once(function: str, scale: float, step: float) -> None:
    table = oracle.code_table(function, scale, 3, (-128, 127), step, -5, (-(2**20), 2**20))
    errors = [
        abs((code + 5) - REAL[function](scale * (q - 3)) / step)
        for q, code in zip(range(-128, 128), table, strict=True)
    ]
    assert max(errors) <= 0.5 + 1e-9


def test_ties_of_code_tables() -> None:
    """An exact tie goes away from zero; a value that only an endless precision tells from a tie does not."""
    half = Fraction(1, 2)
    assert nearest(FUNCTIONS["sigmoid"], Fraction(0), Fraction(255)) == 128
    assert nearest(FUNCTIONS["gelu"], Fraction(10**6 + 1), half) == 500_000
    assert nearest(FUNCTIONS["silu"], Fraction(10**6 + 1), half) == 500_000
    assert nearest(FUNCTIONS["tanh"], Fraction(10**6), half) == 0
    assert nearest(FUNCTIONS["tanh"], Fraction(-(10**6)), half) == 0
    assert nearest(FUNCTIONS["sigmoid"], Fraction(10**6), half) == 0
    assert nearest(FUNCTIONS["sigmoid"], Fraction(-(10**6)), Fraction(1), half) == 1
    assert nearest(FUNCTIONS["gelu"], Fraction(-(10**6)), Fraction(1), half) == 0


@pytest.mark.parametrize(
    ("function", "reach", "one", "bound"),
    [
        ("gelu", 8, 2**12, 1.9),
        ("silu", 8, 2**12, 1.4),
        ("tanh", 8, 2**15, 2.8),
        ("tanh", 4, 2**15, 2.0),
        ("sigmoid", 8, 2**15, 1.9),
    ],
)
def test_interpolated_tables(function: str, reach: int, one: int, bound: float) -> None:
    """Every third code of int16, [-reach, reach) in 512 steps of 128 codes."""
    table = interpolation_table(FUNCTIONS[function], Fraction(-reach), Fraction(reach), Fraction(one))
    codes = range(-(2**15), 2**15, 3)
    wanted = (min(max(one * REAL[function](reach * v / 2**15), -(2**15)), 2**15 - 1) for v in codes)
    assert_tight(max(abs(lookup(table, v) - want) for v, want in zip(codes, wanted, strict=True)), bound)
