"""Tables of 513 entries from real functions, in float64: section 7 of docs/operators/softmax.md."""

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


def interpolation_table(function: Function, low: float, high: float, unit: float = UNIT) -> NDArray[np.int32]:
    """513 entries of an int16 function over [low, high], scaled by `unit`, half of the midpoint's error taken off."""
    step = (high - low) / STEPS
    x = low + step * np.arange(STEPS + 1)
    exact = function(x) * unit
    here = half_away(exact[:-1])
    middle = half_away((exact[1:] + here) / 2) - half_away(function(x[:-1] + step / 2) * unit)
    entries = np.append(here - half_away(middle / 2), half_away(exact[-1]))
    return entries.clip(-UNIT, UNIT - 1).astype(np.int32)


def exponential(x: Reals) -> Reals:
    """exp(x)."""
    real: Reals = np.exp(x)
    return real


def reciprocal(x: Reals) -> Reals:
    """1 / (1 + x)."""
    return 1 / (1 + x)


@functools.cache
def softmax_tables() -> tuple[Tensor, Tensor]:
    """exp over [-10, 0] and 1/(1+x) over [0, 1], of the int16 softmax (S6) to (S9); int64, (513,)."""
    tables = interpolation_table(exponential, -10, 0), interpolation_table(reciprocal, 0, 1)
    first, second = (torch.from_numpy(table.astype(np.int64)) for table in tables)
    return first, second
