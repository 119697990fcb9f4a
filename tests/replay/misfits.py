"""Constants of a program that the fields of the hardware do not encode, whatever codes they would give."""

from collections.abc import Iterator

from hwsim.program.catalogue import Requantization
from hwsim.program.operations import MatMul, Operation, Requantize, RescaledAdd
from tests.replay.context import Context
from tests.replay.widths import Converter


def misfits(context: Context) -> list[str]:
    """One line for each, in the order of the program."""
    return [line for _, operation in context.program.operations() for line in _of_operation(context, operation)]


def _of_operation(context: Context, operation: Operation) -> Iterator[str]:
    widths = context.widths
    if isinstance(operation, MatMul) and operation.bias is not None:
        yield from _of_bias(context, operation.bias)
    if isinstance(operation, Requantize):
        logits = context.bits(operation.output) > 16
        converter = widths.generator if logits else widths.converter
        yield from _of_ratio(context, operation.output, operation.requantization, converter)
    if isinstance(operation, RescaledAdd):
        parts = operation.a_requantization, operation.b_requantization, operation.output_requantization
        for part in parts:
            if part is not None:
                yield from _of_ratio(context, operation.output, part, widths.residual.converter)


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


def _of_bias(context: Context, name: str) -> Iterator[str]:
    """A bias that loses bits in its register, or under the one left shift that brings its greatest in."""
    biases, (low, high) = context.numbers(name), context.widths.bias.limits
    beyond = [b for b in biases if not low <= b <= high]
    if beyond:
        yield f"{name}: {beyond[0]}; the hardware has {low} to {high}"
    mantissa = context.widths.bias_mantissa
    if mantissa is None:
        return
    shift = max(max(abs(b).bit_length() for b in biases) + 1 - mantissa, 0)
    lost = [b for b in biases if b % (1 << shift)]
    if lost:
        yield f"{name}: {lost[0]} is no multiple of 2^{shift}; the hardware has {mantissa} bits and one left shift"
