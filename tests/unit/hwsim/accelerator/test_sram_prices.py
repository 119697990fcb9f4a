"""What the scratchpad costs: tables as measured, interpolation, words, leakage, area."""

import csv
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator.energy_tables import SramPoint, SramTable, energy_table
from hwsim.accelerator.events import Component, Direction
from hwsim.accelerator.prices import prices_of, word_energy
from tests import GOLDEN
from tests.unit.hwsim.accelerator.priced_events import EDGE, aj, at, machine, moved, sram_of

CACTI = GOLDEN / "cacti_sram.csv"


@pytest.mark.parametrize("node", [22, 32, 45])
def test_cacti_tables_are_the_measured_rows(node: int) -> None:
    with CACTI.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["tech_nm"] == str(node)]
    names = ("size_KB", "width_bits", "read_pJ", "write_pJ", "leak_mW", "area_mm2")
    table = energy_table(f"cacti-{node}").sram
    assert table is not None
    assert [msgspec.structs.astuple(point) for point in table.points] == [
        tuple(float(row[name]) for name in names) for row in rows
    ]


@pytest.mark.parametrize("name", ["cacti-22", "cacti-32", "cacti-45", "edge-22", "horowitz-45", "jouppi-7"])
def test_interpolation_passes_through_the_points(name: str) -> None:
    table = energy_table(name).sram
    assert table is not None
    for point in table.points:
        prices = prices_of(msgspec.structs.replace(at(name), sram=sram_of(point.kib, point.word_bits)))
        assert prices.sram_read_word_aj == round(point.read * 10**6)
        assert prices.sram_write_word_aj == round(point.write * 10**6)


def read(point: SramPoint) -> float:
    return point.read


def sram_table(name: str = "cacti-22") -> SramTable:
    table = energy_table(name).sram
    assert table is not None
    return table


def test_interpolation_is_log_log() -> None:
    table = sram_table()
    between = word_energy(table, 1024 * 192, 64, read)
    slope = math.log(11.8577 / 7.4023) / math.log(256 / 128)
    assert math.log(between) == pytest.approx(math.log(7.4023) + slope * math.log(1.5), rel=1e-12)
    assert word_energy(table, 1024 * 32, 128, read) == pytest.approx(math.sqrt(3.7865 * 7.1360), rel=1e-12)


@given(kib=st.floats(1, 1024), step=st.floats(1.001, 2), word=st.sampled_from([64, 96, 128, 192]))
@settings(deadline=None, max_examples=100)
def test_energy_grows_with_capacity_and_word(kib: float, step: float, word: int) -> None:
    table = sram_table()
    here = word_energy(table, int(1024 * kib), word, read)
    assert here <= word_energy(table, int(1024 * kib * step), word, read) * (1 + 1e-12)
    assert here < word_energy(table, int(1024 * kib), word + 64, read)


def test_words_and_capacities_beyond_the_table() -> None:
    table = sram_table()
    assert word_energy(table, 1024 * 32, 16, read) == pytest.approx(3.7865 / 4), "a share of the narrowest"
    assert word_energy(table, 1024 * 64, 512, read) == pytest.approx(2 * 7.1360), "two banks of half the capacity"
    assert word_energy(table, 1024 * 64, 384, read) == pytest.approx(2 * word_energy(table, 1024 * 32, 192, read))
    assert word_energy(table, 1024 * 5000, 64, read) == 23.4672, "one bank of the largest"
    assert word_energy(table, 512, 64, read) == 0.3802, "the smallest"


@pytest.mark.parametrize(
    ("kib", "leakage_mw", "area_mm2"), [(32, 0.0055, 0.02669), (1024, 0.1379, 0.77846), (2049, 3 * 0.1379, 3 * 0.77846)]
)
def test_leakage_and_area(kib: int, leakage_mw: float, area_mm2: float) -> None:
    """5.5 uW for 2 ns are 11 fJ."""
    prices = prices_of(machine(sram=sram_of(kib, 64)))
    assert prices.leakage_cycle_aj == round(leakage_mw * 2_000_000)
    assert prices.sram_area_mm2 == pytest.approx(area_mm2)
    assert aj(prices, moved(Component.SRAM_LEAKAGE, Direction.NONE, 1000)) == 1000 * prices.leakage_cycle_aj


def test_leakage_below_the_last_digit_is_not_used() -> None:
    """CACTI prints 0.0000 mW for 1 KiB at 45 nm; the smallest known is 2 KiB's 0.0001."""
    hardware = msgspec.structs.replace(at("cacti-45"), sram=sram_of(1, 64))
    assert prices_of(hardware).leakage_cycle_aj == 200


def test_sram_bytes_are_whole_words() -> None:
    prices = prices_of(EDGE)
    event = moved(Component.SRAM_TRANSFER, Direction.WRITE, 64)
    assert aj(prices, event) == 2 * 27_293_400
    assert aj(prices, moved(Component.SRAM_ACCESS, Direction.READ, 32)) == 30_022_300
    with pytest.raises(ValueError, match=r"^s: 33 bytes of SRAM; allowed are multiples of a word, 32 bytes$"):
        prices.price(moved(Component.SRAM_ACCESS, Direction.READ, 33))


def test_the_scratchpad_is_told_by_its_size_and_word() -> None:
    """96 KiB and a word of 128 bits, between the points of the table."""
    sram = msgspec.structs.replace(EDGE.sram, capacity_bytes=96 * 1024, word_bytes=16)
    rows = prices_of(msgspec.structs.replace(EDGE, sram=sram)).constants()
    told = [row.constant.split(" ", 1)[1] for row in rows if "KiB" in row.constant]
    assert told[:2] == ["96 KiB, read of 128 bits", "96 KiB, write of 128 bits"]
