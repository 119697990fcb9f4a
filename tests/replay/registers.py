"""Registers: so many bits, and what becomes of a value that needs more."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.oracle.formats import clamp, limits, wrap

Keeper = Callable[[int], int]


class Register(NamedTuple):
    """`bits` wide; what does not fit loses its high bits, or stops at the end of the range."""

    bits: int
    overflow: Literal["wrap", "saturate"] = "wrap"
    signed: bool = True

    @property
    def limits(self) -> tuple[int, int]:
        return limits(self.bits, self.signed, narrow=False)

    def hold(self, value: int) -> int:
        """The value that the register has afterwards."""
        low, high = self.limits
        return clamp(value, low, high) if self.overflow == "saturate" else wrap(value, low, self.bits)

    def keeper(self) -> Keeper:
        """`hold` for a loop that runs a million times."""
        low, high = self.limits
        if self.overflow == "saturate":
            return lambda value: low if value < low else min(value, high)
        mask = (1 << self.bits) - 1
        return lambda value: ((value - low) & mask) + low

    def hold_all(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """`hold` of every element of an int64 array; registers of at most 62 bits, elements below 2^62."""
        low, high = self.limits
        if self.bits > 62:
            return values
        if self.overflow == "saturate":
            return np.clip(values, low, high)
        return ((values - low) & ((1 << self.bits) - 1)) + low


def unsigned(bits: int) -> Register:
    """A register without a sign that drops its high bits."""
    return Register(bits, signed=False)


INT32, INT64 = Register(32), Register(64)
