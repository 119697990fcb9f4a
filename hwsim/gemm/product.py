"""Which engine multiplies: the fast one for proven accumulators, the ordered one for the others."""

from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from hwsim.arguments import (
    CODE_MAX,
    CODE_MIN,
    Accumulators,
    Codes,
    check_array,
    check_counters,
    check_elements,
    check_zero_point,
    empty_accumulators,
)
from hwsim.fixedpoint import Counters
from hwsim.formats import Accumulator, Overflow
from hwsim.gemm.blocked import Narrow, centre, dot_narrow, dot_wide
from hwsim.gemm.ordered import dot_ordered

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

    A proven accumulator is summed in any order. One that saturates or wraps starts at the bias and takes k = 0, 1, ...;
    each sum out of range, the bias of each result included, is one overflow event.

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
        Width and overflow rule.
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
    left = Operand("a", a, a_zero)
    right = b if isinstance(b, Prepared) else prepare(b, b_zero)
    if b_zero not in (0, right.zero):
        raise ValueError(f"b_zero is {b_zero} beside a b prepared for {right.zero}; allowed: 0 or {right.zero}")
    check_counters(counters)
    shape = _batched_shape(left.shape, right.shape)
    offsets = _offsets(bias, shape[2], accumulator)
    result = empty_accumulators(shape, accumulator)
    if accumulator.overflow is Overflow.PROVEN:
        _proven(left, right, offsets, result)
    else:
        _ordered(left, right, offsets, accumulator, result, counters)
    return result.reshape(*left.shape[:-1], shape[2])


def _proven(a: Operand, b: Operand, bias: NDArray[np.int64], result: Accumulators) -> None:
    batch, m, k = result.shape[0], result.shape[1], a.shape[-1]
    if result.dtype == np.int32 and a.narrow is not None and b.narrow is not None:
        dot_narrow(a.narrow.reshape(batch, m, k), b.narrow, bias, result)
    else:
        dot_wide(a.codes.reshape(batch, m, k), a.zero, b.batched, b.zero, bias, result)


def _ordered(
    a: Operand, b: Operand, bias: NDArray[np.int64], acc: Accumulator, result: Accumulators, counters: Counters
) -> None:
    codes = a.codes.reshape(result.shape[0], result.shape[1], a.shape[-1])
    wraps, sums = acc.overflow is Overflow.WRAP, np.empty(result.shape[2], np.int64)
    dot_ordered(codes, a.zero, b.columns, b.zero, bias, acc.bits, wraps, sums, result, counters)


def _batched_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int, int]:
    """(batch, m, n) of the product, a shared b making one batch of all rows of a."""
    if a[-1] != b[-1] or (len(b) > 2 and a[:-2] != b[:-2]):
        raise ValueError(f"a has shape {a} and b {b}; allowed: (..., m, k) with (..., n, k), or with (n, k) for all")
    if len(b) == 2:
        return 1, prod(a[:-1]), b[-2]
    return prod(a[:-2]), a[-2], b[-2]


def _offsets(bias: NDArray[np.int64] | None, n: int, accumulator: Accumulator) -> NDArray[np.int64]:
    """The checked bias, or zeros."""
    if bias is None:
        return np.zeros(n, np.int64)
    check_array("bias", bias, (np.int64,), 1)
    if bias.size != n:
        raise ValueError(f"bias has {bias.size} elements; allowed: {n}, the rows of b")
    if accumulator.overflow is Overflow.PROVEN:
        check_elements("bias", bias, accumulator.min, accumulator.max)
    return bias
