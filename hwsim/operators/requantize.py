"""Accumulators to codes by every scheme, and the shift that stands for sqrt(d_head): (1), (3) and (R1) to (R9)."""

from collections.abc import Callable

import numpy as np
from numba import njit

from hwsim.arithmetic.compilation import inner, named
from hwsim.arithmetic.fixedpoint import (
    SATURATION,
    Counters,
    add_events,
    clamp_and_change,
    shift_by_rule,
    tie_sign,
)
from hwsim.formats import IntFormat, Rounding, Scaling
from hwsim.operators.arguments import (
    INT64_MAX,
    INT64_MIN,
    SHIFT_MAX,
    Accumulators,
    Codes,
    Multipliers,
    check_array,
    check_counters,
    check_elements,
    check_multipliers,
    check_range,
    check_shape,
    check_zero_point,
    multiplier_max,
    multiplier_min,
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
        1 <= multiplier <= 2^31 - 1 (2^24 - 1 for FLOAT32 and FLOAT32_INSIDE; 0 too by HALF_UP), 0 <= shift <= 62, one
        for all or one for each channel. What a scheme's hardware encodes may be less: `hwsim.program.catalogue` knows.
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
    check_multipliers("multiplier", multiplier, (1, channels), multiplier_min(scaling), multiplier_max(scaling))
    check_multipliers("shift", shift, (1, channels), 0, SHIFT_MAX)
    flat = acc.reshape(acc.size // max(channels, 1), channels)
    return rescale(flat, multiplier, shift, zero_point, output, counters, scaling).reshape(acc.shape)


def shift_right(
    acc: Accumulators,
    shift: int,
    counters: Counters,
    rounding: Rounding = Rounding.HALF_EVEN,
    output: IntFormat | None = None,
) -> Accumulators:
    """acc / 2^shift by one of the five roundings, (R13); by HALF_EVEN and without an output format it is equation (3).

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
    output : IntFormat, optional
        Signed; what lies beyond it saturates, counted. Without it nothing can: no result is further from 0 than acc.

    Returns
    -------
    the dtype of acc, or int32 for an output of at most 32 bits and int64 for a wider one; the shape of acc

    Raises
    ------
    ValueError
        For another dtype, layout, shift or an unsigned output.
    """
    check_array("acc", acc, (np.int32, np.int64))
    check_counters(counters)
    check_range("shift", shift, 0, SHIFT_MAX)
    if output is not None and not output.signed:
        raise ValueError(f"output has format {output}; allowed: signed formats")
    dtype = acc.dtype if output is None else np.dtype(np.int32 if output.bits <= MAX_OUTPUT_BITS else np.int64)
    limits = (INT64_MIN, INT64_MAX) if output is None else (output.min, output.max)
    shifted = np.empty(acc.shape, dtype)
    SHIFTS[rounding](acc.reshape(-1), int(shift), *limits, shifted.reshape(-1), counters)
    return shifted


def add_bias(acc: Accumulators, bias: Multipliers, output: IntFormat, counters: Counters) -> Accumulators:
    """clamp(acc + bias), the sum after (R13).

    Parameters
    ----------
    acc : int32 or int64, (..., channels)
        C-contiguous, at most 63 bits.
    bias : int64, (channels,)
        At most 63 bits.
    output : IntFormat
        Signed.
    counters : int64, (len(Counter),)
        Sums that the clamp changed are added.

    Returns
    -------
    the dtype and shape of acc

    Raises
    ------
    ValueError
        For other dtypes, shapes, numbers or an unsigned output.
    """
    check_array("acc", acc, (np.int32, np.int64))
    check_counters(counters)
    check_array("bias", bias, (np.int64,), 1)
    check_shape("bias", bias, acc.shape[-1:])
    check_elements("acc", acc, -(1 << 62), (1 << 62) - 1)
    check_elements("bias", bias, -(1 << 62), (1 << 62) - 1)
    if not output.signed:
        raise ValueError(f"output has format {output}; allowed: signed formats")
    held = np.empty_like(acc)
    rows = (acc.size // max(bias.size, 1), bias.size)
    add_bias_rows(acc.reshape(rows), bias, output.min, output.max, held.reshape(rows), counters)
    return held


@njit(cache=True, nogil=True)
def add_bias_rows(
    acc: Accumulators, bias: Multipliers, lo: int, hi: int, result: Accumulators, counters: Counters
) -> None:
    """clamp(acc + bias) on (rows, channels), in place too; the caller has checked what `add_bias` checks."""
    saturations = np.int64(0)
    for i in range(acc.shape[0]):
        for j in range(acc.shape[1]):
            held, changed = clamp_and_change(np.int64(acc[i, j]) + bias[j], lo, hi)
            result[i, j] = held
            saturations += changed
    counters[SATURATION] += saturations


@inner(forceinline=True)
def shift_flat(
    rule: int, acc: Accumulators, shift: int, lo: int, hi: int, result: Accumulators, counters: Counters
) -> None:
    """Equations (3) and (R13) on flat arrays by one rounding, which has to be a constant of the caller to be fast."""
    ties, balance, saturations = np.int64(0), np.int64(0), np.int64(0)
    for i in range(acc.size):
        tie = tie_sign(np.int64(acc[i]), shift)
        held, changed = clamp_and_change(shift_by_rule(rule, np.int64(acc[i]), shift), lo, hi)
        result[i] = held
        ties += tie & 1
        balance += tie
        saturations += changed
    add_events(ties, balance, saturations, counters)


def _shift(rule: int) -> Loop:
    """`shift_flat` by one rounding."""

    @njit(cache=True, nogil=True)
    @named(rule)
    def loop(acc: Accumulators, shift: int, lo: int, hi: int, result: Accumulators, counters: Counters) -> None:
        shift_flat(rule, acc, shift, lo, hi, result, counters)

    return loop


SHIFTS: dict[Rounding, Loop] = {rounding: _shift(int(Scaling[rounding.name])) for rounding in Rounding}
"""The loop of every rounding; each is compiled when it is first used."""
