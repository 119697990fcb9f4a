"""Accumulators by granularity: matrix products, their extremes and first overflows equal those of the oracle."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.formats import Accumulator, Counter, Granularity, Overflow
from hwsim.operators.gemm import first_overflow, matmul, partial_extremes, prepare
from tests import oracle
from tests.unit.hwsim.operators.kernel_cases import Product, products
from tests.unit.hwsim.operators.kernel_checks import (
    Events,
    Integers,
    assert_counted,
    assert_occurred,
    assert_same,
    half_full,
    int32,
    int64,
    no_events,
    tallied,
)
from tests.unit.hwsim.operators.test_kernels_properties import explore

Draw = Callable[..., Any]
LIMITED = (Overflow.SATURATE, Overflow.WRAP)


def accumulations(case: Product, acc: Accumulator) -> list[list[list[oracle.Accumulation]]]:
    """The oracle's results, batch by batch, as `matmul` sees the arrays with one batch dimension."""
    a, b, bias, zeros = case
    start = None if bias is None else bias.tolist()
    flat, keys_of = (array.reshape(prod(array.shape[:-2]), *array.shape[-2:]) for array in (a, b))
    columns = [keys_of[0 if b.ndim == 2 else s] for s in range(len(flat))]
    rule = acc.bits, acc.overflow.value, acc.granularity.value, acc.tile
    return [
        oracle.matmul_by(rows.tolist(), keys.tolist(), start, zeros, *rule)
        for rows, keys in zip(flat, columns, strict=True)
    ]


def multiply(case: Product, acc: Accumulator, counters: Events) -> Integers:
    a, b, bias, (a_zero, b_zero) = case
    return matmul(a, b, bias, a_zero=a_zero, b_zero=b_zero, accumulator=acc, counters=counters)


def first_of(want: list[list[list[oracle.Accumulation]]], case: Product, tile: int) -> tuple[int, ...] | None:
    """Batch indices, row, column and last k of the first overflow; -1 for the bias."""
    for s, rows in enumerate(want):
        for i, row in enumerate(rows):
            for j, result in enumerate(row):
                if result.first is not None:
                    last = min(result.first * tile, case.a.shape[-1]) - 1 if result.first else -1
                    batch = () if case.a.ndim == 2 else np.unravel_index(s, case.a.shape[:-2])
                    return (*map(int, batch), i, j, last)
    return None


def check_accumulator(case: Product, acc: Accumulator) -> Events:
    """(A1) to (A3): values, overflow events, the first of them, and the extremes of the exact sums."""
    counters, want = half_full(), accumulations(case, acc)
    got = multiply(case, acc, counters)
    flat = [result for rows in want for row in rows for result in row]
    assert_same(f"matmul {acc}", got, [result.value for result in flat])
    a, b, bias, (a_zero, b_zero) = case
    terms = max(a.shape[-1], 1)
    tile = {Granularity.MAC: 1, Granularity.TILE: acc.tile, Granularity.END: terms}[acc.granularity]
    where = first_overflow(a, b, bias, a_zero=a_zero, b_zero=b_zero, accumulator=acc)
    assert where == first_of(want, case, tile)
    low, high = partial_extremes(a, b, bias, a_zero=a_zero, b_zero=b_zero, tile=tile)
    extremes = min((r.least for r in flat), default=0), max((r.greatest for r in flat), default=0)
    assert (low, high) == extremes
    return assert_counted(counters, tallied(overflowed=sum(result.events for result in flat)))


@st.composite
def cases(draw: Draw, bits: int) -> tuple[Product, Accumulator]:
    """A first operand of `bits` bits; accumulators narrow enough to overflow, and wide ones."""
    case = draw(products(bits))
    width = draw(st.integers(8, 24) | st.integers(min(bits + 8, 40), 40) | st.sampled_from([31, 32, 33, 62, 63]))
    rule, granularity = draw(st.sampled_from(LIMITED)), draw(st.sampled_from(list(Granularity)))
    tile = draw(st.integers(1, 9) | st.sampled_from([16, 64, 2**20]))
    return case, Accumulator(bits=width, overflow=rule, granularity=granularity, tile=tile)


def extreme(k: int, value: int = -128) -> Product:
    """Every product at its greatest, beside one column that is all zero."""
    a, b = np.full((2, k), value, np.int32), np.full((3, k), value, np.int32)
    b[1] = 0
    return Product(a, b, int64([0, -(2**40), 2**40]), (0, 0))


def every(bits: int, tile: int = 3) -> list[Accumulator]:
    return [
        Accumulator(bits=bits, overflow=rule, granularity=granularity, tile=tile)
        for rule in LIMITED
        for granularity in Granularity
    ]


def test_accumulators() -> None:
    alternating = Product(int32([[127, -128] * 6]), int32([[127] * 12]), None, (0, 0))
    pinned = [(extreme(k), acc) for k in (0, 1, 2, 3, 4, 7) for bits in (8, 16, 41) for acc in every(bits)]
    pinned += [(alternating, acc) for bits in (14, 15, 16) for tile in (1, 2, 5, 12, 13) for acc in every(bits, tile)]
    pinned += [(extreme(5, 65535)._replace(bias=int64([2**62, -(2**62), 5])), acc) for acc in every(63)]
    assert_occurred(explore(check_accumulator, cases, pinned, examples=16), Counter.OVERFLOW)


@pytest.mark.parametrize("granularity", list(Granularity))
@pytest.mark.parametrize("rule", LIMITED)
def test_every_product_of_two_codes_of_8_bits(rule: Overflow, granularity: Granularity) -> None:
    """a*b + bias for all a of 8 bits against codes of three widths, in 10 bits."""
    acc = Accumulator(bits=10, overflow=rule, granularity=granularity, tile=2)
    a = np.arange(-128, 128, dtype=np.int32)[:, None]
    pairs = np.concatenate([a, a[::-1], np.ones_like(a)], axis=1)
    case = Product(
        pairs, int32([[3, -1, 5], [127, 126, -128], [0, 0, 0], [-4, 4, 4]]), int64([0, 500, -513, 512]), (1, -1)
    )
    assert_occurred(check_accumulator(case, acc), Counter.OVERFLOW)


# Laws


def like(acc: Accumulator, granularity: Granularity, tile: int = 1) -> Accumulator:
    return Accumulator(bits=acc.bits, overflow=acc.overflow, granularity=granularity, tile=tile)


def same(case: Product, one: Accumulator, other: Accumulator, events: bool = True) -> None:
    tallies = half_full(), half_full()
    results = [multiply(case, acc, tally) for acc, tally in zip((one, other), tallies, strict=True)]
    assert np.array_equal(*results)
    assert not events or np.array_equal(*tallies)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_laws(data: st.DataObject) -> None:
    """A tile of one is `mac`, a tile of all or more is `end`; wrapped values do not depend on either."""
    case, acc = data.draw(cases(data.draw(st.integers(2, 16))))
    terms = max(case.a.shape[-1], 1)
    mac, end = like(acc, Granularity.MAC), like(acc, Granularity.END)
    same(case, mac, like(acc, Granularity.TILE, 1))
    for tile in (terms, terms + 1, 2**20):
        same(case, end, like(acc, Granularity.TILE, tile))
    if acc.overflow is Overflow.WRAP:
        same(case, mac, end, events=False)
        same(case, mac, acc, events=False)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_extremes_say_which_width_is_enough(data: st.DataObject) -> None:
    """No overflow at the width that partial_extremes needs, and one at a bit less."""
    case, acc = data.draw(cases(data.draw(st.integers(2, 8))))
    a, b, bias, (a_zero, b_zero) = case
    tile = {Granularity.MAC: 1, Granularity.TILE: acc.tile, Granularity.END: max(a.shape[-1], 1)}[acc.granularity]
    width = oracle.least_bits(*partial_extremes(a, b, bias, a_zero=a_zero, b_zero=b_zero, tile=tile))
    for bits, overflows in ((max(width, 8), False), (width - 1, True)):
        if 8 <= bits <= 63:
            counters = no_events()
            multiply(
                case,
                Accumulator(bits=bits, overflow=acc.overflow, granularity=acc.granularity, tile=acc.tile),
                counters,
            )
            assert bool(counters[Counter.OVERFLOW]) == overflows


@pytest.mark.parametrize("tile", [1, 4])
@pytest.mark.parametrize("bias", [0, 2**40], ids=["int32", "int64"])
@pytest.mark.parametrize("where", [(69, 519), (66, 3), (0, 512)], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_extremes_of_many_rows_and_columns(where: tuple[int, int], sign: int, bias: int, tile: int) -> None:
    """Blocks of rows and columns, ends of both, and each lane: a row and a column alone go up and come back."""
    a, b = np.zeros((70, 9), np.int32), np.zeros((520, 9), np.int32)
    a[where[0]], b[where[1]] = 5, [sign, sign, sign, sign, -sign, -sign, -sign, -sign, -sign]
    start = np.full(520, bias)
    assert partial_extremes(a, b, start, tile=tile) == (
        bias + min(20 * sign, -5 * sign),
        bias + max(20 * sign, -5 * sign),
    )


def test_a_saturated_sum_depends_on_the_granularity() -> None:
    """100 + 100 - 100: in 8 bits 27 after every product, 100 at the end."""
    case = Product(int32([[100, 100, -100]]), int32([[1, 1, 1]]), None, (0, 0))
    results = {
        granularity: multiply(case, like(Accumulator(bits=8, overflow=Overflow.SATURATE), granularity, 2), no_events())
        for granularity in Granularity
    }
    assert [int(results[granularity][0, 0]) for granularity in Granularity] == [27, 27, 100]


def test_a_prepared_operand_and_a_proven_accumulator() -> None:
    case = extreme(4)
    keys = prepare(case.b, 5)
    acc = Accumulator(bits=12, overflow=Overflow.SATURATE, granularity=Granularity.TILE, tile=3)
    same(case._replace(zeros=(0, 5)), acc, acc)
    raw = multiply(case._replace(zeros=(0, 5)), acc, no_events())
    assert np.array_equal(matmul(case.a, keys, case.bias, accumulator=acc, counters=no_events()), raw)
    options = {"a_zero": 0, "accumulator": Accumulator(bits=63)}
    assert first_overflow(case.a, keys, case.bias, **options) is None
    assert first_overflow(case.a, keys, case.bias, accumulator=acc) == (0, 0, 2)
    assert first_overflow(case.a, keys, case.bias, accumulator=every(32)[0]) == (0, 1, -1)


# Refusals


@pytest.mark.parametrize("tile", [0, -1, 2**20 + 1])
def test_refuses_tiles(tile: int) -> None:
    with pytest.raises(ValueError, match=f"tile of {tile} products; allowed are 1 to {2**20}"):
        Accumulator(tile=tile)
    with pytest.raises(ValueError, match=f"tile is {tile}; allowed: 1 to {2**20}"):
        partial_extremes(*extreme(3)[:3], tile=tile)


@pytest.mark.parametrize("bits", [7, 64])
def test_refuses_widths(bits: int) -> None:
    with pytest.raises(ValueError, match=f"accumulator of {bits} bits; allowed are 8 to 63"):
        Accumulator(bits=bits)


def test_refuses_sums_beyond_int64() -> None:
    case = extreme(3)
    with pytest.raises(ValueError, match=r"a sum could reach \d+; allowed: below 2\^63"):
        partial_extremes(case.a, case.b, int64([2**63 - 1, 0, 0]))
