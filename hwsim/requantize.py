"""Accumulators to codes, and the shift that stands for sqrt(d_head): equations (1) and (3) of docs/numerics.md."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arguments import (
    MULTIPLIER_MAX,
    SHIFT_MAX,
    Accumulators,
    Codes,
    Multipliers,
    check_array,
    check_counters,
    check_multipliers,
    check_range,
    check_zero_point,
)
from hwsim.fixedpoint import (
    NEGATIVE_TIE,
    POSITIVE_TIE,
    SATURATION,
    Counters,
    clamp,
    half_even_shift,
    is_shift_tie,
    round_shift,
)
from hwsim.formats import IntFormat

EXACT_MAX = (1 << 63) - 1
MAX_OUTPUT_BITS = 32
"""Results are held in int32: signed formats to 32 bits, unsigned ones to 31."""


def requantize(
    acc: Accumulators,
    multiplier: Multipliers,
    shift: Multipliers,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
) -> Codes:
    """clamp(HALF_EVEN(acc * multiplier / 2^shift) + zero_point), equation (1); (9) with a signed 32-bit format.

    Parameters
    ----------
    acc : int32 or int64, (..., channels)
        C-contiguous accumulators.
    multiplier, shift : int64, (1,) or (channels,)
        1 <= multiplier <= 2^16 - 1 and 0 <= shift <= 62, one for all or one for each channel.
    zero_point : int
        Added after the rounding, before the clamp.
    output : IntFormat
        Signed up to 32 bits, unsigned up to 31.
    counters : int64, (len(Counter),)
        Ties, and values that the clamp changed, are added.

    Returns
    -------
    int32, (..., channels)
        Codes of the output format. Before the clamp |q - zero_point - acc*multiplier/2^shift| <= 1/2.

    Raises
    ------
    ValueError
        For other dtypes, shapes, multipliers or formats, or if |acc|*multiplier + floor(2^shift / 2) reaches 2^63.
    """
    check_array("acc", acc, (np.int32, np.int64))
    check_counters(counters)
    check_zero_point("zero_point", zero_point)
    if output.bits > MAX_OUTPUT_BITS - int(not output.signed):
        raise ValueError(f"output has format {output}; allowed: signed to {MAX_OUTPUT_BITS} bits, unsigned to 31")
    channels = acc.shape[-1]
    check_multipliers("multiplier", multiplier, (1, channels), 1, MULTIPLIER_MAX)
    check_multipliers("shift", shift, (1, channels), 0, SHIFT_MAX)
    codes = np.empty(acc.shape, np.int32)
    flat, result = _rows(acc, channels), _rows(codes, channels)
    if acc.dtype == np.int64 and not _is_exact(flat, multiplier, shift):
        got = f"acc of {acc.min()} to {acc.max()} by multipliers to {multiplier.max()}, shifts to {shift.max()}"
        raise ValueError(f"{got}; allowed: |acc|*multiplier + floor(2^shift / 2) below 2^63")
    _requantize(flat, multiplier, shift, int(zero_point), output.min, output.max, result, counters)
    return codes


def shift_right(acc: Accumulators, shift: int, counters: Counters) -> Accumulators:
    """HALF_EVEN(acc / 2^shift), equation (3).

    Parameters
    ----------
    acc : int32 or int64, any shape
        C-contiguous accumulators.
    shift : int
        0 to 62; 0 returns a copy.
    counters : int64, (len(Counter),)
        Ties are added.

    Returns
    -------
    the dtype and shape of acc

    Raises
    ------
    ValueError
        For another dtype, layout or shift.
    """
    check_array("acc", acc, (np.int32, np.int64))
    check_counters(counters)
    check_range("shift", shift, 0, SHIFT_MAX)
    shifted = np.empty_like(acc)
    _shift_right(acc.reshape(-1), int(shift), shifted.reshape(-1), counters)
    return shifted


def _rows(array: NDArray[Any], channels: int) -> NDArray[Any]:
    return array.reshape(array.size // max(channels, 1), channels)


@njit(cache=True)
def _is_exact(acc: Accumulators, multiplier: Multipliers, shift: Multipliers) -> bool:
    """Whether |acc|*multiplier + floor(2^shift / 2) stays below 2^63; of int32 it always does."""
    m_step, e_step = np.int64(multiplier.size > 1), np.int64(shift.size > 1)
    exact = True
    for j in range(acc.shape[1]):
        half = (np.int64(1) << shift[j * e_step]) >> 1
        limit = (EXACT_MAX - half) // multiplier[j * m_step]
        for i in range(acc.shape[0]):
            exact &= -limit <= np.int64(acc[i, j]) <= limit
    return exact


@njit(cache=True)
def _requantize(
    acc: Accumulators,
    multiplier: Multipliers,
    shift: Multipliers,
    zero_point: int,
    lo: int,
    hi: int,
    result: Codes,
    counters: Counters,
) -> None:
    """Equation (1) on (rows, channels); events are kept in registers so that the loop vectorises.

    The zero point moves the bounds of the clamp instead of the value, which it could carry past 2^63.
    """
    m_step, e_step = np.int64(multiplier.size > 1), np.int64(shift.size > 1)
    saturations, positive, negative = np.int64(0), np.int64(0), np.int64(0)
    for i in range(acc.shape[0]):
        for j in range(acc.shape[1]):
            product = np.int64(acc[i, j]) * multiplier[j * m_step]
            e = shift[j * e_step]
            value = half_even_shift(product, e)
            clamped = clamp(value, lo - zero_point, hi - zero_point)
            tie = np.int64(is_shift_tie(product, e))
            below_zero = np.int64(product < 0)
            negative += tie & below_zero
            positive += tie & (1 - below_zero)
            saturations += np.int64(clamped != value)
            result[i, j] = np.int32(clamped + zero_point)
    counters[SATURATION] += saturations
    counters[POSITIVE_TIE] += positive
    counters[NEGATIVE_TIE] += negative


@njit(cache=True)
def _shift_right(acc: Accumulators, shift: int, result: Accumulators, counters: Counters) -> None:
    """Equation (3) on a flat array; the result is nearer to zero than acc, so it fits its dtype."""
    for i in range(acc.size):
        result[i] = round_shift(np.int64(acc[i]), shift, counters)
