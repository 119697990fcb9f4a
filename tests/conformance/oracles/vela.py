"""Arm Vela, the Ethos-U compiler: its Python port of gemmlowp's fixed-point primitives, one number at a time."""

from typing import Any

import numpy as np
from ethosu.vela import fp_math
from numpy.typing import NDArray

Words = NDArray[np.int32]


def high_multiply(a: Words, b: Words) -> NDArray[np.int64]:
    """saturating_rounding_mul32 of two flat arrays."""
    return _each(fp_math.saturating_rounding_mul32, a, b)


def divide_by_power_of_two(a: Words, exponent: NDArray[np.int64]) -> NDArray[np.int64]:
    """rounding_divide_by_pot of two flat arrays."""
    return _each(fp_math.rounding_divide_by_pot, a, exponent)


def saturating_shift_left(a: Words, shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """shift_left32 of two flat arrays."""
    return _each(fp_math.shift_left32, a, shift)


def exp_on_negative_values(a: Words) -> NDArray[np.int64]:
    """exp of flat Q5.26 numbers, none above zero, as Q0.31."""
    return _each(fp_math.exp_on_negative_values, a)


def multiply_by_quantized_multiplier(
    a: Words, multiplier: NDArray[np.int64], shift: NDArray[np.int64]
) -> NDArray[np.int64]:
    """a * multiplier / 2^shift for flat arrays, rounded twice."""
    return _each(fp_math.multiply_by_quantized_multiplier, a, multiplier, shift)


def _each(function: Any, *columns: NDArray[Any]) -> NDArray[np.int64]:
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return np.array([int(function(*row)) for row in rows], np.int64)
