"""Accumulators to codes by every scheme, and the shift that stands for sqrt(d_head): (1), (3) and (R1) to (R9)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arguments import (
    SHIFT_MAX,
    Accumulators,
    Codes,
    Multipliers,
    check_array,
    check_counters,
    check_multipliers,
    check_range,
    check_zero_point,
    multiplier_max,
)
from hwsim.fixedpoint import (
    NEGATIVE_TIE,
    POSITIVE_TIE,
    SATURATION,
    Counters,
    clamp,
    round_shift_by_rule,
)
from hwsim.formats import IntFormat, Rounding, Scaling
from hwsim.scaling import FLOAT32_INSIDE, greatest_input, least_input, scale_and_tie

Loop = Callable[..., None]

MAX_OUTPUT_BITS = 32
"""Results are held in int32: signed formats to 32 bits, unsigned ones to 31."""

_INPUTS = {
    Scaling.Q31_DOUBLE: "acc * 2^max(31 - shift, 0) from -2^31 to 2^31 - 1",
    Scaling.Q31_DOUBLE_HALF_UP: "acc * 2^max(31 - shift, 0) from -2^31 to 2^31 - 1",
    Scaling.FLOAT32: "|acc| to 2^31",
    Scaling.FLOAT32_INSIDE: "|acc| to 2^31",
}
_EXACT_INPUT = "|acc|*multiplier + floor(2^shift / 2) below 2^63"


def requantize(
    acc: Accumulators,
    multiplier: Multipliers,
    shift: Multipliers,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
    scaling: Scaling = Scaling.HALF_EVEN,
) -> Codes:
    """clamp(scale(acc; multiplier, shift) + zero_point), equation (R1); by HALF_EVEN it is (1), and (9) in 32 bits.

    Parameters
    ----------
    acc : int32 or int64, (..., channels)
        C-contiguous accumulators.
    multiplier, shift : int64, (1,) or (channels,)
        1 <= multiplier <= 2^31 - 1 (2^24 - 1 for FLOAT32 and FLOAT32_INSIDE) and 0 <= shift <= 62, one for all or one
        for each channel. What a scheme's hardware encodes may be less: `hwsim.requantization` knows.
    zero_point : int
        Added after the rounding, before the clamp; by FLOAT32_INSIDE before the last rounding.
    output : IntFormat
        Signed up to 32 bits, unsigned up to 31.
    counters : int64, (len(Counter),)
        Ties, and values that the clamp changed, are added.
    scaling : Scaling
        The arithmetic of the scheme.

    Returns
    -------
    int32, (..., channels)
        Codes of the output format. By HALF_EVEN, before the clamp, |q - zero_point - acc*multiplier/2^shift| <= 1/2.

    Raises
    ------
    ValueError
        For other dtypes, shapes, multipliers or formats, or if an accumulator is greater than the rule takes.
    """
    check_array("acc", acc, (np.int32, np.int64))
    check_counters(counters)
    check_zero_point("zero_point", zero_point)
    if output.bits > MAX_OUTPUT_BITS - int(not output.signed):
        raise ValueError(f"output has format {output}; allowed: signed to {MAX_OUTPUT_BITS} bits, unsigned to 31")
    channels = acc.shape[-1]
    check_multipliers("multiplier", multiplier, (1, channels), 1, multiplier_max(scaling))
    check_multipliers("shift", shift, (1, channels), 0, SHIFT_MAX)
    codes = np.empty(acc.shape, np.int32)
    flat, result = _rows(acc, channels), _rows(codes, channels)
    _check_inputs(flat, multiplier, shift, scaling)
    _requantize(flat, multiplier, shift, int(zero_point), output.min, output.max, result, counters, scaling)
    return codes


def shift_right(
    acc: Accumulators, shift: int, counters: Counters, rounding: Rounding = Rounding.HALF_EVEN
) -> Accumulators:
    """acc / 2^shift by one of the five roundings, (R8) without a clamp; by HALF_EVEN it is equation (3).

    Parameters
    ----------
    acc : int32 or int64, any shape
        C-contiguous accumulators.
    shift : int
        0 to 62; 0 returns a copy.
    counters : int64, (len(Counter),)
        Ties are added, also those that FLOOR and TOWARD_ZERO do not have to break.
    rounding : Rounding
        The rule.

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
    shifted, rule = np.empty_like(acc), int(Scaling[rounding.name])
    _shift_right(acc.reshape(-1), int(shift), shifted.reshape(-1), counters, rule)
    return shifted


def _rows(array: NDArray[Any], channels: int) -> NDArray[Any]:
    return array.reshape(array.size // max(channels, 1), channels)


def _check_inputs(acc: Accumulators, multiplier: Multipliers, shift: Multipliers, scaling: Scaling) -> None:
    """Refuse accumulators greater than a rule takes. Of int32, only the doubling high multiply does not take all."""
    if acc.dtype == np.int32 and scaling not in (Scaling.Q31_DOUBLE, Scaling.Q31_DOUBLE_HALF_UP):
        return
    if not _are_taken(acc, multiplier, shift, int(scaling)):
        got = f"acc of {acc.min()} to {acc.max()} by multipliers to {multiplier.max()}, shifts to {shift.max()}"
        raise ValueError(f"{got}; allowed: {_INPUTS.get(scaling, _EXACT_INPUT)}")


@njit(cache=True)
def _are_taken(acc: Accumulators, multiplier: Multipliers, shift: Multipliers, rule: int) -> bool:
    """Whether every |acc| is one that the rule takes."""
    m_step, e_step = np.int64(multiplier.size > 1), np.int64(shift.size > 1)
    least, greatest = np.empty(acc.shape[1], np.int64), np.empty(acc.shape[1], np.int64)
    for j in range(acc.shape[1]):
        least[j] = least_input(rule, multiplier[j * m_step], shift[j * e_step])
        greatest[j] = greatest_input(rule, multiplier[j * m_step], shift[j * e_step])
    beyond = np.int64(0)
    for i in range(acc.shape[0]):
        for j in range(acc.shape[1]):
            value = np.int64(acc[i, j])
            beyond += np.int64(value > greatest[j]) + np.int64(value < least[j])
    return bool(beyond == 0)


def _loop(rule: int) -> Loop:
    """Equation (R1) on (rows, channels) by one rule, a constant to the compiler.

    Events are kept in registers so that the loop vectorises. The zero point moves the bounds of the clamp instead of
    the value, which it could carry past 2^63.
    """

    @njit(cache=True)
    def loop(
        acc: Accumulators,
        multiplier: Multipliers,
        shift: Multipliers,
        zero_point: int,
        lo: int,
        hi: int,
        result: Codes,
        counters: Counters,
    ) -> None:
        m_step, e_step = np.int64(multiplier.size > 1), np.int64(shift.size > 1)
        inside = zero_point if rule == FLOAT32_INSIDE else 0
        outside = zero_point - inside
        saturations, ties, balance = np.int64(0), np.int64(0), np.int64(0)
        for i in range(acc.shape[0]):
            for j in range(acc.shape[1]):
                value, tie = scale_and_tie(rule, acc[i, j], multiplier[j * m_step], shift[j * e_step], inside)
                clamped = clamp(value, lo - outside, hi - outside)
                ties += tie & 1
                balance += tie
                saturations += np.int64(clamped != value)
                result[i, j] = np.int32(clamped + outside)
        counters[SATURATION] += saturations
        counters[POSITIVE_TIE] += (ties + balance) >> 1
        counters[NEGATIVE_TIE] += (ties - balance) >> 1

    return loop


LOOPS: dict[Scaling, Loop] = {scaling: _loop(int(scaling)) for scaling in Scaling}
"""The loop of every rule; each is compiled when it is first used."""


def _requantize(
    acc: Accumulators,
    multiplier: Multipliers,
    shift: Multipliers,
    zero_point: int,
    lo: int,
    hi: int,
    result: Codes,
    counters: Counters,
    scaling: Scaling,
) -> None:
    LOOPS[scaling](acc, multiplier, shift, zero_point, lo, hi, result, counters)


@njit(cache=True)
def _shift_right(acc: Accumulators, shift: int, result: Accumulators, counters: Counters, rule: int) -> None:
    """Equation (3) on a flat array; no result is further from zero than acc or -1, so it fits its dtype."""
    for i in range(acc.size):
        result[i] = round_shift_by_rule(rule, np.int64(acc[i]), shift, counters)
