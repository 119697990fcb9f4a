"""Residual sums: one rounding for both operands (7), or each rescaled and then added (R10)."""

from typing import Any

from hwsim.program.operations import Add, RescaledAdd
from tests.oracle.formats import clamp
from tests.replay.arrays import Codes, by_pair, by_value
from tests.replay.context import Context, Values, given
from tests.replay.scaling import Ratio, requantizer, scaler


def add(context: Context, op: Add, values: Values) -> None:
    """(7): the weighted sum is the accumulator of a converter with m = 1."""
    converter = context.widths.embedding
    code = requantizer(Ratio("dyadic", 1, op.shift), converter, *context.result(op.output))
    m_a, m_b = converter.multiplier.hold(op.a_multiplier), converter.multiplier.hold(op.b_multiplier)
    z_a, z_b = context.zero(op.a), context.zero(op.b)
    values[op.output] = by_pair(values[op.a], values[op.b], lambda a, b: code((a - z_a) * m_a + (b - z_b) * m_b))


def operand(context: Context, op: Any, name: str, values: Values) -> Codes:
    """One operand, less its zero point, shifted, rescaled and held."""
    hardware, tensor = context.widths.residual, getattr(op, name)
    (ratio,) = context.ratios(getattr(op, f"{name}_requantization"))
    scale, keep, zero = scaler(ratio, hardware.converter), hardware.operand.keeper(), context.zero(tensor)
    own = given(op, "operand")

    def held(x: int) -> int:
        value = scale((x - zero) << op.left_shift)
        return keep(value if own is None else clamp(value, own.min, own.max))

    return by_value(values[tensor], [held])


def rescaled_add(context: Context, op: RescaledAdd, values: Values) -> None:
    """(R10): operands saturate where the hardware does, whether or not the program says so."""
    result, hardware = context.result(op.output), context.widths.residual
    keep = hardware.total.keeper()
    a, b = operand(context, op, "a", values), operand(context, op, "b", values)
    if op.output_requantization is None:
        values[op.output] = by_pair(a, b, lambda x, y: clamp(keep(x + y) + result.zero, result.low, result.high))
        return
    (code,) = context.requantizers(op.output_requantization, hardware.converter, op.output)
    values[op.output] = by_pair(a, b, lambda x, y: code(keep(x + y)))
