"""Which engine multiplies: the fast one for proven accumulators, the ordered one for the others."""

from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import Counters
from hwsim.formats import MAX_TILE, Accumulator, Granularity, Overflow
from hwsim.operators.arguments import (
    CODE_MAX,
    CODE_MIN,
    Accumulators,
    Codes,
    check_array,
    check_counters,
    check_elements,
    check_exact,
    check_range,
    check_zero_point,
    empty_accumulators,
)
from hwsim.operators.gemm.blocked import Narrow, centre, dot_narrow, dot_wide
from hwsim.operators.gemm.ordered import dot_ordered, first_event, running_extremes

NARROW_MIN, NARROW_MAX = -(1 << 15), (1 << 15) - 1


class Operand:
    """Codes (..., rows, k) of a zero point, checked once, with the forms that an engine may want.

    Raises
    ------
    ValueError
        If the codes are not int32, C-contiguous, of at least two dimensions and at most 16 bits.
    """

    def __init__(self, name: str, codes: Codes, zero: int) -> None:
        check_array(name, codes, (np.int32,))
        check_zero_point(f"{name}_zero", zero)
        if codes.ndim < 2:
            raise ValueError(f"{name} has shape {codes.shape}; allowed: at least two dimensions")
        self.codes, self.zero = codes, int(zero)
        self.bounds = check_elements(name, codes, CODE_MIN, CODE_MAX)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes."""
        return self.codes.shape

    @property
    def batched(self) -> Codes:
        """The codes with one batch dimension, (batch, rows, k)."""
        return self.codes.reshape(prod(self.shape[:-2]), *self.shape[-2:])

    @property
    def magnitude(self) -> int:
        """The greatest |code - zero point|."""
        return max(abs(bound - self.zero) for bound in self.bounds)

    def rows(self, shape: tuple[int, ...]) -> Codes:
        """The codes of a first operand as the batch and rows of a product of this shape."""
        return self.codes.reshape(shape[0], shape[1], self.shape[-1])

    @cached_property
    def narrow(self) -> Narrow | None:
        """Codes minus zero point as int16, (batch, rows, k), or None if they do not fit."""
        if self.bounds[0] - self.zero < NARROW_MIN or self.bounds[1] - self.zero > NARROW_MAX:
            return None
        centred = np.empty(self.batched.shape, np.int16)
        centre(self.codes.reshape(-1), self.zero, centred.reshape(-1))
        return centred

    @cached_property
    def columns(self) -> Codes:
        """The codes transposed, (batch, k, rows)."""
        return np.ascontiguousarray(self.batched.swapaxes(1, 2))


class Prepared(Operand):
    """A second operand made by `prepare`. It refers to the codes it was made from; they must not change after."""


def prepare(b: Codes, b_zero: int = 0) -> Prepared:
    """Check and convert a constant second operand once, for many calls of `matmul`.

    Parameters
    ----------
    b : int32, (..., n, k)
        Codes of at most 16 bits, the summed dimension last.
    b_zero : int
        Their zero point.

    Raises
    ------
    ValueError
        For other dtypes, layouts, codes or zero points.
    """
    return Prepared("b", b, b_zero)


def matmul(
    a: Codes,
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
    a : int32, (..., m, k)
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
        _proven(left, right, offsets, result)
    else:
        _ordered(left, right, offsets, accumulator, result, counters)
    return result.reshape(*left.shape[:-1], shape[2])


def partial_extremes(
    a: Codes,
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
    check_exact("a sum", greatest_bias + left.shape[-1] * left.magnitude * right.magnitude)
    extremes = running_extremes(left.rows(shape), left.zero, right.columns, right.zero, offsets, int(tile))
    return int(extremes[0]), int(extremes[1])


def first_overflow(
    a: Codes,
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
    a: Codes, b: Codes | Prepared, a_zero: int, b_zero: int
) -> tuple[Operand, Prepared, tuple[int, int, int]]:
    """The checked operands and the (batch, m, n) of their product."""
    left = Operand("a", a, a_zero)
    right = b if isinstance(b, Prepared) else prepare(b, b_zero)
    if b_zero not in (0, right.zero):
        raise ValueError(f"b_zero is {b_zero} beside a b prepared for {right.zero}; allowed: 0 or {right.zero}")
    return left, right, _batched_shape(left.shape, right.shape)


def _proven(a: Operand, b: Operand, bias: NDArray[np.int64], result: Accumulators) -> None:
    batch, m, k = result.shape[0], result.shape[1], a.shape[-1]
    if result.dtype == np.int32 and a.narrow is not None and b.narrow is not None:
        dot_narrow(a.narrow.reshape(batch, m, k), b.narrow, bias, result)
    else:
        dot_wide(a.rows(result.shape), a.zero, b.batched, b.zero, bias, result)


def _ordered(
    a: Operand, b: Operand, bias: NDArray[np.int64], acc: Accumulator, result: Accumulators, counters: Counters
) -> None:
    rule = _rule(acc, a.shape[-1])
    dot_ordered(a.rows(result.shape), a.zero, b.columns, b.zero, bias, *rule, result, counters)


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
