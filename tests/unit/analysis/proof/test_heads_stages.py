"""What was rounded of projected heads, (R14), by hand: each head's integer, ratio and code, and sums that overflow."""

from fractions import Fraction

import pytest

from hwsim.formats import Accumulator, Granularity, Overflow
from hwsim.program.catalogue import NarrowAfter
from hwsim.program.operations import ProjectHeads
from tests.unit.analysis.proof.stage_cases import INT8, WIDE, only, staged

CONTEXT = {"x": [[[[5, 1]], [[2, -3]]]]}
"""Two heads of one position, d_head 2."""
CONSTANTS = {"w": [[1, 2, 3, 4], [7, 0, 0, 100]], "b": [10, 20], "m": [3, 5], "e": [1, 2]}


def heads(accumulator: Accumulator = Accumulator(), bias: str | None = "b") -> ProjectHeads:  # noqa: B008 - frozen
    ratio = NarrowAfter(multiplier="m", shift="e")
    return ProjectHeads(
        heads="c", output="t", input="x", weight="w", bias=bias, accumulator=accumulator, requantization=ratio
    )


@pytest.mark.parametrize(
    ("head", "column", "integer", "value", "code"),
    [
        (0, 0, 5 + 2 + 10, Fraction(51, 2), 26),
        (0, 1, 35 + 20, Fraction(165, 2), 83),
        (1, 0, 6 - 12, Fraction(-30, 4), -7),  # no bias; HALF_UP(-7.5)
        (1, 1, -300, Fraction(-375), -128),
    ],
)
def test_a_code_of_a_head(head: int, column: int, integer: int, value: Fraction, code: int) -> None:
    stage = only(staged(heads(), "c", [(0, head, 0, column)], CONTEXT, {"c": INT8, "t": WIDE}, **CONSTANTS))
    assert (stage.integer, stage.value, stage.code) == (integer, value, code)


def test_a_zero_point_is_taken_off_the_context() -> None:
    """(5 - 3) * 1 + (1 - 3) * 2 + 10."""
    outputs = {"c": INT8, "t": WIDE}
    stage = only(staged(heads(), "c", [(0, 0, 0, 0)], CONTEXT, outputs, **CONSTANTS, zeros={"x": 3}))
    assert stage.integer == 8


def test_without_a_bias() -> None:
    stage = only(staged(heads(bias=None), "c", [(0, 0, 0, 0)], CONTEXT, {"c": INT8, "t": WIDE}, **CONSTANTS))
    assert stage.integer == 7


def test_the_sum_of_the_heads_is_exact() -> None:
    assert staged(heads(), "t", [(0, 0, 1)], CONTEXT, {"c": INT8, "t": WIDE}, **CONSTANTS) == [None]


LONG = {"x": [[[[1, 1, 1, 1]]]]}
"""Products 100, 100, -90, -10 after a bias of 20, in 8 bits."""


@pytest.mark.parametrize(
    ("overflow", "granularity", "integer"),
    [
        (Overflow.SATURATE, Granularity.MAC, 27),  # 120, 127, 37, 27
        (Overflow.SATURATE, Granularity.TILE, 117),  # 127 after 20 + 100 + 100 - 90 = 130, then -10
        (Overflow.SATURATE, Granularity.END, 120),
        (Overflow.WRAP, Granularity.MAC, 120),
        (Overflow.WRAP, Granularity.END, 120),
    ],
)
def test_sums_of_a_narrow_accumulator(overflow: Overflow, granularity: Granularity, integer: int) -> None:
    accumulator = Accumulator(bits=8, overflow=overflow, granularity=granularity, tile=3)
    constants = {"w": [[100, 100, -90, -10]], "b": [20], "m": [1], "e": [0]}
    stage = only(staged(heads(accumulator), "c", [(0, 0, 0, 0)], LONG, {"c": INT8, "t": WIDE}, **constants))
    assert stage.integer == integer


def test_a_bias_is_brought_into_range_first() -> None:
    """200 is 127 in 8 bits, less 100."""
    accumulator = Accumulator(bits=8, overflow=Overflow.SATURATE)
    constants = {"w": [[-100, 0, 0, 0]], "b": [200], "m": [1], "e": [0]}
    stage = only(staged(heads(accumulator), "c", [(0, 0, 0, 0)], LONG, {"c": INT8, "t": WIDE}, **constants))
    assert stage.integer == 27


@pytest.mark.parametrize(("weight", "integer"), [(-100, 56), (108, -128), (107, 127)])
def test_a_wrapped_sum(weight: int, integer: int) -> None:
    """20 - 2 * 100 + 256 - 20 is 56; 20 + 108 is -128, 20 + 107 just fits."""
    products = [weight, weight, 0, -20] if weight < 0 else [weight, 0, 0, 0]
    accumulator = Accumulator(bits=8, overflow=Overflow.WRAP)
    constants = {"w": [products], "b": [20], "m": [1], "e": [0]}
    stage = only(staged(heads(accumulator), "c", [(0, 0, 0, 0)], LONG, {"c": INT8, "t": WIDE}, **constants))
    assert stage.integer == integer
