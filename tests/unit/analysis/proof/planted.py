"""Dumps of a machine in which one stage is another one, which is computed here in Fractions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from hwsim.machine import STEPS, operation_of
from hwsim.machine.kernels import KERNELS
from hwsim.program import Program
from hwsim.program.operations import Add, Embed, LayerNorm, Requantize, ShiftRight, Softmax
from tests.oracle.formats import clamp, limits, wrap
from tests.oracle.rounding import ROUNDINGS

Values = dict[str, np.ndarray]
Stage = Callable[[Program, Any, Values], None]
"""Makes a stage's tensors of its inputs."""


def constant(program: Program, field: int | str, channel: int) -> int:
    if isinstance(field, int):
        return field
    array = program.constants[field]
    return int(array[channel if len(array) > 1 else 0])


def fitted(program: Program, site: str, value: int, *, wraps: bool = False) -> int:
    fmt = program.tensors[site].format
    low, high = limits(fmt.bits, fmt.signed, fmt.narrow)
    value += program.tensors[site].zero_point
    return wrap(value, low, fmt.bits) if wraps else clamp(value, low, high)


def each(like: np.ndarray, code: Callable[[tuple[int, ...]], int]) -> np.ndarray:
    codes = [code(index) for index in np.ndindex(like.shape)]
    return np.array(codes, like.dtype).reshape(like.shape)


def requantized(rule: str = "half_even", *, wraps: bool = False) -> Stage:
    def stage(program: Program, op: Requantize, values: Values) -> None:
        scheme = op.requantization

        def code(index: tuple[int, ...]) -> int:
            m, e = (constant(program, field, index[-1]) for field in (scheme.multiplier, scheme.shift))
            exact = Fraction(int(values[op.input][index]) * m, 1 << e)
            return fitted(program, op.output, ROUNDINGS[rule](exact), wraps=wraps)

        values[op.output] = each(values[op.output], code)

    return stage


def shifted(rule: str) -> Stage:
    def stage(program: Program, op: ShiftRight, values: Values) -> None:
        values[op.output] = each(
            values[op.output], lambda index: ROUNDINGS[rule](Fraction(int(values[op.input][index]), 1 << op.shift))
        )

    return stage


def softmax(denominator: str = "half_even", output: str = "half_even") -> Stage:
    """(4d) and (4e)."""

    def stage(program: Program, op: Softmax, values: Values) -> None:
        to_den, to_out = op.denominator_requantization, op.output_requantization
        numerators = values[op.numerator]

        def below(index: tuple[int, ...]) -> int:
            total = sum(map(int, numerators[index[:-1]]))
            exact = Fraction(total * int(to_den.multiplier), 1 << int(to_den.shift))
            return max(1, fitted(program, op.denominator, ROUNDINGS[denominator](exact)))

        denominators = each(values[op.denominator], below)

        def code(index: tuple[int, ...]) -> int:
            above = int(numerators[index]) * int(to_out.multiplier)
            exact = Fraction(above, int(denominators[(*index[:-1], 0)]) << int(to_out.shift))
            return fitted(program, op.output, ROUNDINGS[output](exact))

        values[op.denominator], values[op.output] = denominators, each(values[op.output], code)

    return stage


def layernorm(quotient: str = "half_even", output: str = "half_even") -> Stage:
    """(5e) and (5f)."""

    def stage(program: Program, op: LayerNorm, values: Values) -> None:
        to_quotient, to_out = op.quotient_requantization, op.output_requantization

        def ratio(index: tuple[int, ...]) -> int:
            above = int(values[op.numerator][index]) * int(to_quotient.multiplier)
            exact = Fraction(above, int(values[op.denominator][(*index[:-1], 0)]) << int(to_quotient.shift))
            return fitted(program, op.quotient, ROUNDINGS[quotient](exact))

        quotients = each(values[op.quotient], ratio)

        def code(index: tuple[int, ...]) -> int:
            gamma, beta = (int(program.constants[name][index[-1]]) for name in (op.gamma, op.beta))
            exact = Fraction((int(quotients[index]) * gamma + beta) * int(to_out.multiplier), 1 << int(to_out.shift))
            return fitted(program, op.output, ROUNDINGS[output](exact))

        values[op.quotient], values[op.output] = quotients, each(values[op.output], code)

    return stage


def added(rule: str) -> Stage:
    """(7)."""

    def stage(program: Program, op: Add, values: Values) -> None:
        def code(index: tuple[int, ...]) -> int:
            terms = (
                (int(values[name][index]) - program.tensors[name].zero_point) * multiplier
                for name, multiplier in ((op.a, op.a_multiplier), (op.b, op.b_multiplier))
            )
            return fitted(program, op.output, ROUNDINGS[rule](Fraction(sum(terms), 1 << op.shift)))

        values[op.output] = each(values[op.output], code)

    return stage


def embedded(rule: str) -> Stage:
    """(8)."""

    def stage(program: Program, op: Embed, values: Values) -> None:
        def code(index: tuple[int, ...]) -> int:
            row, column, feature = index
            token, position = int(values[op.ids][row, column]), int(values[op.position]) + column
            word = int(program.constants[op.table][token, feature]) * constant(program, op.multiplier, token)
            place = int(program.constants[op.positions][position, feature]) * op.position_multiplier
            return fitted(program, op.output, ROUNDINGS[rule](Fraction(word + place, 1 << op.shift)))

        values[op.output] = each(values[op.output], code)

    return stage


@contextmanager
def planted(program: Program, stages: Mapping[str, Stage]) -> Iterator[None]:
    """Whatever runs inside has other stages at some sites, each named by the output of its operation."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in {type(operation_of(program, site)) for site in stages}:
            patch.setitem(STEPS, kind, _with(program, STEPS[kind], stages))
            patch.setitem(KERNELS, kind, lambda builder, operation: None)  # so that the step runs
        yield


def _with(program: Program, own: Callable[..., None], stages: Mapping[str, Stage]) -> Callable[..., None]:
    def step(workspace: Any, operation: Any, values: Values) -> None:
        own(workspace, operation, values)
        if operation.output in stages:
            stages[operation.output](program, operation, values)

    return step
