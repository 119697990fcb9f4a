"""Kernel equals oracle exactly for random formats, ratios and shapes (kernel_cases), with the corners pinned.

Every test asserts that the events that it is meant to cover, ties of both signs among them, and all widths of codes
did occur.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsim.formats import Accumulator, Counter, IntFormat, Overflow
from hwsim.gemm import matmul, prepare
from hwsim.layernorm import LayerNormConstants
from tests import oracle
from tests.unit.kernel_cases import (
    Add,
    Embed,
    Formats,
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
from tests.unit.kernel_checks import (
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
    no_events,
)

Test = TypeVar("Test", bound=Callable[..., None])

TIES = (Counter.POSITIVE_TIE, Counter.NEGATIVE_TIE)
INT8, UINT8 = IntFormat(bits=8), IntFormat(bits=8, signed=False)
INT16, UINT16 = IntFormat(bits=16), IntFormat(bits=16, signed=False)


def thorough(examples: int) -> settings:
    return settings(max_examples=max(examples // THIN, 10), deadline=None)


class Seen:
    """What the examples of one test met."""

    def __init__(self) -> None:
        self.events = no_events()
        self.widths: set[int] = set()

    def add(self, events: Events, formats: Formats = ()) -> None:
        self.events += events
        self.widths |= {form.bits for form in formats}

    def require(self, *counters: Counter) -> None:
        assert_occurred(self.events, *counters)
        assert THIN > 1 or self.widths >= set(range(2, 17))


INT_MIN = int32([[-(2**31), 2**31 - 1]])


def test_requantize() -> None:
    seen = Seen()

    @thorough(400)
    @given(requantizations())
    @example((Requantize(INT_MIN, int64([65535]), int64([0]), -128, INT8), ()))
    @example((Requantize(INT_MIN, int64([1]), int64([31]), -128, INT8), ()))
    @example((Requantize(INT_MIN, int64([1]), int64([32]), 0, INT8), ()))
    @example((Requantize(INT_MIN, int64([65535]), int64([62]), 0, INT8), ()))
    @example((Requantize(INT_MIN[:0], int64([1]), int64([1]), 0, INT8), ()))
    @example((Requantize(INT_MIN[:, :0].copy(), int64([1]), int64([1]), 0, INT8), ()))
    @example((Requantize(int64([[-(2**63) + 2**61 + 1, 2**63 - 2**61 - 1]]), int64([1]), int64([62]), 3, INT8), ()))
    @example((Requantize(int64([[-(2**63) + 1, 2**63 - 1]]), int64([1]), int64([0]), 9, INT8), ()))
    @example((Requantize(int32([[-5, -3, -1, 1, 3, 5]]), int64([1]), int64([1]), 0, UINT8), ()))
    def run(case: tuple[Requantize, Formats]) -> None:
        seen.add(check_requantize(*case[0]), case[1])

    run()
    seen.require(Counter.SATURATION, *TIES)


def test_shift_right() -> None:
    seen = Seen()

    @thorough(60)
    @given(arrays((7,), -(2**63), 2**63 - 1, np.int64) | arrays((7,), -(2**31), 2**31 - 1), st.integers(0, 62))
    @example(INT_MIN, 31)
    @example(INT_MIN, 32)
    @example(INT_MIN[:0], 62)
    @example(int64([-(2**63), 2**63 - 1, -(2**61), 2**61, -3 * 2**61, 3 * 2**61]), 62)
    def run(acc: Integers, shift: int) -> None:
        seen.add(check_shift_right(acc, shift))

    run()
    assert_occurred(seen.events, *TIES)


LOWEST = int32([[-128] * 5])


def test_add() -> None:
    seen = Seen()

    @thorough(250)
    @given(additions())
    @example((Add(LOWEST, LOWEST, (127, 127), (65535, 65535), 0, -128, INT8), ()))
    @example((Add(LOWEST, LOWEST, (0, 0), (1, 1), 62, 0, INT8), ()))
    @example((Add(LOWEST, -LOWEST, (0, 0), (3, 3), 31, 0, UINT8), ()))
    @example((Add(LOWEST + 127, LOWEST + 128, (0, 0), (1, 2), 1, 0, INT8), ()))
    @example((Add(LOWEST + 129, LOWEST + 128, (0, 0), (1, 2), 1, 0, INT8), ()))
    @example((Add(LOWEST[:0], LOWEST[:0], (0, 0), (1, 1), 0, 0, INT8), ()))
    def run(case: tuple[Add, Formats]) -> None:
        seen.add(check_add(*case[0]), case[1])

    run()
    seen.require(Counter.SATURATION, *TIES)


def test_embed() -> None:
    seen = Seen()
    table, positions = int32([[-128, 127], [3, 1]]), int32([[-128, -128], [1, -1], [127, -2]])

    @thorough(200)
    @given(embeddings())
    @example((Embed(int64([[0, 0, 0]]), 0, table, int64([65535]), positions, 65535, 0, -128, INT8), ()))
    @example((Embed(int64([[1], [0]]), 2, table, int64([1, 3]), positions, 1, 1, 0, INT8), ()))
    @example((Embed(int64([[0], [0]]), 1, table, int64([1, 2]), positions, 1, 1, 0, INT8), ()))
    @example((Embed(int64([[1], [0]]), 1, table, int64([65535, 1]), positions, 1, 62, 127, INT8), ()))
    @example((Embed(np.zeros((0, 3), np.int64), 0, table, int64([1]), positions, 1, 0, 0, INT8), ()))
    @example((Embed(np.zeros((2, 0), np.int64), 3, table, int64([1]), positions, 1, 0, 0, INT8), ()))
    def run(case: tuple[Embed, Formats]) -> None:
        seen.add(check_embed(*case[0]), case[1])

    run()
    seen.require(Counter.SATURATION, *TIES)


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
]


def pinned(*more: int) -> Callable[[Test], Test]:
    """`@example` of every pinned product, with these further arguments."""

    def decorate(test: Test) -> Test:
        for case in PINNED:
            test = example((case, ()), *more)(test)
        return test

    return decorate


def proven_bits(case: Product) -> int:
    """The least accumulator that no partial sum can leave, by (10a) over the rows of b and the codes that a holds."""
    a, rows = case.a.astype(np.int64) - case.zeros[0], case.b.reshape(-1, case.b.shape[-1]).tolist()
    low, high = (int(a.min()), int(a.max())) if a.size else (0, 0)
    bias = [0] if case.bias is None or not case.bias.size else case.bias.tolist()
    bounds = [
        oracle.partial_sum_bounds(row, case.zeros[1], bias[j % len(bias)], low, high) for j, row in enumerate(rows)
    ]
    return max([8, *(max((-lo - 1).bit_length(), hi.bit_length()) + 1 for lo, hi in bounds)])


def check_every_engine(case: Product) -> int:
    """All engines give the oracle's result: int16 by int32, int64, and in order. Returns the least width proven."""
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
    return bits


def test_proven_products_are_equal_in_every_engine() -> None:
    seen, narrow = Seen(), 0

    @thorough(150)
    @given(products())
    @pinned()
    def run(case: tuple[Product, Formats]) -> None:
        nonlocal narrow
        narrow += check_every_engine(case[0]) <= 32
        seen.add(no_events(), case[1])

    run()
    seen.require()
    assert narrow > len(PINNED) / 2


@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
def test_products_that_overflow(overflow: Overflow) -> None:
    seen, widths = Seen(), set()

    @thorough(250)
    @given(products(), st.integers(8, 40))
    @pinned(8)
    @pinned(16)
    @pinned(32)
    def run(case: tuple[Product, Formats], bits: int) -> None:
        seen.add(check_matmul(*case[0], Accumulator(bits=bits, overflow=overflow)), case[1])
        widths.add(bits)

    run()
    seen.require(Counter.OVERFLOW)
    assert THIN > 1 or len(widths) > 25


# Softmax and LayerNorm


SCORES, KEEP, MASK = LOWEST, np.ones((1, 5), bool), np.zeros((1, 5), bool)
LAST = np.array([[False] * 4 + [True]])
TABLE = int32(oracle.exp_table(0.03125, 8, 8))
PLAIN = Softmax(SCORES, KEEP, TABLE, (1, 0), UINT16, (255, 0), UINT8)
RISING = int32([[-128, 127, 0, 126, 127]])


def test_softmax() -> None:
    seen = Seen()

    @thorough(250)
    @given(softmaxes())
    @example((PLAIN, ()))
    @example((PLAIN._replace(scores=RISING), ()))
    @example((PLAIN._replace(scores=RISING, allowed=MASK), ()))
    @example((PLAIN._replace(scores=RISING, allowed=LAST), ()))
    @example((PLAIN._replace(scores=RISING, allowed=~LAST, output=IntFormat(bits=4, signed=False)), ()))
    @example((PLAIN._replace(scores=SCORES[:, :1].copy(), allowed=KEEP[:, :1].copy()), ()))
    @example((PLAIN._replace(scores=SCORES[:0], allowed=KEEP[:0]), ()))
    @example((PLAIN._replace(scores=SCORES[:, :0].copy(), allowed=KEEP[:, :0].copy()), ()))
    @example((PLAIN._replace(denominator_ratio=(1, 1), output_ratio=(1, 1)), ()))
    @example((PLAIN._replace(denominator_ratio=(65535, 62), output_ratio=(65535, 62)), ()))
    @example((PLAIN._replace(denominator_ratio=(65535, 31), output_ratio=(65535, 32)), ()))
    def run(case: tuple[Softmax, Formats]) -> None:
        seen.add(check_softmax(*case[0]), case[1])

    run()
    seen.require(Counter.SATURATION, Counter.POSITIVE_TIE, Counter.DENOMINATOR_CLAMP)


CONSTANTS = LayerNormConstants(
    *(5, 1000, 10, INT16, 1000, 10, UINT16),
    *(32, 0, INT8, 300, 14, 3, INT8),
)
NORM = LayerNorm(LOWEST, int32([127, -128, 0, 1, 77]), int64([0, 2**20, -(2**20), 9, -1]), CONSTANTS)
ONE = LayerNorm(LOWEST[:, :1].copy(), NORM.gamma[:1], NORM.beta[:1], CONSTANTS)
SPREAD = int32([[-128, 127, 0, 126, 127], [1, 2, 3, 4, 5]])
HALVES = CONSTANTS._replace(numerator_multiplier=1, numerator_shift=1, denominator_multiplier=1, denominator_shift=1)


def test_layernorm() -> None:
    seen = Seen()

    @thorough(250)
    @given(layernorms())
    @example((NORM, ()))
    @example((NORM._replace(constants=CONSTANTS._replace(eps=0)), ()))
    @example((ONE, ()))
    @example((ONE._replace(constants=CONSTANTS._replace(eps=0)), ()))
    @example((NORM._replace(x=SPREAD), ()))
    @example((NORM._replace(x=SPREAD[:0]), ()))
    @example((NORM._replace(x=SPREAD, constants=HALVES), ()))
    @example((NORM._replace(x=SPREAD, constants=CONSTANTS._replace(denominator=IntFormat(bits=2, signed=False))), ()))
    @example((NORM._replace(x=SPREAD, constants=CONSTANTS._replace(numerator_shift=62, denominator_shift=62)), ()))
    @example((NORM._replace(x=SPREAD, constants=CONSTANTS._replace(quotient_shift=62, output_shift=62)), ()))
    @example((NORM._replace(x=SPREAD, constants=CONSTANTS._replace(quotient_shift=31, output_shift=0)), ()))
    @example((ONE._replace(beta=int64([-(2**63) + 10**6]), constants=HALVES._replace(output_multiplier=1)), ()))
    @example((ONE._replace(x=int32([[65535]]), constants=CONSTANTS._replace(eps=2**52 - 1)), ()))
    def run(case: tuple[LayerNorm, Formats]) -> None:
        seen.add(check_layernorm(*case[0]), case[1])

    run()
    seen.require(Counter.SATURATION, *TIES, Counter.DENOMINATOR_CLAMP)
