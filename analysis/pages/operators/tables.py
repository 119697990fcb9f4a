"""Functions of activations, and tables of 2^bits entries, in float64: docs/operators/activation.md, section 3."""

import math

import numpy as np

from analysis.pages.operators.study import Codes, Reals
from reference.quantize.plan.tables import Function, half_away, interpolation_table

__all__ = ["Function", "code_table", "gelu", "half_away", "interpolation_table", "sigmoid", "silu", "tanh"]


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
