"""Kernel equals oracle exactly for random formats, ratios and shapes (kernel_cases), with the corners pinned.

Each width of 2 to 16 bits has its examples. Every test asserts that the events that it is meant to cover, ties of both
signs among them, did occur.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from hwsim.formats import Accumulator, Counter, IntFormat, Overflow
from hwsim.operators.gemm import matmul, prepare
from hwsim.operators.layernorm import LayerNormConstants
from tests import oracle
from tests.unit.hwsim.operators.kernel_cases import (
    Add,
    Embed,
    LayerNorm,
    Product,
    Requantize,
    Softmax,
    additions,
    arrays,
    embeddings,
    layernorms,
    products,
    requantizations,
    softmaxes,
)
from tests.unit.hwsim.operators.kernel_checks import (
    THIN,
    Events,
    Integers,
    assert_occurred,
    assert_same,
    check_add,
    check_embed,
    check_layernorm,
    check_matmul,
    check_requantize,
    check_shift_right,
    check_softmax,
    int32,
    int64,
    matrix,
    no_events,
)

Case = TypeVar("Case", bound=tuple[Any, ...])

TIES = (Counter.POSITIVE_TIE, Counter.NEGATIVE_TIE)
INT8, UINT8 = IntFormat(bits=8), IntFormat(bits=8, signed=False)
INT16, UINT16 = IntFormat(bits=16), IntFormat(bits=16, signed=False)


def explore(
    check: Callable[..., Events],
    cases: Callable[[int], st.SearchStrategy[Case]],
    pinned: Sequence[Case],
    widths: range = range(2, 17),
    examples: int = 12,
) -> Events:
    """Check pinned cases and, for each width, random ones; returns the events of all.

    What a test means to cover must occur in the pinned cases: which rare events the random ones meet depends on the
    seed that hypothesis draws.
    """
    seen = no_events()

    def run(case: Case) -> None:
        np.add(seen, check(*case), out=seen)

    test = settings(phases=[Phase.explicit], deadline=None)(given(cases(widths[0]))(run))
    for case in pinned:
        test = example(case)(test)
    test()
    for bits in widths:
        settings(max_examples=max(examples // THIN, 3), deadline=None)(given(cases(bits))(run))()
    return seen


INT_MIN = int32([[-(2**31), 2**31 - 1]])


def test_requantize() -> None:
    pinned = [
        Requantize(INT_MIN, int64([65535]), int64([0]), -128, INT8),
        Requantize(INT_MIN, int64([1]), int64([31]), -128, INT8),
        Requantize(INT_MIN, int64([1]), int64([32]), 0, INT8),
        Requantize(INT_MIN, int64([65535]), int64([62]), 0, INT8),
        Requantize(int32([[100, 100, -100]]), int64([1, 3, 65535]), int64([0, 1, 16]), 0, INT8),
        Requantize(INT_MIN[:0], int64([1]), int64([1]), 0, INT8),
        Requantize(INT_MIN[:, :0].copy(), int64([1]), int64([1]), 0, INT8),
        Requantize(int64([[-(2**63) + 2**61 + 1, 2**63 - 2**61 - 1]]), int64([1]), int64([62]), 3, INT8),
        Requantize(int64([[-(2**63) + 1, 2**63 - 1]]), int64([1]), int64([0]), 9, INT8),
        Requantize(int32([[-5, -3, -1, 1, 3, 5]]), int64([1]), int64([1]), 0, UINT8),
    ]
    assert_occurred(explore(check_requantize, requantizations, pinned), Counter.SATURATION, *TIES)


@st.composite
def shifts(draw: Callable[..., Any], bits: int) -> tuple[Integers, int]:
    acc = draw(arrays((5,), -(1 << (bits - 1)), (1 << (bits - 1)) - 1, np.int32 if bits <= 32 else np.int64))
    return acc, draw(st.integers(1, 3) | st.integers(0, 62))


def test_shift_right() -> None:
    ends = int64([-(2**63), 2**63 - 1, -(2**61), 2**61, -3 * 2**61, 3 * 2**61])
    pinned = [(INT_MIN, 31), (INT_MIN, 32), (INT_MIN[:0], 62), (ends, 62)]
    assert_occurred(explore(check_shift_right, shifts, pinned, range(2, 65), 4), *TIES)


LOWEST = int32([[-128] * 5])


def test_add() -> None:
    pinned = [
        Add(LOWEST, LOWEST, (127, 127), (65535, 65535), 0, -128, INT8),
        Add(LOWEST, LOWEST, (0, 0), (1, 1), 62, 0, INT8),
        Add(LOWEST, -LOWEST, (0, 0), (3, 3), 31, 0, UINT8),
        Add(LOWEST + 127, LOWEST + 128, (0, 0), (1, 2), 1, 0, INT8),
        Add(LOWEST + 129, LOWEST + 128, (0, 0), (1, 2), 1, 0, INT8),
        Add(LOWEST + 255, LOWEST + 128, (0, 0), (1, 1), 0, 0, INT8),
        Add(LOWEST[:0], LOWEST[:0], (0, 0), (1, 1), 0, 0, INT8),
    ]
    assert_occurred(explore(check_add, additions, pinned), Counter.SATURATION, *TIES)


def test_embed() -> None:
    table, positions = int32([[-128, 127], [3, 1]]), int32([[-128, -128], [1, -1], [127, -2]])
    pinned = [
        Embed(int64([[0, 0, 0]]), 0, table, int64([65535]), positions, 65535, 0, -128, INT8),
        Embed(int64([[1], [0]]), 2, table, int64([1, 3]), positions, 1, 1, 0, INT8),
        Embed(int64([[0], [0]]), 1, table, int64([1, 2]), positions, 1, 1, 0, INT8),
        Embed(int64([[1], [0]]), 1, table, int64([65535, 1]), positions, 1, 62, 127, INT8),
        Embed(np.zeros((0, 3), np.int64), 0, table, int64([1]), positions, 1, 0, 0, INT8),
        Embed(np.zeros((2, 0), np.int64), 3, table, int64([1]), positions, 1, 0, 0, INT8),
    ]
    assert_occurred(explore(check_embed, embeddings, pinned), Counter.SATURATION, *TIES)


# Matrix product


def extreme(m: int, n: int, k: int, a: int = -128, b: int = -128) -> Product:
    """Every code of an operand alike."""
    return Product(np.full((m, k), a, np.int32), np.full((n, k), b, np.int32), None, (0, 0))


PINNED = [
    extreme(1, 1, 1),
    extreme(3, 5, 33),
    extreme(2, 4, 31, b=127),
    extreme(0, 4, 8),
    extreme(2, 4, 0)._replace(bias=int64([1, -2, 3, 2**31 - 1])),
    extreme(1, 1, 1, a=-(2**15), b=-(2**15)),
    extreme(2, 5, 17, a=0, b=255)._replace(zeros=(255, 0)),
    extreme(5, 9, 64)._replace(bias=int64([-(2**20)] * 9)),
    extreme(2, 3, 5, a=65535, b=65535)._replace(zeros=(-(2**15), -(2**15))),
    Product(int32([[127] * 8 + [-128] * 7]), int32([[127] * 15, [-128] * 15]), None, (0, 0)),
]


def proven_bits(case: Product) -> int:
    """The least accumulator that no partial sum can leave, by (10a) over the rows of b and the codes that a holds."""
    a, rows = case.a.astype(np.int64) - case.zeros[0], matrix(case.b)
    low, high = (int(a.min()), int(a.max())) if a.size else (0, 0)
    bias = [0] if case.bias is None or not case.bias.size else case.bias.tolist()
    bounds = [
        oracle.partial_sum_bounds(row, case.zeros[1], bias[j % len(bias)], low, high) for j, row in enumerate(rows)
    ]
    bounds += [(min(start, 0), max(start, 0)) for start in bias]
    return max([8, *(max((-lo - 1).bit_length(), hi.bit_length()) + 1 for lo, hi in bounds)])


def check_every_engine(*arguments: Any) -> Events:
    """All engines give the oracle's result: the one for int32 and at most 16 bits, the one for int64, the ordered."""
    case = Product(*arguments)
    bits = proven_bits(case)
    proven = [Accumulator(bits=width) for width in (bits, max(bits, 32), max(bits, 33))]
    ordered = [Accumulator(bits=bits, overflow=Overflow.WRAP), Accumulator(bits=63, overflow=Overflow.SATURATE)]
    for accumulator in proven + ordered:
        assert_occurred(check_matmul(*case, accumulator))
    ready, counters = prepare(case.b, case.zeros[1]), no_events()
    narrow, wide = (
        matmul(case.a, ready, case.bias, a_zero=case.zeros[0], accumulator=accumulator, counters=counters)
        for accumulator in proven[1:]
    )
    assert_same("matmul, prepared", narrow, wide)
    return counters


def test_proven_products_are_equal_in_every_engine() -> None:
    assert_occurred(explore(check_every_engine, products, PINNED, examples=10))


@pytest.mark.parametrize("rule", [Overflow.SATURATE, Overflow.WRAP])
def test_products_that_overflow(rule: Overflow) -> None:
    """Accumulators of 8 to 40 bits, each step of the sum against the oracle's."""

    def check(case: Product, bits: int) -> Events:
        return check_matmul(*case, Accumulator(bits=bits, overflow=rule))

    def cases(bits: int) -> st.SearchStrategy[tuple[Product, int]]:
        return st.tuples(st.integers(2, 16).flatmap(products), st.just(bits))

    pinned = [(case, bits) for case in PINNED for bits in (8, 16, 32)]
    assert_occurred(explore(check, cases, pinned, range(8, 41), 6), Counter.OVERFLOW)


# Softmax and LayerNorm


SCORES, KEEP, MASK = LOWEST, np.ones((1, 5), bool), np.zeros((1, 5), bool)
LAST = np.array([[False] * 4 + [True]])
TABLE = int32(oracle.exp_table(0.03125, 8, 8))
PLAIN = Softmax(SCORES, KEEP, TABLE, (1, 0), UINT16, (255, 0), UINT8)
RISING = int32([[-128, 127, 0, 126, 127]])


def test_softmax() -> None:
    pinned = [
        PLAIN,
        PLAIN._replace(scores=RISING),
        PLAIN._replace(scores=RISING, allowed=MASK),
        PLAIN._replace(scores=RISING, allowed=RISING < 127),
        PLAIN._replace(scores=RISING, allowed=LAST),
        PLAIN._replace(scores=RISING, allowed=~LAST, output=IntFormat(bits=4, signed=False)),
        PLAIN._replace(scores=SCORES[:, :1].copy(), allowed=KEEP[:, :1].copy()),
        PLAIN._replace(scores=SCORES[:0], allowed=KEEP[:0]),
        PLAIN._replace(scores=SCORES[:, :0].copy(), allowed=KEEP[:, :0].copy()),
        PLAIN._replace(denominator_ratio=(1, 1), output_ratio=(1, 1)),
        PLAIN._replace(scores=RISING, denominator_ratio=(1, 62), output_ratio=(1, 1)),
        PLAIN._replace(denominator_ratio=(65535, 62), output_ratio=(65535, 62)),
        PLAIN._replace(denominator_ratio=(65535, 31), output_ratio=(65535, 32)),
    ]
    seen = explore(check_softmax, softmaxes, pinned)
    assert_occurred(seen, Counter.SATURATION, Counter.POSITIVE_TIE, Counter.DENOMINATOR_CLAMP)


CONSTANTS = LayerNormConstants(
    *(5, 1000, 10, INT16),
    *(1000, 10, UINT16),
    *(32, 0, INT8),
    *(300, 14, 3, INT8),
)
NORM = LayerNorm(LOWEST, int32([127, -128, 0, 1, 77]), int64([0, 2**20, -(2**20), 9, -1]), CONSTANTS)
ONE = LayerNorm(LOWEST[:, :1].copy(), NORM.gamma[:1], NORM.beta[:1], CONSTANTS)
SPREAD = int32([[-128, 127, 0, 126, 127], [1, 2, 3, 4, 5]])
HALVES = CONSTANTS._replace(numerator_multiplier=1, numerator_shift=1, denominator_multiplier=1, denominator_shift=1)
HALVED_QUOTIENT = CONSTANTS._replace(
    numerator_multiplier=1, numerator_shift=0, denominator_shift=62, quotient_multiplier=1, quotient_shift=1
)
FAR = CONSTANTS._replace(denominator_shift=62, quotient_multiplier=2**31 - 1, quotient_shift=1, output_shift=10)
"""Quotients of nearly 2^30 times a numerator."""


def test_layernorm() -> None:
    pinned = [
        NORM,
        NORM._replace(constants=CONSTANTS._replace(eps=0)),
        ONE,
        ONE._replace(constants=CONSTANTS._replace(eps=0)),
        ONE._replace(constants=CONSTANTS._replace(eps=7, denominator_multiplier=1, denominator_shift=0)),
        NORM._replace(x=SPREAD),
        NORM._replace(x=SPREAD[:0]),
        NORM._replace(x=SPREAD, constants=HALVES),
        NORM._replace(x=SPREAD, constants=HALVED_QUOTIENT),
        NORM._replace(x=SPREAD, constants=CONSTANTS._replace(denominator=IntFormat(bits=2, signed=False))),
        NORM._replace(x=SPREAD, constants=CONSTANTS._replace(numerator_shift=62, denominator_shift=62)),
        NORM._replace(x=SPREAD, constants=CONSTANTS._replace(quotient_shift=62, output_shift=62)),
        NORM._replace(x=SPREAD, constants=CONSTANTS._replace(quotient_shift=31, output_shift=0)),
        NORM._replace(x=SPREAD, constants=FAR),
        NORM._replace(x=int32([[0, 1, 2, 3, 4]]), constants=FAR),
        ONE._replace(beta=int64([-(2**63) + 10**6]), constants=HALVES._replace(output_multiplier=1)),
        ONE._replace(x=int32([[65535]]), constants=CONSTANTS._replace(eps=2**52 - 1)),
    ]
    assert_occurred(explore(check_layernorm, layernorms, pinned), Counter.SATURATION, *TIES, Counter.DENOMINATOR_CLAMP)
