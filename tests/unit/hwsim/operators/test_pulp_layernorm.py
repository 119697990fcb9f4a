"""PULP's LayerNorm beyond what random cases draw: gammas of 32 bits over sigmas of every size, and codes that wrap."""

from itertools import product

import numpy as np
import pytest

from hwsim.formats import Counter, IntFormat, Overflow
from hwsim.operators.layernorm import pulp_layernorm
from tests import oracle
from tests.oracle import Result
from tests.unit.hwsim.operators.edges import INT8, INT16
from tests.unit.hwsim.operators.kernel_checks import (
    Integers,
    assert_counted,
    assert_same,
    half_full,
    int32,
    int64,
    matrix,
    tallied,
)

UINT8 = IntFormat(bits=8, signed=False)
END = 2**31
GAMMAS = [-END, END - 1, 2**16 + 1, -(2**20) + 3, 1, 0, -(2**30), 3 * 2**24]


def check(
    x: Integers, gamma: list[int], shift: int, overflow: str, output: IntFormat, *, zero: int = 0, zero_point: int = 0
) -> int:
    """(L6) to (L8), the bias at every end; how many codes did not fit."""
    counters, (n, form) = half_full(), (x.shape[1], output)
    bias = [0, 1, -1, 2**40, -(2**40), 12345, -(2**31), 2**31][:n]
    gamma, centred = gamma[:n], not zero
    constants = {"shift": shift, "zero": zero, "zero_point": zero_point, "output": form, "centred": centred}
    rule = {"overflow": Overflow(overflow), "counters": counters}
    got = pulp_layernorm(x, int32(gamma), int64(bias), **constants, **rule)  # type: ignore[arg-type]
    result = Result(zero_point, form.min, form.max)
    rows = [oracle.pulp_layernorm(row, zero, centred, gamma, bias, shift, result, overflow) for row in matrix(x)]
    assert_same("codes", got, [row.output for row in rows])
    beyond = sum(row.output_saturated + row.overflows for row in rows)
    counted = {"overflowed": beyond} if overflow == "wrap" else {"saturated": beyond}
    assert_counted(counters, tallied(**counted))
    return beyond


def rows_of(reach: int) -> Integers:
    """Rows of 8 codes to a reach: one apart, two signs, random, constant."""
    rng, rows = np.random.default_rng(reach), np.zeros((8, 8), np.int32)
    rows[0, 0], rows[1, :4], rows[2:7] = reach, -reach, rng.integers(-reach, reach + 1, (5, 8))
    return rows


@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize("reach", [1, 2, 3, 5, 40, 127, 128, 4096, 32767])
def test_wide_gammas(reach: int, overflow: str) -> None:
    """Products to 2^48 over sigmas from 1 on, on both sides of 2^32 and of sigma * 2^28."""
    x, beyond = rows_of(reach), 0
    for shift, output in product((0, 17, 31), (INT8, UINT8, INT16)):
        for gamma in (GAMMAS, [2**28 - 1] * 8, [2**28, 2**28 + 1] * 4, [2**32 // reach % END] * 8):
            beyond += check(x, gamma, shift, overflow, output, zero_point=3)
    assert beyond > 0


def test_the_furthest_deviation() -> None:
    """Without a mean, 65535 + 32768 over itself, and over less: quotients to 2^31 and products to 2^48."""
    x = int32([[65535] * 8, [65535] + [-32768] * 7, [-32767] + [-32768] * 7])
    for overflow in ("saturate", "wrap"):
        assert check(x, [-END, END - 1] * 4, 24, overflow, INT8, zero=-32768) > 0


def test_every_code_wraps_to_its_low_bits() -> None:
    """By hand: sigma is 1 and the mean 0, so that codes are (x * gamma + bias) >> 1, and 4 bits are kept."""
    counters, form = half_full(), IntFormat(bits=4)
    constants = {"zero": 0, "shift": 1, "zero_point": 1, "output": form, "counters": counters}
    x, gamma, bias = int32([[1, -1, 1, -1]]), int32([14, 14, 29, -31]), int64([0, 0, 1, 0])
    got = pulp_layernorm(x, gamma, bias, **constants, overflow=Overflow.WRAP)  # type: ignore[arg-type]
    assert got.tolist() == [[8 - 16, -6, 16 - 16, 16 - 16]]
    assert (counters - half_full())[Counter.OVERFLOW] == 3
