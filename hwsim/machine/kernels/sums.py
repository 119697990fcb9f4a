"""Residual sums on a worker's memory."""

from functools import cache
from typing import NamedTuple

from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.formats import IntFormat
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat
from hwsim.machine.record import Words, record
from hwsim.operators.arguments import INT64_MAX, INT64_MIN
from hwsim.operators.residual import IDENTITY, RescaledSum, Rescaling, Sum, add_flat, rescaled_add_flat
from hwsim.program.operations import Add, RescaledAdd


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


class _Rescaled(NamedTuple):
    """The same of a sum of rescaled terms."""

    a: int
    b: int
    output: int
    numbers: int
    terms: RescaledSum
    events: int


def rescaled_add(b: Builder, op: RescaledAdd) -> Instructions:
    to, single = op.output_requantization, b.workspace.single
    held = (op.operand.min, op.operand.max) if isinstance(op.operand, IntFormat) else (INT64_MIN, INT64_MAX)
    zero, lo, hi = b.range(op.output)
    terms = RescaledSum(
        Rescaling(b.zero(op.a), *single(op.a_requantization)),
        Rescaling(b.zero(op.b), *single(op.b_requantization)),
        Rescaling(zero, IDENTITY, 0) if to is None else Rescaling(zero, *single(to)),
        *(op.left_shift, lo, hi, *held),
    )
    numbers = b.sizes.of(b.dims(op.output))
    fields = _Rescaled(b.at(op.a), b.at(op.b), b.at(op.output), numbers, terms, b.events(op.output))
    rule = int(op.a_requantization.scaling)
    return [Instruction(rescaled_added(rule, b.dtype(op.a), b.dtype(op.b), b.dtype(op.output)), fields)]


@cache
def rescaled_added(rule: int, a_type: NumberType, b_type: NumberType, result_type: NumberType) -> Kernel:
    """(R10)."""

    @njit(cache=True, nogil=True)
    @named(rule, a_type, b_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Rescaled)
        count = sizes[of.numbers]
        a, b = flat(memory, of.a, count, a_type), flat(memory, of.b, count, b_type)
        result = flat(memory, of.output, count, result_type)
        rescaled_add_flat(rule, a, b, of.terms, result, events(counters, of.events))

    return step
