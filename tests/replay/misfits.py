"""Constants of a program that the fields of the hardware do not encode, whatever codes they would give."""

from collections.abc import Iterator
from typing import Any

from hwsim.program import Operation
from hwsim.program.catalogue import Requantization
from tests.replay.context import Context, given, tag_of
from tests.replay.products import converter_of
from tests.replay.registers import Register
from tests.replay.widths import GEMMLOWP, Converter, LayerNorm


def misfits(context: Context) -> list[str]:
    """One line for each, in the order of the program; what several operations share is listed once."""
    lines = [line for _, operation in context.program.operations() for line in _of_operation(context, operation)]
    return list(dict.fromkeys(lines))


def _of_operation(context: Context, operation: Operation) -> Iterator[str]:
    bias, converter = given(operation, "bias"), _converter(context, operation)
    if bias is not None:
        yield from _of_bias(context, bias)
    rows = context.widths.rows.get(tag_of(operation))
    if isinstance(rows, LayerNorm):
        yield from _beyond(context, given(operation, "gamma"), rows.gamma)
        yield from _beyond(context, given(operation, "beta"), rows.bias)
    if converter is not None:
        for scheme in _schemes(operation):
            yield from _of_ratio(context, operation.output, scheme, converter)


def _converter(context: Context, operation: Operation) -> Converter | None:
    """What scales by the ratios of an operation, where it has ratios."""
    tag = tag_of(operation)
    rows = context.widths.rows.get(tag)
    if isinstance(rows, LayerNorm):
        return rows.converter
    known = {
        "requantize": converter_of(context, operation.output),
        "project_heads": context.widths.converter,
        "rescaled_add": context.widths.residual.converter,
        "int16_softmax": GEMMLOWP,
    }
    return known.get(tag)


def _schemes(operation: Any) -> list[Requantization]:
    values = (getattr(operation, field) for field in operation.__struct_fields__)
    return [value for value in values if isinstance(value, Requantization)]


def _of_ratio(context: Context, tensor: str, scheme: Requantization, converter: Converter) -> Iterator[str]:
    low, high = converter.multiplier.limits
    multipliers, shifts = context.numbers(scheme.multiplier), context.numbers(scheme.shift)
    for m in multipliers:
        if not low <= m <= high:
            yield f"{tensor}: multiplier {m}; the hardware has {low} to {high}"
    if max(shifts) > converter.greatest_shift:
        yield f"{tensor}: shift {max(shifts)}; the hardware has 0 to {converter.greatest_shift}"
    if converter.one_shift and len(set(shifts)) > 1:
        yield f"{tensor}: shifts {min(shifts)} to {max(shifts)}; the hardware has one a layer"


def _beyond(context: Context, name: str, register: Register) -> Iterator[str]:
    low, high = register.limits
    beyond = [value for value in context.numbers(name) if not low <= value <= high]
    if beyond:
        yield f"{name}: {beyond[0]}; the hardware has {low} to {high}"


def _of_bias(context: Context, name: str) -> Iterator[str]:
    """A bias that loses bits in its register, or under the one left shift that brings its greatest in."""
    yield from _beyond(context, name, context.widths.bias)
    mantissa, biases = context.widths.bias_mantissa, context.numbers(name)
    if mantissa is None:
        return
    shift = max(max(abs(b).bit_length() for b in biases) + 1 - mantissa, 0)
    lost = [b for b in biases if b % (1 << shift)]
    if lost:
        yield f"{name}: {lost[0]} is no multiple of 2^{shift}; the hardware has {mantissa} bits and one left shift"
