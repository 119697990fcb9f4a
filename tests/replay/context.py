"""What a step of the replay looks up: the program's constants and formats, the target's hardware."""

from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hwsim.program import Program
from hwsim.program.catalogue import Requantization
from tests.replay.arrays import Codes
from tests.replay.scaling import Function, Ratio, requantizer
from tests.replay.widths import Converter, Widths

Values = dict[str, NDArray[Any]]


class Result(NamedTuple):
    """Zero point and limits of a tensor."""

    zero: int
    low: int
    high: int


class Context:
    """A program and the hardware that it is held against; what is made of its constants is made once."""

    def __init__(self, program: Program, widths: Widths) -> None:
        self.program, self.widths = program, widths
        self._lists: dict[str, list[Any]] = {}
        self._functions: dict[tuple[str, Requantization], list[Function]] = {}

    def zero(self, tensor: str) -> int:
        constants = self.program.constant_info
        return constants[tensor].zero_point if tensor in constants else self.program.tensors[tensor].zero_point

    def bits(self, tensor: str) -> int:
        return self.program.tensors[tensor].format.bits

    def result(self, tensor: str) -> Result:
        info = self.program.tensors[tensor]
        return Result(info.zero_point, info.format.min, info.format.max)

    def numbers(self, field: int | str) -> list[int]:
        """A constant of one value a channel, or the one number that stands in the operation itself."""
        return [field] if isinstance(field, int) else self.listed(field)

    def listed(self, name: str) -> list[Any]:
        """A constant as Python integers."""
        if name not in self._lists:
            self._lists[name] = self.program.constants[name].tolist()
        return self._lists[name]

    def constant(self, name: str) -> Codes:
        return self.program.constants[name].astype(np.int64)

    def ratios(self, scheme: Requantization) -> list[Ratio]:
        """m / 2^e, one or one a channel."""
        multipliers, shifts = self.numbers(scheme.multiplier), self.numbers(scheme.shift)
        channels = max(len(multipliers), len(shifts))
        rounding = str(getattr(getattr(scheme, "rounding", None), "value", "half_even"))
        return [
            Ratio(tag_of(scheme), multipliers[i % len(multipliers)], shifts[i % len(shifts)], rounding)
            for i in range(channels)
        ]

    def requantizers(self, scheme: Requantization, converter: Converter, output: str) -> list[Function]:
        """Codes of `output` from accumulators, one function or one a channel; a tensor has one converter."""
        if (output, scheme) not in self._functions:
            result = self.result(output)
            self._functions[output, scheme] = [requantizer(ratio, converter, *result) for ratio in self.ratios(scheme)]
        return self._functions[output, scheme]


def given(record: Any, field: str) -> Any:
    """A field that a record may lack, or leave unset: None then."""
    value = getattr(record, field, None)
    return None if value is msgspec.UNSET else value


def tag_of(record: Any) -> str:
    """The tag of a record of a tagged union: an operation, a requantization."""
    return str(record.__struct_config__.tag)
