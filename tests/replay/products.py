"""Embeddings, matrix products, and what is done to accumulators and caches."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import Accumulator
from hwsim.formats import Granularity as When
from hwsim.program.operations import Append, Embed, MatMul, MergeHeads, Relu, Requantize, ShiftRight, SplitHeads
from tests.replay.arrays import Codes, by_value
from tests.replay.context import Context, Values, given
from tests.replay.registers import Register
from tests.replay.scaling import Ratio, requantizer
from tests.replay.widths import Converter


def embed(context: Context, op: Embed, values: Values) -> None:
    """(8): the weighted sum is the accumulator of a converter with m = 1."""
    ids, first, hardware = values[op.ids], int(values[op.position]), context.widths.embedding
    multipliers, place = context.numbers(op.multiplier), hardware.multiplier.hold(op.position_multiplier)
    table, positions = context.listed(op.table), context.listed(op.positions)
    held = [hardware.multiplier.hold(m) for m in multipliers]
    code = requantizer(Ratio("dyadic", 1, op.shift), hardware, *context.result(op.output))

    def row(token: int, position: int) -> list[int]:
        m = held[token % len(held)] if len(held) > 1 else held[0]
        return [code(x * m + p * place) for x, p in zip(table[token], positions[position], strict=True)]

    rows = [[row(token, first + i) for i, token in enumerate(sentence)] for sentence in ids.tolist()]
    values[op.output] = np.array(rows, np.int64).reshape(*ids.shape, -1)


def matmul(context: Context, op: MatMul, values: Values) -> None:
    """(2)."""
    a = values[op.a].astype(np.int64) - context.zero(op.a)
    b = (values[op.b] if op.b in values else context.constant(op.b)).astype(np.int64) - context.zero(op.b)
    columns = b if op.transpose_b else b.swapaxes(-1, -2)
    bias = np.zeros(columns.shape[-1], np.int64) if op.bias is None else context.constant(op.bias)
    held = context.widths.bias.hold_all(bias)
    values[op.output] = product(a, columns, held, register_of(context, op.accumulator), op.accumulator)


def project_heads(context: Context, op: Any, values: Values) -> None:
    """(R14): each head's product with its columns of the weight, its code, and the sum of the codes."""
    codes = values[op.input].astype(np.int64) - context.zero(op.input)
    weight, inner = context.constant(op.weight), codes.shape[-1]
    bias = np.zeros(len(weight), np.int64) if op.bias is None else context.constant(op.bias)
    of_heads = context.requantizers(op.requantization, context.widths.converter, op.heads)
    projected = []
    for head in range(codes.shape[1]):
        columns = weight[:, head * inner : (head + 1) * inner].T
        held = context.widths.bias.hold_all(bias if head == 0 else np.zeros_like(bias))
        acc = product(codes[:, head], columns, held, register_of(context, op.accumulator), op.accumulator)
        projected.append(by_value(acc, [of_heads[head % len(of_heads)]]))
    values[op.heads] = np.stack(projected, axis=1)
    values[op.output] = context.widths.accumulator.hold_all(values[op.heads].sum(1))


def register_of(context: Context, accumulator: Accumulator) -> Register:
    """The accumulator of the hardware, unless the program asks for one that overflows."""
    if accumulator.overflow.value == "proven":
        return context.widths.accumulator
    return Register(accumulator.bits, accumulator.overflow.value, lost=context.widths.accumulator.lost)


def product(
    a: NDArray[np.int64], b: NDArray[np.int64], bias: NDArray[np.int64], register: Register, order: Accumulator
) -> Codes:
    """Bias and a @ b in the register, b (k, n): sums that wrap need no order, nor do those that cannot leave it."""
    most = np.abs(a).max(initial=0) * np.abs(b).max(initial=0) * a.shape[-1] + np.abs(bias).max(initial=0)
    exact = a @ b + bias
    if register.overflow == "wrap" or most <= register.limits[1]:
        return register.hold_all(exact)
    if np.all(np.abs(a) @ np.abs(b) + np.abs(bias) <= register.limits[1]):
        return exact
    size = {When.MAC: 1, When.TILE: order.tile, When.END: max(a.shape[-1], 1)}[order.granularity]
    acc = np.broadcast_to(register.hold_all(bias), exact.shape)
    for k in range(0, a.shape[-1], size):
        acc = register.hold_all(acc + a[..., k : k + size] @ b[..., k : k + size, :])
    return acc


def shift_right(context: Context, op: ShiftRight, values: Values) -> None:
    """(3), (R8) and, into a narrower format, (R13); a bias after it is added in the converter's own register."""
    ratio = Ratio("shift", 1, op.shift, op.rounding.value)
    _, low, high = context.result(op.output)
    hardware, bias = context.widths, given(op, "bias")
    stage = Converter("what the accumulator holds", *[hardware.accumulator] * 4)
    shifted = by_value(values[op.input], [requantizer(ratio, stage, 0, low, high)])
    if bias is not None:
        shifted = hardware.converter.accumulator.hold_all(shifted + hardware.bias.hold_all(context.constant(bias)))
    values[op.output] = shifted


def relu(context: Context, op: Relu, values: Values) -> None:
    """(6)."""
    values[op.output] = np.maximum(values[op.input], 0)


def requantize(context: Context, op: Requantize, values: Values) -> None:
    """(1), (R1): codes by the hardware's converter, logits (9) by the generator's."""
    codes = context.requantizers(op.requantization, converter_of(context, op.output), op.output)
    values[op.output] = by_value(values[op.input], codes)


def converter_of(context: Context, tensor: str) -> Converter:
    """What makes a tensor of accumulators: codes have at most 16 bits, what is wider are logits."""
    return context.widths.generator if context.bits(tensor) > 16 else context.widths.converter


def split_heads(context: Context, op: SplitHeads, values: Values) -> None:
    """(b, n, h*e) to (b, h, n, e)."""
    batch, length, inner = values[op.input].shape
    heads = int(context.program.tensors[op.output].dims[1])
    values[op.output] = values[op.input].reshape(batch, length, heads, inner // heads).transpose(0, 2, 1, 3)


def merge_heads(context: Context, op: MergeHeads, values: Values) -> None:
    """(b, h, n, e) to (b, n, h*e)."""
    batch, heads, length, inner = values[op.input].shape
    values[op.output] = values[op.input].transpose(0, 2, 1, 3).reshape(batch, length, heads * inner)


def append(context: Context, op: Append, values: Values) -> None:
    """The cache, then what is new."""
    values[op.output] = np.concatenate((values[op.past], values[op.input]), axis=2)
