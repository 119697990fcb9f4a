"""What every layer normalisation does to its arguments and to a row of codes."""

import numpy as np
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import Counters, Integer
from hwsim.formats import IntFormat
from hwsim.operators.arguments import (
    CODE_MAX,
    CODE_MIN,
    Codes,
    check_array,
    check_code_format,
    check_counters,
    check_elements,
    check_shape,
    check_zero_point,
)
from hwsim.operators.quotients import Held

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


def checked_rows(
    x: Codes,
    gamma: Codes,
    bias: Values,
    counters: Counters,
    *,
    zero: int,
    zero_point: int,
    output: IntFormat,
    gamma_range: tuple[int, int] = (SIGNED_MIN, SIGNED_MAX),
) -> Codes:
    """x as (rows, n), after every check that operators with one result have in common.

    Refuses, besides what `check_rows` does, an x, a result or a zero point that is no code, a gamma outside its range,
    and a bias beyond 2^62.
    """
    check_rows(x, gamma, bias, counters)
    check_elements("x", x, CODE_MIN, CODE_MAX)
    check_zero_point("zero", zero)
    check_elements("gamma", gamma, *gamma_range)
    check_elements("bias", bias, -BIAS_MAX, BIAS_MAX)
    check_zero_point("zero_point", zero_point)
    check_code_format("output", output)
    return as_rows(x)


def as_rows(x: Codes) -> Codes:
    """x as (rows, n)."""
    return x.reshape(-1, x.shape[-1])


@inner
def row_sum(x: Held, i: Integer, zero: Integer, centred: bool) -> np.int64:
    """Sum of x - zero over row i, or 0 if its mean is left in it."""
    total = np.int64(0)
    for j in range(x.shape[1]):
        total += np.int64(x[i, j])
    return np.int64(centred) * (total - np.int64(x.shape[1]) * zero)


@inner
def squares_about(x: Held, i: Integer, mean: Integer, shift: Integer) -> np.int64:
    """Sum of floor((x - mean) / 2^shift)^2 over row i."""
    squares = np.int64(0)
    for j in range(x.shape[1]):
        narrowed = (np.int64(x[i, j]) - mean) >> shift
        squares += narrowed * narrowed
    return squares


@inner
def divide_toward_zero(value: Integer, divisor: Integer) -> np.int64:
    """TOWARD_ZERO(value / divisor), divisor > 0."""
    magnitude = abs(np.int64(value)) // np.int64(divisor)
    return -magnitude if value < 0 else magnitude
