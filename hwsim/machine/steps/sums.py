"""Residual sums."""

from hwsim.formats import IntFormat
from hwsim.machine.steps.workspace import Values, Workspace
from hwsim.operators import residual
from hwsim.program.operations import Add, RescaledAdd


def add(w: Workspace, op: Add, values: Values) -> None:
    values[op.output] = residual.add(
        values[op.a],
        values[op.b],
        a_zero=w.zero(op.a),
        b_zero=w.zero(op.b),
        a_multiplier=op.a_multiplier,
        b_multiplier=op.b_multiplier,
        shift=op.shift,
        zero_point=w.zero(op.output),
        output=w.format(op.output),
        counters=w.events(op.output),
    )


def rescaled_add(w: Workspace, op: RescaledAdd, values: Values) -> None:
    a, b, to = op.a_requantization, op.b_requantization, op.output_requantization
    (a_multiplier, a_shift), (b_multiplier, b_shift) = w.single(a), w.single(b)
    multiplier, shift = (None, 0) if to is None else w.single(to)
    values[op.output] = residual.rescaled_add(
        values[op.a],
        values[op.b],
        a_zero=w.zero(op.a),
        b_zero=w.zero(op.b),
        left_shift=op.left_shift,
        scaling=a.scaling,
        a_multiplier=a_multiplier,
        a_shift=a_shift,
        b_multiplier=b_multiplier,
        b_shift=b_shift,
        output_multiplier=multiplier,
        output_shift=shift,
        zero_point=w.zero(op.output),
        output=w.format(op.output),
        counters=w.events(op.output),
        operand=op.operand if isinstance(op.operand, IntFormat) else None,
    )
