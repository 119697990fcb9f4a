"""What every check needs: the tensors and constants of a program by name, and how far accumulators reach."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import IntFormat, Scaling
from hwsim.program.catalogue import Requantization
from hwsim.program.program import Program, TensorInfo
from hwsim.program.proofs import ROWS_AT_ONCE, Interval, Rows

CODE_BITS = 16
PRODUCT_LIMIT = 1 << 62
RANKS, MATRICES = range(1, 9), range(2, 9)
"""How many dimensions a tensor may have, and an operand of a matrix product."""
Dims = tuple[str | int, ...]


class Checker:
    """The state of one validation.

    Attributes
    ----------
    reach
        Interval of every accumulator so far, by tensor name.
    channels
        The same, channel by channel, of products with a constant.
    inputs
        Inputs of the function that is being checked.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.reach: dict[str, Interval] = {}
        self.channels: dict[str, Rows] = {}
        self.inputs: set[str] = set()

    def info(self, name: str) -> TensorInfo:
        info = self.program.tensors.get(name)
        if info is None:
            raise ValueError(f"tensor {name} is not declared")
        return info

    def dims(self, name: str, ranks: range = RANKS) -> Dims:
        dims = tuple(self.info(name).dims)
        if len(dims) not in ranks:
            raise ValueError(f"{name} has dimensions {dims}; the operation needs {ranks[0]} to {ranks[-1]} of them")
        return dims

    def fixed(self, dim: str | int) -> int:
        if isinstance(dim, str):
            raise ValueError(f"dimension {dim!r} varies; the operation needs a fixed size")
        return dim

    def maximum(self, dim: str | int) -> int:
        return dim if isinstance(dim, int) else self.program.dimensions[dim].maximum

    def length(self, name: str) -> int:
        """Rows of a constant, 0 if there is none of that name."""
        return len(self.program.constants.held(name)) if name in self.program.constants else 0

    def constant(self, name: str, shape: tuple[int, ...], *, code: bool = False, centred_at_zero: bool = True) -> None:
        if name not in self.program.constants:
            raise ValueError(f"constant {name} is not declared")
        found = self.program.constants.held(name).shape
        if found != shape:
            raise ValueError(f"constant {name} has shape {found}, needed {shape}")
        info = self.program.constant_info[name]
        if code and info.format.bits > CODE_BITS:
            raise ValueError(f"constant {name} has {info.format.bits} bits; codes have 2 to {CODE_BITS}")
        if info.zero_point and centred_at_zero:
            raise ValueError(f"constant {name} has zero point {info.zero_point}; only a matmul's weight may have one")

    def same_dims(self, *names: str) -> Dims:
        first = self.dims(names[0])
        for name in names[1:]:
            if self.dims(name) != first:
                raise ValueError(f"{name} has dimensions {self.dims(name)}, {names[0]} has {first}")
        return first

    def code(self, name: str, *, signed: bool | None = None, centred_at_zero: bool = False) -> IntFormat:
        info = self.info(name)
        if info.format.bits > CODE_BITS:
            raise ValueError(f"{name} has {info.format.bits} bits; codes have 2 to {CODE_BITS}")
        if signed is not None and info.format.signed != signed:
            raise ValueError(f"{name} must be {'signed' if signed else 'unsigned'}")
        if centred_at_zero and info.zero_point:
            raise ValueError(f"{name} has zero point {info.zero_point}; the operation needs 0")
        return info.format

    def same_codes(self, a: str, b: str) -> None:
        first, second = self.info(a), self.info(b)
        if (first.format, first.zero_point) != (second.format, second.zero_point):
            raise ValueError(f"{a} and {b} differ in format or zero point")

    def wide(self, name: str) -> Interval:
        if name not in self.reach or name in self.inputs:
            raise ValueError(f"{name} is not an accumulator of this function")
        return self.reach[name]

    def requantization(
        self, scheme: Requantization, channels: str | int, reach: int | Interval | Rows, zero_point: int = 0
    ) -> None:
        """Check the constants of a requantization, and that no x leaves what its arithmetic holds.

        x is within an interval, or one a channel, or of a magnitude; the doubling high multiply takes -2^31, not 2^31.
        A zero point is part of the product where the scheme adds it before the shift.
        """
        doubling = scheme.scaling in (Scaling.Q31_DOUBLE, Scaling.Q31_DOUBLE_HALF_UP)
        ends = Interval(-reach, reach) if isinstance(reach, int) else reach
        rows = Rows.of(ends) if isinstance(ends, Interval) else ends
        most = max(rows.union.high, -rows.union.low - doubling)
        limits = scheme.record().limits
        multipliers = self.values(scheme.multiplier, channels, limits.low, limits.high)
        shifts = self.values(scheme.shift, channels, limits.least_shift, limits.greatest_shift)
        if most > 1 << limits.input_bits:
            raise ValueError(f"{scheme.record().name} takes |x| to 2^{limits.input_bits}; here it reaches {most}")
        if scheme.scaling in (Scaling.FLOAT32, Scaling.FLOAT32_INSIDE):
            return
        if doubling:
            shifted = most << max(31 - int(shifts.min()), 0)
            if shifted >= 1 << 31:
                raise ValueError(f"x * 2^(31 - shift) reaches {shifted}, at or above 2^31")
        before = abs(zero_point) if scheme.record().zero_point == "before the shift" else 0
        worst = 0
        for low, high, m, e in _in_parts(rows.low, rows.high, multipliers, shifts):
            worst = max(worst, *(np.maximum(high, -low - doubling) * m + (before << e) + (1 << e >> 1)))
        if worst >= 1 << limits.product_bits - 1:
            raise ValueError(
                f"|x| * multiplier + rounding reaches {worst}, at or above 2^{limits.product_bits - 1}: "
                f"{scheme.record().name} has products of {limits.product_bits} bits"
            )

    def values(self, field: int | str, channels: str | int, lowest: int, highest: int) -> NDArray[Any]:
        """A number, or the constant of that name with one for each channel; within its limits."""
        if isinstance(field, int):
            return np.array([field], dtype=object)
        self.constant(field, (self.fixed(channels),))
        array = self.program.constants.held(field)
        if int(array.min()) < lowest or int(array.max()) > highest:
            raise ValueError(f"constant {field} leaves {lowest}..{highest}")
        return array


def _in_parts(*arrays: NDArray[Any]) -> Iterator[list[NDArray[Any]]]:
    """Some elements of each array at a time, as Python integers; an array of one goes with every part."""
    for first in range(0, max(map(len, arrays)), ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        yield [(array if len(array) == 1 else array[some]).astype(object) for array in arrays]


def single(scheme: Requantization) -> tuple[int, int]:
    """Multiplier and shift of a scheme that must have one of each."""
    if isinstance(scheme.multiplier, str) or isinstance(scheme.shift, str):
        raise ValueError("this rescaling has one multiplier and one shift, not one a channel")
    return scheme.multiplier, scheme.shift
