"""Array cycles and counts: other tools' figures, equations by hand, and what registers do."""

from fractions import Fraction

import pytest

from hwsim.accelerator.array import (
    ArrayCounts,
    Registers,
    Widths,
    array_counts,
    array_cycles,
    folds,
    padded_macs,
    registers,
    streaming_cycles,
    untiled,
)
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.hardware import Array, ArrayKind, Packing
from hwsim.accelerator.storage import psum_bytes, row_bytes, stored_bits
from tests.unit.hwsim.accelerator.machine import array, gemm, golden

SCALESIM = golden("scalesim_gemm.csv")
ONE = Fraction(1)
WIDTHS = Widths(8, 4, 32)


def read(row: dict[str, str]) -> tuple[Array, tuple[int, int, int]]:
    of = array(int(row["array_rows"]), int(row["array_cols"]), row["dataflow"], "serial")
    return of, (int(row["m"]), int(row["k"]), int(row["n"]))


@pytest.mark.parametrize("row", SCALESIM, ids=lambda row: "-".join(list(row.values())[:6]))
def test_scalesim(row: dict[str, str]) -> None:
    of, (m, k, n) = read(row)
    cycles, counts = untiled(gemm(m, k, n), of)
    assert cycles.total == int(row["total_cycles"])
    assert counts.ifmap_reads == int(row["sram_ifmap_reads"])
    assert counts.filter_reads == int(row["sram_filter_reads"])
    written = int(row["sram_ofmap_writes_reported"])
    if row["dataflow"] == "os":
        # The tool adds one fill of the array for each fold (SCALE-Sim issue 166).
        count, _ = folds(m, k, n, of, ONE)
        assert counts.result_writes + count * (of.rows + of.cols) == written
    else:
        assert counts.psum_writes == written
    streaming = streaming_cycles(m, k, n, of, ONE)
    utilization = 100 * m * k * n / (streaming * of.rows * of.cols)
    assert f"{utilization:.1f}" == row["mapping_util_pct"]


def test_scalesim_has_all_dataflows() -> None:
    assert len(SCALESIM) == 24
    spilled = [
        row
        for row in SCALESIM
        if row["dataflow"] != "os" and row["dram_ofmap_writes"] != row["sram_ofmap_writes_reported"]
    ]
    assert [int(row["dram_ofmap_writes"]) - int(row["sram_ofmap_writes_reported"]) for row in spilled] == [15] * 4


def test_pipelined_folds() -> None:
    """ONNXim's rule: start 63, 255 folds of 64, then 32 + 32 - 2 + 64."""
    cycles, _ = untiled(gemm(64, 512, 512), array(32, 32))
    assert cycles.total == 63 + 255 * 64 + 126 == 16509
    assert cycles == Cycles(compute=256 * 64, fill_drain=125)


@pytest.mark.parametrize(
    ("dataflow", "mode", "size", "expected"),
    [
        ("os", "serial", (5, 7, 9), (2 * 3 * 7, 2 * 3 * (4 + 3 - 2))),
        ("ws", "serial", (5, 7, 9), (2 * 3 * 5, 2 * 3 * (2 * 4 + 3 - 2))),
        ("is", "serial", (5, 7, 9), (2 * 2 * 9, 2 * 2 * (2 * 4 + 3 - 2))),
        ("os", "pipelined", (5, 7, 9), (6 * 7, 5 * 7 + 7 + 2 * 4 + 3 - 2 - 6 * 7)),
        ("os", "pipelined", (5, 2, 9), (6 * 2, 5 * 4 + 2 + 2 * 4 + 3 - 2 - 6 * 2)),
        ("ws", "pipelined", (5, 7, 9), (6 * 5, 7 + 5 * 5 + 4 + 3 - 2 + 5 - 6 * 5)),
        # One row streams as four; a fold lasts as long as the next one's weights need, four rows.
        ("ws", "pipelined", (1, 7, 9), (6 * 4, 7 + 5 * 4 + 4 + 3 - 2 + 4 - 6 * 4)),
        ("is", "pipelined", (5, 7, 3), (4 * 4, 7 + 3 * 4 + 4 + 3 - 2 + 4 - 4 * 4)),
    ],
)
def test_equations_by_hand(dataflow: str, mode: str, size: tuple[int, int, int], expected: tuple[int, int]) -> None:
    assert array_cycles(*size, array(4, 3, dataflow, mode), ONE) == expected


@pytest.mark.parametrize("mode", ["serial", "pipelined"])
def test_dot_products_have_no_skew(mode: str) -> None:
    for dataflow, expected in (("ws", 2 * 3 * 5), ("is", 2 * 2 * 9)):
        of = array(4, 3, dataflow, mode, kind=ArrayKind.DOT_PRODUCT)
        assert array_cycles(5, 7, 9, of, ONE) == (expected, 0)
        assert untiled(gemm(5, 7, 9), of)[0] == Cycles(compute=expected)


def test_tiles_start_and_drain_once() -> None:
    of = array(4, 3)
    first, middle, last = (sum(array_cycles(5, 4, 3, of, ONE, *ends)) for ends in ((1, 0), (0, 0), (0, 1)))
    assert (first, middle, last) == (7 + 5, 5, 4 + 3 - 2 + 5)
    assert first + 4 * middle + last == sum(array_cycles(5, 8, 9, of, ONE))


@pytest.mark.parametrize(("rate", "folds_along_k"), [(Fraction(4), 1), (Fraction(1), 2), (Fraction(1, 3), 6)])
def test_macs_a_cycle_change_folds_and_not_counts(rate: Fraction, folds_along_k: int) -> None:
    of = array(4, 3)
    assert folds(5, 8, 3, of, rate) == (folds_along_k, 5)
    assert array_counts(5, 8, 3, of, rate).ifmap_reads == 40
    assert array_counts(5, 8, 3, of, rate).psum_writes == 15 * folds_along_k


def test_an_element_of_one_cycle() -> None:
    """The index of the last cycle may be below the streaming cycles."""
    assert untiled(gemm(2, 3, 4), array(1, 1, "os", "serial"))[0] == Cycles(compute=23)


@pytest.mark.parametrize(
    ("dataflow", "expected"),
    [
        ("os", ArrayCounts(35 * 3, 63 * 2, 0, 0, 0, 45)),
        ("ws", ArrayCounts(35 * 3, 63, 90, 45, 45, 45)),
        ("is", ArrayCounts(35, 63 * 2, 90, 45, 45, 45)),
    ],
)
def test_counts_by_hand(dataflow: str, expected: ArrayCounts) -> None:
    assert array_counts(5, 7, 9, array(4, 3, dataflow), ONE) == expected


def test_tiles_along_k_hand_over_partial_sums() -> None:
    of = array(4, 3, "os")
    parts = [array_counts(5, 7, 9, of, ONE, *ends) for ends in ((True, False), (False, False), (False, True))]
    assert [part[2:] for part in parts] == [(45, 0, 0, 0), (45, 45, 0, 0), (0, 45, 0, 45)]
    of = array(4, 3)
    parts = [array_counts(5, 7, 9, of, ONE, *ends) for ends in ((True, False), (False, False), (False, True))]
    assert [part[2:] for part in parts] == [(90, 45, 0, 0), (90, 90, 0, 0), (90, 90, 45, 45)]


def test_registers_by_hand() -> None:
    """(5, 7, 9) on 4 rows and 3 columns, 8-bit a, 4-bit b, 32-bit sums: 315 MACs."""
    macs = 315
    by = {
        dataflow: registers(array_counts(5, 7, 9, array(4, 3, dataflow), ONE), macs, WIDTHS, array(4, 3, dataflow))
        for dataflow in ("os", "ws", "is")
    }
    assert by["os"] == Registers(macs * (12 + 32), macs * 44, macs * 12)
    assert by["ws"] == Registers(macs * (8 + 32) + 63 * 4, macs * 44, macs * (8 + 32))
    assert by["is"] == Registers(macs * (4 + 32) + 35 * 8, macs * 44, macs * (4 + 32))


def test_registers_of_a_dot_product_array() -> None:
    of = array(4, 3, kind=ArrayKind.DOT_PRODUCT)
    counts = array_counts(5, 7, 9, of, ONE)
    assert registers(counts, 315, WIDTHS, of) == Registers(105 * 8 + 90 * 32 + 63 * 4, 315 * 12 + 90 * 32, 0)


def test_gated_macs_leave_accumulators_alone() -> None:
    of = array(4, 3)
    counts = array_counts(5, 7, 9, of, ONE)
    every, some = (registers(counts, 315, WIDTHS, of, gated) for gated in (0, 100))
    assert (every.written - some.written, every.read - some.read) == (3200, 3200)
    assert every.hops == some.hops


def test_padded_macs() -> None:
    """Weights of 7 by 9 in 8 by 9 elements, 5 rows each."""
    of = array(4, 3)
    assert padded_macs(streaming_cycles(5, 7, 9, of, ONE), 315, of, ONE) == 5 * 9
    # 3 cycles a MAC: 3 of 4 rows have work, of 15 elements' cycles 5 are a MAC; 20 / 3 is rounded down.
    assert padded_macs(streaming_cycles(5, 1, 1, array(4, 1), Fraction(1, 3)), 5, array(4, 1), Fraction(1, 3)) == 1


def test_causes_and_bounds() -> None:
    cycles = Cycles(3, 4, 5, 2, 2, 7)
    assert cycles.total == 23
    assert cycles.added(Cycles(vector=1)).times(2) == Cycles(6, 8, 10, 4, 4, 16)
    assert cycles.bound() == "compute"
    assert cycles._replace(vector=8).bound() == "vector"
    assert cycles._replace(dma_out=6).bound() == "dma"
    assert cycles._replace(sram=8, vector=8).bound() == "sram"
    assert Cycles().bound() == "compute"


def test_rows_are_packed() -> None:
    assert row_bytes(5, 6) == 4
    assert row_bytes(5, 6, Packing.PADDED) == 5
    assert [stored_bits(bits, Packing.PADDED) for bits in (2, 3, 5, 9, 17)] == [2, 4, 8, 16, 32]
    assert stored_bits(6, Packing.DENSE) == 6
    with pytest.raises(ValueError, match="65 bits"):
        stored_bits(65, Packing.PADDED)
    assert [psum_bytes(20), psum_bytes(32), psum_bytes(32, 8)] == [3, 4, 1]
