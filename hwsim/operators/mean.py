"""The mean of a row, Deeploy's IntegerMean: (G8) of docs/operators/activation.md."""

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import NEGATIVE_TIE, POSITIVE_TIE, Counters
from hwsim.operators.arguments import (
    CODE_MAX,
    CODE_MIN,
    Codes,
    check_array,
    check_counters,
    check_elements,
    check_range,
    check_zero_point,
)

MAX_LENGTH = 1 << 15
"""So that the sum of a row, and half a length beside it, stay in int32."""


def pulp_mean(x: Codes, *, zero: int, counters: Counters) -> Codes:
    """The mean of each row: HALF_UP for a power of two of elements, else HALF_AWAY, equation (G8).

    Parameters
    ----------
    x : int32, (..., n)
        Codes of at most 16 bits, 1 <= n <= 2^15.
    zero : int
        Zero point of x.
    counters : int64, (len(Counter),)
        Ties are added.

    Returns
    -------
    int32, (...,)
        Means of x - zero.

    Raises
    ------
    ValueError
        For another dtype, shape or code.
    """
    check_array("x", x, (np.int32,))
    check_counters(counters)
    check_range("n", x.shape[-1], 1, MAX_LENGTH)
    check_elements("x", x, CODE_MIN, CODE_MAX)
    check_zero_point("zero", zero)
    rows = x.reshape(-1, x.shape[-1])
    means = np.empty(len(rows), np.int32)
    _mean(rows, int(zero), means, counters)
    return means.reshape(x.shape[:-1])


@njit(cache=True, nogil=True)
def _mean(x: Codes, zero: int, means: Codes, counters: Counters) -> None:
    """Equation (G8), row by row: a rest of half of n is a tie."""
    n = np.int64(x.shape[1])
    halves_go_up = (n & (n - 1)) == 0
    for i in range(x.shape[0]):
        total = x[i].astype(np.int64).sum() - n * zero
        floor, rest = total // n, total % n
        tie = 2 * rest == n
        counters[POSITIVE_TIE] += np.int64(tie and total > 0)
        counters[NEGATIVE_TIE] += np.int64(tie and total < 0)
        up = 2 * rest > n or (tie and (halves_go_up or total > 0))
        means[i] = np.int32(floor + np.int64(up))
