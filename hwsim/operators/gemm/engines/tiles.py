"""The LLVM IR of tile registers (AMX): eight tiles of 16 rows of 64 bytes, and dot products of whole tiles.

`tdpbssd` and `tdpbusd` add to a tile of 16 x 16 int32 the products of a tile of 16 rows x 64 bytes and one of 16 groups
of quads, signed or unsigned bytes by signed ones. A block of 32 rows x 2 panels keeps four tiles of sums, and loads
four tiles for four dot products.

The loops take the instructions from an interface of two implementations: the processor's, and one in plain IR on
memory, which lets every machine test the loops. Sums start by loading the start with a stride of 0, the same row for
all. Where k ends within a tile, rows of a are copied and filled up with zeros; where n does, sums go through memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from hwsim.operators.gemm.engines import emission
from hwsim.operators.gemm.engines.emission import I8, I64, Block, Builder, Value, constant

ROWS, PANELS = 32, 2
"""Of a block."""
TILE_ROWS, TILE_GROUPS, TILE_BYTES = 16, 16, 1024
_ROW = emission.GROUP_BYTES

_CONFIG, _TAIL, _SPILL, _REGISTERS = 0, _ROW, _ROW + ROWS * _ROW, _ROW + ROWS * _ROW + TILE_BYTES
STATE_BYTES = _REGISTERS + 8 * TILE_BYTES
"""Memory of a call: tile configuration, rows of a filled up, sums on their way, and emulated registers."""


class Tiles(ABC):
    """What a processor does with tiles: 0 to 3 are sums, 4 and 5 rows of a, 6 and 7 panels of b."""

    @abstractmethod
    def configure(self, builder: Builder, state: Value) -> None:
        """Take the configuration at the state's beginning."""

    @abstractmethod
    def load(self, builder: Builder, state: Value, tile: int, address: Value, stride: Value) -> None:
        """Rows of 64 bytes from memory."""

    @abstractmethod
    def store(self, builder: Builder, state: Value, tile: int, address: Value, stride: Value) -> None:
        """Rows of 64 bytes to memory."""

    @abstractmethod
    def dot(self, builder: Builder, state: Value, tiles: tuple[int, int, int], signed: bool) -> None:
        """Add the product of two tiles to a third, the first of the three."""

    @abstractmethod
    def release(self, builder: Builder) -> None:
        """Leave the registers unused."""


class Processor(Tiles):
    """The instructions of AMX."""

    def configure(self, builder: Builder, state: Value) -> None:
        self._call(builder, "ldtilecfg", emission.pointer(builder, state, _CONFIG))

    def load(self, builder: Builder, state: Value, tile: int, address: Value, stride: Value) -> None:
        self._call(builder, "tileloadd64", constant(I8, tile), emission.pointer(builder, address), stride)

    def store(self, builder: Builder, state: Value, tile: int, address: Value, stride: Value) -> None:
        self._call(builder, "tilestored64", constant(I8, tile), emission.pointer(builder, address), stride)

    def dot(self, builder: Builder, state: Value, tiles: tuple[int, int, int], signed: bool) -> None:
        self._call(builder, "tdpbssd" if signed else "tdpbusd", *(constant(I8, tile) for tile in tiles))

    def release(self, builder: Builder) -> None:
        self._call(builder, "tilerelease")

    def _call(self, builder: Builder, name: str, *arguments: Value) -> None:
        emission.called(builder, f"llvm.x86.{name}", ir.VoidType(), *arguments)


class Emulation(Tiles):
    """The same on memory: a row beyond those of the configuration is neither read nor written."""

    def configure(self, builder: Builder, state: Value) -> None:
        pass

    def load(self, builder: Builder, state: Value, tile: int, address: Value, stride: Value) -> None:
        with self._rows(builder, state, tile) as (row, register):
            emission.store(builder, self._row(builder, address, builder.mul(row, stride)), register)

    def store(self, builder: Builder, state: Value, tile: int, address: Value, stride: Value) -> None:
        with self._rows(builder, state, tile) as (row, register):
            emission.store(builder, self._row(builder, register, 0), address, builder.mul(row, stride))

    def dot(self, builder: Builder, state: Value, tiles: tuple[int, int, int], signed: bool) -> None:
        add = emission.dot_of("portable", "quads_signed" if signed else "quads_unsigned").emit
        a, b = (builder.add(state, constant(I64, _REGISTERS + TILE_BYTES * tile)) for tile in tiles[1:])
        with (
            self._rows(builder, state, tiles[0]) as (row, register),
            counted(builder, constant(I64, TILE_GROUPS)) as group,
        ):
            at = builder.add(builder.mul(row, constant(I64, _ROW)), builder.mul(group, constant(I64, 4)))
            factor = emission.broadcast(builder, emission.load(builder, emission.I32, a, at), emission.PANEL)
            column = self._row(builder, b, builder.mul(group, constant(I64, _ROW)))
            emission.store(builder, add(builder, self._row(builder, register, 0), factor, column), register)

    def release(self, builder: Builder) -> None:
        pass

    @contextmanager
    def _rows(self, builder: Builder, state: Value, tile: int) -> Iterator[tuple[Value, Value]]:
        """The configured rows of a tile, and where each lies."""
        rows = builder.zext(emission.load(builder, I8, state, _CONFIG + 48 + tile), I64)
        with counted(builder, rows) as row:
            offset = builder.add(builder.mul(row, constant(I64, _ROW)), constant(I64, _REGISTERS + TILE_BYTES * tile))
            yield row, builder.add(state, offset)

    def _row(self, builder: Builder, address: Value, offset: Value | int) -> Value:
        return emission.load(builder, emission.vector_of(emission.PANEL), address, offset)


@contextmanager
def counted(builder: Builder, count: Value) -> Iterator[Value]:
    """A loop over 0 .. count - 1."""
    before = builder.block
    body, done = (builder.append_basic_block(name) for name in ("counted", "counted.done"))
    zero = constant(I64, 0)
    builder.cbranch(builder.icmp_signed(">", count, zero), body, done)
    builder.position_at_end(body)
    index = builder.phi(I64)
    yield index
    following = builder.add(index, constant(I64, 1))
    index.add_incoming(zero, before)
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), body, done)
    builder.position_at_end(done)


def emit_configuration(builder: Builder, tiles: Tiles, rows: Value, state: Value) -> None:
    """Configure blocks of so many rows: palette 1, 64 bytes a row, and how many rows each tile has."""
    low, high = _tile_rows(builder, rows)
    high = builder.select(builder.icmp_signed(">", high, constant(I64, 0)), high, constant(I64, 1))
    counts = constant(I64, 0x1010 << 48)
    for tile, count in zip(range(6), (low, low, high, high, low, high), strict=True):
        counts = builder.or_(counts, builder.shl(count, constant(I64, 8 * tile)))
    widths = constant(I64, 0x0040004000400040)
    none = constant(I64, 0)
    for word, value in enumerate((constant(I64, 1), none, widths, widths, none, none, counts, none)):
        emission.store(builder, value, state, _CONFIG + 8 * word)
    tiles.configure(builder, state)


def _tile_rows(builder: Builder, rows: Value) -> tuple[Value, Value]:
    """Rows of a block in its first and its second tile."""
    most = constant(I64, TILE_ROWS)
    first = builder.select(builder.icmp_signed("<", rows, most), rows, most)
    return first, builder.sub(rows, first)


def emit_tile_block(
    builder: Builder, tiles: Tiles, shape: tuple[int, int], signed: bool, block: Block, rows: Value, state: Value
) -> None:
    """result = start + a . b for a block of (tiles of rows, panels); rows are those of the configuration."""
    places = [(r, p) for r in range(shape[0]) for p in range(shape[1])]
    for r, p in places:
        tiles.load(builder, state, 2 * r + p, builder.add(block.start, constant(I64, _ROW * p)), constant(I64, 0))
    steps = builder.ashr(block.groups, constant(I64, 4))
    with counted(builder, steps) as step:
        _add_step(builder, tiles, shape, signed, block, (step, block.a, block.a_stride), state)
    rest = builder.and_(block.groups, constant(I64, TILE_GROUPS - 1))
    with builder.if_then(builder.icmp_signed(">", rest, constant(I64, 0))):
        tail = _fill_up(builder, block, steps, rest, rows, state)
        _add_step(builder, tiles, shape, signed, block, (steps, tail, constant(I64, _ROW)), state)
    full = builder.icmp_signed(">=", block.columns, constant(I64, emission.PANEL * shape[1]))
    with builder.if_else(full) as (whole, ragged):
        with whole:
            for r, p in places:
                tiles.store(builder, state, 2 * r + p, _place(builder, block, r, p), block.result_stride)
        with ragged:
            for r, p in places:
                _store_ragged(builder, tiles, (r, p), block, _tile_rows(builder, rows)[r], state)


def _add_step(
    builder: Builder,
    tiles: Tiles,
    shape: tuple[int, int],
    signed: bool,
    block: Block,
    left: tuple[Value, Value, Value],
    state: Value,
) -> None:
    """One tile of k: `left` is its number, and where a lies with which stride, the rest of a if it is filled up."""
    step, a, stride = left
    at_a = builder.mul(step, constant(I64, _ROW)) if a is block.a else constant(I64, 0)
    at_b = builder.mul(step, constant(I64, TILE_BYTES))
    for r in range(shape[0]):
        rows = builder.mul(stride, constant(I64, TILE_ROWS * r))
        tiles.load(builder, state, 4 + r, builder.add(builder.add(a, rows), at_a), stride)
    for p in range(shape[1]):
        panel = builder.add(block.b, builder.mul(block.panel_stride, constant(I64, p)))
        tiles.load(builder, state, 6 + p, builder.add(panel, at_b), constant(I64, _ROW))
    for r in range(shape[0]):
        for p in range(shape[1]):
            tiles.dot(builder, state, (2 * r + p, 4 + r, 6 + p), signed)


def _fill_up(builder: Builder, block: Block, steps: Value, rest: Value, rows: Value, state: Value) -> Value:
    """Where the last `rest` groups of every row of a lie, with zeros up to a whole tile."""
    tail = builder.add(state, constant(I64, _TAIL))
    mask = emission.column_mask(builder, rest, 0, TILE_GROUPS)
    kind = emission.vector_of(TILE_GROUPS)
    with counted(builder, rows) as row:
        base = builder.add(block.a, builder.mul(row, block.a_stride))
        end = builder.add(base, builder.mul(steps, constant(I64, _ROW)))
        values = emission.masked_load(builder, kind, end, 0, mask)
        emission.store(builder, values, tail, builder.mul(row, constant(I64, _ROW)))
    return tail


def _place(builder: Builder, block: Block, r: int, p: int) -> Value:
    """Where the sums of a tile go."""
    rows = builder.mul(block.result_stride, constant(I64, TILE_ROWS * r))
    return builder.add(builder.add(block.result, rows), constant(I64, _ROW * p))


def _store_ragged(
    builder: Builder, tiles: Tiles, where: tuple[int, int], block: Block, rows: Value, state: Value
) -> None:
    """The columns of a tile that are there."""
    (r, p), spill = where, builder.add(state, constant(I64, _SPILL))
    kind, mask = emission.vector_of(emission.PANEL), emission.column_mask(builder, block.columns, p, emission.PANEL)
    tiles.store(builder, state, 2 * r + p, spill, constant(I64, _ROW))
    with counted(builder, rows) as row:
        sums = emission.load(builder, kind, spill, builder.mul(row, constant(I64, _ROW)))
        emission.masked_store(builder, sums, _place(builder, block, r, p), builder.mul(row, block.result_stride), mask)


def tile_block_function(module: Any, tiles: Tiles, shape: tuple[int, int], signed: bool) -> Any:
    """A block of tiles as a function of its operands, rows and state."""
    name = f"hwsim.{type(tiles).__name__}.{'signed' if signed else 'unsigned'}.{shape[0]}x{shape[1]}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * (len(Block._fields) + 2)), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    *operands, rows, state = function.args
    emit_tile_block(builder, tiles, shape, signed, Block(*operands), rows, state)
    builder.ret_void()
    return function


def emit_tile_switch(
    builder: Builder, tiles: Tiles, signed: bool, panels: Value, block: Block, rows: Value, state: Value
) -> None:
    """The block of as many tiles as rows and panels need."""
    done = builder.append_basic_block("tiles.done")
    second = builder.zext(builder.icmp_signed(">", rows, constant(I64, TILE_ROWS)), I64)
    switch = builder.switch(builder.add(builder.mul(second, constant(I64, 4)), panels), done)
    for high, wide in ((1, 1), (1, 2), (2, 1), (2, 2)):
        case = builder.append_basic_block(f"tiles.{high}x{wide}")
        switch.add_case(constant(I64, 4 * (high - 1) + wide), case)
        builder.position_at_end(case)
        builder.call(tile_block_function(builder.module, tiles, (high, wide), signed), [*block, rows, state])
        builder.branch(done)
    builder.position_at_end(done)
