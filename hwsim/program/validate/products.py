"""Checks of embeddings, matrix products and what is done to accumulators."""

import numpy as np

from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.program.catalogue import Dyadic
from hwsim.program.constants import carrier
from hwsim.program.operations import (
    AnyProduct,
    Append,
    Embed,
    MatMul,
    MergeHeads,
    ProjectHeads,
    Relu,
    Requantize,
    ShiftRight,
    SplitHeads,
)
from hwsim.program.proofs import Interval, Rows, check_accumulator, held_rows, product_reach, product_rows, union
from hwsim.program.validate.checker import CODE_BITS, MATRICES, PRODUCT_LIMIT, Checker


def embed(c: Checker, op: Embed) -> None:
    *lead, width = c.dims(op.output, range(3, 4))
    c.dims(op.position, range(1))
    if tuple(lead) != c.dims(op.ids):
        raise ValueError(f"ids {c.dims(op.ids)} do not fit the output {c.dims(op.output)}")
    c.code(op.output)
    rows, positions = (c.length(name) for name in (op.table, op.positions))
    c.constant(op.table, (rows, c.fixed(width)), code=True)
    c.constant(op.positions, (positions, c.fixed(width)), code=True)
    if positions < c.maximum(lead[-1]):
        raise ValueError(f"{op.positions} has {positions} rows, {op.output} {c.maximum(lead[-1])} positions")
    c.requantization(Dyadic(multiplier=op.multiplier, shift=op.shift), rows, 1 << 20)


def matmul(c: Checker, op: MatMul) -> None:
    c.code(op.a)
    *rows, terms = c.dims(op.a, MATRICES)
    *lead, columns = c.dims(op.output, MATRICES)
    if lead != rows:
        raise ValueError(f"{op.a} {c.dims(op.a)} does not fit the output {c.dims(op.output)}")
    _as_accumulator(c, op)
    if op.b in c.program.constants:
        _weight(c, op, columns, terms)
    else:
        if op.bias is not None:
            raise ValueError("a product of two activations has no bias")
        c.code(op.b)
        wanted = (*lead[:-1], terms, columns) if op.transpose_b else (*lead[:-1], columns, terms)
        if c.dims(op.b) != wanted:
            raise ValueError(f"{op.b} has dimensions {c.dims(op.b)}, needed {wanted}")
    c.reach[op.output], channels = _accumulated(c, op)
    if len(channels.low) > 1:
        c.channels[op.output] = channels


def _as_accumulator(c: Checker, op: AnyProduct) -> None:
    output = c.info(op.output)
    if output.format != IntFormat(bits=op.accumulator.bits) or output.zero_point:
        raise ValueError(f"{op.output} must be as its accumulator, int{op.accumulator.bits} with zero point 0")


def _accumulated(c: Checker, op: MatMul) -> tuple[Interval, Rows]:
    """What a product leaves in its accumulator, proven or brought into range; and each of its rows."""
    count, narrow = c.length(op.b) or 1, carrier(IntFormat(bits=op.accumulator.bits))
    channels, reaches, first = Rows(np.empty(count, narrow), np.empty(count, narrow)), [], 0
    for rows in product_rows(c.program, op):
        some = slice(first, first := first + len(rows.low))
        channels.low[some], channels.high[some] = held_rows(rows, op.accumulator)
        reaches.append(rows.union)
    return _held_at_the_end(op.output, op.accumulator, union(reaches)), channels


def _held_at_the_end(site: str, accumulator: Accumulator, reach: Interval) -> Interval:
    if accumulator.overflow is not Overflow.PROVEN and reach.magnitude >= PRODUCT_LIMIT:
        raise ValueError(f"products reach {reach.magnitude}, beyond 64-bit simulation")
    return check_accumulator(site, reach, accumulator)


def project_heads(c: Checker, op: ProjectHeads) -> None:
    batch, heads, length, d_head = c.dims(op.input, range(4, 5))
    *_, columns = c.dims(op.output, range(3, 4))
    if c.dims(op.output) != (batch, length, columns):
        raise ValueError(f"{op.input} {c.dims(op.input)} does not fit the output {c.dims(op.output)}")
    if c.dims(op.heads) != (batch, heads, length, columns):
        raise ValueError(f"{op.heads} has dimensions {c.dims(op.heads)}, needed {(batch, heads, length, columns)}")
    c.code(op.input)
    code = c.code(op.heads, signed=True, centred_at_zero=True)
    _as_accumulator(c, op)
    c.constant(op.weight, (c.fixed(columns), c.fixed(heads) * c.fixed(d_head)), code=True)
    if op.bias is not None:
        c.constant(op.bias, (c.fixed(columns),))
    held = _held_at_the_end(op.heads, op.accumulator, product_reach(c.program, op))
    c.requantization(op.requantization, heads, held, c.info(op.heads).zero_point)
    total = Interval(c.fixed(heads) * code.min, c.fixed(heads) * code.max)
    if total.bits > op.accumulator.bits:
        raise ValueError(
            f"the sum of {heads} heads reaches [{total.low}, {total.high}], which {op.accumulator.bits} bits cannot "
            f"hold; it needs {total.bits} bits, whatever the overflow rule"
        )
    c.reach[op.output] = total


def _weight(c: Checker, op: MatMul, columns: str | int, terms: str | int) -> None:
    if op.transpose_b:
        raise ValueError("a constant operand is stored (out, in); transpose_b is for activations")
    c.constant(op.b, (c.fixed(columns), c.fixed(terms)), code=True, centred_at_zero=False)
    if op.bias is not None:
        c.constant(op.bias, (c.fixed(columns),))


def shift_right(c: Checker, op: ShiftRight) -> None:
    reach, half = c.wide(op.input), 1 << op.shift >> 1
    c.same_dims(op.input, op.output)
    given, made = c.info(op.input), c.info(op.output)
    if made.zero_point or not made.format.signed or made.format.bits > given.format.bits:
        raise ValueError(f"{op.output} is {made.format} of {given.format}; needed: signed, zero point 0, no wider")
    low, high = _held(Interval((reach.low - half) >> op.shift, (reach.high + half) >> op.shift), made.format)
    if isinstance(op.bias, str):
        c.constant(op.bias, (c.fixed(c.dims(op.output)[-1]),))
        bias = c.program.constants.held(op.bias)
        low, high = low + int(bias.min()), high + int(bias.max())
    c.reach[op.output] = _held(Interval(low, high), made.format)


def _held(reach: Interval, fmt: IntFormat) -> Interval:
    """What a format holds of an interval."""
    return Interval(max(reach.low, fmt.min), min(reach.high, fmt.max))


def relu(c: Checker, op: Relu) -> None:
    reach = c.wide(op.input)
    c.same_dims(op.input, op.output)
    c.same_codes(op.input, op.output)
    c.reach[op.output] = Interval(max(0, reach.low), max(0, reach.high))
    if op.input in c.channels:
        c.channels[op.output] = Rows(*(np.maximum(end, 0) for end in c.channels[op.input]))


def requantize(c: Checker, op: Requantize) -> None:
    dims = c.same_dims(op.input, op.output)
    output = c.info(op.output).format
    if output.bits > CODE_BITS and (output != IntFormat(bits=32) or c.info(op.output).zero_point):
        raise ValueError(f"output format {output}; codes have 2 to {CODE_BITS} bits, logits are int32")
    reach = c.channels.get(op.input, c.wide(op.input))
    c.requantization(op.requantization, dims[-1], reach, c.info(op.output).zero_point)


def split_heads(c: Checker, op: SplitHeads) -> None:
    _heads(c, op.output, op.input)


def merge_heads(c: Checker, op: MergeHeads) -> None:
    _heads(c, op.input, op.output)


def _heads(c: Checker, split: str, merged: str) -> None:
    c.same_codes(split, merged)
    batch, heads, length, d_head = c.dims(split, range(4, 5))
    if c.dims(merged) != (batch, length, c.fixed(heads) * c.fixed(d_head)):
        raise ValueError(f"{merged} {c.dims(merged)} is not {split} {c.dims(split)} merged")


def append(c: Checker, op: Append) -> None:
    for name in (op.past, op.input):
        c.same_codes(name, op.output)
    past, new, out = (c.dims(name, range(4, 5)) for name in (op.past, op.input, op.output))
    terms = c.program.dimensions[out[2]].terms if isinstance(out[2], str) else []
    if (past[:2], past[3]) != (out[:2], out[3]) or (new[:2], new[3]) != (out[:2], out[3]):
        raise ValueError("past, input and output differ outside the position axis")
    if terms != [past[2], new[2]]:
        raise ValueError(f"dimension {out[2]!r} must be the sum of {past[2]!r} and {new[2]!r}")
