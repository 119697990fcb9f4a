"""Overflow proofs: the intervals of section 10 equal the oracle's, hold every partial sum, and are reached."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.program.proofs import Interval, activation_product, centred, check_accumulator, weight_product
from tests import oracle

PROVEN, SATURATE, WRAP = Overflow.PROVEN, Overflow.SATURATE, Overflow.WRAP
thorough = settings(max_examples=250, deadline=None, derandomize=True)

formats = st.builds(IntFormat, bits=st.integers(2, 16), signed=st.booleans(), narrow=st.booleans())


@st.composite
def operands(draw: st.DrawFn) -> Interval:
    """The interval of the codes of some format, less some zero point."""
    fmt = draw(formats)
    ends = st.sampled_from([fmt.min, fmt.max])
    return centred(fmt, draw(ends | st.integers(fmt.min, fmt.max)))


@st.composite
def weights(draw: st.DrawFn, rows: int, columns: int, bits: int = 17, bias_bits: int = 63):
    """Centred weight codes (n, k) and a bias (n,), or None."""
    n, k = draw(st.integers(1, rows)), draw(st.integers(1, columns))
    code = st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
    bias = st.integers(-(1 << bias_bits - 1), (1 << bias_bits - 1) - 1)
    matrix = draw(st.lists(st.lists(code, min_size=k, max_size=k), min_size=n, max_size=n))
    return matrix, draw(st.none() | st.lists(bias, min_size=n, max_size=n))


def proven(a: Interval, matrix: list[list[int]], bias: list[int] | None) -> Interval:
    return weight_product(a, np.array(matrix, np.int32), None if bias is None else np.array(bias, np.int64))


def sums_of_corners(a: Interval, row: list[int], bias: int) -> set[int]:
    """Every sum of some of the terms, in whatever order they come, for inputs at the ends of their interval."""
    terms = [(0, bias), *((0, weight * a.low, weight * a.high) for weight in row)]
    return {sum(chosen) for chosen in itertools.product(*terms)}


# --- (10a) ------------------------------------------------------------------------------------------------------------


@thorough
@given(a=operands(), drawn=weights(rows=4, columns=9))
@example(a=Interval(-32768, 32767), drawn=([[65535] * 9, [-65536] * 9], [2**62 - 1, -(2**62)]))
@example(a=Interval(0, 65535), drawn=([[-1]], [2**63 - 1]))
def test_a_product_with_weights_reaches_what_the_oracle_says(a: Interval, drawn) -> None:
    matrix, bias = drawn
    rows = [
        oracle.partial_sum_bounds(row, 0, 0 if bias is None else bias[j], a.low, a.high) for j, row in enumerate(matrix)
    ]
    assert proven(a, matrix, bias) == (min(low for low, _ in rows), max(high for _, high in rows))


@thorough
@given(a=operands(), drawn=weights(rows=3, columns=5, bits=6, bias_bits=12))
def test_a_product_with_weights_reaches_its_ends_and_no_further(a: Interval, drawn) -> None:
    matrix, bias = drawn
    sums = [sums_of_corners(a, row, 0 if bias is None else bias[j]) for j, row in enumerate(matrix)]
    reached = set().union(*sums)
    assert proven(a, matrix, bias) == (min(reached), max(reached))


@thorough
@given(a=operands(), drawn=weights(rows=3, columns=12, bits=9, bias_bits=20), data=st.data())
def test_partial_sums_of_codes_stay_inside(a: Interval, drawn, data: st.DataObject) -> None:
    """Codes anywhere in their interval, terms in the order of (2)."""
    matrix, bias = drawn
    reach, code = proven(a, matrix, bias), st.integers(a.low, a.high)
    row = data.draw(st.lists(code, min_size=len(matrix[0]), max_size=len(matrix[0])))
    for j, weight in enumerate(matrix):
        products = [x * y for x, y in zip(row, weight, strict=True)]
        for partial in itertools.accumulate(products, initial=0 if bias is None else bias[j]):
            assert reach.low <= partial <= reach.high


def test_the_worst_row_counts() -> None:
    """And the zero point of the input moves its interval, not its width."""
    a = centred(IntFormat(bits=8), -28)
    assert a == (-100, 155)
    assert proven(a, [[1, 0], [0, -2], [3, 1]], [0, 5, -1000]) == (-1400, 620)


# --- (10b) ------------------------------------------------------------------------------------------------------------


@thorough
@given(a=operands(), b=operands(), terms=st.integers(0, 1 << 20))
def test_a_product_of_activations_reaches_what_the_oracle_says(a: Interval, b: Interval, terms: int) -> None:
    assert activation_product(a, b, terms) == oracle.product_bounds(terms, *a, *b)


@thorough
@given(a=operands(), b=operands(), terms=st.integers(1, 3))
def test_a_product_of_activations_reaches_its_ends_and_no_further(a: Interval, b: Interval, terms: int) -> None:
    products = [0, *(x * y for x in a for y in b)]
    sums = {sum(chosen) for chosen in itertools.product(products, repeat=terms)}
    assert activation_product(a, b, terms) == (min(sums), max(sums))


# --- widths -----------------------------------------------------------------------------------------------------------


@thorough
@given(low=st.integers(-(2**70), 0), high=st.integers(0, 2**70))
@example(low=-128, high=127)
@example(low=-129, high=0)
@example(low=0, high=128)
@example(low=-1, high=0)
@example(low=0, high=0)
def test_the_least_width_holds_an_interval(low: int, high: int) -> None:
    """Intervals of partial sums, 0 among them."""
    reach = Interval(low, high)
    assert -(1 << reach.bits - 1) <= reach.low and reach.high <= (1 << reach.bits - 1) - 1
    assert reach.bits == 1 or reach.low < -(1 << reach.bits - 2) or reach.high > (1 << reach.bits - 2) - 1
    assert reach.magnitude == max(-low, high)


@pytest.mark.parametrize("bits", [8, 13, 32, 48, 63])
@pytest.mark.parametrize("end", ["low", "high"])
def test_an_accumulator_holds_its_last_value_and_no_more(bits: int, end: str) -> None:
    accumulator, top = Accumulator(bits=bits), (1 << bits - 1) - 1
    fits = Interval(-3, top) if end == "high" else Interval(-top - 1, 3)
    beyond = Interval(-3, top + 1) if end == "high" else Interval(-top - 2, 3)
    assert check_accumulator("site", fits, accumulator) == fits
    with pytest.raises(ValueError, match=rf"^site: .*a {bits}-bit accumulator cannot hold; it needs {bits + 1} bits"):
        check_accumulator("site", beyond, accumulator)


@pytest.mark.parametrize("rule", [SATURATE, WRAP])
@thorough
@given(data=st.data(), bits=st.integers(8, 12))
def test_whatever_an_accumulator_ends_with_lies_in_its_interval(rule: Overflow, bits: int, data: st.DataObject) -> None:
    """Saturating and wrapping on the way; the oracle does the sums."""
    number = st.integers(-(1 << bits), 1 << bits) | st.integers(0, 1 << bits)
    start, products = data.draw(number), data.draw(st.lists(number, max_size=6))
    terms = [start, *products]
    reach = Interval(sum(min(0, term) for term in terms), sum(max(0, term) for term in terms))
    accumulator = Accumulator(bits=bits, overflow=rule)
    held = check_accumulator("site", reach, accumulator)
    ones = [1] * len(products)
    [[end]], events = oracle.matmul([ones], [products], [start], 0, 0, bits, rule.value)
    assert held.low <= end <= held.high
    assert accumulator.min <= held.low and held.high <= accumulator.max
    assert held == reach or not (accumulator.min <= reach.low and reach.high <= accumulator.max)
    assert not events or held != reach


def test_a_wrapped_sum_may_change_its_sign() -> None:
    reach = Interval(0, 200)
    assert check_accumulator("site", reach, Accumulator(bits=8, overflow=SATURATE)) == (0, 127)
    assert check_accumulator("site", reach, Accumulator(bits=8, overflow=WRAP)) == (-128, 127)
    assert check_accumulator("site", reach, Accumulator(bits=9, overflow=WRAP)) == reach


def test_sums_beyond_64_bits_are_exact() -> None:
    """The largest bias a file can hold, and products on top."""
    reach = weight_product(Interval(0, 65535), np.full((1, 3), 65535), np.array([2**63 - 1]))
    assert reach == (0, 2**63 - 1 + 3 * 65535**2) and math.log2(reach.high) > 63
    assert reach.bits == 65
