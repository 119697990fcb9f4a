"""The LayerNorms of targets at their bounds: rows, squares and last products that just fit run, one more is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.formats import IntFormat, Overflow
from hwsim.program import Program
from hwsim.program.catalogue import Dyadic, Q31Double
from hwsim.program.validate import validate
from tests.unit.hwsim.program.one_operation import IBERT, PULP, TFLITE, alone, norm, passes, stopped
from tests.unit.hwsim.program.program_edits import INT8, INT16, replace


def worst_rows(n: int, fmt: IntFormat) -> NDArray[Any]:
    """Constant rows, one element apart from all others, halves apart."""
    rows = np.full((4, n), fmt.min)
    rows[0] = fmt.max - 1
    rows[1, 0] = fmt.max
    rows[2, : n // 2] = fmt.max
    rows[3] = fmt.max - np.arange(n) % 2
    return rows


@pytest.mark.parametrize(
    ("n", "fmt", "least"), [(8, INT16, 2), (1 << 10, INT16, 5), (66051, INT8, 0), (66052, INT8, 1)]
)
def test_least_variance_shift(n: int, fmt: IntFormat, least: int) -> None:
    passes(norm(replace(IBERT, variance_shift=least), n, fmt), x=worst_rows(n, fmt))
    if least:
        stopped(norm(replace(IBERT, variance_shift=least - 1), n, fmt), "use a greater variance_shift")


def test_ibert_layernorm_holds_its_last_product() -> None:
    def program(multiplier: int, beta: int, shift: int = 0) -> Program:
        op = replace(IBERT, variance_shift=2, requantization=Dyadic(multiplier=multiplier, shift=shift))
        return norm(op, 8, INT16, beta=beta)

    passes(program(1, -(1 << 62)), x=worst_rows(8, INT16))
    greatest = ((1 << 63) - 1) // 3 - (1 << 32)
    passes(program(3, greatest), x=worst_rows(8, INT16))
    stopped(program(3, greatest + 1), "|x| * multiplier + rounding reaches")
    passes(program((1 << 31) - 1, 0), x=worst_rows(8, INT16))
    stopped(program((1 << 31) - 1, 0, shift=62), "|x| * multiplier + rounding reaches")


def test_pulp_layernorm_holds_its_squares_and_its_sum() -> None:
    passes(norm(PULP, 8, INT16, gamma=-(1 << 15), beta=(1 << 62) - 1 - (65535 << 15)), x=worst_rows(8, INT16))
    stopped(norm(PULP, 8, INT16, gamma=-(1 << 15), beta=(1 << 62) - (65535 << 15)), "y * gamma + beta reaches")
    n = ((1 << 52) - 1) // 65535**2
    passes(norm(PULP, n, INT16), x=worst_rows(n, INT16)[1:3])
    stopped(norm(PULP, n + 1, INT16), "sums of squares reach")


def test_pulp_layernorm_wraps_to_no_narrow_range() -> None:
    """The low bits of a code can be the one code that such a range leaves out."""
    narrow, wraps = IntFormat(bits=8, narrow=True), replace(PULP, overflow=Overflow.WRAP)
    constants = {"gamma": (INT16, np.ones(8, np.int64)), "beta": (INT16, np.ones(8, np.int64))}
    passes(alone(PULP, INT8, narrow, ["batch", 8], **constants), x=worst_rows(8, INT8))
    passes(alone(wraps, INT8, INT8, ["batch", 8], **constants), x=worst_rows(8, INT8))
    stopped(alone(wraps, INT8, narrow, ["batch", 8], **constants), "codes that wrap to int8n")


def test_tflite_layernorm_holds_its_squares() -> None:
    narrow = IntFormat(bits=16, narrow=True)
    for n in (1, 2, 8, 24, 100, 512):
        passes(norm(TFLITE, n, narrow, gamma=-(1 << 15)), x=worst_rows(n, narrow))
        validate(norm(TFLITE, n, INT16))
        if n & (n - 1) == 0:
            stopped(norm(TFLITE, n, INT16, zeros=(1, 0)), "sum of squares * floor(2^20 / n) reaches")
    stopped(norm(TFLITE, (1 << 20) + 1, INT8), "rows of 1048577; allowed are at most 2^20")


def test_tflite_layernorm_takes_a_row_of_the_least_code() -> None:
    """Validation takes int16 rows of a power of two, or no int16 residual stream could be; this one sums to 2^50."""
    passes(norm(TFLITE, 8, INT16), x=np.full((1, 8), INT16.min))


@pytest.mark.parametrize("zero", [0, -128, 127])
@pytest.mark.parametrize("n", [2, 8, 24, 97, 1000, 1023, 40000])
def test_tflite_layernorm_normalises_no_further_than_its_bound(n: int, zero: int) -> None:
    """Far from zero, floor(2^20 / n) takes more from the variance than a row has, and deviations grow without it."""
    op = replace(TFLITE, requantization=Q31Double(multiplier=1 << 30, shift=31))
    for fmt in (INT8, IntFormat(bits=16, narrow=True))[: 1 if zero else 2]:
        rows = [row for offset in (0, 1, 40, 250, 3000) for row in outliers(n, fmt, offset)]
        passes(norm(op, n, fmt, gamma=1 << 14, zeros=(zero, 0)), x=rows)


def outliers(n: int, fmt: IntFormat, offset: int) -> NDArray[Any]:
    """Constant rows at either end, but for one element."""
    rows = np.full((2, n), fmt.min)
    rows[1] = fmt.max
    rows[0, 0] = min(fmt.max, fmt.min + offset)
    rows[1, -1] = max(fmt.min, fmt.max - offset)
    return rows


def test_tflite_layernorm_bound_at_its_boundary() -> None:
    """By 2^(31-e) at the greatest that is taken: no row is refused when it runs."""
    narrow = IntFormat(bits=16, narrow=True)
    for n in (24, 1000, 512):
        shift = least_shift(n, narrow)
        assert 12 < shift < 31
        op = replace(TFLITE, requantization=Q31Double(multiplier=1 << 30, shift=shift))
        rows = [row for offset in range(0, 65000, 500) for row in outliers(n, narrow, offset)]
        passes(norm(op, n, narrow, gamma=1 << 14), x=rows)


def least_shift(n: int, fmt: IntFormat) -> int:
    for shift in range(31):
        op = replace(TFLITE, requantization=Q31Double(multiplier=1 << 30, shift=shift))
        try:
            validate(norm(op, n, fmt, gamma=1 << 14))
        except ValueError:
            continue
        return shift
    return 31
