"""The vector unit and row layers: values by hand, and an interpreter that goes through the blocks."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hwsim.accelerator.cost.counts import Counts, Run
from hwsim.accelerator.cost.vectors import rows_run, vector_cycles
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.events import Component, Direction, Operand
from hwsim.accelerator.hardware import Array, Dataflow, Dram, Hardware, Packing, Sram, Vector
from hwsim.accelerator.layers import Rows, Stream, Vectors
from tests.oracle.accelerator import rows as oracle
from tests.oracle.accelerator.tile_loop import Memory

UNIT = Vector(lanes=16, latency_cycles=8, dividers=4, divide_cycles=16, root_cycles=32)
SMALL = Hardware(
    name="small",
    array=Array(rows=2, cols=2, dataflow=Dataflow.WS, macs_per_cycle={8: 1.0}),
    vector=Vector(lanes=4, latency_cycles=1, dividers=2, divide_cycles=5, root_cycles=7),
    sram=Sram(capacity_bytes=96, word_bytes=4, ports=1),
    dram=Dram(type="LPDDR4", bandwidth_bytes_per_second=1, burst_bytes=4, latency_cycles=2),
    clock_hz=1,
    voltage=0.8,
    energy_table="edge-22",
)
"""A byte of DRAM a cycle."""


def codes(elements: int, bits: int = 8, operand: Operand = Operand.ACTIVATION, on_chip: bool = False) -> Stream:
    return Stream(operand=operand, elements=elements, bits=bits, on_chip=on_chip)


def with_sram(hardware: Hardware, **changes: int) -> Hardware:
    return replace(hardware, sram=replace(hardware.sram, **changes))


def counted(counts: Counts, component: Component, *which: Operand | Direction) -> int:
    """Sum over the events of a component, of all operands and directions or of those named."""
    return sum(
        count
        for kind, count in counts.items()
        if kind.component is component and all(one in (kind.operand, kind.direction) for one in which)
    )


READ, WRITE = Direction.READ, Direction.WRITE
DRAM, ACCESS, TRANSFER = Component.DRAM_TRANSFER, Component.SRAM_ACCESS, Component.SRAM_TRANSFER
FIVE = Rows(rows=5, inputs=(codes(6),), outputs=(codes(6),))
"""Rows of 6 bytes, in the scratchpad 8: (8 + 8) twice are 32 bytes a row."""


@pytest.mark.parametrize(
    ("work", "cycles"),
    [
        (Vectors(elements=100, passes=3, divisions=10, roots=5), 3 * (7 + 8) + 3 * 16 + 2 * 32),
        (Vectors(elements=96, passes=1), 6 + 8),
        (Vectors(elements=97, passes=1), 7 + 8),
        (Vectors(divisions=4), 16),
        (Vectors(roots=9), 3 * 32),
        (Vectors(elements=50), 0),
        (Vectors(), 0),
    ],
)
def test_passes_divisions_and_roots_by_hand(work: Vectors, cycles: int) -> None:
    """(11), nothing overlaps."""
    assert vector_cycles(work, UNIT) == cycles


def test_blocks_of_rows_and_a_ragged_last() -> None:
    """3 rows fit twice, then 2: 22 + max(6, 14) + max(4, 22) + 14 cycles."""
    run = rows_run(FIVE, Vectors(elements=30, passes=1), SMALL)
    assert run.cycles == Cycles(vector=6 + 4, dma_in=22 + 8, dma_out=18 + 14)
    assert {direction: counted(run.counts, DRAM, direction) for direction in (READ, WRITE)} == {READ: 30, WRITE: 30}
    for component in (ACCESS, TRANSFER):
        assert counted(run.counts, component, READ) == counted(run.counts, component, WRITE) == 40


def test_what_is_kept_takes_room() -> None:
    """3 bytes more a row: 35 of 96, so 2, 2 and 1: 14 + max(4, 14) + max(4, 10 + 14) + max(3, 14) + 10 cycles."""
    run = rows_run(replace(FIVE, kept_bytes=3), Vectors(elements=30, passes=1), SMALL)
    assert run.cycles == Cycles(vector=11, dma_in=14 + 10 + 10, dma_out=10 + 11 + 10)
    assert counted(run.counts, DRAM) == 60


def test_a_row_that_does_not_fit_is_read_in_every_pass() -> None:
    """Blocks of a row: 3*10 in, 10 out, 3*(2 + 1) cycles of work."""
    run = rows_run(FIVE, Vectors(elements=30, passes=3), with_sram(SMALL, capacity_bytes=31))
    assert counted(run.counts, DRAM, READ) == 3 * 30
    assert counted(run.counts, DRAM, WRITE) == 30
    assert counted(run.counts, TRANSFER, WRITE) == 3 * 40
    assert counted(run.counts, ACCESS, READ) == 3 * 40
    assert run.cycles.total == 30 + max(9, 30) + 3 * max(9, 30 + 10) + max(9, 10) + 10
    assert rows_run(FIVE, Vectors(elements=30, passes=3), with_sram(SMALL, capacity_bytes=32)).counts[
        next(kind for kind in run.counts if kind.component is DRAM and kind.direction is READ)
    ] == 30  # fmt: skip


def test_constants_come_with_the_first_block_and_are_read_once_a_row() -> None:
    """5 bytes: a transfer of 2 + 8 cycles, 8 bytes a row at the scratchpad."""
    work, weights = Vectors(elements=30, passes=1), codes(5, operand=Operand.WEIGHT)
    plain, run = rows_run(FIVE, work, SMALL), rows_run(replace(FIVE, constants=(weights,)), work, SMALL)
    assert run.cycles == plain.cycles._replace(dma_in=plain.cycles.dma_in + 10)
    assert counted(run.counts, DRAM, Operand.WEIGHT) == 5
    assert counted(run.counts, TRANSFER, Operand.WEIGHT, WRITE) == 8
    assert counted(run.counts, ACCESS, Operand.WEIGHT, READ) == 5 * 8


def test_divisions_and_roots_are_shared_among_blocks() -> None:
    """2 rows: cd(12, 2)*5 + cd(2, 2)*7 and a pass of 3 + 1, a row: 3*5 + 7 and 2 + 1.

    In blocks of 2, 2 and 1 these take 14 + 41 + 41 + 25 + 10 cycles, of 3 and 2 22 + 65 + 41 + 14, of 1 10 + 5*25 + 10.
    """
    run = rows_run(FIVE, Vectors(elements=30, passes=1, divisions=30, roots=5), SMALL)
    assert run.cycles == Cycles(vector=41 + 41 + 25, dma_in=14, dma_out=10)


@pytest.mark.parametrize("capacity", [3 * 32, 4 * 32, 5 * 32, 1 << 20])
def test_more_room_than_the_fastest_blocks_need_changes_nothing(capacity: int) -> None:
    """3 and 2 rows take 72 cycles, all 5 at once 34 + 9 + 34; blocks of 4 are not as equal as can be."""
    run = rows_run(FIVE, Vectors(elements=30, passes=1), with_sram(SMALL, capacity_bytes=capacity))
    assert run.cycles.total == 22 + 14 + 22 + 14
    assert run.cycles.vector == 6 + 4


@pytest.mark.parametrize(("bits", "packing"), [(8, Packing.DENSE), (6, Packing.PADDED)])
def test_an_activation_of_half_the_resident_part_stays(bits: int, packing: Packing) -> None:
    """512 of 1024 bytes stay, 513 do not; weights never."""
    machine = replace(with_sram(SMALL, capacity_bytes=2048, resident_kib=1), packing=packing)
    for elements, moved in ((512, 0), (513, 513)):
        rows = Rows(rows=1, inputs=(codes(elements, bits),), outputs=(codes(elements, bits, Operand.WEIGHT),))
        run = rows_run(rows, Vectors(elements=elements, passes=1), machine)
        assert counted(run.counts, DRAM, Operand.ACTIVATION) == moved
        assert counted(run.counts, DRAM, Operand.WEIGHT) == elements
        assert counted(run.counts, ACCESS, Operand.ACTIVATION) >= elements


def test_blocks_have_what_residents_leave() -> None:
    """1 KiB of 1120 bytes is for activations; rows of weights have the other 96."""
    rows, work = (
        replace(FIVE, inputs=(codes(6, operand=Operand.WEIGHT),) * 2, outputs=()),
        Vectors(elements=30, passes=1),
    )
    shared = with_sram(SMALL, capacity_bytes=1024 + 96, resident_kib=1)
    assert rows_run(rows, work, shared) == rows_run(rows, work, SMALL)


def test_what_is_on_chip_has_no_room() -> None:
    """Inputs that are there leave room for 6 rows of 16 bytes; 3 and 2 take 6 + 22 + 14 cycles, as 2, 2 and 1 do.

    Of these the largest, to be seen by its two latencies; all 5 at once take 9 + 34.
    """
    rows = replace(FIVE, inputs=(codes(6, on_chip=True),))
    assert rows_run(rows, Vectors(elements=30, passes=1), SMALL).cycles == Cycles(vector=6 + 4, dma_out=18 + 14)
    both = replace(rows, rows=400, outputs=rows.inputs)
    assert rows_run(both, Vectors(elements=2400, passes=1), SMALL).cycles == Cycles(vector=601)


# --- against the interpreter --------------------------------------------------------------------------------------


@st.composite
def row_layers(draw: st.DrawFn) -> tuple[Rows, oracle.Work, Hardware]:
    """Rows, their work a row, and a machine that may hold none of them."""
    stream = st.builds(
        codes,
        st.integers(1, 20),
        st.sampled_from([2, 6, 8, 16, 32]),
        st.sampled_from([Operand.ACTIVATION, Operand.WEIGHT]),
        st.sampled_from([False, False, False, True]),
    )
    fixed = st.builds(codes, st.integers(1, 20), st.sampled_from([8, 32]), st.just(Operand.WEIGHT))
    rows = Rows(
        rows=draw(st.integers(1, 40)),
        inputs=tuple(draw(st.lists(stream, min_size=1, max_size=3))),
        outputs=(draw(stream),),
        constants=tuple(draw(st.lists(fixed, max_size=2))),
        kept_bytes=draw(st.sampled_from([0, 0, 5])),
    )
    work = oracle.Work(*(draw(st.integers(low, high)) for low, high in ((1, 20), (1, 3), (0, 20), (0, 2))))
    machine = replace(
        SMALL,
        vector=Vector(
            lanes=draw(st.integers(1, 9)), latency_cycles=draw(st.integers(0, 4)), dividers=draw(st.integers(1, 3)),
            divide_cycles=draw(st.integers(1, 9)), root_cycles=draw(st.integers(1, 9)),
        ),
        sram=Sram(capacity_bytes=draw(st.integers(1, 600)), word_bytes=draw(st.sampled_from([1, 4, 16])), ports=1),
        dram=Dram(
            type="LPDDR4", bandwidth_bytes_per_second=draw(st.sampled_from([1, 3, 20])),
            burst_bytes=draw(st.sampled_from([1, 8, 32])), latency_cycles=draw(st.sampled_from([0, 4])),
        ),
        clock_hz=draw(st.integers(1, 3)),
        packing=draw(st.sampled_from(Packing)),
    )  # fmt: skip
    return rows, work, machine


def plain_unit(unit: Vector) -> oracle.Unit:
    return oracle.Unit(unit.lanes, unit.latency_cycles, unit.dividers, unit.divide_cycles, unit.root_cycles)


def interpreted(rows: Rows, work: oracle.Work, machine: Hardware) -> oracle.Run:
    def plain(streams: tuple[Stream, ...]) -> tuple[oracle.Stream, ...]:
        return tuple(oracle.Stream(one.operand.value, one.elements, one.bits, one.on_chip) for one in streams)

    sram, dram = machine.sram, machine.dram
    memory = Memory(
        sram.word_bytes, sram.ports, dram.burst_bytes, dram.latency_cycles,
        Fraction(dram.bandwidth_bytes_per_second, machine.clock_hz), machine.packing is Packing.PADDED,
    )  # fmt: skip
    what = oracle.Rows(rows.rows, plain(rows.inputs), plain(rows.outputs), plain(rows.constants), rows.kept_bytes)
    return oracle.run(what, work, plain_unit(machine.vector), memory, sram.capacity_bytes)


def check(run: Run, expected: oracle.Run) -> None:
    moved: Counter[tuple[str, str, int]] = Counter()
    for kind, count in run.counts.items():
        if kind.component is DRAM:
            moved[kind.operand.value, kind.direction.value, kind.bits] += count
    assert moved == expected.moves
    assert counted(run.counts, ACCESS, READ) == expected.access_read
    assert counted(run.counts, ACCESS, WRITE) == expected.access_written
    assert counted(run.counts, TRANSFER, READ) == expected.transfer_read
    assert counted(run.counts, TRANSFER, WRITE) == expected.transfer_written
    assert {cause: spent for cause, spent in run.cycles._asdict().items() if spent} == {
        cause: spent for cause, spent in expected.cycles.items() if spent
    }


@settings(deadline=None, max_examples=300)
@given(row_layers())
def test_every_figure_is_the_interpreters(drawn: tuple[Rows, oracle.Work, Hardware]) -> None:
    rows, work, machine = drawn
    total = oracle.of_rows(work, rows.rows)
    vectors = Vectors(elements=total.elements, passes=work.passes, divisions=total.divisions, roots=total.roots)
    check(rows_run(rows, vectors, machine), interpreted(rows, work, machine))
