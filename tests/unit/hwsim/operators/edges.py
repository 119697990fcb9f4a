"""A guard at its edge: the last arguments that it lets through, the first that it refuses, and all it then says."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.formats import Counter, IntFormat

Edge = tuple[dict[str, Any], dict[str, Any], str]
"""Accepted, refused, the whole message."""
BELOW = "; allowed: below 2^63 = 9223372036854775808"
INT8, INT16, INT17 = (IntFormat(bits=bits) for bits in (8, 16, 17))
UINT8, UINT16, UINT17 = (IntFormat(bits=bits, signed=False) for bits in (8, 16, 17))


def tally() -> NDArray[np.int64]:
    return np.zeros(len(Counter), np.int64)


def int32(values: Any) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def int64(values: Any) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def both_ends(field: str, name: str, low: int, high: int) -> list[Edge]:
    """A number of [low, high]."""
    allowed = f"; allowed: {low} to {high}"
    return [
        ({field: low}, {field: low - 1}, f"{name} is {low - 1}{allowed}"),
        ({field: high}, {field: high + 1}, f"{name} is {high + 1}{allowed}"),
    ]


def zero_points(*names: str) -> list[Edge]:
    return [edge for name in names for edge in both_ends(name, name, -(2**15), 2**16 - 1)]


def check_edge(run: Callable[..., object], edge: Edge) -> None:
    accepted, refused, message = edge
    run(**accepted)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(**refused)
