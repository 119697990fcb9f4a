"""Residual sums on a worker's memory."""

from functools import cache

from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, Words, events, flat
from hwsim.operators.residual import Sum, add_flat
from hwsim.program.operations import Add


def add(b: Builder, op: Add) -> Instructions:
    zero_point, lo, hi = b.range(op.output)
    terms = [b.zero(op.a), b.zero(op.b), op.a_multiplier, op.b_multiplier, op.shift, zero_point, lo, hi]
    places = [b.at(op.a), b.at(op.b), b.at(op.output), b.sizes.of(b.dims(op.output)), b.events(op.output)]
    kernel = added(b.dtype(op.a), b.dtype(op.b), b.dtype(op.output))
    return [Instruction(kernel, [*places, *terms])]


@cache
def added(a_type: NumberType, b_type: NumberType, result_type: NumberType) -> Kernel:
    """(7)."""

    @njit(cache=True, nogil=True)
    @named(a_type, b_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        count = sizes[args[3]]
        terms = Sum(args[5], args[6], args[7], args[8], args[9], args[10], args[11], args[12])
        a, b = flat(memory, args[0], count, a_type), flat(memory, args[1], count, b_type)
        add_flat(a, b, terms, flat(memory, args[2], count, result_type), events(counters, args[4]))

    return step
