"""What the steps of a program share while it runs: constants made ready once, formats, counters."""

from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import Accumulator, Counter, IntFormat, Overflow
from hwsim.operators import gemm
from hwsim.program import Program, proofs
from hwsim.program.catalogue import Requantization
from hwsim.program.operations import AnyProduct, ProjectHeads

Array = NDArray[Any]
Values = dict[str, Array]


class Scale(NamedTuple):
    """A requantization with its constants at hand, int64 (1,) or (channels,)."""

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]


class Workspace:
    """A program's constants as kernels take them, and its event counters.

    Attributes
    ----------
    reach
        Proven interval of every accumulator.
    accumulators
        Outputs of products, which are int32 at least, whatever their format.
    counters
        Tensor -> events (int64, one element a `Counter` member) of the operation that made it.
    """

    def __init__(self, program: Program, reach: dict[str, proofs.Interval]) -> None:
        self.program, self.reach = program, reach
        products = (operation for _, operation in program.operations() if isinstance(operation, AnyProduct))
        self.accumulators = {operation.output for operation in products}
        self.counters: dict[str, NDArray[np.int64]] = {}
        self._operands: dict[str, gemm.Prepared] = {}
        self._head_weights: dict[str, list[gemm.Prepared]] = {}
        self._head_reach: dict[str, proofs.Interval] = {}
        self._scales: dict[Requantization, Scale] = {}

    def beside(self) -> "Workspace":
        """The same, with counters of its own."""
        other = copy(self)
        other.counters = {}
        return other

    def events(self, name: str) -> NDArray[np.int64]:
        if name not in self.counters:
            self.counters[name] = np.zeros(len(Counter), np.int64)
        return self.counters[name]

    def zero(self, name: str) -> int:
        return self.program.tensors[name].zero_point

    def format(self, name: str) -> IntFormat:
        return self.program.tensors[name].format

    def scale(self, scheme: Requantization) -> Scale:
        if scheme not in self._scales:
            fields = (scheme.multiplier, scheme.shift)
            self._scales[scheme] = Scale(
                *(
                    self.program.constants[f].astype(np.int64) if isinstance(f, str) else np.array([f], np.int64)
                    for f in fields
                )
            )
        return self._scales[scheme]

    def single(self, scheme: Requantization) -> tuple[int, int]:
        scale = self.scale(scheme)
        return int(scale.multiplier[0]), int(scale.shift[0])

    def operand(self, name: str) -> gemm.Prepared:
        if name not in self._operands:
            zero_point = self.program.constant_info[name].zero_point
            self._operands[name] = gemm.prepare(self.program.constants.held(name), zero_point)
        return self._operands[name]

    def head_weights(self, operation: ProjectHeads) -> list[gemm.Prepared]:
        """Each head's columns of its weight."""
        if operation.weight not in self._head_weights:
            self._head_weights[operation.weight] = [
                gemm.prepare(np.ascontiguousarray(weight)) for weight in proofs.head_weights(self.program, operation)
            ]
        return self._head_weights[operation.weight]

    def product_reach(self, operation: AnyProduct) -> proofs.Interval:
        """How far an accumulator goes; that of a head is no tensor."""
        if not isinstance(operation, ProjectHeads):
            return self.reach[operation.output]
        if operation.heads not in self._head_reach:
            self._head_reach[operation.heads] = proofs.product_reach(self.program, operation)
        return self._head_reach[operation.heads]

    def effective(self, operation: AnyProduct) -> Accumulator:
        """An accumulator that provably never overflows may be summed in any order, whatever its overflow rule."""
        accumulator, reach = operation.accumulator, self.product_reach(operation)
        if accumulator.min < reach.low and reach.high < accumulator.max:
            return Accumulator(bits=accumulator.bits, overflow=Overflow.PROVEN)
        return accumulator

    def fits_word(self, name: str) -> bool:
        """Whether every value of an accumulator, and every partial sum of a proven one, is proven to be an int32."""
        return name in self.reach and self.reach[name].low >= -(1 << 31) and self.reach[name].high < 1 << 31

    def table(self, name: str) -> NDArray[np.int32]:
        return self.program.constants.held(name).astype(np.int32)
