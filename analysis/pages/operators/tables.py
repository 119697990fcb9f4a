"""Tables of 513 and of 2^bits entries from real functions, in float64: docs/operators/softmax.md 7, activation.md 3."""

import math
from collections.abc import Callable

import numpy as np

from analysis.pages.operators.study import Codes, Reals

Function = Callable[[Reals], Reals]
STEPS, UNIT = 512, 1 << 15


def half_away(values: Reals) -> Reals:
    """HALF_AWAY to integers, in float64."""
    rounded: Reals = np.sign(values) * np.floor(np.abs(values) + 0.5)
    return rounded


def interpolation_table(function: Function, low: float, high: float, unit: float = UNIT) -> Codes:
    """513 entries of an int16 function over [low, high], scaled by `unit`, half of the midpoint's error taken off."""
    step = (high - low) / STEPS
    x = low + step * np.arange(STEPS + 1)
    exact = function(x) * unit
    here = half_away(exact[:-1])
    middle = half_away((exact[1:] + here) / 2) - half_away(function(x[:-1] + step / 2) * unit)
    entries = np.append(here - half_away(middle / 2), half_away(exact[-1]))
    return entries.clip(-UNIT, UNIT - 1).astype(np.int32)


def code_table(function: Function, scale: float, out_scale: float, bits: int) -> Codes:
    """(G5) for symmetric codes of `bits` bits to int8."""
    q = np.arange(-(1 << (bits - 1)), 1 << (bits - 1))
    table: Codes = half_away(function(scale * q) / out_scale).clip(-128, 127).astype(np.int32)
    return table


def gelu(x: Reals) -> Reals:
    """x * (1 + erf(x / sqrt 2)) / 2."""
    twice = [math.erfc(-value / math.sqrt(2)) for value in x.reshape(-1).tolist()]
    real: Reals = x * np.reshape(twice, x.shape) / 2
    return real


def sigmoid(x: Reals) -> Reals:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def silu(x: Reals) -> Reals:
    """x * sigmoid(x)."""
    return x * sigmoid(x)


def tanh(x: Reals) -> Reals:
    """(1 - exp(-2x)) / (1 + exp(-2x))."""
    return np.tanh(x)


def exponential(x: Reals) -> Reals:
    """exp(x)."""
    return np.exp(x)


def reciprocal(x: Reals) -> Reals:
    """1 / (1 + x)."""
    return 1 / (1 + x)
