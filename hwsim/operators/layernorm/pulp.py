"""Integer layer normalisation of PULP and Deeploy: docs/operators/layernorm.md, section 3."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.division import FLOOR_QUOTIENT_LIMIT as QUOTIENTS
from hwsim.arithmetic.division import divisor, floor_divide
from hwsim.arithmetic.fixedpoint import OVERFLOW, SATURATION, Counters, Integer, clamp_and_change, isqrt
from hwsim.formats import IntFormat, Overflow
from hwsim.operators.arguments import Codes, check_range
from hwsim.operators.layernorm.rows import Values, checked_rows, divide_toward_zero, row_sum, squares_about
from hwsim.operators.quotients import Held

MAX_SHIFT = 31
PRODUCT_BITS = 63
GAMMA_RANGE = -(1 << 31), (1 << 31) - 1
NUMBERS = 1 << 32
"""What a floor takes is below it."""
DIGIT = 15
DIGIT_MASK = (1 << DIGIT) - 1


class PulpAffine(NamedTuple):
    """The scalars of (L8): zero points of x and of the codes, shift, ends of the codes."""

    zero: int
    shift: int
    zero_point: int
    lo: int
    hi: int


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
        SATURATE, or WRAP: what the C kernel's cast does with a code beyond the output, whose range is then not narrow.
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
    rows = checked_rows(
        x, gamma, bias, counters, zero=zero, zero_point=zero_point, output=output, gamma_range=GAMMA_RANGE
    )
    check_range("shift", shift, 0, MAX_SHIFT)
    check_range("product_bits", product_bits, 2, PRODUCT_BITS)
    if overflow not in (Overflow.SATURATE, Overflow.WRAP):
        raise ValueError(f"overflow is {overflow.value}; allowed: saturate, wrap")
    if overflow is Overflow.WRAP and output.narrow:
        raise ValueError(f"output is {output}; allowed where codes wrap: formats that are not narrow")
    codes, events = np.empty_like(rows), np.zeros_like(counters)
    by = PulpAffine(int(zero), int(shift), int(zero_point), output.min, output.max)
    wraps, room = overflow is Overflow.WRAP, np.empty(gamma.size, np.int64)
    ends = normalise_rows(rows, gamma, bias, by, bool(centred), wraps, room, codes, events)
    for end in ends:
        check_range("y * gamma", int(end), -(1 << (product_bits - 1)), (1 << (product_bits - 1)) - 1)
    counters += events
    return codes.reshape(x.shape)


@njit(cache=True, nogil=True)
def normalise_rows(
    x: Held,
    gamma: Codes,
    bias: Values,
    by: PulpAffine,
    centred: bool,
    wraps: bool,
    values: Values,
    codes: Held,
    counters: Counters,
) -> tuple[np.int64, np.int64]:
    """(L6) to (L8) on (rows, n) of any integer dtype; least and greatest y * gamma met.

    `values` is room for one row. Each pass over it is a loop of its own, so that it vectorises.
    """
    n, least, greatest = x.shape[1], np.int64(0), np.int64(0)
    for i in range(x.shape[0]):
        mean = divide_toward_zero(row_sum(x, i, by.zero, centred), n) + by.zero
        sigma = isqrt(squares_about(x, i, mean, 0) // n + 1)
        low, high = _products(x, i, mean, gamma, values)
        least, greatest = min(least, low), max(greatest, high)
        _divide(values, sigma, max(-low, high))
        if wraps:
            _wrap(values, bias, by, i, codes, counters)
        else:
            _saturate(values, bias, by, i, codes, counters)
    return least, greatest


@njit(cache=True, nogil=True)
def _products(x: Held, i: int, mean: Integer, gamma: Codes, values: Values) -> tuple[np.int64, np.int64]:
    """y * gamma of a row, and the least and greatest of them, 0 among them."""
    least, greatest = np.int64(0), np.int64(0)
    for j in range(x.shape[1]):
        product = (np.int64(x[i, j]) - mean) * np.int64(gamma[j])
        least, greatest = min(least, product), max(greatest, product)
        values[j] = product
    return least, greatest


@njit(cache=True, nogil=True)
def _divide(values: Values, sigma: Integer, most: Integer) -> None:
    """TOWARD_ZERO(value / sigma) in place, without a division an element; no |value| is above `most`.

    |y| < 2^17, so that sigma is below 2^17 and a product at most 2^48. One that a floor does not take is divided by
    hand, in digits of 15 bits: a rest below sigma and the next digit make less than 2^32.
    """
    by = divisor(sigma)
    if most < NUMBERS and most < sigma * QUOTIENTS:
        for j in range(values.size):
            magnitude = floor_divide(abs(values[j]), by)
            values[j] = magnitude - 2 * magnitude * np.int64(values[j] < 0)
    else:
        for j in range(values.size):
            n = abs(values[j])
            first = floor_divide(n >> (2 * DIGIT), by)
            rest = (((n >> (2 * DIGIT)) - first * sigma) << DIGIT) | ((n >> DIGIT) & DIGIT_MASK)
            second = floor_divide(rest, by)
            rest = ((rest - second * sigma) << DIGIT) | (n & DIGIT_MASK)
            magnitude = (((first << DIGIT) + second) << DIGIT) + floor_divide(rest, by)
            values[j] = magnitude - 2 * magnitude * np.int64(values[j] < 0)


@njit(cache=True, nogil=True, forceinline=True)
def _shifted(values: Values, j: int, bias: Values, by: PulpAffine) -> np.int64:
    """(L8) before its end."""
    return np.int64((values[j] + bias[j]) >> by.shift)


@njit(cache=True, nogil=True)
def _saturate(values: Values, bias: Values, by: PulpAffine, i: int, codes: Held, counters: Counters) -> None:
    """(L8) of quotients, with codes that saturate."""
    lo, hi, saturations = by.lo - by.zero_point, by.hi - by.zero_point, np.int64(0)
    for j in range(values.size):
        code, changed = clamp_and_change(_shifted(values, j, bias, by), lo, hi)
        codes[i, j] = code + by.zero_point
        saturations += changed
    counters[SATURATION] += saturations


@njit(cache=True, nogil=True)
def _wrap(values: Values, bias: Values, by: PulpAffine, i: int, codes: Held, counters: Counters) -> None:
    """(L8) of quotients, with codes that wrap."""
    lo, mask, overflows = np.int64(by.lo - by.zero_point), np.int64(by.hi) - by.lo, np.int64(0)
    for j in range(values.size):
        code = _shifted(values, j, bias, by)
        held = lo + ((code - lo) & mask)
        codes[i, j] = held + by.zero_point
        overflows += np.int64(held != code)
    counters[OVERFLOW] += overflows
