"""Which product is taken: the fast one for proven accumulators, the ordered one for the others."""

from math import prod

import numpy as np
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import Counters
from hwsim.formats import MAX_TILE, Accumulator, Granularity, Overflow
from hwsim.operators.arguments import (
    Accumulators,
    Codes,
    check_array,
    check_counters,
    check_elements,
    check_exact,
    check_range,
    empty_accumulators,
)
from hwsim.operators.gemm.extremes import running_extremes
from hwsim.operators.gemm.operand import Operand, Prepared, prepare
from hwsim.operators.gemm.ordered import (
    LANE_LIMIT,
    dot_ordered,
    first_event,
    fit_sums,
    lanes,
    reach,
    start_of,
)
from hwsim.operators.gemm.proven import multiply_proven

FIRST_OPERANDS = (np.int8, np.uint8, np.int16, np.int32)
FirstOperand = NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.int16] | Codes


def matmul(
    a: FirstOperand,
    b: Codes | Prepared,
    bias: NDArray[np.int64] | None,
    *,
    a_zero: int = 0,
    b_zero: int = 0,
    accumulator: Accumulator,
    counters: Counters,
) -> Accumulators:
    """bias[j] + sum_k (a[...,i,k] - a_zero) * (b[...,j,k] - b_zero) in an accumulator of limited width, equation (2).

    A proven accumulator is summed in any order. One that saturates or wraps starts at the bias and takes the products
    by (A1), (A2) or (A3) of docs/operators/accumulator.md; each sum out of range, the bias of each result included, is
    one overflow event.

    Parameters
    ----------
    a : int8, uint8, int16 or int32, (..., m, k)
        Codes of at most 16 bits.
    b : int32, (..., n, k) or (n, k); or Prepared
        Codes of at most 16 bits, with the batch dimensions of a or shared by the whole batch.
    bias : int64, (n,), or None
        Integers at the scale of the product; inside the accumulator if that is proven.
    a_zero, b_zero : int
        Zero points. A prepared b has its own; b_zero may then be that or 0.
    accumulator : Accumulator
        Width, overflow rule, and when a sum is brought into range.
    counters : int64, (len(Counter),)
        Overflows are added.

    Returns
    -------
    int32 (accumulators to 32 bits) or int64, (..., m, n)
        If the accumulator is proven but could not be (section 10), the result is undefined.

    Raises
    ------
    ValueError
        For other dtypes, shapes, codes or zero points.
    """
    left, right, shape = _operands(a, b, a_zero, b_zero)
    check_counters(counters)
    offsets = _offsets(bias, shape[2], accumulator)
    result = empty_accumulators(shape, accumulator)
    if accumulator.overflow is Overflow.PROVEN:
        multiply_proven(left, right, offsets, result)
    else:
        _ordered(left, right, offsets, accumulator, result, counters)
    return result.reshape(*left.shape[:-1], shape[2])


def partial_extremes(
    a: FirstOperand,
    b: Codes | Prepared,
    bias: NDArray[np.int64] | None,
    *,
    a_zero: int = 0,
    b_zero: int = 0,
    tile: int = 1,
) -> tuple[int, int]:
    """Least and greatest value of the exact running sums where an accumulator would be brought into range.

    That is at the bias and after every tile: the width that the data needs. Nothing is brought into range here.

    Parameters
    ----------
    a, b, bias, a_zero, b_zero
        As `matmul` takes them.
    tile : int
        Products between two looks, 1 to 2^20, or more than there are for the bias and the last sum alone.

    Returns
    -------
    (low, high); (0, 0) if the product has no elements

    Raises
    ------
    ValueError
        For other dtypes, shapes, codes or zero points, a tile below 1, or sums that could reach 2^63.
    """
    left, right, shape = _operands(a, b, a_zero, b_zero)
    check_range("tile", tile, 1, max(MAX_TILE, left.shape[-1]))
    offsets = _offsets(bias, shape[2], None)
    if 0 in shape:
        return 0, 0
    greatest_bias = max(abs(int(offsets.min())), abs(int(offsets.max())))
    greatest = greatest_bias + left.shape[-1] * left.magnitude * right.magnitude
    check_exact("a sum", greatest)
    sums = lanes(shape[1], greatest.bit_length() + 1, 0)
    extremes = running_extremes(left.rows(shape), left.zero, right.columns, offsets, int(tile), sums)
    return int(extremes[0]), int(extremes[1])


def first_overflow(
    a: FirstOperand,
    b: Codes | Prepared,
    bias: NDArray[np.int64] | None,
    *,
    a_zero: int = 0,
    b_zero: int = 0,
    accumulator: Accumulator,
) -> tuple[int, ...] | None:
    """Where `matmul` first overflows, result by result, and in a result by k.

    Parameters
    ----------
    a, b, bias, a_zero, b_zero, accumulator
        As `matmul` takes them.

    Returns
    -------
    (batch..., row, column, k), or None
        k is the last product of the tile after which the sum was out of range, -1 for the bias. None without an
        overflow, and for a proven accumulator.

    Raises
    ------
    ValueError
        As `matmul`.
    """
    left, right, shape = _operands(a, b, a_zero, b_zero)
    offsets, rule = _offsets(bias, shape[2], accumulator), _rule(accumulator, left.shape[-1])
    if accumulator.overflow is Overflow.PROVEN:
        return None
    s, i, j, k = first_event(left.rows(shape), left.zero, right.batched, right.zero, offsets, *rule)
    if s < 0:
        return None
    where = np.unravel_index(s * shape[1] + i, left.shape[:-1])
    return (*map(int, where), j, k)


def _operands(
    a: FirstOperand, b: Codes | Prepared, a_zero: int, b_zero: int
) -> tuple[Operand, Prepared, tuple[int, int, int]]:
    """The checked operands and the (batch, m, n) of their product."""
    left = Operand("a", a, a_zero, FIRST_OPERANDS)
    right = b if isinstance(b, Prepared) else prepare(b, b_zero)
    if b_zero not in (0, right.zero):
        raise ValueError(f"b_zero is {b_zero} beside a b prepared for {right.zero}; allowed: 0 or {right.zero}")
    return left, right, _batched_shape(left.shape, right.shape)


def _ordered(
    a: Operand, b: Prepared, bias: NDArray[np.int64], acc: Accumulator, result: Accumulators, counters: Counters
) -> None:
    """A sum that cannot leave the accumulator, or is looked at once, takes its products in any order."""
    (bits, wraps, tile), terms = _rule(acc, a.shape[-1]), a.shape[-1]
    start = start_of(bias, bits, wraps, result.shape[0] * result.shape[1], counters)
    product = a.magnitude * b.magnitude
    greatest = reach(start, terms * product)
    inside = greatest < 1 << (bits - 1)
    tile = max(terms, 1) if inside else tile
    if tile >= terms and greatest < LANE_LIMIT and result.dtype == np.int32:
        multiply_proven(a, b, start, result)
        if not inside:
            fit_sums(result, bits, wraps, counters)
    else:
        sums = lanes(result.shape[1], bits, min(tile, terms) * product)
        dot_ordered(a.rows(result.shape), a.zero, b.columns, start, bits, wraps, tile, sums, result, counters)


def _rule(accumulator: Accumulator, products: int) -> tuple[int, bool, int]:
    """Width, whether it wraps, and products a tile: one for `mac`, all for `end`."""
    tiles = {Granularity.MAC: 1, Granularity.TILE: accumulator.tile, Granularity.END: max(products, 1)}
    return accumulator.bits, accumulator.overflow is Overflow.WRAP, tiles[accumulator.granularity]


def _batched_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int, int]:
    """(batch, m, n) of the product, a shared b making one batch of all rows of a."""
    if a[-1] != b[-1] or (len(b) > 2 and a[:-2] != b[:-2]):
        raise ValueError(f"a has shape {a} and b {b}; allowed: (..., m, k) with (..., n, k), or with (n, k) for all")
    if len(b) == 2:
        return 1, prod(a[:-1]), b[-2]
    return prod(a[:-2]), a[-2], b[-2]


def _offsets(bias: NDArray[np.int64] | None, n: int, accumulator: Accumulator | None) -> NDArray[np.int64]:
    """The checked bias, or zeros."""
    if bias is None:
        return np.zeros(n, np.int64)
    check_array("bias", bias, (np.int64,), 1)
    if bias.size != n:
        raise ValueError(f"bias has {bias.size} elements; allowed: {n}, the rows of b")
    if accumulator is not None and accumulator.overflow is Overflow.PROVEN:
        check_elements("bias", bias, accumulator.min, accumulator.max)
    return bias
