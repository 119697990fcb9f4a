"""Integer layer normalisation of PULP and Deeploy: docs/operators/layernorm.md, section 3."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import OVERFLOW, Counters, isqrt, saturate
from hwsim.formats import IntFormat, Overflow
from hwsim.operators.arguments import Codes, check_range
from hwsim.operators.layernorm.rows import (
    Values,
    checked_rows,
    deviations,
    divide_toward_zero,
    sums,
)

MAX_SHIFT = 31
PRODUCT_BITS = 63
GAMMA_RANGE = -(1 << 31), (1 << 31) - 1


class Affine(NamedTuple):
    """The scalars of (L8): shift, ends of the codes less their zero point, and what lies beyond them."""

    shift: int
    lo: int
    hi: int
    wraps: bool


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
    overflow: Overflow = Overflow.SATURATE,
    product_bits: int = PRODUCT_BITS,
) -> Codes:
    """Normalise each row of codes by one division an element, equations (L6) to (L8).

    Parameters
    ----------
    x : int32, (..., n)
        Codes of at most 16 bits.
    gamma : int32, (n,)
        Any int32.
    bias : int64, (n,)
        At most 2^62 in magnitude.
    shift : int
        The page's D, 0 to 31: gamma and bias stand for themselves / 2^shift in units of the output.
    zero, zero_point, output : int, int, IntFormat
        Zero points of x and of the result, and its format, at most 16 bits.
    counters : int64, (len(Counter),)
        Saturations, or codes that wrapped as overflows, are added.
    centred : bool
        Whether the mean is subtracted: LayerNorm, otherwise RMSNorm.
    overflow : Overflow
        SATURATE, or WRAP: what the C kernel's cast does with a code beyond the output.
    product_bits : int
        2 to 63; a y * gamma beyond such a signed width is refused. iRMSNorm has 32.

    Returns
    -------
    int32, (..., n)

    Raises
    ------
    ValueError
        For other dtypes, shapes, constants or formats, or a product beyond `product_bits`.
    """
    offset = checked_rows(
        x, gamma, bias, counters, zero=zero, zero_point=zero_point, output=output, gamma_range=GAMMA_RANGE
    )
    check_range("shift", shift, 0, MAX_SHIFT)
    check_range("product_bits", product_bits, 2, PRODUCT_BITS)
    if overflow not in (Overflow.SATURATE, Overflow.WRAP):
        raise ValueError(f"overflow is {overflow.value}; allowed: saturate, wrap")
    codes, events = np.empty_like(offset), np.zeros_like(counters)
    by = Affine(int(shift), output.min - int(zero_point), output.max - int(zero_point), overflow is Overflow.WRAP)
    ends = _pulp_layernorm(offset, gamma, bias, by, bool(centred), codes, events)
    for end in ends:
        check_range("y * gamma", int(end), -(1 << (product_bits - 1)), (1 << (product_bits - 1)) - 1)
    counters += events
    return (codes + np.int32(zero_point)).reshape(x.shape)


@njit(cache=True)
def _pulp_layernorm(
    x: Codes,
    gamma: Codes,
    bias: Values,
    by: Affine,
    centred: bool,
    codes: Codes,
    counters: Counters,
) -> tuple[np.int64, np.int64]:
    """(L6) to (L8) but for the zero point, which is in the limits of the clamp; least and greatest y * gamma met."""
    n, least, greatest = x.shape[1], np.int64(0), np.int64(0)
    for i in range(x.shape[0]):
        y, squares = deviations(x[i], divide_toward_zero(sums(x[i], centred)[0], n), 0)
        sigma = isqrt(squares // n + 1)
        for j in range(n):
            product = y[j] * np.int64(gamma[j])
            least, greatest = min(least, product), max(greatest, product)
            code = (divide_toward_zero(product, sigma) + bias[j]) >> by.shift
            if by.wraps:
                held = by.lo + (code - by.lo) % (np.int64(by.hi) - by.lo + 1)
                counters[OVERFLOW] += np.int64(held != code)
                codes[i, j] = np.int32(held)
            else:
                codes[i, j] = np.int32(saturate(code, by.lo, by.hi, counters))
    return least, greatest
