"""What a dump holds of the tensors that a stage reads, and where those were made."""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from analysis.proof.explain.dump import Call, Dump
from hwsim.program import Program
from hwsim.program.operations import LayerNorm, Operation, Softmax, written

Array = NDArray[Any]


class Node(NamedTuple):
    """A tensor that an operation makes in a call."""

    call: Call
    site: str


def reads(program: Program, operation: Operation, site: str) -> list[str]:
    """The tensors that one part of an operation is made of: what the operation reads, or its own earlier parts."""
    if isinstance(operation, Softmax) and site == operation.denominator:
        return [operation.numerator]
    if isinstance(operation, Softmax) and site == operation.output:
        return [operation.numerator, operation.denominator]
    if isinstance(operation, LayerNorm) and site == operation.quotient:
        return [operation.numerator, operation.denominator]
    if isinstance(operation, LayerNorm) and site == operation.output:
        return [operation.quotient]
    return program.inputs_of(operation)


class Held:
    """A dump, asked from where an operation reads."""

    def __init__(self, program: Program, dump: Dump) -> None:
        self.program, self.dump = program, dump
        self._made = {site: function for function, op in program.operations() for site in written(op)}
        self._present = {state.past: state.present for state in program.manifest.states}

    def origin(self, call: Call, name: str) -> Node | None:
        """Where a tensor that a call reads was made: in it, or in an earlier call; None for what no operation made."""
        if name in self._present:
            return Node(call._replace(step=call.step - 1), self._present[name]) if call.step else None
        if name not in self._made:
            return None
        return Node(call if self._made[name] == call.function else Call(self._made[name], 0), name)

    def own(self, call: Call, operation: Operation, name: str) -> Array | None:
        """Codes of a tensor that an operation reads or makes, if the dump has them for this call."""
        own = self.dump.inputs(call, operation) | self.dump.outputs(call, operation)
        return own.get(name)

    def has(self, call: Call, operation: Operation, name: str) -> bool:
        """Whether the dump has a tensor that an operation reads, of this call or of the earlier one that made it."""
        made = self.origin(call, name)
        return self.own(call, operation, name) is not None or (
            made is not None and self.dump.codes(made.call, made.site) is not None
        )

    def assumed(self, call: Call, operation: Operation, site: str) -> list[str]:
        """What a part of an operation reads and the dump has not; sentences, masks and positions are the run's own."""
        names = reads(self.program, operation, site)
        return [n for n in names if self.origin(call, n) is not None and not self.has(call, operation, n)]
