"""I-BERT's layer normalisation: docs/operators/layernorm.md, section 2."""

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, half_even_divide, isqrt, raise_to_one
from hwsim.formats import IntFormat, Scaling
from hwsim.operators.arguments import MULTIPLIER_MAX, SHIFT_MAX, Codes, Multipliers, check_multipliers, check_range
from hwsim.operators.layernorm.rows import (
    Values,
    checked_rows,
    deviations,
    sums,
)
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
    offset = checked_rows(
        x, gamma, bias, counters, zero=zero, zero_point=zero_point, output=output, gamma_range=(-1, 1)
    )
    check_multipliers("multiplier", multiplier, (1, gamma.size), 1, MULTIPLIER_MAX)
    check_multipliers("shift", shift, (1, gamma.size), 0, SHIFT_MAX)
    check_range("variance_shift", variance_shift, 0, MAX_VARIANCE_SHIFT)
    values, variances = np.empty(offset.shape, np.int64), np.empty(len(offset), np.int64)
    _deviations(offset, int(variance_shift), bool(centred), values, variances)
    check_range("V of a row", int(variances.max(initial=0)), 0, VARIANCE_LIMIT - 1)
    events = np.zeros_like(counters)
    _normalise(values, variances, gamma, bias, int(variance_shift), events)
    codes = rescale(values, multiplier, shift, zero_point, output, events, Scaling.HALF_EVEN)
    counters += events
    return codes.reshape(x.shape)


@njit(cache=True)
def _deviations(x: Codes, variance_shift: int, centred: bool, values: Values, variances: Values) -> None:
    """(L1) and (L2): y and V of each row."""
    for i in range(x.shape[0]):
        mean = half_even_divide(sums(x[i], centred)[0], x.shape[1])
        row, variances[i] = deviations(x[i], mean, variance_shift)
        for j in range(row.size):  # copying it whole compiles to code with doubles
            values[i, j] = row[j]


@njit(cache=True)
def _normalise(
    values: Values, variances: Values, gamma: Codes, bias: Values, variance_shift: int, counters: Counters
) -> None:
    """(L3) and (L4), in place: y to o."""
    for i in range(values.shape[0]):
        factor = _ONE // raise_to_one(isqrt(variances[i]) << variance_shift, counters)
        for j in range(values.shape[1]):
            values[i, j] = ((values[i, j] * factor) >> 1) * np.int64(gamma[j]) + bias[j]
