"""I-BERT's layer normalisation: docs/operators/layernorm.md, section 2."""

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, half_even_divide, isqrt, raise_to_one
from hwsim.formats import IntFormat, Scaling
from hwsim.operators.arguments import MULTIPLIER_MAX, SHIFT_MAX, Codes, Multipliers, check_multipliers, check_range
from hwsim.operators.layernorm.rows import Values, checked_rows, row_sum, squares_about
from hwsim.operators.quotients import Held
from hwsim.operators.rescale import rescale

MAX_VARIANCE_SHIFT = 31
VARIANCE_LIMIT = 1 << 32
_ONE = 1 << 31


def ibert_layernorm(
    x: Codes,
    gamma: Codes,
    bias: Values,
    multiplier: Multipliers,
    shift: Multipliers,
    *,
    zero: int,
    variance_shift: int,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
    centred: bool = True,
) -> Codes:
    """Normalise each row of codes by a reciprocal of 31 bits, equations (L1) to (L5).

    Parameters
    ----------
    x : int32, (..., n)
        Codes of at most 16 bits.
    gamma : int32, (n,)
        Signs: -1, 0 or 1; the magnitude is in the ratio.
    bias : int64, (n,)
        At most 2^62 in magnitude.
    multiplier, shift : int64, (1,) or (n,)
        1 <= multiplier <= 2^31 - 1, 0 <= shift <= 62, one for all or one for each channel.
    variance_shift : int
        The page's t, 0 to 31: bits that a deviation loses before it is squared.
    zero, zero_point, output : int, int, IntFormat
        Zero points of x and of the result, and its format, at most 16 bits.
    counters : int64, (len(Counter),)
        Ties, saturations and standard deviations raised to 1 are added.
    centred : bool
        Whether the mean is subtracted: LayerNorm, otherwise RMSNorm.

    Returns
    -------
    int32, (..., n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats, if V of a row reaches 2^32, or if a value before the last
        rounding times its multiplier, and half of 2^shift, reach 2^63.
    """
    rows = checked_rows(x, gamma, bias, counters, zero=zero, zero_point=zero_point, output=output, gamma_range=(-1, 1))
    check_multipliers("multiplier", multiplier, (1, gamma.size), 1, MULTIPLIER_MAX)
    check_multipliers("shift", shift, (1, gamma.size), 0, SHIFT_MAX)
    check_range("variance_shift", variance_shift, 0, MAX_VARIANCE_SHIFT)
    values, events = np.empty(rows.shape, np.int64), np.zeros_like(counters)
    greatest = normalise_rows(rows, int(zero), gamma, bias, int(variance_shift), bool(centred), values, events)
    check_range("V of a row", int(greatest), 0, VARIANCE_LIMIT - 1)
    codes = rescale(values, multiplier, shift, zero_point, output, events, Scaling.HALF_EVEN)
    counters += events
    return codes.reshape(x.shape)


@njit(cache=True, nogil=True)
def normalise_rows(
    x: Held,
    zero: int,
    gamma: Codes,
    bias: Values,
    variance_shift: int,
    centred: bool,
    values: Values,
    counters: Counters,
) -> np.int64:
    """(L1) to (L4): o of each element of (rows, n), and the greatest V; from VARIANCE_LIMIT on it is to be refused."""
    greatest = np.int64(0)
    for i in range(x.shape[0]):
        mean = half_even_divide(row_sum(x, i, zero, centred), x.shape[1]) + zero
        variance = squares_about(x, i, mean, variance_shift)
        greatest = max(greatest, variance)
        root = isqrt(min(variance, np.int64(VARIANCE_LIMIT - 1))) << variance_shift
        factor = _ONE // raise_to_one(root, counters)
        for j in range(x.shape[1]):
            values[i, j] = (((np.int64(x[i, j]) - mean) * factor) >> 1) * np.int64(gamma[j]) + bias[j]
    return greatest
