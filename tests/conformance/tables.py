"""The tables of TensorFlow Lite, made as its headers make them: in binary32.

The project's own are rounded from the real function (tests/oracle). The kernels read either; what the two have
different is what docs/operators leave to a table.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float32]
STEPS = 512
ONE = np.float32(1)


def half_away(values: Reals) -> Reals:
    """To the nearest integer, halves away from zero, as std::round does."""
    return np.sign(values) * np.floor(np.abs(values) + np.float32(0.5))


def interpolation_table(function: Callable[[Reals], Reals], least: float, greatest: float) -> NDArray[np.int32]:
    """513 entries of an int16 function over [least, greatest], values of [-1, 1)."""
    step = np.float32(np.float32(greatest - least) / np.float32(STEPS))
    scale = np.float32(1 << 15)
    left = np.float32(least) + np.arange(STEPS, dtype=np.float32) * step
    right = np.float32(least) + np.arange(1, STEPS + 1, dtype=np.float32) * step
    here = half_away(function(left) * scale)
    interpolated = half_away((function(right) * scale + here) / np.float32(2))
    error = interpolated - half_away(function(left + step / np.float32(2)) * scale)
    entries = here - half_away(error / np.float32(2))
    last = half_away(function(np.array([greatest], np.float32)) * scale)
    return np.clip(np.append(entries, last), -32768, 32767).astype(np.int32)


def softmax_tables() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Exp over [-10, 0] and 1/(1+x) over [0, 1]."""
    return interpolation_table(exp, -10, 0), interpolation_table(lambda x: ONE / (ONE + x), 0, 1)


def exp(x: Reals) -> Reals:
    """Rounded from binary64, which is what a good C library's expf gives; NumPy's own depends on the CPU."""
    return np.exp(x.astype(np.float64)).astype(np.float32)
