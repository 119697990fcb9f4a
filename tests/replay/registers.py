"""Registers: so many bits, and what becomes of a value that needs more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.oracle.formats import clamp, limits, wrap

Keeper = Callable[[int], int]


@dataclass(eq=False)
class Lost:
    """How many values lost their high bits in registers."""

    events: int = 0


class Register(NamedTuple):
    """`bits` wide; what does not fit loses its high bits, or stops at the end of the range.

    A value that loses bits is counted in `lost`; one that stops is not.
    """

    bits: int
    overflow: Literal["wrap", "saturate"] = "wrap"
    signed: bool = True
    lost: Lost | None = None

    @property
    def limits(self) -> tuple[int, int]:
        return limits(self.bits, self.signed, narrow=False)

    def hold(self, value: int) -> int:
        """The value that the register has afterwards."""
        low, high = self.limits
        if self.overflow == "saturate":
            return clamp(value, low, high)
        if self.lost is not None and not low <= value <= high:
            self.lost.events += 1
        return wrap(value, low, self.bits)

    def keeper(self) -> Keeper:
        """`hold` for a loop that runs a million times."""
        low, high = self.limits
        if self.overflow == "saturate":
            return lambda value: low if value < low else min(value, high)
        mask, lost = (1 << self.bits) - 1, self.lost
        if lost is None:
            return lambda value: ((value - low) & mask) + low

        def keep(value: int) -> int:
            held = ((value - low) & mask) + low
            lost.events += held != value
            return held

        return keep

    def hold_all(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """`hold` of every element of an int64 array; registers of at most 62 bits, elements below 2^62."""
        low, high = self.limits
        if self.bits > 62:
            return values
        if self.overflow == "saturate":
            return np.clip(values, low, high)
        held = ((values - low) & ((1 << self.bits) - 1)) + low
        if self.lost is not None:
            self.lost.events += int(np.count_nonzero(held != values))
        return held


def unsigned(bits: int) -> Register:
    """A register without a sign that drops its high bits."""
    return Register(bits, signed=False)


def counting(part: Any, lost: Lost) -> Any:
    """A record of registers, and of records, whose registers count what they lose."""
    if isinstance(part, Register):
        return part._replace(lost=lost)
    if isinstance(part, Mapping):
        return {name: counting(one, lost) for name, one in part.items()}
    if isinstance(part, tuple):
        return type(part)(*(counting(one, lost) for one in part))
    return part


INT32, INT64 = Register(32), Register(64)
