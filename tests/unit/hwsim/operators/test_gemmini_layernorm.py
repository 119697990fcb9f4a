"""Gemmini's LayerNorm: kernel equals oracle, codes and events; results by hand, and guards at their edges."""

from typing import Any

import numpy as np
import pytest

from hwsim.formats import Counter, IntFormat
from hwsim.operators.layernorm import gemmini_layernorm
from tests import oracle
from tests.oracle import Result
from tests.unit.hwsim.operators.edges import (
    INT8,
    INT16,
    INT17,
    UINT16,
    UINT17,
    Edge,
    both_ends,
    check_edge,
    tally,
    zero_points,
)
from tests.unit.hwsim.operators.kernel_checks import (
    Events,
    Integers,
    assert_counted,
    assert_occurred,
    assert_same,
    half_full,
    int32,
    int64,
    matrix,
    no_events,
    tallied,
    thin,
)
from tests.unit.hwsim.operators.test_kernels_properties import TIES

LEAST, MOST = -(2**31), 2**31 - 1
MANTISSA = 2**24 - 1


def check(
    x: Integers,
    gamma: list[int],
    bias: list[int],
    ratio: tuple[int, int],
    zero: int = 0,
    zero_point: int = 0,
    output: IntFormat = INT8,
) -> Events:
    """(L15) to (L17)."""
    counters = half_full()
    got = gemmini_layernorm(
        x,
        int32(gamma),
        int64(bias),
        zero=zero,
        multiplier=ratio[0],
        shift=ratio[1],
        zero_point=zero_point,
        output=output,
        counters=counters,
    )
    result = Result(zero_point, output.min, output.max)
    rows = [oracle.gemmini_layernorm(row, zero, gamma, bias, ratio, result) for row in matrix(x)]
    assert got.shape == x.shape and got.dtype == np.int32
    assert_same(f"{gamma} {ratio}", got, [row.output for row in rows])
    ties = [tie for row in rows for tie in row.ties]
    return assert_counted(counters, tallied(ties, sum(row.output_saturated for row in rows)))


GAMMA, BIAS = [127, -128, 3, 0, -1], [0, 9, -700, 64, 2**30]
FAR = int32([[-128] * 4 + [127], [127, -128, 127, -128, 0], [0, 0, 0, 0, 1], [5] * 5, [0] * 5])
WIDE = int32([[20000, -20000, 7, 0, -9], [0, 0, 0, 0, 41000], [1, 2, 3, 4, -5000]])


def test_layernorm() -> None:
    """Codes of every zero point, accumulators, rows of one element, of none, and every ratio's end."""
    seen = no_events()
    for ratio in ((1, 0), (1, 1), (3, 2), (MANTISSA, 24), (MANTISSA, 62), (2**23, 30)):
        for zero, zero_point in ((0, 0), (-128, 127), (127, -128)):
            seen += check(FAR, GAMMA, BIAS, ratio, zero, zero_point)
        seen += check(WIDE, GAMMA, BIAS, ratio, 3, 5, INT16)
        seen += check(FAR[:, :1].copy(), [7], [1], ratio)
    check(FAR[None, :0], GAMMA, BIAS, (1, 1))
    assert_occurred(seen, Counter.SATURATION, *TIES)


def test_every_pair_of_small_codes() -> None:
    pairs = thin([(a, b) for a in range(-16, 16) for b in range(-16, 16)])
    seen = check(int32([[a, b, 3, -7] for a, b in pairs]), [127, -128, 3, -1], [0, 1, -1, 99], (1, 1))
    assert_occurred(seen, Counter.SATURATION, *TIES)


def test_a_lone_element_saturates_before_gamma() -> None:
    """Beside 40,000 zeros a 1 has a variance below 1, and a sigma of 1; 200 has one of 0, too, and is held at 127."""
    x = np.zeros((2, 40001), np.int32)
    x[:, 0] = 1, 200
    ones, zeros = [1] * 40001, [0] * 40001
    counters = no_events()
    constants: dict[str, Any] = {"zero": 0, "multiplier": 1, "shift": 0, "zero_point": 0, "output": INT16}
    got = gemmini_layernorm(x, int32(ones), int64(zeros), **constants, counters=counters)
    assert got[:, 0].tolist() == [1, 127] and not got[:, 1:].any()
    assert counters.tolist() == [0, 1, 0, 0, 0]


def test_by_hand() -> None:
    """Means of -7/4 and 7/4 are -1 and 1; y is -9, 1, 0, 5, variance 107/4, its floor's root 5; -9/5 is -2, 5/5 is 1.

    The quotient of 5 by 2 is a tie, to 2, and is not counted; 2 * 3 + 1 = 7 at 1/2 is 3.5, which makes 4.
    """
    for sign in (1, -1):
        got = gemmini_layernorm(
            int32([[-10 * sign, 0, -1 * sign, 4 * sign]]),
            int32([10, 10, 10, 10]),
            int64([1, 2, 3, 4]),
            zero=0,
            multiplier=1,
            shift=0,
            zero_point=0,
            output=INT8,
            counters=no_events(),
        )
        assert got.tolist() == [[1 - 20 * sign, 2, 3, 4 + 10 * sign]]
    counters = no_events()
    row = int32([[5, 0, 0, 0, 0, -5]])  # 50 / 6: a root of 2
    constants: dict[str, Any] = {"zero": 0, "multiplier": 1, "shift": 1, "zero_point": 0, "output": INT8}
    got = gemmini_layernorm(row, int32([3] * 6), int64([1] * 5 + [0]), **constants, counters=counters)
    assert got.tolist() == [[4, 0, 0, 0, 0, -3]]
    assert counters.tolist() == [0, 0, 5, 0, 0]


def test_a_constant_row_is_its_bias() -> None:
    """No deviation: V = 0, and sigma is 1 without a count."""
    assert not check(int32([[7, 7, 7]]), [127, 1, 2], [4, 6, -8], (1, 0)).any()


def run(x: Any = (0, 0), gamma: Any = (0, 0), bias: Any = (0, 0), **changes: Any) -> object:
    usual = {"zero": 0, "multiplier": 1, "shift": 0, "zero_point": 0, "output": INT8, "counters": tally()}
    return gemmini_layernorm(int32([x]), int32(gamma), int64(bias), **(usual | changes))


ALONE = {"gamma": [0], "bias": [0]}
SQUARES = "the sum of squares of a row is"
IN_32 = f"; allowed: 0 to {MOST}"
FORMATS: list[Edge] = [
    ({"output": good}, {"output": bad}, f"output has format {bad}; allowed: codes of at most 16 bits")
    for good, bad in ((INT16, INT17), (UINT16, UINT17))
]
EDGES: list[Edge] = [
    *both_ends("multiplier", "multiplier", 1, MANTISSA),
    *both_ends("shift", "shift", 0, 62),
    *zero_points("zero_point"),
    ({"zero": 0}, {"zero": -(2**15) - 1}, "zero is -32769; allowed: -32768 to 65535"),
    ({"x": [2**16 - 1] * 2, "zero": 2**16 - 1}, {"zero": 2**16}, "zero is 65536; allowed: -32768 to 65535"),
    *FORMATS,
    *[
        ({name: [good, 0]}, {name: [bad, 0]}, f"an element of {name} is {bad}; allowed: {low} to {high}")
        for name, low, high in (("gamma", -(2**15), 2**15 - 1), ("bias", LEAST, MOST))
        for good, bad in ((low, low - 1), (high, high + 1))
    ],
    ({"gamma": [0, 0]}, {"gamma": [0]}, "gamma has shape (1,); allowed: (2,)"),
    ({"bias": [0, 0]}, {"bias": [0]}, "bias has shape (1,); allowed: (2,)"),
    ({}, {"x": [], "gamma": [], "bias": []}, "x has shape (1, 0); allowed: at least one element a row"),
    (  # x - zero in int32
        {"x": [LEAST + 2], "zero": 1, **ALONE},
        {"x": [LEAST], "zero": 1, **ALONE},
        f"an element of x is {LEAST}; allowed: {LEAST + 1} to {2**31}",
    ),
    (
        {"x": [MOST - 1], "zero": -1, **ALONE},
        {"x": [MOST], "zero": -1, **ALONE},
        f"an element of x is {MOST}; allowed: {LEAST - 1} to {MOST - 1}",
    ),
    (  # of deviations 1 and -1
        {"x": [1, -1], "gamma": [1, 0], "bias": [MOST, 0]},
        {"x": [1, -1], "gamma": [2, 0], "bias": [MOST, 0]},
        f"acc of 0 to {2**31 + 1} by multipliers to 1, shifts to 0; allowed: |acc| to 2^31",
    ),
    ({"x": [2**30, 2**30 - 1]}, {"x": [2**30, 2**30]}, f"the sum of a row is {2**31}{IN_32}"),
    ({"x": [-(2**30), 1 - 2**30]}, {"x": [-(2**30), -(2**30)]}, f"the sum of a row is {2**31}{IN_32}"),
    ({"x": [32767, -32767]}, {"x": [32768, -32768]}, f"{SQUARES} {2**31}{IN_32}"),
    ({"x": [32767, -32767]}, {"x": [70000, -70000]}, f"{SQUARES} {2**33}{IN_32}"),
]


@pytest.mark.parametrize("number", range(len(EDGES)))
def test_guards(number: int) -> None:
    check_edge(run, EDGES[number])


def test_a_refused_row_leaves_no_events() -> None:
    """20000 among 19999 zeros: 19999 / floor(sqrt(20000)) = 141.8 saturates; the row after it is refused."""
    fine, refused = ([first, *[0] * 19998, last] for first, last in ((20000, 0), (70000, -70000)))
    counters, alone, zeros = no_events(), no_events(), int32([0] * 20000)
    usual: dict[str, Any] = {"zero": 0, "multiplier": 1, "shift": 0, "zero_point": 0, "output": INT8}
    gemmini_layernorm(int32([fine]), zeros, int64(zeros), counters=alone, **usual)
    assert alone.tolist()[Counter.SATURATION] == 1
    with pytest.raises(ValueError, match=r"^the sum of squares"):
        gemmini_layernorm(int32([fine, refused]), zeros, int64(zeros), counters=counters, **usual)
    assert not counters.any()
