"""One operation of a program on inputs of one's own choice."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from hwsim.machine import STEPS
from hwsim.machine.steps.workspace import Workspace
from hwsim.program import Program
from hwsim.program.operations import Operation, written
from hwsim.program.proofs import Interval
from hwsim.program.validate import validate

Array = NDArray[Any]
Values = dict[str, Array]
EVERYTHING = Interval(-(1 << 63), 1 << 63)


class Bench:
    """Runs single operations; its counters are its own.

    Parameters
    ----------
    proven
        False leaves the proofs out, which take time and need a whole program that fits.

    Raises
    ------
    ValueError
        If the program is not valid.
    """

    def __init__(self, program: Program, *, proven: bool = True) -> None:
        self.program = program
        reach = validate(program) if proven else dict.fromkeys(program.tensors, EVERYTHING)
        self._workspace = Workspace(program, reach)

    def run(self, operation: Operation, inputs: Mapping[str, Array]) -> Values | None:
        """What the operation makes of the inputs; None if one is missing or is not what the program declares."""
        names = self.program.inputs_of(operation)
        if not all(name in inputs and self._fits(name, inputs[name]) for name in names):
            return None
        values = {name: inputs[name] for name in names}
        try:
            STEPS[type(operation)](self._workspace, operation, values)
        except ValueError:  # for this operation they are no inputs
            return None
        return {name: values[name] for name in written(operation)}

    def _fits(self, name: str, array: Array) -> bool:
        """A table would be read outside its entries by codes outside their format."""
        info = self.program.tensors[name]
        sizes = zip(array.shape, info.dims, strict=False)
        if array.ndim != len(info.dims) or any(isinstance(dim, int) and dim != size for size, dim in sizes):
            return False
        return not array.size or bool(info.format.min <= array.min() and array.max() <= info.format.max)
