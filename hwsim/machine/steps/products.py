"""Embeddings, matrix products, and what is done to accumulators and caches."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.machine.steps.workspace import Array, Values, Workspace
from hwsim.operators import activation, embedding, gemm
from hwsim.operators import requantize as requantizing
from hwsim.program import Program
from hwsim.program.catalogue import Dyadic
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


def check_lookup(program: Program, op: Embed, ids: Array, position: int) -> None:
    """Refuse ids and positions that an embedding's tables do not have."""
    vocabulary, positions = (len(program.constants.held(name)) for name in (op.table, op.positions))
    if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary:
        raise ValueError(f"{op.ids} holds {ids.min()} to {ids.max()}; the vocabulary has 0 to {vocabulary - 1}")
    if not 0 <= position <= positions - ids.shape[1]:
        raise ValueError(f"{op.position} is {position} for {ids.shape[1]} ids; there are {positions} positions")


def embed(w: Workspace, op: Embed, values: Values) -> None:
    multiplier = w.scale(Dyadic(multiplier=op.multiplier, shift=op.shift)).multiplier
    table, positions = w.operand(op.table).codes, w.operand(op.positions).codes
    ids, position = values[op.ids].astype(np.int64), int(values[op.position])
    check_lookup(w.program, op, ids, position)
    values[op.output] = embedding.embed(
        ids,
        position,
        table,
        multiplier,
        positions,
        op.position_multiplier,
        op.shift,
        w.zero(op.output),
        w.format(op.output),
        w.events(op.output),
    )


class Operands(NamedTuple):
    """What a matrix product works on, as `hwsim.operators.gemm` takes it."""

    a: Array
    b: Array | gemm.Prepared
    bias: Array | None
    a_zero: int
    b_zero: int


def _bias(w: Workspace, op: AnyProduct) -> NDArray[np.int64] | None:
    return None if op.bias is None else w.program.constants[op.bias].astype(np.int64)


def operands(w: Workspace, op: MatMul, values: Values) -> Operands:
    """Both factors, bias and zero points; activations that lie as (k, n) are transposed."""
    bias = _bias(w, op)
    if op.b in w.program.constants:
        prepared = w.operand(op.b)
        return Operands(values[op.a], prepared, bias, w.zero(op.a), prepared.zero)
    b = np.ascontiguousarray(values[op.b].swapaxes(-1, -2)) if op.transpose_b else values[op.b]
    return Operands(values[op.a], b, bias, w.zero(op.a), w.zero(op.b))


def matmul(w: Workspace, op: MatMul, values: Values) -> None:
    a, b, bias, a_zero, b_zero = operands(w, op, values)
    values[op.output] = gemm.matmul(
        a,
        b,
        bias,
        a_zero=a_zero,
        b_zero=b_zero,
        accumulator=w.effective(op),
        counters=w.events(op.output),
    )


def head_operands(w: Workspace, op: ProjectHeads, values: Values) -> list[Operands]:
    """The product of every head; only the first has a bias."""
    context, bias, zero = values[op.input], _bias(w, op), w.zero(op.input)
    return [
        Operands(np.ascontiguousarray(context[:, head]), weight, None if head else bias, zero, 0)
        for head, weight in enumerate(w.head_weights(op))
    ]


def project_heads(w: Workspace, op: ProjectHeads, values: Values) -> None:
    scale = w.scale(op.requantization)
    values[op.heads], values[op.output] = gemm.project_heads(
        values[op.input],
        w.head_weights(op),
        _bias(w, op),
        zero=w.zero(op.input),
        multiplier=scale.multiplier,
        shift=scale.shift,
        scaling=op.requantization.scaling,
        output=w.format(op.heads),
        accumulator=w.effective(op),
        counters=w.events(op.output),
    )


def shift_right(w: Workspace, op: ShiftRight, values: Values) -> None:
    output = None if w.format(op.output) == w.format(op.input) else w.format(op.output)
    shifted = requantizing.shift_right(values[op.input], op.shift, w.events(op.output), op.rounding, output)
    if isinstance(op.bias, str):
        bias = w.program.constants[op.bias].astype(np.int64)
        shifted = requantizing.add_bias(shifted, bias, w.format(op.output), w.events(op.output))
    values[op.output] = shifted


def relu(w: Workspace, op: Relu, values: Values) -> None:
    values[op.output] = activation.relu(values[op.input])


def requantize(w: Workspace, op: Requantize, values: Values) -> None:
    scale, output = w.scale(op.requantization), op.output
    values[output] = requantizing.requantize(
        values[op.input],
        scale.multiplier,
        scale.shift,
        w.zero(output),
        w.format(output),
        w.events(output),
        op.requantization.scaling,
    )


def split_heads(w: Workspace, op: SplitHeads, values: Values) -> None:
    heads = w.program.tensors[op.output].dims[1]
    batch, length, inner = values[op.input].shape
    split = values[op.input].reshape(batch, length, int(heads), inner // int(heads))
    values[op.output] = np.array(split.swapaxes(1, 2), order="C")


def merge_heads(w: Workspace, op: MergeHeads, values: Values) -> None:
    batch, heads, length, d_head = values[op.input].shape
    merged = np.array(values[op.input].swapaxes(1, 2), order="C")
    values[op.output] = merged.reshape(batch, length, heads * d_head)


def append(w: Workspace, op: Append, values: Values) -> None:
    values[op.output] = np.concatenate((values[op.past], values[op.input]), axis=2)
