"""The matrix product for accumulators that are proven not to overflow, in whatever order is fastest.

Sums modulo 2^32 are exact because a proven result lies inside int32. The zero point of the second operand is taken off
when it is packed; that of the first goes into the bias: sum_k (a - z)*b = sum_k a*b - z * sum_k b.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.operators.arguments import Accumulators
from hwsim.operators.gemm.engines import multiply_pairs, multiply_quads
from hwsim.operators.gemm.operand import Operand, Packed, Prepared, Rows
from hwsim.operators.gemm.wide import dot_wide

Bias = NDArray[np.int32]


def multiply_proven(a: Operand, b: Prepared, bias: NDArray[np.int64], result: Accumulators) -> None:
    """result = bias + (a - a.zero) . (b - b.zero), (batch, m, n), by the engine if the accumulator has 32 bits."""
    packed = _packed(a, b) if result.dtype == np.int32 else None
    if packed is None:
        dot_wide(a.rows(result.shape), a.zero, b.batched, b.zero, bias, result)
        return
    eight_bits = packed.dtype == np.int8
    rows = a.bytes(result.shape) if eight_bits else a.words(result.shape)
    multiply = quads_of_batch if eight_bits else pairs_of_batch
    multiply(rows.codes, packed, fold(bias, rows, b), result)


def _packed(a: Operand, b: Prepared) -> Packed | None:
    """The form of b that serves a: quads if both have 8 bits, pairs if they have 16, else none."""
    if a.is_eight_bits and b.has_quads:
        return b.quads
    return b.pairs if a.is_sixteen_bits and b.has_pairs else None


def fold(bias: NDArray[np.int64], rows: Rows, b: Prepared) -> Bias:
    """The bias with the zero point of the rows in it, (batch, n), modulo 2^32."""
    if not rows.zero:
        return np.broadcast_to(bias.astype(np.int32), (len(b.batched), bias.size)).copy()
    return (bias - rows.zero * b.column_sums).astype(np.int32)


@njit(nogil=True, cache=True)
def quads_of_batch(a: NDArray[Any], packed: Packed, bias: Bias, result: NDArray[Any]) -> None:
    """`multiply_quads` of every element of a batch."""
    for s in range(result.shape[0]):
        multiply_quads(a[s], packed[s], bias[s], result.shape[2], result[s])


@njit(nogil=True, cache=True)
def pairs_of_batch(a: NDArray[Any], packed: Packed, bias: Bias, result: NDArray[Any]) -> None:
    """`multiply_pairs` of every element of a batch."""
    for s in range(result.shape[0]):
        multiply_pairs(a[s], packed[s], bias[s], result.shape[2], result[s])
