"""The matrix product for proven accumulators that the engines do not serve: in int64, on the codes themselves."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.operators.arguments import Accumulators, Codes


@njit(nogil=True, cache=True)
def dot_wide(a: Codes, a_zero: int, b: Codes, b_zero: int, bias: NDArray[np.int64], result: Accumulators) -> None:
    """result[s,i,j] = bias[j] + sum_k (a[s,i,k] - a_zero)*(b[s,j,k] - b_zero), in int64, for codes to 16 bits."""
    for s in range(result.shape[0]):
        for i in range(result.shape[1]):
            for j in range(result.shape[2]):
                total = np.int64(bias[j])
                for k in range(a.shape[2]):
                    total += (np.int64(a[s, i, k]) - a_zero) * (np.int64(b[s, j, k]) - b_zero)
                result[s, i, j] = total
