"""Integer layer normalisation of PULP and Deeploy: docs/operators/layernorm.md, section 3."""

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import Counters, isqrt, saturate
from hwsim.formats import IntFormat
from hwsim.operators.arguments import Codes, check_range
from hwsim.operators.layernorm.rows import (
    Values,
    checked_rows,
    deviations,
    divide_toward_zero,
    sums,
)

MAX_SHIFT = 31


def pulp_layernorm(
    x: Codes,
    gamma: Codes,
    bias: Values,
    *,
    zero: int,
    shift: int,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
    centred: bool = True,
) -> Codes:
    """Normalise each row of codes by one division an element, equations (L6) to (L8).

    Parameters
    ----------
    x : int32, (..., n)
        Codes of at most 16 bits.
    gamma : int32, (n,)
        Codes of [-2^15, 2^15 - 1].
    bias : int64, (n,)
        At most 2^62 in magnitude.
    shift : int
        The page's D, 0 to 31: gamma and bias stand for themselves / 2^shift in units of the output.
    zero, zero_point, output : int, int, IntFormat
        Zero points of x and of the result, and its format, at most 16 bits.
    counters : int64, (len(Counter),)
        Saturations are added.
    centred : bool
        Whether the mean is subtracted: LayerNorm, otherwise RMSNorm.

    Returns
    -------
    int32, (..., n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats.
    """
    offset = checked_rows(x, gamma, bias, counters, zero=zero, zero_point=zero_point, output=output)
    check_range("shift", shift, 0, MAX_SHIFT)
    codes = np.empty_like(offset)
    limits = output.min - int(zero_point), output.max - int(zero_point)
    _pulp_layernorm(offset, gamma, bias, int(shift), limits, bool(centred), codes, counters)
    return (codes + np.int32(zero_point)).reshape(x.shape)


@njit(cache=True)
def _pulp_layernorm(
    x: Codes,
    gamma: Codes,
    bias: Values,
    shift: int,
    limits: tuple[int, int],
    centred: bool,
    codes: Codes,
    counters: Counters,
) -> None:
    """Equations (L6) to (L8) but for the zero point, which is in the limits of the clamp."""
    n = x.shape[1]
    for i in range(x.shape[0]):
        y, squares = deviations(x[i], divide_toward_zero(sums(x[i], centred)[0], n), 0)
        sigma = isqrt(squares // n + 1)
        for j in range(n):
            affine = divide_toward_zero(y[j] * np.int64(gamma[j]), sigma) + bias[j]
            codes[i, j] = np.int32(saturate(affine >> shift, limits[0], limits[1], counters))
