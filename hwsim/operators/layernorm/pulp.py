"""Integer layer normalisation of PULP and Deeploy: docs/operators/layernorm.md, section 3."""

from typing import NamedTuple

import numpy as np
from numba import njit

from hwsim.arithmetic.division import FLOOR_QUOTIENT_LIMIT as NEAR
from hwsim.arithmetic.division import Divisor, divisor, floor_divide
from hwsim.arithmetic.fixedpoint import OVERFLOW, SATURATION, Counters, Integer, clamp_and_change, isqrt, saturate
from hwsim.formats import IntFormat, Overflow
from hwsim.operators.arguments import Codes, check_range
from hwsim.operators.layernorm.rows import Values, checked_rows, divide_toward_zero, row_sum, squares_about
from hwsim.operators.quotients import Held

MAX_SHIFT = 31
PRODUCT_BITS = 63
GAMMA_RANGE = -(1 << 31), (1 << 31) - 1


class PulpAffine(NamedTuple):
    """The scalars of (L8): zero points of x and of the codes, shift, ends of the codes, what lies beyond them."""

    zero: int
    shift: int
    zero_point: int
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
    rows = checked_rows(
        x, gamma, bias, counters, zero=zero, zero_point=zero_point, output=output, gamma_range=GAMMA_RANGE
    )
    check_range("shift", shift, 0, MAX_SHIFT)
    check_range("product_bits", product_bits, 2, PRODUCT_BITS)
    if overflow not in (Overflow.SATURATE, Overflow.WRAP):
        raise ValueError(f"overflow is {overflow.value}; allowed: saturate, wrap")
    codes, events = np.empty_like(rows), np.zeros_like(counters)
    wraps = overflow is Overflow.WRAP
    by = PulpAffine(int(zero), int(shift), int(zero_point), output.min, output.max, wraps)
    ends = normalise_rows(rows, gamma, bias, by, bool(centred), codes, events)
    for end in ends:
        check_range("y * gamma", int(end), -(1 << (product_bits - 1)), (1 << (product_bits - 1)) - 1)
    counters += events
    return codes.reshape(x.shape)


@njit(cache=True, nogil=True)
def normalise_rows(
    x: Held, gamma: Codes, bias: Values, by: PulpAffine, centred: bool, codes: Held, counters: Counters
) -> tuple[np.int64, np.int64]:
    """(L6) to (L8) on (rows, n) of any integer dtype; least and greatest y * gamma met."""
    n, least, greatest = x.shape[1], np.int64(0), np.int64(0)
    for i in range(x.shape[0]):
        mean = divide_toward_zero(row_sum(x, i, by.zero, centred), n) + by.zero
        sigma = isqrt(squares_about(x, i, mean, 0) // n + 1)
        low, high = _products(x, i, mean, gamma)
        least, greatest = min(least, low), max(greatest, high)
        if by.wraps:
            _wrapped(x, i, mean, sigma, gamma, bias, by, codes, counters)
        elif max(-low, high) < NEAR:
            _near(x, i, mean, divisor(sigma), gamma, bias, by, codes, counters)
        else:
            _far(x, i, mean, sigma, gamma, bias, by, codes, counters)
    return least, greatest


@njit(cache=True, nogil=True)
def _products(x: Held, i: int, mean: Integer, gamma: Codes) -> tuple[np.int64, np.int64]:
    """Least and greatest y * gamma of a row, 0 among them."""
    least, greatest = np.int64(0), np.int64(0)
    for j in range(x.shape[1]):
        product = (np.int64(x[i, j]) - mean) * np.int64(gamma[j])
        least, greatest = min(least, product), max(greatest, product)
    return least, greatest


@njit(cache=True, nogil=True)
def _near(
    x: Held,
    i: int,
    mean: Integer,
    sigma: Divisor,
    gamma: Codes,
    bias: Values,
    by: PulpAffine,
    codes: Held,
    counters: Counters,
) -> None:
    """(L7) and (L8) without a division an element."""
    saturations = np.int64(0)
    for j in range(x.shape[1]):
        product = (np.int64(x[i, j]) - mean) * np.int64(gamma[j])
        magnitude = floor_divide(abs(product), sigma)
        quotient = magnitude - 2 * magnitude * np.int64(product < 0)
        code, changed = clamp_and_change((quotient + bias[j]) >> by.shift, by.lo - by.zero_point, by.hi - by.zero_point)
        codes[i, j] = code + by.zero_point
        saturations += changed
    counters[SATURATION] += saturations


@njit(cache=True, nogil=True)
def _far(
    x: Held,
    i: int,
    mean: Integer,
    sigma: Integer,
    gamma: Codes,
    bias: Values,
    by: PulpAffine,
    codes: Held,
    counters: Counters,
) -> None:
    """(L7) and (L8) of every product."""
    for j in range(x.shape[1]):
        product = (np.int64(x[i, j]) - mean) * np.int64(gamma[j])
        code = (divide_toward_zero(product, sigma) + bias[j]) >> by.shift
        codes[i, j] = saturate(code, by.lo - by.zero_point, by.hi - by.zero_point, counters) + by.zero_point


@njit(cache=True, nogil=True)
def _wrapped(
    x: Held,
    i: int,
    mean: Integer,
    sigma: Integer,
    gamma: Codes,
    bias: Values,
    by: PulpAffine,
    codes: Held,
    counters: Counters,
) -> None:
    """(L7) and (L8) with codes that wrap."""
    lo, span = np.int64(by.lo - by.zero_point), np.int64(by.hi) - by.lo + 1
    for j in range(x.shape[1]):
        product = (np.int64(x[i, j]) - mean) * np.int64(gamma[j])
        code = (divide_toward_zero(product, sigma) + bias[j]) >> by.shift
        held = lo + (code - lo) % span
        counters[OVERFLOW] += np.int64(held != code)
        codes[i, j] = held + by.zero_point
