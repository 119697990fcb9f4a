"""The matrix product for accumulators that saturate or wrap: one multiply-accumulate after another, k ascending.

The sums of a row are independent of each other, so the loop over the columns is inside; b comes as (k, n). Sums are
int64: a step adds a product below 2^34 to an accumulator of at most 63 bits.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arguments import Accumulators, Codes
from hwsim.fixedpoint import Counters, clamp, wrap
from hwsim.formats import Counter

OVERFLOW = int(Counter.OVERFLOW)
Sums = NDArray[np.int64]


@njit(cache=True)
def dot_ordered(
    a: Codes,
    a_zero: int,
    columns: Codes,
    b_zero: int,
    bias: NDArray[np.int64],
    bits: int,
    wraps: bool,
    sums: Sums,
    result: Accumulators,
    counters: Counters,
) -> None:
    """result[s,i,j] = bias[j] + sum_k (a[s,i,k] - a_zero)*(columns[s,k,j] - b_zero), each sum brought into range.

    `sums` (n,) is scratch. The bias is the first sum: each result[s,i,j] whose bias is out of range counts one overflow
    for it.
    """
    overflows = np.int64(0)
    for s in range(result.shape[0]):
        for i in range(result.shape[1]):
            for j in range(sums.size):
                sums[j] = bias[j]
            overflows += _bring_into_range(sums, bits, wraps)
            for k in range(a.shape[2]):
                _accumulate(sums, np.int64(a[s, i, k]) - a_zero, columns[s, k], b_zero)
                overflows += _bring_into_range(sums, bits, wraps)
            for j in range(sums.size):
                result[s, i, j] = sums[j]
    counters[OVERFLOW] += overflows


@njit(cache=True)
def _accumulate(sums: Sums, factor: np.int64, column: Codes, zero: int) -> None:
    for j in range(sums.size):
        sums[j] += factor * (np.int64(column[j]) - zero)


@njit(cache=True)
def _bring_into_range(sums: Sums, bits: int, wraps: bool) -> np.int64:
    """Wrap or saturate every sum to `bits` bits; how many were outside."""
    hi = (np.int64(1) << (bits - 1)) - 1
    overflows = np.int64(0)
    for j in range(sums.size):
        value = sums[j]
        sums[j] = wrap(value, bits) if wraps else clamp(value, -hi - 1, hi)
        overflows += np.int64(sums[j] != value)
    return overflows
