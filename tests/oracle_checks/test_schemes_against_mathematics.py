"""Requantization by scheme: within the page's bounds of x*m/2^e, equal where the page says so, and its examples."""

import struct
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.oracle import Ratio, double_round, requantize_by, rescaled_add, scale, shift_right
from tests.oracle.rounding import ROUNDINGS, half_away, half_up
from tests.oracle.scaling import doubling_high, fl32, rounding_shift

from .real_mathematics import real_clamp

HALF = Fraction(1, 2)
checked = settings(deadline=None, max_examples=300, database=None)

Q31 = ("q31_double", "q31_double_half_up", "q31_single")
BITS = dict.fromkeys(Q31, (30, 31)) | {
    "q15": (14, 15),
    "dyadic": (0, 31),
    "narrow_after": (0, 8),
    "narrow_before": (0, 16),
    "nvdla": (0, 15),
    "float32": (0, 24),
}
"""2^first <= m < 2^second."""


@st.composite
def multipliers(draw: st.DrawFn, scheme: str) -> int:
    low, high = BITS[scheme]
    few = st.builds(lambda a, b: a | b, *2 * [st.integers(low, high - 1).map(lambda bit: int(2**bit))])
    return draw(few | st.integers(2**low, 2**high - 1))


@st.composite
def scalings(draw: st.DrawFn, schemes: tuple[str, ...]) -> tuple[int, Ratio]:
    """Any int32 that a scheme may take, and a ratio of it."""
    scheme = draw(st.sampled_from(schemes))
    m, e = draw(multipliers(scheme)), draw(st.integers(1, 62) | st.integers(28, 40))
    largest = 2 ** min(31, e) - 1 if scheme in Q31[:2] else 2**31 - 1
    return draw(st.integers(-largest, largest) | st.integers(-min(largest, 99), min(largest, 99))), Ratio(scheme, m, e)


@checked
@given(scalings(tuple(BITS)))
def test_error_of_every_scheme(case: tuple[int, Ratio]) -> None:
    x, (scheme, m, e, _) = case
    exact = Fraction(x * m, 2**e)
    error = abs(scale(*case).value - exact)
    if scheme == "float32":
        assert error <= HALF + abs(exact) / 2**23
    elif scheme in Q31[:2] and e > 31:
        assert error <= HALF + Fraction(1, 2 ** (e - 31 + 1))
    else:
        assert error <= HALF


@pytest.mark.parametrize("r", [1, 2, 8])
def test_the_bound_of_two_roundings_is_attained(r: int) -> None:
    """x*m/2^31 = 2^(r-1) - 1/2 is rounded up to a tie, and that is rounded up again."""
    for scheme in Q31[:2]:
        x, m = 2**r - 1, 2**30
        assert scale(x, Ratio(scheme, m, 31 + r)).value - Fraction(x * m, 2 ** (31 + r)) == HALF + Fraction(
            1, 2 ** (r + 1)
        )


@checked
@given(scalings(("q31_double",)))
@example((0, Ratio("q31_double", 2**30, 40)))
@example((-1, Ratio("q31_double", 2**30, 33)))
def test_two_roundings_are_tosas_double_round(case: tuple[int, Ratio]) -> None:
    x, (_, m, e, _) = case
    assert scale(*case).value == double_round(x, m, e)


def test_two_roundings_are_not_one() -> None:
    """The page's example: 3/8 becomes 1."""
    assert doubling_high(3, 2**30) == 2
    assert scale(3, Ratio("q31_double", 2**30, 33)) == (1, 1)
    assert scale(3, Ratio("q31_single", 2**30, 33)) == (0, 0)
    assert double_round(3, 2**30, 33) == 1


def test_the_two_double_schemes_differ_at_negative_ties_only() -> None:
    for x in range(-2000, 2001):
        away, up = (scale(x, Ratio(scheme, 3 * 2**29, 35)) for scheme in Q31[:2])
        assert away.tie == up.tie
        assert up.value - away.value == (away.tie == -1)


def test_wherever_one_rounding_is_exact_all_nearest_schemes_agree() -> None:
    for x in range(-128, 128):
        ratios = [Ratio("q31_double", 2**30, 30), Ratio("q31_single", 2**30, 30), Ratio("q15", 2**14, 14)]
        ratios += [Ratio(scheme, 1, 0) for scheme in ("dyadic", "narrow_after", "nvdla", "shift", "float32")]
        assert {scale(x, ratio) for ratio in ratios} == {(x, 0)}


@checked
@given(scalings(("narrow_before",)), st.integers(-(2**15), 2**15))
def test_the_zero_point_may_come_before_the_shift(case: tuple[int, Ratio], zero: int) -> None:
    x, ratio = case
    assert half_up(Fraction(x * ratio.m + zero * 2**ratio.e, 2**ratio.e)) == scale(x, ratio).value + zero


@checked
@given(st.integers(-(2**31), 2**31), st.integers(-(2**31), 2**31 - 1), st.integers(0, 31))
@example(-(2**31), -(2**31), 1)
def test_primitives(a: int, b: int, r: int) -> None:
    assert doubling_high(a, b) == min(2**31 - 1, half_up(Fraction(a * b, 2**31)))
    assert rounding_shift(a, r) == half_away(Fraction(a, 2**r))


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("half_up", [-2, -1, -1, 0, 0, 1, 1, 2, 2]),
        ("half_away", [-2, -2, -1, -1, 0, 1, 1, 2, 2]),
        ("half_even", [-2, -2, -1, 0, 0, 0, 1, 2, 2]),
        ("floor", [-2, -2, -1, -1, 0, 0, 1, 1, 2]),
        ("toward_zero", [-2, -1, -1, 0, 0, 0, 1, 1, 2]),
    ],
)
def test_five_roundings_of_halves(rounding: str, expected: list[int]) -> None:
    assert shift_right([list(range(-4, 5))], 1, rounding) == [expected]
    ties = [scale(x, Ratio("shift", 1, 1, rounding)).tie for x in range(-4, 5)]
    assert ties == [0, -1, 0, -1, 0, 1, 0, 1, 0]


@checked
@given(st.fractions(-(2**40), 2**40))
@example(Fraction(13, 4))
def test_every_rounding_is_within_its_bound(v: Fraction) -> None:
    for name, rounds in ROUNDINGS.items():
        error = abs(rounds(v) - v)
        assert error < 1 if name in ("floor", "toward_zero") else error <= HALF


@checked
@given(st.floats(1e-20, 1e20) | st.floats(-1e20, -1e-20) | st.just(0.0) | st.integers(2**24, 2**26).map(float))
def test_fl32_is_the_rounding_of_ieee_754(value: float) -> None:
    assert fl32(Fraction(value)) == Fraction(struct.unpack("f", struct.pack("f", value))[0])


def test_the_zero_point_inside_a_float_sum_is_not_the_one_outside() -> None:
    """fl32(x*M) = 2^23 - 1/2 is a binary32, and 2^23 - 1/2 + 2 is none: the sum is rounded before it is."""
    inside, outside = (
        requantize_by([[2**24 - 1]], [Ratio(scheme, 1, 1)], 1, -(2**31), 2**31 - 1)
        for scheme in ("float32_inside", "float32")
    )
    assert inside == ([[2**23]], [], 0)
    assert outside == ([[2**23 + 1]], [1], 0)


def test_events_of_a_requantization() -> None:
    """Ties of both signs, one a channel; and a clamp after the zero point."""
    ratios = [Ratio("dyadic", 1, 1), Ratio("nvdla", 3, 1)]
    assert requantize_by([[-3, -1], [5, 200]], ratios, 1, -8, 7) == ([[-1, -1], [3, 7]], [-1, -1, 1], 1)


SUMS = [
    (20, Ratio("q31_double", 2**30, 31), Ratio("q31_double", 3 * 2**29, 51)),
    (15, Ratio("q31_double_half_up", 2**31 - 1, 31), Ratio("q31_double", 2**30, 46)),
    (0, Ratio("narrow_after", 77, 7), None),
    (0, Ratio("dyadic", 2**31 - 1, 33), None),
    (0, Ratio("float32", 2**24 - 1, 25), None),
    (0, Ratio("shift", 1, 1, "half_up"), None),
]


@pytest.mark.parametrize(("left", "operand", "output"), SUMS)
def test_error_of_a_rescaled_sum(left: int, operand: Ratio, output: Ratio | None) -> None:
    """The sum of the roundings' bounds; that of the operands goes through the output scale."""
    codes = list(range(-128, 128, 5))
    for shift in (0, 3, 100):
        others = [(code + shift) % 256 - 128 for code in codes]
        got, _, _ = rescaled_add(codes, others, (5, -7), (operand, operand), left, output, 3, -(2**15), 2**15 - 1)
        gain, last = (Fraction(output.m, 2**output.e), HALF * 2) if output else (Fraction(1), Fraction(0))
        for q, a, b in zip(got, codes, others, strict=True):
            exact = (a - 5 + b + 7) * 2**left * Fraction(operand.m, 2**operand.e) * gain + 3
            assert abs(q - real_clamp(exact, -(2**15), 2**15 - 1)) <= 2 * (HALF + Fraction(1, 100)) * gain + last
