"""Datapath terms against the tables of docs/accelerator.md, section 2, written down by hand."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator import datapath
from hwsim.accelerator.datapath import Terms, matmul_terms
from hwsim.accelerator.events import Component

C = Component
SIZES = st.integers(1, 40)


def counts(terms: Terms) -> Counter[Component]:
    found: Counter[Component] = Counter()
    for term in terms:
        found[term.component] += term.count
    return found


def table(terms: Terms) -> list[tuple[Component, int, int, int]]:
    return [(term.component, term.bits, term.second_bits, term.count) for term in terms]


def test_product_by_hand() -> None:
    """2 products of (3, 5) by (5, 7), 42 results: 210 MACs."""
    assert table(matmul_terms(2, 3, 5, 7, a_bits=6, b_bits=4, accumulator_bits=26, bias=True)) == [
        (C.MAC_MULTIPLY, 6, 4, 210),
        (C.MAC_ADD, 26, 0, 210),
        (C.BIAS_ADD, 26, 0, 42),
    ]
    assert C.BIAS_ADD not in counts(matmul_terms(2, 3, 5, 7, a_bits=6, b_bits=4))


@settings(deadline=None)
@given(SIZES, SIZES, SIZES, SIZES, st.booleans(), st.booleans(), st.booleans())
def test_corrections_for_zero_points(
    products: int, m: int, k: int, n: int, zero_a: bool, zero_b: bool, constant: bool
) -> None:
    terms = matmul_terms(products, m, k, n, a_bits=8, b_bits=4, zero_a=zero_a, zero_b=zero_b, constant_b=constant)
    adds = multiplies = 0
    if zero_a:
        adds += m * n + (0 if constant else k * n)
        multiplies += 0 if constant else n
    if zero_b:
        adds += m * k + m * n
        multiplies += m
    if zero_a and zero_b:
        adds += m
    found = counts(terms)
    assert (found[C.ZERO_POINT_ADD], found[C.ZERO_POINT_MULTIPLY]) == (products * adds, products * multiplies)
    assert found[C.MAC_MULTIPLY] == found[C.MAC_ADD] == products * m * k * n
    assert all(term.count for term in terms)


def test_corrections_multiply_by_the_other_operands_zero_point() -> None:
    a = matmul_terms(1, 3, 5, 7, a_bits=8, b_bits=4, zero_a=True, constant_b=False)
    b = matmul_terms(1, 3, 5, 7, a_bits=8, b_bits=4, zero_b=True)
    assert (C.ZERO_POINT_MULTIPLY, 32, 8, 7) in table(a)
    assert (C.ZERO_POINT_MULTIPLY, 32, 4, 3) in table(b)


def test_requantize_by_hand() -> None:
    assert table(datapath.requantize_terms(10, 32, 8, zero_point=True)) == [
        (C.REQUANTIZE_MULTIPLY, 32, 16, 10),
        (C.REQUANTIZE_SHIFT, 48, 0, 10),
        (C.REQUANTIZE_ADD, 48, 0, 10),
        (C.REQUANTIZE_ADD, 32, 0, 10),
        (C.CLAMP, 8, 0, 10),
    ]
    assert table(datapath.requantize_terms(10, 32, 8, multiplier_bits=24))[1] == (C.REQUANTIZE_SHIFT, 56, 0, 10)


def test_a_shift_has_no_multiplier() -> None:
    assert table(datapath.requantize_terms(10, 32, 8, multiplier_bits=0)) == [
        *table(datapath.shift_terms(10, 32)),
        (C.CLAMP, 8, 0, 10),
    ]
    assert table(datapath.shift_terms(10, 32)) == [(C.REQUANTIZE_SHIFT, 32, 0, 10), (C.REQUANTIZE_ADD, 32, 0, 10)]


def test_activations() -> None:
    assert table(datapath.relu_terms(10, 32)) == [(C.COMPARE, 32, 0, 10)]
    assert table(datapath.table_terms(10, 8)) == [(C.TABLE_READ, 8, 0, 10)]


def test_residual_by_hand() -> None:
    assert table(datapath.residual_terms(10, 16, 8, 12)) == [
        (C.REQUANTIZE_MULTIPLY, 16, 16, 10),
        (C.REQUANTIZE_MULTIPLY, 8, 16, 10),
        (C.VECTOR_ADD, 32, 0, 10),
        (C.REQUANTIZE_SHIFT, 32, 0, 10),
        (C.REQUANTIZE_ADD, 32, 0, 10),
        (C.CLAMP, 12, 0, 10),
    ]
    zeros = table(datapath.residual_terms(10, 16, 8, 12, zero_a=True, zero_b=True, zero_point=True))
    assert {(C.ZERO_POINT_ADD, 16, 0, 10), (C.ZERO_POINT_ADD, 8, 0, 10)} < set(zeros)
    assert zeros.count((C.REQUANTIZE_ADD, 32, 0, 10)) == 2


def test_embedding_by_hand() -> None:
    assert table(datapath.embedding_terms(10, 4, 6, 8)) == [
        (C.REQUANTIZE_MULTIPLY, 4, 16, 10),
        (C.REQUANTIZE_MULTIPLY, 6, 16, 10),
        *table(datapath.residual_terms(10, 4, 6, 8))[2:],
    ]


def test_softmax_by_hand() -> None:
    """3 rows of 5 keys, every part with a width of its own."""
    terms = datapath.table_softmax_terms(3, 5, score_bits=7, numerator_bits=9, denominator_bits=10, output_bits=8)
    assert table(terms) == [
        (C.COMPARE, 7, 0, 15),
        (C.VECTOR_ADD, 7, 0, 15),
        (C.TABLE_READ, 9, 0, 15),
        (C.VECTOR_ADD, 32, 0, 15),
        (C.REQUANTIZE_MULTIPLY, 32, 16, 3),
        (C.REQUANTIZE_SHIFT, 48, 0, 3),
        (C.REQUANTIZE_ADD, 48, 0, 3),
        (C.CLAMP, 10, 0, 3),
        (C.COMPARE, 10, 0, 3),
        (C.REQUANTIZE_MULTIPLY, 9, 16, 15),
        (C.REQUANTIZE_SHIFT, 32, 0, 3),
        (C.DIVIDE, 32, 0, 15),
        (C.CLAMP, 8, 0, 15),
    ]


def test_layernorm_by_hand() -> None:
    """3 rows of 5: per element 3 multiplications and 3 additions beside beta; per row 2 of each, one root."""
    widths = {"numerator_bits": 9, "denominator_bits": 10, "quotient_bits": 7, "gamma_bits": 6, "beta_bits": 32}
    terms = datapath.fullyqt_layernorm_terms(3, 5, bits=16, output_bits=8, **widths)
    assert counts(terms) == {
        C.VECTOR_ADD: 3 * 15 + 2 * 3,
        C.VECTOR_MULTIPLY: 3 * 15 + 2 * 3,
        C.SQUARE_ROOT: 3,
        C.COMPARE: 3,
        C.REQUANTIZE_MULTIPLY: 3 * 15 + 3,  # (5c), (5e), (5f); (5d)
        C.REQUANTIZE_SHIFT: 2 * 15 + 2 * 3,  # (5c), (5f); (5d), (5e)
        C.REQUANTIZE_ADD: 2 * 15 + 3,
        C.CLAMP: 3 * 15 + 3,
        C.DIVIDE: 15,
        C.BIAS_ADD: 15,
    }
    assert {
        (C.VECTOR_MULTIPLY, 16, 16, 15),
        (C.VECTOR_MULTIPLY, 16, 16, 15),
        (C.VECTOR_MULTIPLY, 7, 6, 15),
        (C.VECTOR_MULTIPLY, 64, 16, 3),
        (C.VECTOR_MULTIPLY, 32, 32, 3),
        (C.SQUARE_ROOT, 64, 0, 3),
        (C.REQUANTIZE_MULTIPLY, 9, 16, 15),
        (C.CLAMP, 7, 0, 15),
        (C.CLAMP, 10, 0, 3),
    } < set(table(terms))
    with_zero = datapath.fullyqt_layernorm_terms(3, 5, bits=16, output_bits=8, zero_point=True, **widths)
    assert counts(with_zero) - counts(terms) == {C.REQUANTIZE_ADD: 15}


@settings(deadline=None)
@given(SIZES, SIZES, st.integers(2, 5))
def test_rows_add_up(rows: int, n: int, times: int) -> None:
    """Nothing depends on which rows there are: so many times the rows, so many times every count."""
    softmax = {"score_bits": 8, "numerator_bits": 8, "denominator_bits": 8, "output_bits": 8}
    norm = {"bits": 16, "numerator_bits": 8, "denominator_bits": 8, "quotient_bits": 8}
    norm |= {"gamma_bits": 8, "beta_bits": 32, "output_bits": 8}
    for one, many in (
        (datapath.table_softmax_terms(rows, n, **softmax), datapath.table_softmax_terms(times * rows, n, **softmax)),
        (datapath.fullyqt_layernorm_terms(rows, n, **norm), datapath.fullyqt_layernorm_terms(times * rows, n, **norm)),
    ):
        assert [(*key, times * count) for *key, count in table(one)] == [(*key, count) for *key, count in table(many)]
