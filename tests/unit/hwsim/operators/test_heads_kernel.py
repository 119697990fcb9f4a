"""Heads projected one by one, (R14): the kernel gives the oracle's codes, sums and events, and refuses what it says."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from hwsim.arithmetic.fixedpoint import Counters
from hwsim.formats import Accumulator, Granularity, IntFormat, Overflow, Scaling
from hwsim.operators.gemm import Heads, project_heads
from tests import oracle
from tests.oracle import Ratio
from tests.small.heads import random_codes
from tests.unit.hwsim.operators.kernel_checks import (
    Events,
    assert_counted,
    assert_same,
    half_full,
    int32,
    int64,
    no_events,
    tallied,
)
from tests.unit.hwsim.operators.scheme_cases import MULTIPLIERS, scaling_of

INT8, INT3 = IntFormat(bits=8), IntFormat(bits=3)
WIDE = Accumulator(bits=26)
NARROW = [
    Accumulator(bits=12, overflow=rule, granularity=granularity, tile=2)
    for rule, granularity in product((Overflow.SATURATE, Overflow.WRAP), Granularity)
]


def columns(weight: Any, heads: int) -> list[Any]:
    """Each head's columns of a weight (d, h*e)."""
    return [np.ascontiguousarray(part) for part in np.split(weight, heads, axis=1)]


def check(
    context: Any,
    weight: Any,
    bias: Any,
    ratios: list[Ratio],
    *,
    zero: int = 0,
    output: IntFormat = INT8,
    accumulator: Accumulator = WIDE,
    single: bool = False,
) -> Events:
    """Kernel against oracle, batch element by batch element; `single` hands over one ratio for all heads."""
    counters, scheme = half_full(), ratios[0]
    given = ratios[:1] if single else ratios
    made = project_heads(
        context,
        columns(weight, context.shape[1]),
        bias,
        zero=zero,
        multiplier=int64([one.m for one in given]),
        shift=int64([one.e for one in given]),
        scaling=scaling_of(scheme.scheme, scheme.rounding),
        output=output,
        accumulator=accumulator,
        counters=counters,
    )
    proven = accumulator.overflow is Overflow.PROVEN
    rule = (accumulator.bits, accumulator.overflow.value, accumulator.granularity.value, accumulator.tile)
    expected = [
        oracle.project_heads(
            one.tolist(),
            weight.tolist(),
            None if bias is None else bias.tolist(),
            ratios,
            *(output.min, output.max, zero, None if proven else rule),
        )
        for one in context
    ]
    assert_same("codes", made.codes, [one.codes for one in expected])
    assert_same("total", made.total, [one.total for one in expected])
    ties = [tie for one in expected for tie in one.ties]
    saturated, overflows = (sum(getattr(one, name) for one in expected) for name in ("saturated", "overflows"))
    return assert_counted(counters, tallied(ties, saturated, overflows))


def test_two_halves_make_two() -> None:
    """Of heads 1 and 1 at m/2^e = 1/2 each is 1; one product over both heads gives HALF_UP(2/2) = 1."""
    counters = no_events()
    made = project_heads(
        int32([[[[1]], [[1]]]]),
        [int32([[1]]), int32([[1]])],
        None,
        multiplier=int64([128]),
        shift=int64([8]),
        output=INT8,
        accumulator=WIDE,
        counters=counters,
    )
    assert made.codes.tolist() == [[[[1]], [[1]]]]
    assert made.total.tolist() == [[[2]]]
    assert counters.tolist() == [0, 0, 2, 0, 0]


def test_codes_saturate_before_they_are_added() -> None:
    """100 * 3 = 300 clamps to 127, and 127 - 100 = 27; the exact sum of 300 and -100 would be 200."""
    counters = no_events()
    made = project_heads(
        int32([[[[100]], [[-100]]]]),
        [int32([[3]]), int32([[1]])],
        None,
        multiplier=int64([1]),
        shift=int64([0]),
        output=INT8,
        accumulator=WIDE,
        counters=counters,
    )
    assert made.codes.ravel().tolist() == [127, -100] and made.total.ravel().tolist() == [27]
    assert counters.tolist() == [0, 1, 0, 0, 0]


def test_only_the_first_head_has_the_bias_and_each_its_ratio() -> None:
    """Heads 10 and 10, bias 6, ratios 1/2 and 1/4: 8 and HALF_UP(2.5) = 3; columns 0 and 1 lie in two heads."""
    made = project_heads(
        int32([[[[5]], [[5]]]]),
        [int32([[2]]), int32([[2]])],
        int64([6]),
        multiplier=int64([128, 64]),
        shift=int64([8, 8]),
        output=INT8,
        accumulator=WIDE,
        counters=no_events(),
    )
    assert made.codes.ravel().tolist() == [8, 3] and made.total.ravel().tolist() == [11]


def test_a_head_of_multiplier_0_adds_nothing() -> None:
    """ITA encodes 0: of heads 5 * 2 and 5 * 2 the first has 1/2 of its 10."""
    context, weights = int32([[[[5]], [[5]]]]), [int32([[2]])] * 2
    made = call(context=context, weights=weights, multiplier=int64([128, 0]), shift=int64([8]))
    assert made.codes.ravel().tolist() == [5, 0] and made.total.ravel().tolist() == [5]


@pytest.mark.parametrize("scheme", [name for name in MULTIPLIERS if name != "float32_inside"])
def test_every_scheme_equals_the_oracle(scheme: str) -> None:
    """Ratios near 2^-7: codes of the middle of int8, and some that saturate."""
    rng = np.random.default_rng(5)
    low, high = MULTIPLIERS[scheme]
    ratios = [Ratio(scheme, m, m.bit_length() + 6 + j) for j, m in enumerate((high, low if low > 1 else high // 2))]
    check(random_codes(rng, 2, 2, 3, 5), random_codes(rng, 4, 10), int64([900, -7, 0, 5000]), ratios)


def test_int8_equals_the_oracle_with_every_event() -> None:
    """Multipliers of few bits make ties of both signs."""
    rng = np.random.default_rng(6)
    seen = no_events()
    for heads, (m, e) in product((1, 2, 3, 4), ((1, 5), (3, 7), (192, 13), (255, 14))):
        ratios = [Ratio("narrow_after", max(1, m - j), e) for j in range(heads)]
        context, weight = random_codes(rng, 2, heads, 4, 3), random_codes(rng, 5, heads * 3, bits=6)
        seen += check(context, weight, int64(rng.integers(-999, 999, 5)), ratios)
        seen += check(context, weight, None, ratios[:1] * heads, zero=-3, single=True)
    assert (seen[1:4] > 10).all() and seen[0] == 0


@pytest.mark.parametrize("accumulator", NARROW, ids=lambda one: f"{one.overflow.value} {one.granularity.value}")
def test_each_heads_product_overflows_by_itself(accumulator: Accumulator) -> None:
    rng = np.random.default_rng(7)
    ratios = [Ratio("narrow_after", 3 + j, 5) for j in range(3)]
    arguments = random_codes(rng, 2, 3, 2, 5), random_codes(rng, 4, 15, bits=5), int64([2500, -1, 0, 9])
    assert check(*arguments, ratios, accumulator=accumulator)[0] > 10


@pytest.mark.parametrize("bits", [32, 33])
def test_the_sum_is_of_the_accumulators_type(bits: int) -> None:
    made = call(accumulator=Accumulator(bits=bits))
    assert made.total.dtype == (np.int32 if bits == 32 else np.int64) and made.codes.dtype == np.int32


def test_a_batch_and_a_length_of_none() -> None:
    for batch, length in ((0, 2), (2, 0)):
        made = call(context=np.zeros((batch, 2, length, 3), np.int32))
        assert made.codes.shape == (batch, 2, length, 4) and made.total.shape == (batch, length, 4)


def call(**changes: Any) -> Heads:
    """Two heads of (1, 3) by (4, 3)."""
    arguments: dict[str, Any] = {
        "context": np.ones((1, 2, 1, 3), np.int32),
        "weights": [np.ones((4, 3), np.int32)] * 2,
        "bias": None,
        "multiplier": int64([1]),
        "shift": int64([1]),
        "output": INT8,
        "accumulator": WIDE,
        "counters": no_events(),
    }
    return project_heads(**(arguments | changes))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "dtype": ({"context": np.ones((1, 2, 1, 3), np.int64)}, "context is of int64; allowed: int32"),
    "rank": ({"context": np.ones((2, 1, 3), np.int32)}, r"context has shape \(2, 1, 3\); allowed: 4 dimensions"),
    "a weight too few": (
        {"weights": [np.ones((4, 3), np.int32)]},
        "1 weights of 2 heads; allowed: one of each, of at least one head",
    ),
    "a weight too many": ({"weights": [np.ones((4, 3), np.int32)] * 3}, "3 weights of 2 heads; allowed: one of each"),
    "no head": ({"context": np.ones((1, 0, 1, 3), np.int32), "weights": []}, "0 weights of 0 heads; allowed: one of"),
    "multipliers": ({"multiplier": int64([1, 1, 1])}, "multiplier has 3 elements; allowed: 1 or 2"),
    "multiplier": ({"multiplier": int64([-1])}, "an element of multiplier is -1; allowed: 0 to 2147483647"),
    "multiplier of 0": (
        {"multiplier": int64([0]), "scaling": Scaling.HALF_EVEN},
        "an element of multiplier is 0; allowed: 1 to 2147483647",
    ),
    "shifts": ({"shift": int64([1, 1, 1])}, "shift has 3 elements; allowed: 1 or 2"),
    "shift": ({"shift": int64([63])}, "an element of shift is 63; allowed: 0 to 62"),
    "unsigned": ({"output": IntFormat(bits=8, signed=False)}, "output has format uint8; allowed: signed codes"),
    "wide": ({"output": IntFormat(bits=17)}, "output has format int17; allowed: signed codes of at most 16 bits"),
    "sum": ({"accumulator": Accumulator(bits=8)}, "a sum of 2 codes of int8 in 8 bits; allowed: sums that fit"),
    "counters": ({"counters": int64([0])}, r"counters has shape \(1,\); allowed: \(5,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_caller_gets_wrong_is_said(case: str) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call(**changes)


def test_a_sum_that_just_fits() -> None:
    """Two codes of int3 reach -8 to 6, which 4 bits would hold and 8 do; of int8 9 bits."""
    assert call(accumulator=Accumulator(bits=9)).total.max() <= 254
    assert call(accumulator=Accumulator(bits=8), output=INT3).total.ravel().tolist() == [4] * 4


def test_counters_are_added_to() -> None:
    counters: Counters = half_full()
    call(counters=counters)
    assert counters.tolist() == [1000, 1001, 1002 + 8, 1003, 1004]
