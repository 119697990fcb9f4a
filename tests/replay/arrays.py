"""Python functions of integers over arrays: each different value is computed once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]


def by_value(x: NDArray[Any], functions: Sequence[Callable[[int], int]]) -> Codes:
    """f(x) of every element; several functions are one a channel, the last axis."""
    if len(functions) > 1:
        channels = np.broadcast_to(np.arange(len(functions)), x.shape)
        return by_pair(x, channels, lambda value, channel: functions[channel](value))
    (function,) = functions
    values, where = np.unique(x, return_inverse=True)
    return _spread([function(value) for value in values.tolist()], where, x.shape)


def by_pair(a: NDArray[Any], b: NDArray[Any], function: Callable[[int, int], int]) -> Codes:
    """f(a, b) of every two elements.

    Raises
    ------
    ValueError
        If the pairs have no number in int64.
    """
    if a.size == 0:
        return np.zeros(a.shape, np.int64)
    a_low, b_low = int(a.min()), int(b.min())
    span = int(b.max()) - b_low + 1
    if (int(a.max()) - a_low + 1) * span >= 1 << 63:
        raise ValueError(f"pairs of {a.min()} to {a.max()} and {b.min()} to {b.max()} are too many for an int64")
    numbers, where = np.unique((a.astype(np.int64) - a_low) * span + (b - b_low), return_inverse=True)
    firsts, seconds = np.divmod(numbers, span)
    pairs = zip((firsts + a_low).tolist(), (seconds + b_low).tolist(), strict=True)
    return _spread([function(x, y) for x, y in pairs], where, a.shape)


def _spread(results: list[int], where: NDArray[Any], shape: tuple[int, ...]) -> Codes:
    return np.array(results, np.int64)[where.reshape(-1)].reshape(shape)
