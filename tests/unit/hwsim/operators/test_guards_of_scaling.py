"""Guards of requantization, shifts and residual sums at their edges."""

from typing import Any

import numpy as np
import pytest

from hwsim.formats import IntFormat, Scaling
from hwsim.operators.requantize import requantize, shift_right
from hwsim.operators.residual import add, rescaled_add
from tests.unit.hwsim.operators.edges import (
    BELOW,
    INT8,
    INT16,
    INT17,
    UINT16,
    UINT17,
    Edge,
    both_ends,
    check_edge,
    int32,
    int64,
    tally,
    zero_points,
)

LARGEST = 2**31 - 1
MANTISSA = 2**24 - 1


def scale(
    acc: Any = 1,
    multiplier: int = 1,
    shift: int = 0,
    by: str = "HALF_EVEN",
    zero_point: int = 0,
    output: IntFormat = INT8,
) -> int:
    ratio = int64([multiplier]), int64([shift])
    return int(requantize(np.array([acc]), *ratio, zero_point, output, tally(), Scaling[by])[0])


def beyond(acc: int, multiplier: int, shift: int, allowed: str) -> str:
    return f"acc of {acc} to {acc} by multipliers to {multiplier}, shifts to {shift}; allowed: {allowed}"


EXACT = "|acc|*multiplier + floor(2^shift / 2) below 2^63"
DOUBLE = "acc * 2^max(31 - shift, 0) from -2^31 to 2^31 - 1"
LEAST = [("HALF_UP", 0)] + [
    (scaling.name, 1) for scaling in Scaling if scaling.name not in ("HALF_UP", "FLOAT32", "FLOAT32_INSIDE")
]
"""The least multiplier of a rule of 31 bits: ITA's, HALF_UP, may be 0."""
REQUANTIZE: list[Edge] = [
    *[
        (
            {"by": by, "shift": 31, "multiplier": good},
            {"by": by, "shift": 31, "multiplier": bad},
            f"an element of multiplier is {bad}; allowed: {least} to {LARGEST}",
        )
        for by, least in LEAST
        for good, bad in ((least, least - 1), (LARGEST, LARGEST + 1))
    ],
    *both_ends("shift", "an element of shift", 0, 62),
    *zero_points("zero_point"),
    *[
        (
            {"by": by, "multiplier": good},
            {"by": by, "multiplier": bad},
            f"an element of multiplier is {bad}; allowed: 1 to {MANTISSA}",
        )
        for by in ("FLOAT32", "FLOAT32_INSIDE")
        for good, bad in ((1, 0), (MANTISSA, 2**24))
    ],
    *[
        (
            {"output": IntFormat(bits=bits, signed=signed)},
            {"output": IntFormat(bits=bits + 1, signed=signed)},
            f"output has format {name}; allowed: signed to 32 bits, unsigned to 31",
        )
        for bits, signed, name in ((32, True, "int33"), (31, False, "uint32"))
    ],
    *[
        (
            {"by": by, "acc": sign * (2**63 - 1)},
            {"by": by, "acc": sign * 2**62, "multiplier": 2},
            beyond(sign * 2**62, 2, 0, EXACT),
        )
        for by in ("HALF_EVEN", "FLOOR")
        for sign in (1, -1)
    ],
    (
        {"acc": 2**61 - 1, "multiplier": 3, "shift": 62},
        {"acc": 2**61, "multiplier": 3, "shift": 62},
        beyond(2**61, 3, 62, EXACT),
    ),
    ({"acc": 2**63 - 513, "shift": 10}, {"acc": 2**63 - 512, "shift": 10}, beyond(2**63 - 512, 1, 10, EXACT)),
    *[
        (
            {"by": by, "acc": sign * 2**31},
            {"by": by, "acc": sign * 2**31 + sign},
            beyond(sign * 2**31 + sign, 1, 0, "|acc| to 2^31"),
        )
        for by in ("FLOAT32", "FLOAT32_INSIDE")
        for sign in (1, -1)
    ],
    *[
        edge
        for by in ("Q31_DOUBLE", "Q31_DOUBLE_HALF_UP")
        for edge in (
            (
                {"by": by, "acc": 2**31 - 1, "shift": 31},
                {"by": by, "acc": 2**31, "shift": 31},
                beyond(2**31, 1, 31, DOUBLE),
            ),
            (
                {"by": by, "acc": -(2**31), "shift": 31},
                {"by": by, "acc": -(2**31) - 1, "shift": 40},
                beyond(-(2**31) - 1, 1, 40, DOUBLE),
            ),
            ({"by": by, "acc": 7, "shift": 3}, {"by": by, "acc": 8, "shift": 3}, beyond(8, 1, 3, DOUBLE)),
            ({"by": by, "acc": -8, "shift": 3}, {"by": by, "acc": -9, "shift": 3}, beyond(-9, 1, 3, DOUBLE)),
            (
                {"by": by, "acc": np.int32(7), "shift": 3},
                {"by": by, "acc": np.int32(8), "shift": 3},
                beyond(8, 1, 3, DOUBLE),
            ),
        )
    ],
]


@pytest.mark.parametrize("number", range(len(REQUANTIZE)))
def test_guards_of_requantization(number: int) -> None:
    check_edge(scale, REQUANTIZE[number])


def test_channels_have_their_own_limits() -> None:
    """An accumulator of one channel is measured by that channel's ratio."""
    multiplier, shift = int64([1, 4]), int64([0, 0])
    fits = int64([[2**62, 2**61 - 1]])
    assert requantize(fits, multiplier, shift, 0, INT8, tally()).tolist() == [[127, 127]]
    with pytest.raises(ValueError, match=rf"^acc of {2**61} to {2**61} by multipliers to 4, shifts to 0; "):
        requantize(int64([[2**61, 2**61]]), multiplier, shift, 0, INT8, tally())


def shifted(shift: int) -> list[int]:
    return [int(x) for x in shift_right(int64([2**62, -(2**62)]), shift, tally())]


@pytest.mark.parametrize("edge", both_ends("shift", "shift", 0, 62), ids=str)
def test_guards_of_a_shift(edge: Edge) -> None:
    check_edge(shifted, edge)
    assert shifted(62) == [1, -1] and shifted(0) == [2**62, -(2**62)]


# Residual sums


def summed(a: int = 1, b: int = 1, **changes: Any) -> object:
    usual = {
        "a_zero": 0,
        "b_zero": 0,
        "a_multiplier": 1,
        "b_multiplier": 1,
        "shift": 0,
        "zero_point": 0,
        "output": INT8,
    }
    return add(int32([a]), int32([b]), **(usual | changes), counters=tally())


OPERANDS: list[Edge] = [
    *zero_points("a_zero", "b_zero", "zero_point"),
    ({"output": INT16}, {"output": INT17}, "output has format int17; allowed: codes of at most 16 bits"),
    ({"output": UINT16}, {"output": UINT17}, "output has format uint17; allowed: codes of at most 16 bits"),
    *both_ends("a_multiplier", "a multiplier", 1, LARGEST),
    *both_ends("b_multiplier", "b multiplier", 1, LARGEST),
]
ADD: list[Edge] = [*OPERANDS, *both_ends("shift", "a shift", 0, 62)]


@pytest.mark.parametrize("number", range(len(ADD)))
def test_guards_of_a_sum(number: int) -> None:
    check_edge(summed, ADD[number])


def rescaled(a: int = 1, b: int = 1, by: str = "HALF_EVEN", **changes: Any) -> object:
    usual = {
        "a_zero": 0,
        "b_zero": 0,
        "left_shift": 0,
        "zero_point": 0,
        "output": INT8,
        "a_multiplier": 1,
        "a_shift": 0,
        "b_multiplier": 1,
        "b_shift": 0,
        "output_multiplier": None,
        "output_shift": 0,
    }
    return rescaled_add(int32([a]), int32([b]), **(usual | changes), scaling=Scaling[by], counters=tally())


FAR = {"left_shift": 20}
TWELVE = {"a": 4096, "a_multiplier": 2**30, **FAR}
"""2^12 * 2^20 * 2^30 = 2^62."""
ALMOST = {"b": 18963, "b_multiplier": 231927781, **FAR}
"""18963 * 231927781 = 2^42 - 1: with the shift 2^62 - 2^20."""

UNITS = {f"{name}_multiplier": 2**30 for name in ("a", "b", "output")} | {
    "a_shift": 30,
    "b_shift": 30,
    "output_shift": 3,
}
"""Operands stay as they are, and a rule then takes a sum to 7."""


def reach(name: str, value: int, by: str, multiplier: int, shift: int, limit: int) -> str:
    return f"{name} could reach {value} before {by} of {multiplier} / 2^{shift}; allowed: to {limit}"


RESCALED: list[Edge] = [
    *OPERANDS,
    *both_ends("left_shift", "left_shift", 0, 20),
    *both_ends("a_shift", "a shift", 0, 62),
    *both_ends("b_shift", "b shift", 0, 62),
    *[
        (
            {"output_multiplier": 1, "output_shift": good},
            {"output_multiplier": 1, "output_shift": bad},
            f"the sum shift is {bad}; allowed: 0 to 62",
        )
        for good, bad in ((0, -1), (62, 63))
    ],
    *[
        (
            {"output_multiplier": good},
            {"output_multiplier": bad},
            f"the sum multiplier is {bad}; allowed: 1 to {LARGEST}",
        )
        for good, bad in ((LARGEST, 2**31), (1, 0), (None, -1))
    ],
    *[
        (
            {"by": "HALF_UP", f"{name}_multiplier": 0},
            {"by": "HALF_UP", f"{name}_multiplier": -1},
            f"{words} multiplier is -1; allowed: 0 to {LARGEST}",
        )
        for name, words in (("a", "a"), ("b", "b"), ("output", "the sum"))
    ],
    *[
        ({"operand": good}, {"operand": bad}, f"operand has format {bad}; allowed: signed formats")
        for good, bad in ((None, UINT16), (IntFormat(bits=63), UINT17))
    ],
    (
        {"by": "FLOAT32"},
        {"by": "FLOAT32_INSIDE"},
        "scaling is FLOAT32_INSIDE; allowed in a rescaled sum: the other rules",
    ),
    *[
        (
            {"by": "FLOAT32", f"{name}_multiplier": MANTISSA},
            {"by": "FLOAT32", f"{name}_multiplier": 2**24},
            f"{words} multiplier is {2**24}; allowed: 1 to {MANTISSA}",
        )
        for name, words in (("a", "a"), ("b", "b"), ("output", "the sum"))
    ],
    (  # (2^32 + 2) * (2^31 - 1) = 2^63 - 2
        {"a": 4096, "a_multiplier": LARGEST, **FAR},
        {"a": 4097, "a_multiplier": LARGEST, **FAR},
        reach("a", 4097 * 2**20, "HALF_EVEN", LARGEST, 0, 2**32 + 2),
    ),
    (
        {"b": -4086, "b_zero": 10, "b_multiplier": LARGEST, **FAR},
        {"b": -4087, "b_zero": 10, "b_multiplier": LARGEST, **FAR},
        reach("b", 4097 * 2**20, "HALF_EVEN", LARGEST, 0, 2**32 + 2),
    ),
    (
        {"a": 0, "b": 4096, "b_zero": 1, "by": "Q31_DOUBLE", "b_shift": 21, "b_multiplier": 2**30, "left_shift": 9},
        {"a": 0, "b": 4097, "b_zero": 1, "by": "Q31_DOUBLE", "b_shift": 21, "b_multiplier": 2**30, "left_shift": 9},
        reach("b", 2**21, "Q31_DOUBLE", 2**30, 21, 2**21 - 1),
    ),
    (
        {"a": 2048, "by": "FLOAT32", **FAR},
        {"a": 2049, "by": "FLOAT32", **FAR},
        reach("a", 2049 * 2**20, "FLOAT32", 1, 0, 2**31),
    ),
    (
        {"a": -2048, "by": "FLOAT32", **FAR},
        {"a": -2049, "by": "FLOAT32", **FAR},
        reach("a", 2049 * 2**20, "FLOAT32", 1, 0, 2**31),
    ),
    ({**TWELVE, **ALMOST}, {**TWELVE, "b": 4096, "b_multiplier": 2**30}, f"the sum could reach {2**63}{BELOW}"),
    (
        {**TWELVE, **ALMOST, "a": -4096, "b": -18963},
        {**TWELVE, "a": -4096, "b": -4096, "b_multiplier": 2**30},
        f"the sum could reach {2**63}{BELOW}",
    ),
    (
        {**TWELVE, "b": -4096, "b_multiplier": 2**30},
        {**TWELVE, "b": 4096, "b_multiplier": 2**30},
        f"the sum could reach {2**63}{BELOW}",
    ),
    (  # 3 + 4 and 4 + 4, by rules that take |x| * 2^28 below 2^31
        {"a": 3, "b": 4, "by": "Q31_DOUBLE_HALF_UP", **UNITS},
        {"a": 4, "b": 4, "by": "Q31_DOUBLE_HALF_UP", **UNITS},
        reach("the sum", 8, "Q31_DOUBLE_HALF_UP", 2**30, 3, 7),
    ),
    (
        {"a": -3, "b": -4, "by": "Q31_DOUBLE", **UNITS},
        {"a": -4, "b": -4, "by": "Q31_DOUBLE", **UNITS},
        reach("the sum", 8, "Q31_DOUBLE", 2**30, 3, 7),
    ),
]


@pytest.mark.parametrize("number", range(len(RESCALED)))
def test_guards_of_a_rescaled_sum(number: int) -> None:
    check_edge(rescaled, RESCALED[number])
