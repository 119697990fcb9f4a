"""Tables of 513 entries from real functions: section 7 of docs/operators/softmax.md."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Reals = NDArray[np.floating[Any]]
Function = Callable[[Reals], Reals]
STEPS, UNIT = 512, 1 << 15


def half_away(values: Reals) -> Reals:
    """HALF_AWAY to integers, in float64."""
    rounded: Reals = np.sign(values) * np.floor(np.abs(values) + 0.5)
    return rounded


def interpolation_table(
    function: Function, low: float, high: float, unit: float = UNIT, real: type[np.floating[Any]] = np.float64
) -> NDArray[np.int32]:
    """513 entries of an int16 function over [low, high], scaled by `unit`, half of the midpoint's error taken off.

    Every step is rounded to `real`; TensorFlow Lite's tables are of binary32.
    """
    step = real(high - low) / real(STEPS)
    x = real(low) + step * np.arange(STEPS + 1, dtype=real)
    exact = function(x) * real(unit)
    here = half_away(exact[:-1])
    middle = half_away((exact[1:] + here) / real(2)) - half_away(function(x[:-1] + step / real(2)) * real(unit))
    entries = np.append(here - half_away(middle / real(2)), half_away(exact[-1]))
    return entries.clip(-UNIT, UNIT - 1).astype(np.int32)


def exponential(x: Reals) -> Reals:
    """exp(x), by float64."""
    real: Reals = np.exp(x.astype(np.float64)).astype(x.dtype)
    return real


def reciprocal(x: Reals) -> Reals:
    """1 / (1 + x)."""
    one = x.dtype.type(1)
    real: Reals = one / (one + x)
    return real


_SOFTMAX_TABLES: list[tuple[Function, float, float]] = [(exponential, -10, 10), (reciprocal, 0, 1)]


@functools.cache
def softmax_tables() -> tuple[Tensor, Tensor]:
    """exp over [-10, 0] and 1/(1+x) over [0, 1] as TensorFlow Lite Micro holds them, of (S6) to (S9); int64, (513,)."""
    tables = [interpolation_table(f, low, low + span, real=np.float32) for f, low, span in _SOFTMAX_TABLES]
    first, second = (torch.from_numpy(table.astype(np.int64)) for table in tables)
    return first, second
