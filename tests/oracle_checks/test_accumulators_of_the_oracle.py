"""Accumulators by granularity: (A1) is the product of equation (2), the laws of the page, and both safe widths."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import a2q_bits, accumulate, least_bits, limits, matmul, matmul_by, partial_sum_bounds

checked = settings(deadline=None, max_examples=200, database=None)
PRODUCTS = st.lists(st.integers(-300, 300), max_size=12)
RULES = st.sampled_from(["saturate", "wrap"])


@checked
@given(st.integers(-300, 300), PRODUCTS, st.integers(8, 10), RULES)
def test_mac_is_equation_2(bias: int, products: list[int], bits: int, rule: str) -> None:
    [[acc]], events = matmul([products], [[1] * len(products)], [bias], 0, 0, bits, rule)
    assert accumulate(bias, products, bits, rule)[:2] == (acc, events)
    [[by]] = matmul_by([products], [[1] * len(products)], [bias], (0, 0), bits, rule, "mac")
    assert by[:2] == (acc, events)


@checked
@given(st.integers(-300, 300), PRODUCTS, st.integers(8, 10), RULES, st.integers(0, 3))
def test_a_tile_of_one_is_mac_and_a_tile_of_all_is_end(
    bias: int, products: list[int], bits: int, rule: str, more: int
) -> None:
    one = accumulate(bias, products, bits, rule, "tile", 1)
    assert one == accumulate(bias, products, bits, rule, "mac")
    every = accumulate(bias, products, bits, rule, "tile", max(len(products), 1) + more)
    assert every == accumulate(bias, products, bits, rule, "end")


@checked
@given(st.integers(-3000, 3000), PRODUCTS, st.integers(8, 10), st.integers(1, 13))
def test_wrapping_is_the_same_for_all(bias: int, products: list[int], bits: int, tile: int) -> None:
    values = {accumulate(bias, products, bits, "wrap", kind, tile).value for kind in ("mac", "tile", "end")}
    lo, hi = limits(bits, signed=True, narrow=False)
    (value,) = values
    assert lo <= value <= hi
    assert (value - bias - sum(products)) % 2**bits == 0


@checked
@given(st.integers(-300, 300), PRODUCTS, RULES, st.sampled_from(["mac", "tile", "end"]), st.integers(1, 5))
def test_extremes_say_which_width_is_enough(
    bias: int, products: list[int], rule: str, granularity: str, tile: int
) -> None:
    wide = accumulate(bias, products, 40, rule, granularity, tile)
    need = least_bits(wide.least, wide.greatest)
    assert accumulate(bias, products, need, rule, granularity, tile) == wide
    assert wide.first is None and wide.events == 0
    if need > 1:
        assert accumulate(bias, products, need - 1, rule, granularity, tile).events > 0


@pytest.mark.parametrize(("products", "first"), [([], None), ([127, 1], 2), ([128], 1), ([-128, -1, 1], 2)])
def test_the_first_overflow(products: list[int], first: int | None) -> None:
    assert accumulate(0, products, 8, "wrap").first == first
    assert accumulate(128, products, 8, "wrap").first == 0


@checked
@given(st.lists(st.integers(-128, 127), max_size=9), st.integers(2, 8), st.booleans())
def test_the_width_of_a2q_is_safe_and_that_of_10a_is_no_wider(weights: list[int], bits: int, signed: bool) -> None:
    width = a2q_bits(weights, bits, signed)
    norm = sum(map(abs, weights)) * 2 ** (bits - signed)
    assert norm <= 2 ** (width - 1) - 1
    assert width == 1 or norm > 2 ** (width - 2) - 1
    low, high = partial_sum_bounds(weights, 0, 0, *limits(bits, signed, False))
    assert least_bits(low, high) <= width
