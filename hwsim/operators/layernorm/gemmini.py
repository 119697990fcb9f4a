"""Layer normalisation of Gemmini's C library: docs/operators/layernorm.md, section 5."""

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, half_even_divide, isqrt, saturate
from hwsim.arithmetic.scaling import FLOAT32_MULTIPLIER_MAX
from hwsim.formats import IntFormat, Scaling
from hwsim.operators.arguments import (
    SHIFT_MAX,
    Codes,
    check_code_format,
    check_elements,
    check_range,
    check_zero_point,
)
from hwsim.operators.layernorm.rows import Values, check_rows, divide_toward_zero, offset_rows, sums
from hwsim.operators.rescale import rescale

INT8_MIN, INT8_MAX = -(1 << 7), (1 << 7) - 1
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
INT32_MAX = (1 << 31) - 1


def gemmini_layernorm(
    x: Codes,
    gamma: Codes,
    bias: Values,
    *,
    zero: int,
    multiplier: int,
    shift: int,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
) -> Codes:
    """Normalise each row to whole standard deviations, then a product with gamma, equations (L15) to (L17).

    Parameters
    ----------
    x : int32, (..., n)
        Codes, or accumulators.
    gamma : int32, (n,)
        Codes of int8.
    bias : int64, (n,)
        int32, at the scale of gamma.
    multiplier, shift : int
        1 <= multiplier <= 2^24 - 1, 0 <= shift <= 62: a binary32 ratio, scheme (R9).
    zero, zero_point, output : int, int, IntFormat
        Zero points of x and of the result, and its format, at most 16 bits.
    counters : int64, (len(Counter),)
        Ties of the last rounding, and values that one of the two clamps changed, are added.

    Returns
    -------
    int32, (..., n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats, or a row whose sum, or sum of squares, leaves int32.
    """
    check_rows(x, gamma, bias, counters)
    check_zero_point("zero", zero)
    check_elements("gamma", gamma, INT16_MIN, INT16_MAX)
    check_elements("bias", bias, -INT32_MAX - 1, INT32_MAX)
    check_zero_point("zero_point", zero_point)
    check_code_format("output", output)
    check_range("multiplier", multiplier, 1, FLOAT32_MULTIPLIER_MAX)
    check_range("shift", shift, 0, SHIFT_MAX)
    check_elements("x", x, zero - INT32_MAX - 1, zero + INT32_MAX)
    offset, events = offset_rows(x, zero), np.zeros_like(counters)
    affine = np.empty(offset.shape, np.int64)
    total, squares = _normalise(offset, gamma, bias, affine, events)
    check_range("the sum of a row", int(total), 0, INT32_MAX)
    check_range("the sum of squares of a row", int(squares), 0, INT32_MAX)
    codes = rescale(affine, np.array([multiplier]), np.array([shift]), zero_point, output, events, Scaling.FLOAT32)
    counters += events
    return codes.reshape(x.shape)


@njit(cache=True)
def _normalise(x: Codes, gamma: Codes, bias: Values, affine: Values, counters: Counters) -> tuple[np.int64, np.int64]:
    """(L15) and (L16), times gamma, plus bias; the greatest |sum| and sum of squares of a row that were met."""
    n, most_total, most_squares = x.shape[1], np.int64(0), np.int64(0)
    for i in range(x.shape[0]):
        total = sums(x[i], True)[0]
        mean = divide_toward_zero(total, n)
        y = x[i].astype(np.int64) - mean
        squares = np.int64(0)
        for j in range(n):  # a deviation so great alone leaves int32: its square need not be held
            squares = min(squares + min(abs(y[j]), np.int64(1 << 16)) ** 2, np.int64(1 << 40))
        most_total, most_squares = max(most_total, abs(total)), max(most_squares, squares)
        sigma = max(isqrt(squares // n), np.int64(1))
        for j in range(n):
            unit = saturate(half_even_divide(y[j], sigma), INT8_MIN, INT8_MAX, counters)
            affine[i, j] = unit * np.int64(gamma[j]) + bias[j]
    return most_total, most_squares
