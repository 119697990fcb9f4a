"""The LLVM IR of the engines: the one place that knows instructions.

Everything here takes an llvmlite builder and values, so that it serves Numba's intrinsics and a bare LLVM module alike.

**Operands.** The second operand is packed in panels of 16 columns. A row of a panel, a *group*, is 64 bytes: for each
column four int8 neighbours of k (`quads`) or two of int16 (`pairs`), that is one dword a column. A dword of a row of
the first operand, broadcast, meets all columns of a group:

* `vpdpbusd` adds to each int32 lane the four products of unsigned bytes of a and signed bytes of b, without saturation;
* `vpdpwssd` adds the two products of signed words; `vpmaddwd` makes that sum without adding it to anything;
* an engine without `vpdpbusd` takes the even and the odd bytes of a dword as two pairs of words.

All sums are modulo 2^32. Signed bytes of a become unsigned by `xor 0x80`, which adds 128 to each; a register block
with `sums` also sums 128 * b, once for all rows, and takes that off again.

**Register blocks.** Rows x vectors of accumulators stay in registers over all of k. With 32 registers of 16 lanes, 6
rows x 4 panels are 24 accumulators: 24 dot products for 4 loads of b and 6 broadcasts. With 16 registers of 8 lanes, 6
rows x 1 panel (two vectors) are 12. Fewer rows take more panels, so that a matrix-vector product has enough independent
sums to hide the latency of a dot product, and reads the packed operand in one sweep.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

PANEL = 16
GROUP_BYTES = 64
START_PANELS = 4
"""Panels that `emit_start` prepares, the widest register block."""
START_BYTES = 4 * PANEL * (START_PANELS + 1)
"""The sums of these panels, and a vector of FLIP.

LLVM 22 turns `xor` of a broadcast by a constant around for ever when the result goes into `vpdpbusd`; a vector that is
loaded from memory is none to it.
"""
FLIP = 0x80808080 - (1 << 32)

I8, I16, I32, I64, BIT = (ir.IntType(bits) for bits in (8, 16, 32, 64, 1))
Value = Any
Builder = Any
Emit = Callable[[Builder, Value, Value, Value], Value]


class Dot(NamedTuple):
    """How an engine adds dot products of dwords: `emit(builder, sums, a, b)`, vectors of `lanes` int32."""

    lanes: int
    emit: Emit
    flips: bool = False
    """Whether a is made unsigned by `xor 0x80`."""


class Block(NamedTuple):
    """The operands of a register block: addresses, strides in bytes, groups of k, and columns left."""

    a: Value
    a_stride: Value
    b: Value
    panel_stride: Value
    groups: Value
    start: Value
    """Where the sums start: START_PANELS * 16 int32, for all rows."""
    result: Value
    result_stride: Value
    columns: Value


def block_of(builder: Builder, operands: Value) -> Block:
    """The operands from a struct of them."""
    return Block(*(builder.extract_value(operands, at) for at in range(len(Block._fields))))


def constant(kind: Any, value: int) -> Value:
    """A number, in every lane of a vector."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [value] * kind.count)
    return ir.Constant(kind, value)


def vector_of(lanes: int) -> Any:
    return ir.VectorType(I32, lanes)


def scratch_memory(builder: Builder, size: int) -> Value:
    """Address of so many bytes of the stack, aligned to a group."""
    with builder.goto_entry_block():
        memory = builder.alloca(ir.ArrayType(I8, size))
    memory.align = GROUP_BYTES
    return builder.ptrtoint(memory, I64)


def pointer(builder: Builder, address: Value, offset: Value | int = 0, kind: Any = I8) -> Value:
    """The address and an offset in bytes as a pointer."""
    moved = offset if not isinstance(offset, int) else constant(I64, offset)
    return builder.inttoptr(builder.add(address, moved), kind.as_pointer())


def load(builder: Builder, kind: Any, address: Value, offset: Value | int = 0) -> Value:
    value = builder.load(pointer(builder, address, offset, kind))
    value.align = 1
    return value


def store(builder: Builder, value: Value, address: Value, offset: Value | int = 0) -> None:
    builder.store(value, pointer(builder, address, offset, value.type)).align = 1


def called(builder: Builder, name: str, result: Any, *arguments: Value) -> Value:
    """The result of an LLVM intrinsic."""
    module = builder.module
    kind = ir.FunctionType(result, [one.type for one in arguments])
    return builder.call(module.globals.get(name) or ir.Function(module, kind, name), arguments)


# Dot products


def _vnni(name: str) -> Emit:
    return lambda builder, sums, a, b: called(builder, f"llvm.x86.avx512.{name}", sums.type, sums, a, b)


def _madd(builder: Builder, sums: Value, a: Value, b: Value) -> Value:
    """The words of each dword by vpmaddwd."""
    words = ir.VectorType(I16, 16)
    sides = [builder.bitcast(side, words) for side in (a, b)]
    return builder.add(sums, called(builder, "llvm.x86.avx2.pmadd.wd", sums.type, *sides))


def _plain(builder: Builder, sums: Value, a: Value, b: Value) -> Value:
    """The words of each dword in generic IR; LLVM has an instruction for products of numbers that fit 16 bits."""
    for part in (low_word, high_word):
        sums = builder.add(sums, builder.mul(part(builder, a), part(builder, b)))
    return sums


def low_word(builder: Builder, dwords: Value) -> Value:
    by = constant(dwords.type, 16)
    return builder.ashr(builder.shl(dwords, by), by)


def high_word(builder: Builder, dwords: Value) -> Value:
    return builder.ashr(dwords, constant(dwords.type, 16))


def _bytes_as_words(pairs: Emit, signed: bool) -> Emit:
    """Quads by a dot product of pairs: first the even bytes of each dword, then the odd ones."""

    def emit(builder: Builder, sums: Value, a: Value, b: Value) -> Value:
        for odd in (False, True):
            sums = pairs(builder, sums, widened(builder, a, odd, signed), widened(builder, b, odd, True))
        return sums

    return emit


def widened(builder: Builder, dwords: Value, odd: bool, signed: bool) -> Value:
    """Every other byte of each dword, as a word in its place."""
    words = ir.VectorType(I16, 2 * dwords.type.count)
    value, by = builder.bitcast(dwords, words), constant(words, 8)
    shift = builder.ashr if signed else builder.lshr
    return builder.bitcast(shift(value if odd else builder.shl(value, by), by), dwords.type)


FORMS = ("quads_unsigned", "quads_signed", "pairs")


def dot_of(engine: str, form: str) -> Dot:
    """The dot product of an engine for one form of the operands."""
    signed = form == "quads_signed"
    bits = {"avx512-vnni": 512, "avx-vnni": 256}.get(engine)
    if bits is not None:
        name = "vpdpwssd" if form == "pairs" else "vpdpbusd"
        return Dot(bits // 32, _vnni(f"{name}.{bits}"), flips=signed)
    lanes, pairs = (8, _madd) if engine == "avx2" else (16, _plain)
    return Dot(lanes, pairs if form == "pairs" else _bytes_as_words(pairs, signed))


# Register blocks


def emit_block(builder: Builder, dot: Dot, rows: int, panels: int, sums: bool, block: Block) -> None:
    """result[rows, columns] = start + a . b for up to `panels` * 16 columns; with `sums`, start loses 128 * sum(b)."""
    vectors = panels * PANEL // dot.lanes
    kind = vector_of(dot.lanes)
    starts = [load(builder, kind, block.start, 4 * dot.lanes * v) for v in range(vectors)]
    first = starts * rows + [constant(kind, 0)] * (vectors if sums else 0)
    totals = _sum_over_groups(builder, dot, rows, panels, sums, block, first)
    if sums:
        extra = totals[rows * vectors :]
        for v in range(vectors):
            store(builder, builder.sub(starts[v], extra[v]), block.start, 4 * dot.lanes * v)
        totals = [builder.sub(totals[at], extra[at % vectors]) for at in range(rows * vectors)]
    _store_block(builder, rows, vectors, block, totals)


def _sum_over_groups(
    builder: Builder, dot: Dot, rows: int, panels: int, sums: bool, block: Block, first: list[Value]
) -> list[Value]:
    """The loop over the groups of k, its accumulators in registers."""
    before = builder.block
    body, done = (builder.append_basic_block(name) for name in ("groups", "groups.done"))
    a_rows = [builder.add(block.a, builder.mul(block.a_stride, constant(I64, r))) for r in range(rows)]
    b_panels = [builder.add(block.b, builder.mul(block.panel_stride, constant(I64, p))) for p in range(panels)]
    flip = load(builder, vector_of(dot.lanes), block.start, 4 * PANEL * START_PANELS) if dot.flips else None
    builder.cbranch(builder.icmp_signed(">", block.groups, constant(I64, 0)), body, done)
    builder.position_at_end(body)
    group = builder.phi(I64)
    running = [builder.phi(one.type) for one in first]
    after = _add_group(builder, dot, rows, sums, (a_rows, b_panels), group, running, flip)
    following = builder.add(group, constant(I64, 1))
    builder.cbranch(builder.icmp_signed("<", following, block.groups), body, done)
    for phi, start, end in zip([group, *running], [constant(I64, 0), *first], [following, *after], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(end, body)
    builder.position_at_end(done)
    totals = [builder.phi(one.type) for one in first]
    for phi, start, end in zip(totals, first, after, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(end, body)
    return totals


def _add_group(
    builder: Builder,
    dot: Dot,
    rows: int,
    sums: bool,
    bases: tuple[list[Value], list[Value]],
    group: Value,
    running: list[Value],
    flip: Value | None,
) -> list[Value]:
    """One group: every vector of b is loaded once, every dword of a is broadcast once."""
    kind, (a_rows, b_panels) = vector_of(dot.lanes), bases
    at_a, at_b = (builder.mul(group, constant(I64, size)) for size in (4, GROUP_BYTES))
    offsets = range(0, GROUP_BYTES, 4 * dot.lanes)
    b = [load(builder, kind, base, builder.add(at_b, constant(I64, off))) for base in b_panels for off in offsets]
    factors = []
    for base in a_rows:
        dword = load(builder, I32, base, at_a)
        factors.append(broadcast(builder, dword, dot.lanes))
    if flip is not None:
        factors = [builder.xor(one, flip) for one in factors]
    if sums:
        factors.append(constant(kind, FLIP))
    pairs = [(factor, vector) for factor in factors for vector in b]
    return [dot.emit(builder, total, *pair) for total, pair in zip(running, pairs, strict=True)]


def broadcast(builder: Builder, value: Value, lanes: int) -> Value:
    """The value in every lane."""
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(builder.insert_element(empty, value, constant(I32, 0)), empty, zeros)


def _store_block(builder: Builder, rows: int, vectors: int, block: Block, totals: list[Value]) -> None:
    """Whole vectors where all columns are there, masked ones at the end of a row."""
    lanes = totals[0].type.count
    places = [(r, v, totals[r * vectors + v]) for r in range(rows) for v in range(vectors)]
    rows_at = [builder.add(block.result, builder.mul(block.result_stride, constant(I64, r))) for r in range(rows)]
    full = builder.icmp_signed(">=", block.columns, constant(I64, vectors * lanes))
    with builder.if_else(full) as (whole, ragged):
        with whole:
            for r, v, total in places:
                store(builder, total, rows_at[r], 4 * lanes * v)
        with ragged:
            for r, v, total in places:
                masked_store(builder, total, rows_at[r], 4 * lanes * v, column_mask(builder, block.columns, v, lanes))


def column_mask(builder: Builder, columns: Value, vector: int, lanes: int) -> Value:
    """Which lanes of a vector of columns lie before the end."""
    limit = broadcast(builder, builder.trunc(columns, I32), lanes)
    numbers = ir.Constant(vector_of(lanes), [vector * lanes + lane for lane in range(lanes)])
    return builder.icmp_signed("<", numbers, limit)


def masked_store(builder: Builder, value: Value, address: Value, offset: Value | int, mask: Value) -> None:
    place = pointer(builder, address, offset, value.type)
    called(builder, f"llvm.masked.store.v{value.type.count}i32.p0", ir.VoidType(), value, place, constant(I32, 4), mask)


def masked_load(builder: Builder, kind: Any, address: Value, offset: int, mask: Value) -> Value:
    place = pointer(builder, address, offset, kind)
    zero = ir.Constant(kind, [0] * kind.count)
    return called(builder, f"llvm.masked.load.v{kind.count}i32.p0", kind, place, constant(I32, 4), mask, zero)


def emit_start(builder: Builder, bias: Value, columns: Value, start: Value) -> None:
    """start = bias of the columns that are left, and 0 beyond; then FLIP."""
    for panel in range(START_PANELS):
        mask = column_mask(builder, columns, panel, PANEL)
        store(builder, masked_load(builder, vector_of(PANEL), bias, 4 * PANEL * panel, mask), start, 4 * PANEL * panel)
    store(builder, constant(vector_of(PANEL), FLIP), start, 4 * PANEL * START_PANELS)


def block_function(module: Any, engine: str, form: str, sums: bool, rows: int, panels: int) -> Any:
    """A register block as a function of its operands, so that registers are given out block by block."""
    name = f"hwsim.{engine}.{form}.{rows}x{panels}{'.sums' if sums else ''}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * len(Block._fields)), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    emit_block(builder, dot_of(engine, form), rows, panels, sums, Block(*function.args))
    builder.ret_void()
    return function


def emit_switch(
    builder: Builder,
    names: tuple[str, str, bool],
    shapes: list[tuple[int, int]],
    rows: Value,
    panels: Value,
    block: Block,
) -> None:
    """The register block of so many rows and panels, one of `shapes`; names are engine, form, and whether it sums."""
    done = builder.append_basic_block("block.done")
    key = builder.add(builder.mul(rows, constant(I64, START_PANELS + 1)), panels)
    switch = builder.switch(key, done)
    for high, wide in shapes:
        case = builder.append_basic_block(f"block.{high}x{wide}")
        switch.add_case(constant(I64, high * (START_PANELS + 1) + wide), case)
        builder.position_at_end(case)
        builder.call(block_function(builder.module, *names, high, wide), block)
        builder.branch(done)
    builder.position_at_end(done)
