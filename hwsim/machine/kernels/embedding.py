"""Embeddings on a worker's memory."""

from functools import cache
from typing import NamedTuple

from numba import njit

from hwsim.arithmetic.compilation import named
from hwsim.machine.kernels.builder import Builder, Instruction, Instructions
from hwsim.machine.kernels.operands import Vector, vector_at
from hwsim.machine.layout import NumberType
from hwsim.machine.native import Bytes, Kernel, events, flat, matrix, numbers_at
from hwsim.machine.record import Words, record
from hwsim.operators.embedding import Placement, embed_rows
from hwsim.program.catalogue import Dyadic
from hwsim.program.operations import Embed


class _Embedded(NamedTuple):
    """Ids (rows, length), the first position, both tables and their rows, multipliers, the result and its ratio."""

    ids: int
    rows: int
    length: int
    width: int
    position: int
    table: int
    vocabulary: int
    positions: int
    most_positions: int
    multipliers: Vector
    output: int
    position_multiplier: int
    shift: int
    zero_point: int
    lo: int
    hi: int
    events: int


def embed(b: Builder, op: Embed) -> Instructions:
    scale = b.workspace.scale(Dyadic(multiplier=op.multiplier, shift=op.shift))
    table, positions = (b.program.constants.held(name) for name in (op.table, op.positions))
    zero_point, lo, hi = b.range(op.output)
    rows, length, width = (b.sizes.of([dim]) for dim in b.dims(op.output))
    fields = _Embedded(
        ids=b.at(op.ids),
        rows=rows,
        length=length,
        width=width,
        position=b.at(op.position),
        table=b.constants.place(op.table, lambda: table),
        vocabulary=len(table),
        positions=b.constants.place(op.positions, lambda: positions),
        most_positions=len(positions),
        multipliers=b.vector(f"{op.multiplier} as multiplier", scale.multiplier),
        output=b.at(op.output),
        position_multiplier=op.position_multiplier,
        shift=op.shift,
        zero_point=zero_point,
        lo=lo,
        hi=hi,
        events=b.events(op.output),
    )
    tables: tuple[NumberType, NumberType] = table.dtype.type, positions.dtype.type
    return [Instruction(embedded(b.dtype(op.ids), b.dtype(op.position), *tables, b.dtype(op.output)), fields)]


@cache
def embedded(
    ids_type: NumberType,
    position_type: NumberType,
    table_type: NumberType,
    positions_type: NumberType,
    result_type: NumberType,
) -> Kernel:
    """(8)."""

    @njit(cache=True, nogil=True)
    @named(ids_type, position_type, table_type, positions_type, result_type)
    def step(memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words, args: Words) -> None:
        of = record(args, _Embedded)
        rows, length, width = sizes[of.rows], sizes[of.length], sizes[of.width]
        first: int = flat(memory, of.position, 1, position_type)[0]
        embed_rows(
            matrix(memory, of.ids, rows, length, ids_type),
            matrix(constants, of.table, of.vocabulary, width, table_type),
            vector_at(constants, of.multipliers),
            matrix(constants, of.positions, of.most_positions, width, positions_type),
            Placement(first, of.position_multiplier, of.shift, of.zero_point, of.lo, of.hi),
            numbers_at(memory, of.output, (rows, length, width), result_type),
            events(counters, of.events),
        )

    return step
