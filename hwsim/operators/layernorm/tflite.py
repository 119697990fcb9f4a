"""Layer normalisation of TensorFlow Lite's integer LSTM: docs/operators/layernorm.md, section 4."""

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import DENOMINATOR_CLAMP, Counters, Integer, toward_zero_shift
from hwsim.arithmetic.gemmlowp import doubling_high_multiply, inverse_sqrt, rounding_divide
from hwsim.formats import IntFormat, Scaling
from hwsim.operators.arguments import MULTIPLIER_MAX, SHIFT_MAX, Codes, check_range
from hwsim.operators.layernorm.rows import Values, checked_rows, divide_toward_zero, row_sum, squares_about
from hwsim.operators.quotients import Held
from hwsim.operators.rescale import rescale

MAX_LENGTH = 1 << 20
SQUARES_LIMIT = 1 << 50
"""Greatest sum(x'^2) * floor(2^20 / n): that of a row of the least int16 codes. The variance is at most 2^30."""
_INT31_MAX = (1 << 31) - 1
_FRACTION_BITS = 10
_HALF = 1 << (_FRACTION_BITS - 1)


def tflite_layernorm(
    x: Codes,
    gamma: Codes,
    bias: Values,
    *,
    zero: int,
    variance_limit: int,
    multiplier: int,
    shift: int,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
    centred: bool = True,
) -> Codes:
    """Normalise each row of codes by gemmlowp's inverse square root, equations (L9) to (L14).

    Parameters
    ----------
    x : int32, (..., n)
        Codes of at most 16 bits, n <= 2^20.
    gamma : int32, (n,)
        Codes of [-2^15, 2^15 - 1].
    bias : int64, (n,)
        At most 2^62 in magnitude; at 1/1024 of the scale of gamma.
    variance_limit : int
        1 to 2^31 - 1; stands for a variance below 1.
    multiplier, shift : int
        2^30 <= multiplier <= 2^31 - 1, 0 <= shift <= 62: scheme (R2).
    zero, zero_point, output : int, int, IntFormat
        Zero points of x and of the result, and its format, at most 16 bits.
    counters : int64, (len(Counter),)
        Ties of the last rounding, saturations, and variances below 1 are added.
    centred : bool
        Whether the mean is subtracted: LayerNorm, otherwise RMSNorm.

    Returns
    -------
    int32, (..., n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats, if sum(x'^2) * floor(2^20 / n) of a row exceeds 2^50, or if
        the v of (L13) times 2^max(31 - shift, 0) reaches 2^31.
    """
    rows = checked_rows(x, gamma, bias, counters, zero=zero, zero_point=zero_point, output=output)
    check_range("n", gamma.size, 1, MAX_LENGTH)
    check_range("variance_limit", variance_limit, 1, _INT31_MAX)
    check_range("multiplier", multiplier, 1 << 30, MULTIPLIER_MAX)
    check_range("shift", shift, 0, SHIFT_MAX)
    values, events = np.empty(rows.shape, np.int64), np.zeros_like(counters)
    greatest = normalise_rows(rows, int(zero), gamma, bias, int(variance_limit), bool(centred), values, events)
    check_range("sum(x'^2) * floor(2^20 / n)", int(greatest), 0, SQUARES_LIMIT)
    codes = rescale(values, np.array([multiplier]), np.array([shift]), zero_point, output, events, Scaling.Q31_DOUBLE)
    counters += events
    return codes.reshape(x.shape)


@njit(cache=True, nogil=True)
def normalise_rows(
    x: Held,
    zero: int,
    gamma: Codes,
    bias: Values,
    variance_limit: int,
    centred: bool,
    values: Values,
    counters: Counters,
) -> np.int64:
    """(L9) to (L13): v of each element of (rows, n), and the greatest sum of squares of a row as (L10) scales it."""
    n, greatest, raised = x.shape[1], np.int64(0), np.int64(0)
    for i in range(x.shape[0]):
        total, squares = row_sum(x, i, zero, centred), squares_about(x, i, zero, 0)
        scaled_squares = squares * (MAX_LENGTH // n)
        greatest = max(greatest, scaled_squares)
        mean = divide_toward_zero(total << _FRACTION_BITS, n)
        variance = toward_zero_shift(scaled_squares - mean * mean, 2 * _FRACTION_BITS)
        raised += np.int64(variance < 1)
        inverse, right = inverse_sqrt(variance if variance >= 1 else np.int64(variance_limit))
        _affine(x, i, mean + (np.int64(zero) << _FRACTION_BITS), inverse, right, gamma, bias, values)
    counters[DENOMINATOR_CLAMP] += raised
    return greatest


@inner
def _affine(
    x: Held, i: int, mean: Integer, inverse: Integer, right: Integer, gamma: Codes, bias: Values, values: Values
) -> None:
    """(L11) to (L13) of a row; mean has the zero point in it."""
    for j in range(x.shape[1]):
        deviation = (np.int64(x[i, j]) << _FRACTION_BITS) - mean
        normalised = rounding_divide(doubling_high_multiply(deviation, inverse), right)
        affine = normalised * np.int64(gamma[j]) + bias[j]
        values[i, j] = toward_zero_shift(affine + (_HALF if affine > 0 else -_HALF), _FRACTION_BITS)
