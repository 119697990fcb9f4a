"""Residual sums on a worker's memory."""

from functools import cache
from typing import NamedTuple

from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat
from hwsim.machine.record import Words, record
from hwsim.operators.residual import Sum, add_flat
from hwsim.program.operations import Add


class _Added(NamedTuple):
    """Where both terms, the sum and its events lie, and how many numbers they have."""

    a: int
    b: int
    output: int
    numbers: int
    terms: Sum
    events: int


def add(b: Builder, op: Add) -> Instructions:
    terms = Sum(b.zero(op.a), b.zero(op.b), op.a_multiplier, op.b_multiplier, op.shift, *b.range(op.output))
    numbers = b.sizes.of(b.dims(op.output))
    fields = _Added(b.at(op.a), b.at(op.b), b.at(op.output), numbers, terms, b.events(op.output))
    return [Instruction(added(b.dtype(op.a), b.dtype(op.b), b.dtype(op.output)), fields)]


@cache
def added(a_type: NumberType, b_type: NumberType, result_type: NumberType) -> Kernel:
    """(7)."""

    @njit(cache=True, nogil=True)
    @named(a_type, b_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Added)
        count = sizes[of.numbers]
        a, b = flat(memory, of.a, count, a_type), flat(memory, of.b, count, b_type)
        add_flat(a, b, of.terms, flat(memory, of.output, count, result_type), events(counters, of.events))

    return step
