"""What every layer normalisation does to its arguments and to a row of codes."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arguments import (
    CODE_MAX,
    CODE_MIN,
    Codes,
    Multipliers,
    check_array,
    check_code_format,
    check_counters,
    check_elements,
    check_range,
    check_shape,
    check_zero_point,
)
from hwsim.fixedpoint import Counters, Integer, saturate
from hwsim.formats import IntFormat
from hwsim.scaling import greatest_input, scale_counted

Values = NDArray[np.int64]

SIGNED_MIN, SIGNED_MAX = -(1 << 15), (1 << 15) - 1
BIAS_MAX = 1 << 62
"""With it, no product of two codes added to a bias can leave int64."""


def check_rows(x: Codes, gamma: Codes, bias: Values, counters: Counters, bias_name: str = "bias") -> None:
    """Refuse arrays of other dtypes than those of a layer normalisation, of unlike lengths, or without elements."""
    check_array("x", x, (np.int32,))
    length = x.shape[-1]
    check_array("gamma", gamma, (np.int32,), 1)
    check_shape("gamma", gamma, (length,))
    check_array(bias_name, bias, (np.int64,), 1)
    check_shape(bias_name, bias, (length,))
    check_counters(counters)
    if length == 0:
        raise ValueError(f"x has shape {x.shape}; allowed: at least one element a row")


def check_operands(
    x: Codes, gamma: Codes, bias: Values, zero: int, gamma_range: tuple[int, int] = (SIGNED_MIN, SIGNED_MAX)
) -> None:
    """Refuse an x or its zero point that is no code, a gamma outside its range, a bias beyond 2^62."""
    check_elements("x", x, CODE_MIN, CODE_MAX)
    check_zero_point("zero", zero)
    check_elements("gamma", gamma, *gamma_range)
    check_elements("bias", bias, -BIAS_MAX, BIAS_MAX)


def check_output(zero_point: int, output: IntFormat) -> None:
    """Refuse a result that is no code."""
    check_zero_point("zero_point", zero_point)
    check_code_format("output", output)


def offset_rows(x: Codes, zero: int) -> Codes:
    """x' = x - zero as (rows, n)."""
    return x.reshape(-1, x.shape[-1]) - np.int32(zero)


def requantize(
    rule: int,
    values: Values,
    multiplier: Multipliers,
    shift: Multipliers,
    zero_point: int,
    output: IntFormat,
    counters: Counters,
) -> Codes:
    """clamp(scale(values; multiplier, shift) + zero_point) by a rule of `Scaling`, one ratio or one for each channel.

    Raises
    ------
    ValueError
        If a value is greater than what the rule takes with the ratio of its channel.
    """
    channels = values.shape[1]
    ratios = np.broadcast_to(multiplier, channels).copy(), np.broadcast_to(shift, channels).copy()
    for j, greatest in enumerate(np.abs(values).max(axis=0, initial=0)):
        limit = greatest_input(rule, ratios[0][j], ratios[1][j])
        check_range(f"the greatest magnitude of channel {j} before its last rounding", int(greatest), 0, int(limit))
    codes = np.empty(values.shape, np.int32)
    lo, hi = output.min - int(zero_point), output.max - int(zero_point)
    _requantize(rule, values, *ratios, lo, hi, codes, counters)
    return codes + np.int32(zero_point)


@njit(cache=True)
def _requantize(
    rule: int,
    values: Values,
    multiplier: Multipliers,
    shift: Multipliers,
    lo: int,
    hi: int,
    codes: Codes,
    counters: Counters,
) -> None:
    """Scale and clamp; the zero point is in the limits of the clamp."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            scaled = scale_counted(rule, values[i, j], multiplier[j], shift[j], counters)
            codes[i, j] = np.int32(saturate(scaled, lo, hi, counters))


@njit(cache=True)
def sums(row: Codes, centred: bool) -> tuple[np.int64, np.int64]:
    """Sum of a row, or 0 if its mean is left in it, and sum of squares."""
    values = row.astype(np.int64)
    return np.int64(centred) * values.sum(), (values * values).sum()


@njit(cache=True)
def deviations(row: Codes, mean: Integer, shift: Integer) -> tuple[Values, np.int64]:
    """y = x' - mean, and the sum of floor(y / 2^shift)^2."""
    values = row.astype(np.int64) - mean
    narrowed = values >> shift
    return values, (narrowed * narrowed).sum()


@njit(cache=True)
def divide_toward_zero(value: Integer, divisor: Integer) -> np.int64:
    """TOWARD_ZERO(value / divisor), divisor > 0."""
    magnitude = abs(np.int64(value)) // np.int64(divisor)
    return -magnitude if value < 0 else magnitude
