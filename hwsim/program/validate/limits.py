"""The limits of the target's hardware: what a program breaks of them, and the refusal if it does not say so."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hwsim.formats import IntFormat
from hwsim.program import operations as ops
from hwsim.program.operations import Operation
from hwsim.program.proofs import Interval
from hwsim.program.targets import Bound, LimitName, SoftmaxMethod, Target, target
from hwsim.program.validate.checker import Checker

SOFTMAX_OF: dict[type[Operation], SoftmaxMethod] = {
    ops.Softmax: "table",
    ops.GemmlowpSoftmax: "gemmlowp",
    ops.Int16Softmax: "int16",
    ops.IBertSoftmax: "ibert",
    ops.ItaMax: "itamax",
    ops.GemminiSoftmax: "gemmini",
    ops.PulpSoftmax: "pulp",
    ops.QLinearSoftmax: "qlinear",
}
"""The method behind each softmax: a limit of a target is one of its own operators."""


class Breach(NamedTuple):
    """A limit that an operation breaks."""

    operation: str
    limit: LimitName
    bound: Bound
    what: str

    def __str__(self) -> str:
        allowed = f"{self.bound.where}; {self.bound.source}"
        return f"{self.operation}: {self.what}; the limit `{self.limit}` is {self.bound} ({allowed})"


def check_limits(checker: Checker) -> None:
    """Refuse a program that breaks a limit of its target and does not name it under `beyond`."""
    manifest = checker.program.manifest
    named = manifest.beyond if isinstance(manifest.beyond, list) else []
    for breach in breaches(checker):
        if breach.limit not in named:
            raise ValueError(f"{breach}; target {manifest.target} has no hardware for it, unless `beyond` names it")


def breaches(checker: Checker) -> Iterator[Breach]:
    """Every limit of the target that an operation of the program breaks."""
    narrow = target(checker.program.manifest.target)
    records = [narrow] if narrow.wide is None else [narrow, narrow.wide]
    for _, operation in checker.program.operations():
        for own in records:
            for name, least, most, what in _uses(checker, own, operation, alone=len(records) == 1):
                bound = own.limits.bound(name)
                if bound is not None and not bound.holds(least, most):
                    yield Breach(operation.output, name, bound, what)


Use = tuple[LimitName, int, int, str]


def _uses(c: Checker, own: Target, op: Operation, *, alone: bool) -> Iterator[Use]:
    """(limit, least, greatest, in words) of what an operation needs; `alone`: the target has no other record."""
    match op:
        case ops.Requantize() if op.requantization.record().name == own.requantization:
            shifts = c.values(op.requantization.shift, c.dims(op.output)[-1], 0, 1 << 6)
            least, most, count = int(shifts.min()), int(shifts.max()), len(np.unique(shifts))
            yield "shift", least, most, f"shifts of {least} to {most}"
            yield "shifts", 1, count, f"{count} shifts in a layer"
        case ops.MatMul(bias=str() as bias) if alone or op.accumulator.bits == own.accumulator.bits:
            yield from _bias(c, own, bias)
        case ops.ShiftRight(bias=str() as bias) | ops.ProjectHeads(bias=str() as bias):
            yield from _bias(c, own, bias)
        case ops.RescaledAdd() if own.residual == "clip_each":
            bits = op.operand.bits if isinstance(op.operand, IntFormat) else 63
            yield "operand_bits", 1, bits, f"operands of a sum keep {bits} bits"
        case ops.PulpLayerNorm() | ops.GemminiLayerNorm():
            gamma = c.program.constants.held(op.gamma)
            yield "gamma", int(gamma.min()), int(gamma.max()), f"gamma of {gamma.min()} to {gamma.max()}"
    if SOFTMAX_OF.get(type(op)) == own.softmax:
        keys = c.maximum(c.dims(op.output)[-1])
        yield "softmax_keys", 1, keys, f"rows of up to {keys} keys"
    if isinstance(op, ops.ItaMax):
        yield "score_scale", op.shift, op.shift, f"scores of scale ln(2) / 2^{op.shift}"


def _bias(c: Checker, own: Target, name: str) -> Iterator[Use]:
    """Bits of a layer's bias; where the hardware shifts it left, of what is left of it."""
    codes = c.program.constants.held(name)
    ones, shift = int(np.bitwise_or.reduce(codes)), 0
    if own.limits.bias_shift and ones:
        shift = (ones & -ones).bit_length() - 1
    bits = Interval(int(codes.min()) >> shift, int(codes.max()) >> shift).bits
    yield "bias_bits", 1, bits, f"a bias of {bits} bits" + (f" << {shift}" if shift else "")
