"""The residual sum of two code tensors of different scales: equation (7) of docs/numerics.md."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arguments import (
    Codes,
    check_array,
    check_code_format,
    check_counters,
    check_ratio,
    check_shape,
    check_zero_point,
)
from hwsim.fixedpoint import Counters, round_shift, saturate
from hwsim.formats import IntFormat


class Sum(NamedTuple):
    """The scalars of (7)."""

    a_zero: int
    b_zero: int
    a_multiplier: int
    b_multiplier: int
    shift: int
    zero_point: int
    lo: int
    hi: int


def add(
    a: Codes,
    b: Codes,
    *,
    a_zero: int,
    b_zero: int,
    a_multiplier: int,
    b_multiplier: int,
    shift: int,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
) -> Codes:
    """clamp(HALF_EVEN(((a - a_zero)*a_multiplier + (b - b_zero)*b_multiplier) / 2^shift) + zero_point), equation (7).

    Parameters
    ----------
    a, b : int32, one shape
        Codes.
    a_zero, b_zero, zero_point : int
        Zero points of a, b and the result.
    a_multiplier, b_multiplier, shift : int
        1 <= multiplier <= 2^16 - 1, 0 <= shift <= 62; one rounding for both.
    output : IntFormat
        At most 16 bits.
    counters : int64, (len(Counter),)
        Ties, and values that the clamp changed, are added.

    Returns
    -------
    int32, the shape of a and b

    Raises
    ------
    ValueError
        For other dtypes, shapes, ratios, zero points or formats.
    """
    check_array("a", a, (np.int32,))
    check_array("b", b, (np.int32,))
    check_shape("b", b, a.shape)
    check_ratio("a", a_multiplier, shift)
    check_ratio("b", b_multiplier, shift)
    for name, zero in (("a_zero", a_zero), ("b_zero", b_zero), ("zero_point", zero_point)):
        check_zero_point(name, zero)
    check_code_format("output", output)
    check_counters(counters)
    numbers = (a_zero, b_zero, a_multiplier, b_multiplier, shift, zero_point, output.min, output.max)
    codes = np.empty_like(a)
    _add(a.reshape(-1), b.reshape(-1), Sum(*map(int, numbers)), codes.reshape(-1), counters)
    return codes


@njit(cache=True)
def _add(a: Codes, b: Codes, terms: Sum, result: Codes, counters: Counters) -> None:
    """Equation (7) on flat arrays."""
    for i in range(a.size):
        left = (np.int64(a[i]) - terms.a_zero) * terms.a_multiplier
        right = (np.int64(b[i]) - terms.b_zero) * terms.b_multiplier
        value = round_shift(left + right, terms.shift, counters) + terms.zero_point
        result[i] = np.int32(saturate(value, terms.lo, terms.hi, counters))
