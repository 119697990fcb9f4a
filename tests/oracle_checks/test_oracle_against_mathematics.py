"""The oracle stays within the error bounds of docs/numerics.md from real mathematics; no bound is loosened."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import log, nextafter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.oracle import (
    LayerNormRow,
    add,
    embed,
    epsilon_integer,
    exp_table,
    generator,
    layernorm,
    limits,
    requantize,
    shift_right,
    softmax,
)
from tests.oracle.exp_table import rounded_exp
from tests.oracle.layernorm import variance_integer

from .real_mathematics import real_clamp, real_exp, real_normalised, real_softmax, snapped_down

HALF = Fraction(1, 2)
checked = settings(deadline=None, max_examples=150, database=None)

MULTIPLIERS = st.integers(1, 2**16 - 1)
SHIFTS = st.integers(0, 62) | st.integers(0, 20)
CODES = st.integers(-(2**15), 2**16 - 1)
ACCUMULATORS = st.integers(-(2**31), 2**31 - 1) | st.integers(-(2**46), 2**46) | st.integers(-40, 40)
FORMATS = st.builds(limits, st.integers(2, 16), st.booleans(), st.booleans())
FRACTIONS_OF_RANGE = st.integers(3, 12).map(lambda tenths: Fraction(tenths, 10))


@st.composite
def result_formats(draw: st.DrawFn) -> tuple[int, int, int]:
    """(zero_point, lo, hi) of a result."""
    lo, hi = draw(FORMATS)
    return draw(st.integers(lo, hi)), lo, hi


@checked
@given(st.lists(st.tuples(ACCUMULATORS, MULTIPLIERS, SHIFTS), min_size=1, max_size=4), result_formats())
def test_requantize_error_is_at_most_one_half(
    channels: list[tuple[int, int, int]], result: tuple[int, int, int]
) -> None:
    acc, multiplier, shift = (list(values) for values in zip(*channels, strict=True))
    zero_point, lo, hi = result
    codes = requantize([acc], multiplier, shift, zero_point, lo, hi)[0]
    for code, (value, m, e) in zip(codes, channels, strict=True):
        exact = real_clamp(Fraction(value * m, 2**e) + zero_point, lo, hi)
        assert lo <= code <= hi
        assert abs(code - exact) <= HALF


@checked
@given(ACCUMULATORS, st.integers(0, 8), MULTIPLIERS, SHIFTS, result_formats())
def test_shift_then_requantize_error(acc: int, k: int, m: int, e: int, result: tuple[int, int, int]) -> None:
    zero_point, lo, hi = result
    code = requantize(shift_right([[acc]], k), [m], [e], zero_point, lo, hi)[0][0]
    exact = real_clamp(Fraction(acc * m, 2 ** (k + e)) + zero_point, lo, hi)
    assert abs(code - exact) <= HALF + Fraction(m, 2 ** (e + 1))
    if k == 0:
        assert abs(code - exact) <= HALF


@checked
@given(ACCUMULATORS, MULTIPLIERS, SHIFTS)
def test_generator_error_is_at_most_one_half_unless_counted(acc: int, m: int, e: int) -> None:
    logits, events = generator([[acc]], [m], [e])
    exact = Fraction(acc * m, 2**e)
    assert abs(logits[0][0] - real_clamp(exact, -(2**31), 2**31 - 1)) <= HALF
    assert (abs(logits[0][0] - exact) > HALF) == (events == 1)


@checked
@given(st.lists(st.tuples(CODES, CODES), min_size=1, max_size=5), CODES, CODES, MULTIPLIERS, MULTIPLIERS, SHIFTS,
       result_formats())  # fmt: skip
def test_residual_sum_error_is_at_most_one_half(
    pairs: list[tuple[int, int]], a_zero: int, b_zero: int, m_a: int, m_b: int, e: int, result: tuple[int, int, int]
) -> None:
    zero_point, lo, hi = result
    a, b = (list(values) for values in zip(*pairs, strict=True))
    codes = add(a, b, a_zero, b_zero, m_a, m_b, e, zero_point, lo, hi)
    for code, (x, y) in zip(codes, pairs, strict=True):
        exact = (x - a_zero) * Fraction(m_a, 2**e) + (y - b_zero) * Fraction(m_b, 2**e) + zero_point
        assert abs(code - real_clamp(exact, lo, hi)) <= HALF


@checked
@given(st.data(), SHIFTS, result_formats())
def test_embedding_error_is_at_most_one_half(data: st.DataObject, e: int, result: tuple[int, int, int]) -> None:
    zero_point, lo, hi = result
    rows = st.lists(st.lists(st.integers(-128, 127), min_size=2, max_size=2), min_size=4, max_size=4)
    table, positions = data.draw(rows), data.draw(rows)
    rows_of_multipliers = data.draw(st.sampled_from([1, 4]))
    multipliers = data.draw(st.lists(MULTIPLIERS, min_size=rows_of_multipliers, max_size=rows_of_multipliers))
    ids, first = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=2)), data.draw(st.integers(0, 2))
    m_p = data.draw(MULTIPLIERS)
    codes = embed(ids, first, table, multipliers, positions, m_p, e, zero_point, lo, hi)
    for i, token in enumerate(ids):
        for column in range(2):
            own = Fraction((multipliers * 4)[token], 2**e) * table[token][column]
            exact = own + Fraction(m_p, 2**e) * positions[first + i][column] + zero_point
            assert abs(codes[i][column] - real_clamp(exact, lo, hi)) <= HALF


@settings(checked, max_examples=40)
@given(st.floats(1e-5, 20) | st.floats(1e-4, 0.1) | st.floats(5e-324, 1e300), st.integers(2, 6), st.integers(2, 16))
def test_exp_table_is_correctly_rounded(scale: float, score_bits: int, numerator_bits: int) -> None:
    table = exp_table(scale, score_bits, numerator_bits)
    assert len(table) == 2**score_bits
    assert table[0] == 2**numerator_bits - 1
    for d, entry in enumerate(table):
        exact = real_exp(-min(Fraction(scale) * d, Fraction(1000))) * (2**numerator_bits - 1)
        assert abs(entry - exact) <= HALF


def test_exp_table_of_the_largest_score_format() -> None:
    table = exp_table(0.0027, 12, 16)
    assert len(table) == 4096
    exact = [real_exp(-Fraction(0.0027) * d) * 65535 for d in range(0, 4096, 7)]
    assert all(abs(entry - real) < HALF for entry, real in zip(table[::7], exact, strict=True))


@pytest.mark.parametrize("entry", [0, 1, 2, 17, 100, 127, 200, 253])
@pytest.mark.parametrize("neighbours", [-1, 0, 1])
def test_exp_table_at_the_float64_scales_nearest_to_a_tie(entry: int, neighbours: int) -> None:
    scale = log(255 / (entry + 0.5))
    if neighbours:
        scale = nextafter(scale, neighbours * float("inf"))
    exact = real_exp(-Fraction(scale)) * 255
    assert 0 < abs(exact - entry - HALF) < Fraction(1, 10**12)
    assert exp_table(scale, 2, 8)[1] == (entry if exact < entry + HALF else entry + 1)


def test_exp_rounding_asks_for_more_digits_until_the_enclosure_decides() -> None:
    near_tie = Decimal(log(255 / 100.5))
    assert rounded_exp(near_tie, 255, digits=1) == rounded_exp(near_tie, 255, digits=200)


@checked
@given(st.data(), st.floats(0.003, 2), st.integers(2, 6), st.integers(4, 16), st.integers(4, 16), st.integers(2, 16))
def test_softmax_error(
    data: st.DataObject, scale: float, score_bits: int, numerator_bits: int, denominator_bits: int, output_bits: int
) -> None:
    scores = data.draw(st.lists(st.integers(*limits(score_bits, True, False)), min_size=1, max_size=12))
    allowed = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)).filter(any))
    top, denominator_max, output_max = (2**bits - 1 for bits in (numerator_bits, denominator_bits, output_bits))
    m_d, e_d = snapped_down(data.draw(FRACTIONS_OF_RANGE) * denominator_max / (top * len(scores)))
    m_o, e_o = snapped_down(data.draw(FRACTIONS_OF_RANGE) * output_max * m_d / 2**e_d)
    row = softmax(scores, allowed, exp_table(scale, score_bits, numerator_bits), m_d, e_d, denominator_max, m_o, e_o,
                  output_max)  # fmt: skip
    assume(not (row.denominator_saturated or row.denominator_below_one or row.output_saturated))
    scale_output = Fraction(m_d, 2**e_d) * Fraction(2**e_o, m_o)
    total, kept = sum(row.numerator), sum(allowed)
    for output, numerator, p in zip(row.output, row.numerator, real_softmax(scores, allowed, scale), strict=True):
        bound = scale_output / 2 + (1 + kept * p) / (2 * total) + Fraction(numerator, total) / (2 * row.denominator)
        assert abs(scale_output * output - p) <= bound


def test_softmax_bound_does_not_cover_a_denominator_below_one() -> None:
    row = softmax([0], [True], [15], 1, 10, 15, 8, 0, 255)
    assert (row.denominator, row.output, row.denominator_saturated, row.denominator_below_one) == (1, [120], 0, 1)
    scale_output = Fraction(1, 2**10 * 8)
    assert abs(scale_output * row.output[0] - 1) > scale_output / 2 + Fraction(1 + 1, 2 * 15) + HALF


@dataclass(frozen=True)
class NormCase:
    """A row with its integers of section 5, and the real scales they stand for under snapping (section 11)."""

    x: list[int]
    scale: float
    eps: float
    numerator: tuple[int, int, int]
    denominator: tuple[int, int, int]
    quotient: tuple[int, int, int]

    def row(self) -> LayerNormRow:
        size, eps_int = len(self.x), epsilon_integer(self.eps, len(self.x), self.scale)
        (m_n, e_n, n_hi), (m_q, e_q, q_hi) = self.numerator, self.quotient
        return layernorm(self.x, eps_int, m_n, e_n, -n_hi - 1, n_hi, *self.denominator, m_q, e_q, -q_hi - 1, q_hi,
                         [1] * size, [0] * size, 1, 0, 0, -(2**15), 2**15 - 1)  # fmt: skip

    def scales(self) -> tuple[Fraction, Fraction, Fraction]:
        """(s_n, s_d, s_q)."""
        base = Fraction(self.scale) / len(self.x)
        (m_n, e_n, _), (m_d, e_d, _), (m_q, e_q, _) = self.numerator, self.denominator, self.quotient
        numerator, denominator = base * 2**e_n / m_n, base * 2**e_d / m_d
        return numerator, denominator, numerator / denominator * 2**e_q / m_q

    def bounds(self, row: LayerNormRow, of: list[Fraction]) -> list[Fraction]:
        """The bound of section 5, its last term taken relative to the values `of`."""
        s_n, s_d, s_q = self.scales()
        relative = (HALF + Fraction(self.denominator[0], 2 ** self.denominator[1])) / row.denominator
        return [s_q / 2 + s_n / (2 * row.denominator * s_d) + abs(value) * relative for value in of]


@st.composite
def norm_cases(draw: st.DrawFn) -> NormCase:
    x = draw(st.lists(st.integers(*draw(FORMATS)), min_size=1, max_size=12))
    scale, eps = draw(st.floats(1e-4, 1)), draw(st.sampled_from([0.0, 1e-12, 1e-6, 1e-5, 1e-2]))
    centred = max(abs(len(x) * value - sum(x)) for value in x)
    variance = variance_integer(x, epsilon_integer(eps, len(x), scale))
    assume(centred and variance)
    numerator_hi, denominator_hi, quotient_hi = (
        draw(st.integers(low, high).map(lambda bits: int(2**bits - 1))) for low, high in ((2, 15), (2, 16), (2, 15))
    )
    numerator = snapped_down(draw(FRACTIONS_OF_RANGE) * numerator_hi / centred)
    denominator = snapped_down(draw(FRACTIONS_OF_RANGE) * denominator_hi / Fraction(variance**0.5))
    expected = Fraction(centred * numerator[0], 2 ** numerator[1]) * 2 ** denominator[1] / denominator[0]
    quotient = snapped_down(draw(FRACTIONS_OF_RANGE) * quotient_hi * Fraction(variance**0.5) / expected)
    return NormCase(x, scale, eps, (*numerator, numerator_hi), (*denominator, denominator_hi), (*quotient, quotient_hi))


def unsaturated(row: LayerNormRow) -> bool:
    return not (
        row.numerator_saturated or row.denominator_saturated or row.denominator_below_one or row.quotient_saturated
    )


@settings(checked, max_examples=300)
@given(norm_cases())
def test_layernorm_quotient_error(case: NormCase) -> None:
    """The last term is relative to the real value, and |real| / (2V) is what the rounding of eps_int may add."""
    row = case.row()
    assume(unsaturated(row))
    scale, size = Fraction(case.scale), len(case.x)
    eps_int = epsilon_integer(case.eps, size, case.scale)
    real_row = [scale * value for value in case.x]
    encoded = real_normalised(real_row, eps_int * (scale / size) ** 2)
    s_q = case.scales()[2]
    for quotient, real, bound in zip(row.quotient, encoded, case.bounds(row, encoded), strict=True):
        assert abs(s_q * quotient - real) <= bound
    wanted = real_normalised(real_row, Fraction(case.eps))
    variance = variance_integer(case.x, eps_int)
    for with_eps_int, with_eps in zip(encoded, wanted, strict=True):
        assert abs(with_eps_int - with_eps) <= abs(with_eps) / (2 * variance)


def test_layernorm_bound_relative_to_the_quotient_code_would_be_wrong() -> None:
    case = NormCase([0, 128], 1.0, 0.0, (1, 0, 255), (13, 10, 255), (1, 7, 255))
    row = case.row()
    assert (row.numerator, row.denominator, row.quotient) == ([-128, 128], 2, [0, 0])
    assert unsaturated(row)
    real = [Fraction(-1), Fraction(1)]
    assert all(bound < 1 for bound in case.bounds(row, [case.scales()[2] * q for q in row.quotient]))
    assert all(bound >= 1 for bound in case.bounds(row, real))


@checked
@given(norm_cases(), st.integers(-300, 300))
def test_layernorm_does_not_see_the_zero_point(case: NormCase, offset: int) -> None:
    moved = NormCase([value + offset for value in case.x], case.scale, case.eps, case.numerator, case.denominator,
                     case.quotient)  # fmt: skip
    assert moved.row() == case.row()


@checked
@given(st.lists(st.tuples(CODES, st.integers(-128, 127), ACCUMULATORS), min_size=2, max_size=6), MULTIPLIERS, SHIFTS,
       result_formats())  # fmt: skip
def test_layernorm_output_error_is_at_most_one_half(
    columns: list[tuple[int, int, int]], m: int, e: int, result: tuple[int, int, int]
) -> None:
    x, gamma, beta = (list(values) for values in zip(*columns, strict=True))
    zero_point, lo, hi = result
    row = layernorm(x, 1, 1, 4, -128, 127, 1, 4, 255, 16, 0, -128, 127, gamma, beta, m, e, zero_point, lo, hi)
    for output, quotient, g, b in zip(row.output, row.quotient, gamma, beta, strict=True):
        exact = Fraction((quotient * g + b) * m, 2**e) + zero_point
        assert abs(output - real_clamp(exact, lo, hi)) <= HALF


@checked
@given(st.lists(CODES, min_size=1, max_size=12), st.integers(0, 1000))
def test_variance_integer_is_at_most_a_quarter_of_the_squared_range(x: list[int], eps_int: int) -> None:
    bound = Fraction(len(x) ** 2 * (max(x) - min(x)) ** 2, 4) + eps_int
    assert 0 <= variance_integer(x, eps_int) <= bound
