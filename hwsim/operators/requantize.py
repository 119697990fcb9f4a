"""Accumulators to codes by every scheme, and the shift that stands for sqrt(d_head): (1), (3) and (R1) to (R9)."""

from collections.abc import Callable

import numpy as np
from numba import njit

from hwsim.arithmetic.fixedpoint import (
    Counters,
    round_shift_by_rule,
)
from hwsim.formats import IntFormat, Rounding, Scaling
from hwsim.operators.arguments import (
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
from hwsim.operators.rescale import rescale

Loop = Callable[..., None]

MAX_OUTPUT_BITS = 32
"""Results are held in int32: signed formats to 32 bits, unsigned ones to 31."""


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
        for each channel. What a scheme's hardware encodes may be less: `hwsim.program.catalogue` knows.
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
    flat = acc.reshape(acc.size // max(channels, 1), channels)
    return rescale(flat, multiplier, shift, zero_point, output, counters, scaling).reshape(acc.shape)


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


@njit(cache=True)
def _shift_right(acc: Accumulators, shift: int, result: Accumulators, counters: Counters, rule: int) -> None:
    """Equation (3) on a flat array; no result is further from zero than acc or -1, so it fits its dtype."""
    for i in range(acc.size):
        result[i] = round_shift_by_rule(rule, np.int64(acc[i]), shift, counters)
