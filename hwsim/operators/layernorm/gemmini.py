"""Layer normalisation of Gemmini's C library: docs/operators/layernorm.md, section 5."""

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.division import Reciprocal, headroom, multiply, reciprocal
from hwsim.arithmetic.fixedpoint import SATURATION, Counters, Integer, clamp_and_change, isqrt
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
from hwsim.operators.layernorm.rows import Values, as_rows, check_rows, divide_toward_zero, row_sum
from hwsim.operators.quotients import Held
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
    rows, events = as_rows(x), np.zeros_like(counters)
    affine = np.empty(rows.shape, np.int64)
    total, squares = normalise_rows(rows, int(zero), gamma, bias, affine, events)
    check_range("the sum of a row", int(total), 0, INT32_MAX)
    check_range("the sum of squares of a row", int(squares), 0, INT32_MAX)
    codes = rescale(affine, np.array([multiplier]), np.array([shift]), zero_point, output, events, Scaling.FLOAT32)
    counters += events
    return codes.reshape(x.shape)


@njit(cache=True, nogil=True)
def normalise_rows(
    x: Held, zero: int, gamma: Codes, bias: Values, affine: Values, counters: Counters
) -> tuple[np.int64, np.int64]:
    """(L15) and (L16), times gamma, plus bias; the greatest |sum| and sum of squares of a row, refused beyond int32.

    A row whose squares leave int32 is left out.
    """
    n, most_total, most_squares = x.shape[1], np.int64(0), np.int64(0)
    for i in range(x.shape[0]):
        total = row_sum(x, i, zero, True)
        mean = divide_toward_zero(total, n)
        squares = _held_squares(x, i, mean + zero)
        most_total, most_squares = max(most_total, abs(total)), max(most_squares, squares)
        if squares <= INT32_MAX:
            sigma = max(isqrt(squares // n), np.int64(1))
            _units(x, i, mean + zero, reciprocal(1, headroom(1), sigma, 0), gamma, bias, affine, counters)
    return most_total, most_squares


@inner
def _held_squares(x: Held, i: int, mean: Integer) -> np.int64:
    """Sum of (x - mean)^2. A deviation that alone leaves int32 is held: its square need not be exact."""
    squares = np.int64(0)
    for j in range(x.shape[1]):
        held = min(abs(np.int64(x[i, j]) - mean), np.int64(1 << 16))
        squares += held * held
    return squares


@njit(cache=True, nogil=True)
def _units(
    x: Held, i: int, mean: Integer, by: Reciprocal, gamma: Codes, bias: Values, affine: Values, counters: Counters
) -> None:
    """(L16), gamma and bias; a square within int32 is of a deviation below 2^16."""
    saturations = np.int64(0)
    for j in range(x.shape[1]):
        quotient, _ = multiply(np.int64(x[i, j]) - mean, by)
        unit, changed = clamp_and_change(quotient, INT8_MIN, INT8_MAX)
        affine[i, j] = unit * np.int64(gamma[j]) + bias[j]
        saturations += changed
    counters[SATURATION] += saturations
