"""Every operator of one or two 8-bit codes, exhausted: kernel equals oracle, results and events alike."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import isqrt as oracle_isqrt

import numpy as np
import pytest

from hwsim.arithmetic import fixedpoint
from hwsim.formats import Counter, IntFormat
from tests import oracle
from tests.oracle.formats import clamp as oracle_clamp
from tests.oracle.formats import saturate as oracle_saturate
from tests.oracle.formats import wrap as oracle_wrap
from tests.unit.hwsim.operators.kernel_checks import (
    assert_counted,
    assert_occurred,
    assert_same,
    check_add,
    check_embed,
    check_generator,
    check_relu,
    check_requantize,
    check_shift_right,
    check_softmax,
    events,
    half_full,
    int32,
    int64,
    thin,
)

SHIFTS = range(63)
BYTE, WORD = range(-128, 128), range(-2048, 2048)
INT8, UINT8 = IntFormat(bits=8), IntFormat(bits=8, signed=False)
INT32_ENDS = [-(2**31), -(2**31) + 1, -(2**31) + 2, -(2**30), -1, 0, 1, 2**30, 2**31 - 2, 2**31 - 1]
INT64_ENDS = [-(2**63), -(2**63) + 1, -(2**62) - 1, -(2**62), -(2**61), 2**61, 2**62, 2**62 + 1, 2**63 - 2, 2**63 - 1]
TIES_AND_SATURATIONS = (Counter.SATURATION, Counter.POSITIVE_TIE, Counter.NEGATIVE_TIE)
TIES = TIES_AND_SATURATIONS[1:]

SIMPLE = [1, 2, 3, 6, 2**14, 3 * 2**14]
"""Multipliers with at most 2 significant bits: with others ties hardly ever occur."""
GENERAL = [181, 19661, 2**16 - 1]

FORMATS = [
    IntFormat(bits=bits, signed=signed, narrow=narrow)
    for bits in (8, 6, 4, 2)
    for signed, narrow in ((True, False), (True, True), (False, False))
]


# Primitives of hwsim.arithmetic.fixedpoint


def test_shifts() -> None:
    for shift in SHIFTS:
        for value in [*thin(range(-512, 512)), *INT64_ENDS, *INT32_ENDS]:
            ratio = Fraction(value, 2**shift)
            assert fixedpoint.half_even_shift(value, shift) == oracle.half_even(ratio), (value, shift)
            assert fixedpoint.is_shift_tie(value, shift) == (oracle.tie_sign(ratio) != 0), (value, shift)


def test_counted_shifts() -> None:
    counters = half_full()
    pairs = thin(list(product([*BYTE, *INT64_ENDS], SHIFTS)))
    got = [fixedpoint.round_shift(value, shift, counters) for value, shift in pairs]
    ratios = [Fraction(value, 2**shift) for value, shift in pairs]
    assert_same("round_shift", int64(got), [oracle.half_even(ratio) for ratio in ratios])
    assert_occurred(assert_counted(counters, events(ratios)), *TIES)


def test_quotients() -> None:
    ends = list(product(INT64_ENDS, [1, 2, 3, 5, 2**31, 2**61 - 1, 2**61, 2**62, 2**63 - 2, 2**63 - 1]))
    for numerator, denominator in [*thin(list(product(range(-300, 301), range(1, 80)))), *ends]:
        ratio = Fraction(numerator, denominator)
        assert fixedpoint.half_even_divide(numerator, denominator) == oracle.half_even(ratio), (numerator, denominator)
        assert fixedpoint.is_divide_tie(numerator, denominator) == (oracle.tie_sign(ratio) != 0), ratio


def test_square_roots() -> None:
    last = 2**26 - 1
    roots = [*range(1, 2048), *range(2048, last, 4001), *(2**bit for bit in range(1, 26)), *range(last - 999, last + 1)]
    for root in thin(roots):
        for value in (root * root - 1, root * root, root * root + 1, root * root + root, root * root + 2 * root):
            assert fixedpoint.isqrt(value) == oracle_isqrt(value), value


def test_wrapping_and_clamping() -> None:
    for bits in range(2, 64):
        lo, hi = oracle.limits(bits, signed=True, narrow=False)
        edges = [bound + step for bound in (lo, hi) for step in (-1, 0, 1)]
        for value in [*thin(range(-600, 600)), *edges, *INT32_ENDS, *INT64_ENDS]:
            assert fixedpoint.wrap(value, bits) == oracle_wrap(value, lo, bits), (value, bits)
            assert fixedpoint.clamp(value, lo, hi) == oracle_clamp(value, lo, hi), (value, bits)


def test_counted_clamps() -> None:
    for form in FORMATS:
        counters = half_full()
        values = [*thin(range(-300, 301)), form.min - 1, form.max + 1, *INT64_ENDS]
        got = [fixedpoint.saturate(value, form.min, form.max, counters) for value in values]
        pairs = [oracle_saturate(value, form.min, form.max) for value in values]
        assert_same(f"saturate to {form}", int64(got), [value for value, _ in pairs])
        assert_counted(counters, events(saturated=sum(moved for _, moved in pairs)))


def test_raising_to_one() -> None:
    counters = half_full()
    values = [*range(256), 2**16 - 1]
    got = [fixedpoint.raise_to_one(value, counters) for value in values]
    assert_same("raise_to_one", int64(got), [max(1, value) for value in values])
    assert_counted(counters, events(raised=1))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_formats_and_accumulators_have_the_limits_of_the_page(dtype: type) -> None:
    for bits, signed, narrow in product(range(2, 64), (False, True), (False, True)):
        form = IntFormat(bits=bits, signed=signed, narrow=narrow)
        assert (form.min, form.max) == oracle.limits(bits, signed, narrow)
    for values in ([], [5], [3, -4, 2, -4], INT32_ENDS):
        least, greatest = fixedpoint.bounds(np.array(values, dtype))
        assert (least, greatest) == (min(values, default=0), max(values, default=0))


# Operators of one code


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_requantize_by_every_shift(dtype: type) -> None:
    ratios = list(product(GENERAL + SIMPLE, SHIFTS))
    ratios = ratios if dtype is np.int32 else ratios[::5]
    acc = np.repeat(np.array(thin(BYTE), dtype)[:, None], len(ratios), axis=1)
    m, e = (int64(column) for column in zip(*ratios, strict=True))
    assert_occurred(check_requantize(acc, m, e, 3, INT8), *TIES_AND_SATURATIONS)


def test_requantize_of_twelve_bits() -> None:
    ratios = [(1, 1), (1, 5), (3, 2), (3, 6), (3 * 2**14, 19), (2**14, 17), (19661, 18), (65535, 20), (1, 0)]
    acc = np.repeat(int32(thin(WORD))[:, None], len(ratios), axis=1)
    m, e = (int64(column) for column in zip(*ratios, strict=True))
    assert_occurred(check_requantize(acc, m, e, -5, INT8), *TIES_AND_SATURATIONS)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_requantize_to_every_format(form: IntFormat) -> None:
    acc = np.repeat(int32(thin(range(-300, 301)))[:, None], 3, axis=1)
    for zero in {0, form.min, form.max, (form.min + form.max) // 2}:
        assert_occurred(check_requantize(acc, int64([1, 3, 181]), int64([1, 3, 8]), zero, form), *TIES_AND_SATURATIONS)


@pytest.mark.parametrize("shift", [0, 1, 31, 32, 61, 62])
@pytest.mark.parametrize("m", [1, 3, 2**14, 65535])
def test_requantize_at_the_ends(m: int, shift: int) -> None:
    """The largest accumulators that stay exact: |acc|*m + 2^(e-1) just below 2^63."""
    exact = (2**63 - 1 - (2**shift >> 1)) // m
    wide = int64([-exact, 1 - exact, -2, 2, exact - 1, exact]).reshape(-1, 1)
    for acc, zero in product((int32(INT32_ENDS).reshape(-1, 1), wide), (-(2**15), 0, 2**16 - 1)):
        for form in (INT8, IntFormat(bits=16), IntFormat(bits=32)):
            check_requantize(acc, int64([m]), int64([shift]), zero, form)
        check_generator(acc, int64([m]), int64([shift]))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_shift_right_by_every_shift(dtype: type) -> None:
    ends = INT32_ENDS if dtype is np.int32 else INT32_ENDS + INT64_ENDS
    acc = np.array([*thin(range(-256, 256)), *ends], dtype)
    seen = sum((check_shift_right(acc, shift) for shift in SHIFTS), events())
    assert_occurred(seen, *TIES)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_relu(dtype: type) -> None:
    ends = INT32_ENDS if dtype is np.int32 else INT32_ENDS + INT64_ENDS
    check_relu(np.array([*WORD, *ends], dtype))


# Operators of two codes: all 65,536 pairs

EMBEDDINGS = [
    ([1], 1, 1),
    ([(SIMPLE + GENERAL)[token % 9] for token in range(256)], 3 * 2**10, 11),
    ([[2**14, 3 * 2**13, 19661][token % 3] for token in range(256)], 2**15, 15),
]
"""Multipliers of the tokens, multiplier of the positions, shift."""


def pairs(left: range = BYTE, right: range = BYTE) -> list[tuple[int, int]]:
    return thin(list(product(left, right)))


@pytest.mark.parametrize(
    ("multipliers", "shift", "zeros", "occurring"),
    [
        ((1, 1), 1, (0, 0), TIES_AND_SATURATIONS),
        ((3, 2), 2, (-128, 5), TIES_AND_SATURATIONS),
        ((2**15, 3 * 2**13), 15, (0, 127), TIES_AND_SATURATIONS),
        ((19661, 40001), 16, (-3, 17), [Counter.SATURATION]),
    ],
)
def test_add(multipliers: tuple[int, int], shift: int, zeros: tuple[int, int], occurring: Sequence[Counter]) -> None:
    a, b = int32(pairs()).T.copy()
    assert_occurred(check_add(a, b, zeros, multipliers, shift, -9, INT8), *occurring)


@pytest.mark.parametrize("shift", [0, 31, 32, 62])
def test_add_at_the_ends(shift: int) -> None:
    codes = [-(2**15), -1, 0, 1, 2**15, 2**16 - 1]
    a, b = int32(list(product(codes, codes))).T.copy()
    for m, n in product((1, 65535), (2**14, 65535)):
        check_add(a, b, (-(2**15), 2**16 - 1), (m, n), shift, 2**16 - 1, IntFormat(bits=16))


SCORE_TABLE = int32(oracle.exp_table(0.0117, 8, 8))


@pytest.mark.parametrize(
    ("mask", "occurring"),
    [
        ((True, True), [Counter.SATURATION, Counter.POSITIVE_TIE]),
        ((False, True), []),
        ((True, False), []),
        ((False, False), [Counter.DENOMINATOR_CLAMP]),
    ],
)
def test_softmax_of_two_scores(mask: tuple[bool, bool], occurring: Sequence[Counter]) -> None:
    """The table is read at every distance; nothing depends on a masked score."""
    rows = pairs() if all(mask) else pairs(BYTE[::16], BYTE[5::13])
    allowed = np.tile(np.array(mask), (len(rows), 1))
    seen = check_softmax(int32(rows), allowed, SCORE_TABLE, (3, 2), UINT8, (95 * 64, 5), UINT8)
    assert_occurred(seen, *occurring)


@pytest.mark.parametrize(("multipliers", "position_multiplier", "shift"), EMBEDDINGS)
def test_embed_every_code_at_every_position(multipliers: list[int], position_multiplier: int, shift: int) -> None:
    """Token i has code i - 128 and stands at each of 256 positions, whose codes are -128 to 127."""
    codes, ids = int32(BYTE).reshape(-1, 1), np.repeat(int64(thin(range(256)))[:, None], 256, axis=1)
    seen = check_embed(ids, 0, codes, int64(multipliers), codes, position_multiplier, shift, 11, INT8)
    assert_occurred(seen, *TIES_AND_SATURATIONS)


@pytest.mark.parametrize("shift", [0, 31, 32, 62])
def test_embed_at_the_ends(shift: int) -> None:
    table, positions = int32([[-(2**15), 2**16 - 1], [0, -1]]), int32([[1, 2], [-(2**15), 2**16 - 1], [5, 6]])
    for ids in ([[0], [1]], [[0, 1]], [[]]):
        for first, zero in ((0, 0), (1, -(2**15)), (1, 2**16 - 1)):
            check_embed(int64(ids), first, table, int64([65535, 1]), positions, 65535, shift, zero, IntFormat(bits=16))
