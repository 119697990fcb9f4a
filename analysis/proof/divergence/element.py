"""One element of a tensor, and the operands that made it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from numpy.typing import NDArray

from analysis.proof.divergence.stage import Stage
from hwsim.program import Program
from hwsim.program.catalogue import Requantization

Index = tuple[int, ...]
Values = Mapping[str, NDArray[Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class Element:
    """One element of a tensor that an operation made, with all tensors of the call.

    `cache` keeps what all elements of a row share.
    """

    program: Program
    site: str
    index: Index
    values: Values
    cache: dict[Any, Any]

    def of(self, name: str) -> int:
        """The same element of an operand."""
        return int(self.values[name][self.index])

    def centred(self, name: str) -> int:
        """The same element of an operand, less its zero point."""
        return self.of(name) - self.program.tensors[name].zero_point

    def row(self, name: str) -> list[int]:
        """The row of an operand in which the element lies."""
        return [int(x) for x in self.values[name][self.index[:-1]]]

    def centred_row(self, name: str) -> list[int]:
        zero = self.program.tensors[name].zero_point
        return [x - zero for x in self.row(name)]

    def shared(self, make: Callable[[], T]) -> T:
        """What `make` gives for the row, made once."""
        row = self.index[:-1]
        if row not in self.cache:
            self.cache[row] = make()
        made: T = self.cache[row]
        return made

    def constant(self, field: int | str, channel: int) -> int:
        """A field that is a number, or names a constant with one value for all channels or one for each."""
        if isinstance(field, int):
            return field
        array = self.program.constants[field]
        return int(array[channel if len(array) > 1 else 0])

    def parameter(self, name: str) -> int:
        """The element of a constant with one value a channel."""
        return int(self.program.constants[name][self.index[-1]])

    def by(self, scheme: Requantization) -> tuple[int, int, str]:
        """Multiplier and shift of the element's channel, and the scaling."""
        channel = self.index[-1]
        return (
            self.constant(scheme.multiplier, channel),
            self.constant(scheme.shift, channel),
            scheme.scaling.name.lower(),
        )

    def ratio(self, scheme: Requantization) -> Fraction:
        multiplier, shift, _ = self.by(scheme)
        return Fraction(multiplier, 1 << shift)

    def scaled(self, integer: int, scheme: Requantization, divisor: int = 1, lowest: int | None = None) -> Stage:
        """An integer by a scheme."""
        return self.stage(integer, *self.by(scheme), divisor=divisor, lowest=lowest)

    def stage(
        self,
        integer: int,
        multiplier: int,
        shift: int,
        scaling: str,
        *,
        divisor: int = 1,
        lowest: int | None = None,
        terms: tuple[Fraction, ...] = (),
    ) -> Stage:
        """A rounding with the zero point and format of the element's tensor."""
        info = self.program.tensors[self.site]
        return Stage(integer, multiplier, shift, scaling, info.zero_point, info.format, divisor, lowest, terms)
