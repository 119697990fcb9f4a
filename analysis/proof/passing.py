"""The tensors of a call of the machine while somebody may still read them: all at once would be hundreds of MB."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from numpy.typing import NDArray

from hwsim.machine.layout import last_uses
from hwsim.program import Function, Program
from hwsim.program.operations import written


class _End(NamedTuple):
    """Of an operation: what it makes, and what nobody reads after it."""

    made: list[str]
    unread: set[str]


class Passing:
    """What an observer sees of a call, each tensor from when it is made until its last reader has run.

    Attributes
    ----------
    values
        Tensors by name: inputs stay to the end of the call, outputs too.
    """

    def __init__(self, program: Program) -> None:
        self.values: dict[str, NDArray[Any]] = {}
        self._ends = {name: dict(_ends(program, function)) for name, function in program.functions.items()}

    def begin(self, function: str) -> None:
        """A call of a function."""
        self.values.clear()
        self._function = function

    def take(self, name: str, array: NDArray[Any]) -> list[str]:
        """Take in what the observer was shown; what an operation has made, once that is all there."""
        self.values[name] = array
        end = self._ends[self._function].get(name)
        return [] if end is None else end.made

    def drop(self, name: str) -> None:
        """Let go of what nobody reads after the operation whose last tensor this is."""
        for unread in self._ends[self._function][name].unread:
            del self.values[unread]


def _ends(program: Program, function: Function) -> Iterator[tuple[str, _End]]:
    """By the last tensor that each operation makes."""
    for operation, unread in zip(function.operations, last_uses(program, function), strict=True):
        made = written(operation)
        yield made[-1], _End(made, set(unread) - set(function.inputs))
