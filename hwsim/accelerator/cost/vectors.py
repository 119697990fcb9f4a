"""The vector unit: cycles of passes, divisions and roots, and row layers (docs/accelerator.md, section 6)."""

from typing import NamedTuple

from msgspec import structs

from hwsim.accelerator.cost.counts import Counts, Kind, Run, add
from hwsim.accelerator.cycles import Cycles, exposed
from hwsim.accelerator.events import Component, Direction, Operand
from hwsim.accelerator.hardware import Hardware, Vector
from hwsim.accelerator.layers import Rows, Stream, Vectors
from hwsim.accelerator.storage import ceil_div, round_up, row_bytes, shares, transfer_cycles


def vector_cycles(work: Vectors, unit: Vector) -> int:
    """Equation (11)."""
    divisions = ceil_div(work.divisions, unit.dividers) * unit.divide_cycles
    roots = ceil_div(work.roots, unit.dividers) * unit.root_cycles
    passes = work.passes * (ceil_div(work.elements, unit.lanes) + unit.latency_cycles) if work.elements else 0
    return passes + divisions + roots


LISTED = 5
"""Whole blocks that are looked at; all between the second and the last but one are alike."""


class _Block(NamedTuple):
    """Some rows: vector cycles, and cycles of its transfers in and out."""

    vector: int
    dma_in: int
    dma_out: int


def rows_run(rows: Rows, work: Vectors, hardware: Hardware) -> Run:
    """Cost of a row layer, without the datapath's terms.

    Parameters
    ----------
    rows
        What is read and written.
    work
        Passes, divisions and roots over all rows.
    hardware
        The machine.
    """
    rows = _resident(rows, hardware)
    most = _rows_that_fit(rows, hardware)
    times = 1 if most else max(work.passes, 1)
    sizes = [size for size in shares(rows.rows) if size <= most] or [1]
    cycles = min((_in_blocks(rows, work, size, hardware, times) for size in sizes), key=lambda cycles: cycles.total)
    return Run(_traffic(rows, work, hardware, times), cycles)


def _in_blocks(rows: Rows, work: Vectors, size: int, hardware: Hardware, times: int) -> Cycles:
    """Time in blocks of so many rows, the inputs of each fetched so many times."""
    whole, rest = divmod(rows.rows, size)
    listed = min(whole, LISTED)
    full, last = _block(rows, work, size, hardware, times), _block(rows, work, rest, hardware, times)
    blocks = [full] * listed + [last] * (rest > 0)
    constants = sum(_transfer(stream, 1, hardware) for stream in rows.constants)
    blocks[0] = blocks[0]._replace(dma_in=blocks[0].dma_in + constants)
    return _pipeline(blocks, whole - listed)


def _resident(rows: Rows, hardware: Hardware) -> Rows:
    """Activations that the hardware keeps between layers are on chip."""
    most = hardware.sram.resident_kib * 1024 // 2

    def placed(stream: Stream) -> Stream:
        total = rows.rows * row_bytes(stream.elements, stream.bits, hardware.packing)
        return (
            structs.replace(stream, on_chip=True) if stream.operand is Operand.ACTIVATION and total <= most else stream
        )

    if not most:
        return rows
    return structs.replace(rows, inputs=tuple(map(placed, rows.inputs)), outputs=tuple(map(placed, rows.outputs)))


def _rows_that_fit(rows: Rows, hardware: Hardware) -> int:
    """How many rows the scratchpad holds, inputs and outputs twice; what is on chip has no room among them."""
    moving = [stream for stream in (*rows.inputs, *rows.outputs) if not stream.on_chip]
    room = 2 * sum(_words(stream, 1, hardware) for stream in moving) + rows.kept_bytes
    return hardware.sram.tile_bytes // room if room else rows.rows


def _block(rows: Rows, work: Vectors, count: int, hardware: Hardware, times: int) -> _Block:
    share = Vectors(
        elements=work.elements * count // rows.rows,
        passes=work.passes,
        divisions=work.divisions * count // rows.rows,
        roots=work.roots * count // rows.rows,
    )
    dma_in = sum(_transfer(stream, count, hardware) for stream in rows.inputs if not stream.on_chip)
    dma_out = sum(_transfer(stream, count, hardware) for stream in rows.outputs if not stream.on_chip)
    return _Block(vector_cycles(share, hardware.vector), times * dma_in, dma_out)


def _transfer(stream: Stream, rows: int, hardware: Hardware) -> int:
    """Equation (9)."""
    size, dram = rows * row_bytes(stream.elements, stream.bits, hardware.packing), hardware.dram
    rates = (hardware.clock_hz, dram.bandwidth_bytes_per_second)
    return int(transfer_cycles(size, dram.latency_cycles, dram.burst_bytes, *rates))


def _pipeline(blocks: list[_Block], unlisted: int) -> Cycles:
    """Equation (10) over blocks; so many more like the third are not in the list."""
    cycles = Cycles(dma_in=blocks[0].dma_in, dma_out=blocks[-1].dma_out)
    for i, block in enumerate(blocks):
        times = 1 + (unlisted if i == 2 else 0)
        coming = blocks[i + 1].dma_in if i + 1 < len(blocks) else 0
        going = blocks[i - 1].dma_out if i else 0
        step = exposed(block.vector, coming, going)._replace(vector=block.vector)
        cycles = cycles.added(step.times(times))
    return cycles


def _traffic(rows: Rows, work: Vectors, hardware: Hardware, times: int) -> Counts:
    counts: Counts = {}
    for stream in rows.inputs:
        _dma(counts, stream, rows.rows * times, Direction.READ, hardware)
        _access(counts, stream, rows.rows * max(work.passes, 1), Direction.READ, hardware)
    for stream in rows.constants:
        _dma(counts, stream, 1, Direction.READ, hardware)
        _access(counts, stream, rows.rows, Direction.READ, hardware)
    for stream in rows.outputs:
        _access(counts, stream, rows.rows, Direction.WRITE, hardware)
        _dma(counts, stream, rows.rows, Direction.WRITE, hardware)
    kept = rows.rows * round_up(rows.kept_bytes, hardware.sram.word_bytes)
    for direction in (Direction.WRITE, Direction.READ):
        add(counts, Kind(Component.SRAM_ACCESS, Operand.ACTIVATION, direction, 8), kept)
    return counts


def _access(counts: Counts, stream: Stream, rows: int, direction: Direction, hardware: Hardware) -> None:
    add(counts, Kind(Component.SRAM_ACCESS, stream.operand, direction, stream.bits), _words(stream, rows, hardware))


def _dma(counts: Counts, stream: Stream, rows: int, direction: Direction, hardware: Hardware) -> None:
    """DRAM bytes, and the near end of the transfer; none of what is on chip."""
    if stream.on_chip:
        return
    near = Direction.WRITE if direction is Direction.READ else Direction.READ
    count = rows * row_bytes(stream.elements, stream.bits, hardware.packing)
    add(counts, Kind(Component.DRAM_TRANSFER, stream.operand, direction, stream.bits), count)
    add(counts, Kind(Component.SRAM_TRANSFER, stream.operand, near, stream.bits), _words(stream, rows, hardware))


def _words(stream: Stream, rows: int, hardware: Hardware) -> int:
    """Bytes of rows, each in whole words."""
    word = hardware.sram.word_bytes
    return rows * round_up(row_bytes(stream.elements, stream.bits, hardware.packing), word)
