"""Operations of a function at concrete sizes as layers."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from hwsim.accelerator.events import Component
from hwsim.accelerator.layers import Layer, Product, Rows, Stream, Term, Vectors
from hwsim.accelerator.lowered.arithmetic import arithmetic, product_size
from hwsim.accelerator.lowered.grouping import Group, groups
from hwsim.accelerator.lowered.residence import Call, Residence, find_function
from hwsim.accelerator.zeros import ZeroCounts
from hwsim.program import Program
from hwsim.program.operations import (
    AnyAdd,
    AnyLayerNorm,
    AnySoftmax,
    Append,
    Embed,
    MatMul,
    MergeHeads,
    Operation,
    Softmax,
    SplitHeads,
    written,
)
from hwsim.program.packing import row_bytes

ROW_PASSES = 3
"""Passes of a softmax and of a LayerNorm over their rows (docs/accelerator.md, section 6)."""


def function_layers(
    program: Program, function: str, sizes: Mapping[str, int], zeros: ZeroCounts | None = None
) -> tuple[Layer, ...]:
    """The operations of one call of a function as layers, in execution order.

    Parameters
    ----------
    program
        A validated program.
    function
        Its name.
    sizes
        Size of every symbolic dimension of the function that is no sum of others: `batch`, `source`, `target`, `past`.
        Lengths are without padding.
    zeros
        What a run counted; without it no MAC is known to be a zero MAC.

    Raises
    ------
    ValueError
        If the function is unknown, a size is missing, unknown or outside its dimension, or `zeros` lacks a product.
    """
    residence = Residence(program, find_function(program, function))
    residence.check_sizes(sizes)
    call = Call(residence, sizes)
    return tuple(layer(group, call, zeros=zeros) for group in groups(residence))


def layer(group: Group, call: Call, *, repeat: int = 1, zeros: ZeroCounts | None = None) -> Layer:
    """One group at the sizes of a call, run `repeat` times."""
    first = group.operations[0]
    product = _product(group, first, call) if isinstance(first, MatMul) else None
    terms = _summed(term for operation in group.operations for term in arithmetic(operation, call))
    return Layer(
        name=group.name,
        operation=str(type(first).__struct_config__.tag),
        repeat=repeat,
        product=product,
        rows=None if product else _rows(group, first, call),
        terms=terms,
        vectors=_vectors(group, first, terms, call),
        macs_zero=zeros.zero_macs(first.output, product.macs) if product and zeros else 0,
        part=group.part,
    )


def _summed(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Like terms as one, in order of first appearance; none is 0."""
    counts: Counter[tuple[Component, int, int]] = Counter()
    for term in terms:
        counts[term.component, term.bits, term.second_bits] += term.count
    return tuple(Term(*kind, count) for kind, count in counts.items() if count)


def _vectors(group: Group, first: Operation, terms: tuple[Term, ...], call: Call) -> Vectors:
    """Passes by kind of layer, divisions and roots as the terms say."""
    if isinstance(first, MatMul):
        passes = int(first.bias is not None) + len(group.operations) - 1
    else:
        passes = ROW_PASSES if isinstance(first, AnySoftmax | AnyLayerNorm) else len(group.operations)
    return Vectors(
        elements=math.prod(call.shape(group.operations[-1].output)) if passes else 0,
        passes=passes,
        divisions=sum(term.count for term in terms if term.component is Component.DIVIDE),
        roots=sum(term.count for term in terms if term.component is Component.SQUARE_ROOT),
    )


# --- products ---------------------------------------------------------------------------------------------------------


def _product(group: Group, op: MatMul, call: Call) -> Product:
    count, m, k, n = product_size(op, call)
    last = group.operations[-1]
    residence = call.residence
    column_constants = sum(call.bytes(name) for name in _constants(group, call.program) if name != op.b)
    return Product(
        count=count,
        m=m,
        k=k,
        n=n,
        a_bits=call.bits(op.a),
        b_bits=call.bits(op.b),
        accumulator_bits=op.accumulator.bits,
        output_bits=call.bits(last.output),
        a=residence.operand(op.a),
        b=residence.operand(op.b),
        output=residence.operand(last.output),
        column_bytes=-(-column_constants // (count * n)),
        residual_bits=_residual_bits(group, call),
        a_heads=_merged_heads(op, call),
        output_heads=_split_heads(last, call),
        fresh=int(isinstance(residence.producer.get(op.b), Append)),
        fresh_along="k" if op.transpose_b else "n",
    )


def _merged_heads(op: MatMul, call: Call) -> int:
    """Of how many heads rows of a are made."""
    made = call.residence.producer.get(op.a)
    return call.shape(made.input)[1] if isinstance(made, MergeHeads) else 1


def _split_heads(last: Operation, call: Call) -> int:
    """Into how many heads the result is split."""
    for reader in call.residence.readers.get(last.output, []):
        if isinstance(reader, SplitHeads):
            return call.shape(reader.output)[1]
    return 1


def _residual_bits(group: Group, call: Call) -> int:
    """Width of the other operand of a residual sum."""
    last = group.operations[-1]
    if not isinstance(last, AnyAdd):
        return 0
    return call.bits(last.a if last.b == group.operations[-2].output else last.b)


# --- rows -------------------------------------------------------------------------------------------------------------


def _rows(group: Group, first: Operation, call: Call) -> Rows:
    """Codes a row in and out; what is fetched once: constants, a mask, a position. Tables are the datapath's."""

    def stream(name: str, *shape: int) -> Stream:
        return Stream(operand=call.residence.operand(name), elements=math.prod(shape), bits=call.bits(name))

    program, output = call.program, group.operations[-1].output
    read, constants = _outside(group, program), _constants(group, program)
    if isinstance(first, Embed):  # looks up a row of each constant for each token
        inputs = [stream(first.ids, 1), *(stream(name, *call.shape(name)[1:]) for name in constants)]
        whole = [first.position]
    else:
        mask, table = getattr(first, "mask", None), getattr(first, "table", None)
        inputs = [stream(name, call.shape(name)[-1]) for name in read if name != mask]
        whole = [*(name for name in constants if name != table), *(name for name in read if name == mask)]
    kept = row_bytes(call.shape(output)[-1], call.bits(first.numerator)) if isinstance(first, Softmax) else 0
    return Rows(
        rows=math.prod(call.shape(output)[:-1]),
        inputs=tuple(inputs),
        outputs=(stream(output, call.shape(output)[-1]),),
        constants=tuple(stream(name, *call.shape(name)) for name in whole),
        kept_bytes=kept,
    )


def _outside(group: Group, program: Program) -> list[str]:
    """Tensors that a layer reads and does not make, each once."""
    made = {name for operation in group.operations for name in written(operation)}
    read = dict.fromkeys(name for operation in group.operations for name in program.inputs_of(operation))
    return [name for name in read if name not in made]


def _constants(group: Group, program: Program) -> list[str]:
    """Constants that a layer reads, each once."""
    return list(dict.fromkeys(name for operation in group.operations for name in program.constants_of(operation)))
