"""Checks of residual sums."""

from hwsim.formats import IntFormat, Scaling
from hwsim.program.catalogue import Requantization
from hwsim.program.operations import Add, RescaledAdd
from hwsim.program.validate.checker import Checker, single


def add(c: Checker, op: Add) -> None:
    c.same_dims(op.output, op.a, op.b)
    for name in (op.output, op.a, op.b):
        c.code(name)


def rescaled_add(c: Checker, op: RescaledAdd) -> None:
    c.same_dims(op.output, op.a, op.b)
    c.code(op.output)
    schemes = [op.a_requantization, op.b_requantization]
    reach, held = 0, 1 << 63
    if isinstance(op.operand, IntFormat):
        if not op.operand.signed:
            raise ValueError(f"operand format {op.operand}; a rescaled operand is signed")
        held = -op.operand.min
    for name, scheme in zip((op.a, op.b), schemes, strict=True):
        x, zero = c.code(name), c.info(name).zero_point
        magnitude = max(x.max - zero, zero - x.min) << op.left_shift
        c.requantization(scheme, 1, magnitude)
        reach += min(_rescaled(scheme, magnitude), held)
    if reach >= 1 << 63:
        raise ValueError(f"the sum of the rescaled operands reaches {reach}, at or above 2^63")
    if op.output_requantization is not None:
        schemes.append(op.output_requantization)
        c.requantization(op.output_requantization, 1, reach, c.info(op.output).zero_point)
    kinds = {(type(scheme), scheme.scaling) for scheme in schemes}
    if len(kinds) != 1 or schemes[0].scaling is Scaling.FLOAT32_INSIDE:
        raise ValueError("operands and sum must be rescaled by one scheme, with the zero point outside")


def _rescaled(scheme: Requantization, magnitude: int) -> int:
    """A bound of a rescaled operand; binary32 rounds twice more, by at most 2^-24 of the value each time."""
    multiplier, shift = single(scheme)
    reach = (magnitude * multiplier >> shift) + 1
    return reach + (reach >> 22) + 1 if scheme.scaling is Scaling.FLOAT32 else reach
