"""Whole converters of particular machines, more than one ratio: (R11) and (R12) of docs/operators/requantization.md."""

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import (
    NEGATIVE_TIE,
    OVERFLOW,
    POSITIVE_TIE,
    Counters,
    half_away_shift,
    saturate,
    tie_sign,
    wrap,
)
from hwsim.formats import IntFormat, Rounding
from hwsim.operators.arguments import (
    Accumulators,
    Codes,
    Multipliers,
    check_array,
    check_counters,
    check_elements,
    check_multipliers,
    check_range,
)

INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
PRODUCT_BITS = 32
"""Width of Deeploy's product and of everything after it."""
MAX_REQUANT_SHIFT, MAX_TRUNCATE = 31, 63
ZERO_TRUNCATE = 50
"""The converter's product has 49 bits: a shift by so many bits, or more, gives 0."""


def requant_shift(
    acc: Accumulators,
    multiplier: Multipliers,
    add: Multipliers,
    shift: int,
    *,
    rounding: Rounding,
    output: IntFormat,
    counters: Counters,
) -> Codes:
    """clamp((acc * multiplier + add + r * 2^(shift - 1)) >> shift) in int32, equation (R11): Deeploy's RequantShift.

    Parameters
    ----------
    acc : int32 or int64, (..., channels)
        C-contiguous accumulators of int32.
    multiplier, add : int64, (1,) or (channels,)
        int32 of either sign, one for all or one for each channel; the zero point and the bias are part of add.
    shift : int
        0 to 31.
    rounding : Rounding
        HALF_UP adds 2^(shift - 1) (r = 1), FLOOR nothing.
    output : IntFormat
        Signed up to 32 bits, unsigned up to 31.
    counters : int64, (len(Counter),)
        Sums that wrap modulo 2^32 (as overflows), ties of the exact sum, and values that the clamp changed, are added.

    Returns
    -------
    int32, (..., channels)

    Raises
    ------
    ValueError
        For other dtypes, shapes, roundings or formats, or numbers beyond int32.
    """
    _check(acc, counters, output)
    channels = acc.shape[-1]
    check_multipliers("multiplier", multiplier, (1, channels), INT32_MIN, INT32_MAX)
    check_multipliers("add", add, (1, channels), INT32_MIN, INT32_MAX)
    check_range("shift", shift, 0, MAX_REQUANT_SHIFT)
    if rounding not in (Rounding.HALF_UP, Rounding.FLOOR):
        raise ValueError(f"rounding is {rounding.name}; allowed: HALF_UP, FLOOR")
    half = (1 << shift >> 1) * int(rounding is Rounding.HALF_UP)
    flat = acc.reshape(acc.size // max(channels, 1), channels)
    codes = np.empty(flat.shape, np.int32)
    _requant_shift(flat, multiplier, add, int(shift), half, (output.min, output.max), codes, counters)
    return codes.reshape(acc.shape)


def nvdla_convert(
    x: Accumulators,
    *,
    offset: int,
    multiplier: Multipliers,
    shift: int,
    output: IntFormat,
    counters: Counters,
) -> Codes:
    """clamp(HALF_AWAY((x - offset) * multiplier / 2^shift)), equation (R12): a converter of NVDLA's SDP.

    Parameters
    ----------
    x : int32 or int64, (..., channels)
        C-contiguous, of int32.
    offset : int
        int32.
    multiplier : int64, (1,) or (channels,)
        int16 of either sign, one for all or one for each channel.
    shift : int
        0 to 63, one for the layer.
    output : IntFormat
        Signed, up to 32 bits.
    counters : int64, (len(Counter),)
        Ties, and values that the clamp changed, are added.

    Returns
    -------
    int32, (..., channels)

    Raises
    ------
    ValueError
        For other dtypes, shapes or formats, or numbers beyond those widths.
    """
    _check(x, counters, output)
    if not output.signed:
        raise ValueError(f"output has format {output}; allowed: signed formats")
    channels = x.shape[-1]
    check_range("offset", offset, INT32_MIN, INT32_MAX)
    check_multipliers("multiplier", multiplier, (1, channels), INT16_MIN, INT16_MAX)
    check_range("shift", shift, 0, MAX_TRUNCATE)
    flat = x.reshape(x.size // max(channels, 1), channels)
    codes = np.empty(flat.shape, np.int32)
    limits = output.min, output.max
    _nvdla_convert(flat, int(offset), multiplier, min(int(shift), ZERO_TRUNCATE), limits, codes, counters)
    return codes.reshape(x.shape)


def _check(values: Accumulators, counters: Counters, output: IntFormat) -> None:
    check_array("acc", values, (np.int32, np.int64))
    check_counters(counters)
    check_elements("acc", values, INT32_MIN, INT32_MAX)
    if output.bits > PRODUCT_BITS - int(not output.signed):
        raise ValueError(f"output has format {output}; allowed: signed to {PRODUCT_BITS} bits, unsigned to 31")


@njit(cache=True, nogil=True)
def _requant_shift(
    acc: Accumulators,
    multiplier: Multipliers,
    add: Multipliers,
    shift: int,
    half: int,
    limits: tuple[int, int],
    codes: Codes,
    counters: Counters,
) -> None:
    """Equation (R11) on (rows, channels)."""
    m_step, a_step = np.int64(multiplier.size > 1), np.int64(add.size > 1)
    for i in range(acc.shape[0]):
        for j in range(acc.shape[1]):
            exact = np.int64(acc[i, j]) * multiplier[j * m_step] + add[j * a_step]
            held = wrap(exact + half, PRODUCT_BITS)
            counters[OVERFLOW] += np.int64(held != exact + half)
            _count_tie(tie_sign(exact, shift), counters)
            codes[i, j] = np.int32(saturate(held >> shift, limits[0], limits[1], counters))


@njit(cache=True, nogil=True)
def _nvdla_convert(
    x: Accumulators,
    offset: int,
    multiplier: Multipliers,
    shift: int,
    limits: tuple[int, int],
    codes: Codes,
    counters: Counters,
) -> None:
    """Equation (R12) on (rows, channels)."""
    step = np.int64(multiplier.size > 1)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            exact = (np.int64(x[i, j]) - offset) * multiplier[j * step]
            _count_tie(tie_sign(exact, shift), counters)
            codes[i, j] = np.int32(saturate(half_away_shift(exact, shift), limits[0], limits[1], counters))


@inner
def _count_tie(tie: np.int64, counters: Counters) -> None:
    counters[POSITIVE_TIE] += np.int64(tie > 0)
    counters[NEGATIVE_TIE] += np.int64(tie < 0)
