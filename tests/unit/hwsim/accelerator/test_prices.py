"""Energy tables as published, and what events cost under them."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator import energy_tables
from hwsim.accelerator.energy_tables import (
    TABLES,
    EnergyTable,
    SramPoint,
    SramTable,
    describe,
    dram_constant,
    energy_table,
)
from hwsim.accelerator.events import Component, Direction, Event, Operand
from hwsim.accelerator.hardware import Boundary, Hardware, Sram
from hwsim.accelerator.presets import PRESETS, hardware
from hwsim.accelerator.prices import ADDS, IDLE, MULTIPLIES, Energy, Prices, prices_of, word_energy
from tests import GOLDEN
from tests.unit.hwsim.accelerator.sample_events import compute, move, scaled

EDGE = hardware("edge-256")
CACTI = GOLDEN / "cacti_sram.csv"


def machine(**changes: Any) -> Hardware:
    return msgspec.structs.replace(EDGE, **changes)


def at(table: str) -> Hardware:
    """The default machine at a table's voltage, to compare with its printed figures."""
    parts = [part.voltage for _, part in energy_table(table).parts() if part.voltage]
    return machine(energy_table=table, voltage=parts[0], mac_pj=1.0 if table == "eyeriss-65" else None)


def aj(prices: Prices, event: Event) -> int | None:
    energy = prices.price(event)
    return None if energy is None else energy.nominal


def multiply(bits: int, second: int) -> Event:
    return compute("s", "matmul", Component.MAC_MULTIPLY, bits, 1, second)


def add(bits: int) -> Event:
    return compute("s", "matmul", Component.MAC_ADD, bits, 1)


def moved(component: Component, direction: Direction, count: int, bits: int = 8) -> Event:
    return move("s", "matmul", component, Operand.WEIGHT, direction, bits, count)


@pytest.mark.parametrize(
    ("table", "multiply_aj", "add_aj"),
    [
        ("horowitz-45", 200_000, 30_000),
        ("jouppi-7", 70_000, 7_000),
        ("node-5", 70_000, 7_000),
        ("aladdin-40", 790_000, 52_500),
        ("aladdin-22", 268_000, 18_000),
        ("edge-22", 58_800, 8_820),
    ],
)
def test_published_arithmetic(table: str, multiply_aj: int, add_aj: int) -> None:
    prices = prices_of(at(table))
    assert aj(prices, multiply(8, 8)) == multiply_aj
    assert aj(prices, add(8)) == add_aj


def test_edge_arithmetic_is_horowitz_scaled() -> None:
    horowitz, edge = energy_table("horowitz-45"), energy_table("edge-22")
    assert horowitz.multiply_8 and horowitz.add_8 and edge.multiply_8 and edge.add_8
    assert edge.multiply_8.value == pytest.approx(0.294 * horowitz.multiply_8.value, rel=1e-12)
    assert edge.add_8.value == pytest.approx(0.294 * horowitz.add_8.value, rel=1e-12)


@pytest.mark.parametrize(("first", "second"), [(4, 4), (4, 8), (8, 4), (16, 8), (32, 31), (64, 62)])
def test_multiplications_scale_with_both_widths(first: int, second: int) -> None:
    prices = prices_of(EDGE)
    expected = 58_800 * math.exp(0.99 * math.log(first * second / 64))
    for component in MULTIPLIES:
        assert aj(prices, compute("s", "x", component, first, 1, second)) == round(expected)


@pytest.mark.parametrize("bits", [4, 8, 26, 32, 64])
def test_additions_scale_with_width(bits: int) -> None:
    prices = prices_of(EDGE)
    for component in ADDS:
        assert aj(prices, compute("s", "x", component, bits, 1)) == round(8_820 * math.exp(0.87 * math.log(bits / 8)))


def test_int4_to_int8_of_a_mac() -> None:
    """By hand: 58800 aJ * 0.25^0.99 = 14905 aJ, 8820 aJ * 4^0.87 = 29462 aJ."""
    prices = prices_of(EDGE)
    narrow, wide, adder = (aj(prices, event) for event in (multiply(4, 4), multiply(8, 8), add(32)))
    assert (narrow, wide, adder) == (14_905, 58_800, 29_462)


def test_a_multiplication_needs_both_widths() -> None:
    with pytest.raises(ValueError, match=r"^mac_multiply of 8 by 0 bits; both widths must be at least 1$"):
        prices_of(EDGE).price(multiply(8, 0))


def test_ita_core_is_the_published_efficiency() -> None:
    """16.9 TOPS/W: 0.1183 pJ a MAC, here of 8 by 8 bits, a 26-bit addition and about a bit of registers."""
    prices = prices_of(hardware("ita"))
    registers = moved(Component.REGISTER, Direction.WRITE, 100)
    total = (aj(prices, multiply(8, 8)) or 0) + (aj(prices, add(26)) or 0) + (aj(prices, registers) or 0) / 100
    assert total == pytest.approx(2 / 16.9 * 1e6, rel=0.01)
    assert 83_400 / (2 / 16.9 * 1e6) < 0.85, "the MAC's share"


def test_keller_core_is_the_published_efficiency() -> None:
    """39.1 TOPS/W at 8 bits; held out: 91.1 TOPS/W at 4 bits."""
    prices = prices_of(hardware("keller-5nm"))
    eight, four = ((aj(prices, multiply(b, b)) or 0) + (aj(prices, add(24)) or 0) for b in (8, 4))
    assert eight == pytest.approx(2 / 39.1 * 1e6, rel=0.01)
    assert four / eight == pytest.approx(39.1 / 91.1, rel=0.2)


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


def sram_of(kib: float, word_bits: int) -> Sram:
    return Sram(capacity_bytes=int(1024 * kib), word_bytes=word_bits // 8, ports=1)


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


@given(volts=st.floats(0.3, 1.4))
@settings(deadline=None, max_examples=30)
def test_voltage_scales_all_but_dram(volts: float) -> None:
    low, nominal = prices_of(machine(voltage=volts)), prices_of(EDGE)
    assert nominal.sram_read_word_aj and nominal.leakage_cycle_aj
    square = (volts / 0.8) ** 2
    assert aj(low, multiply(8, 8)) == pytest.approx(58_800 * square, abs=0.51)
    assert low.sram_read_word_aj == pytest.approx(nominal.sram_read_word_aj * square, abs=1)
    assert low.leakage_cycle_aj == pytest.approx(nominal.leakage_cycle_aj * square, abs=1)
    assert low.dram_byte_aj == nominal.dram_byte_aj == 64_000_000


def test_overhead_multiplies_datapath_and_registers_only() -> None:
    plain, doubled = prices_of(EDGE), prices_of(machine(overhead=2.0))
    register = moved(Component.REGISTER, Direction.WRITE, 1)
    assert aj(doubled, multiply(8, 8)) == 117_600
    assert (aj(plain, register), aj(doubled, register)) == (3_050, 6_100)
    assert doubled.sram_read_word_aj == plain.sram_read_word_aj
    assert doubled.leakage_cycle_aj == plain.leakage_cycle_aj
    assert doubled.dram_byte_aj == plain.dram_byte_aj


def test_dram_has_a_band() -> None:
    event = moved(Component.DRAM_TRANSFER, Direction.READ, 3)
    assert prices_of(EDGE).price(event) == Energy(3 * 32_000_000, 3 * 64_000_000, 3 * 112_000_000)
    horowitz = prices_of(EDGE, energy_table("horowitz-45"))
    assert horowitz.price(event) == Energy(3 * 162_500_000, 3 * 243_750_000, 3 * 325_000_000)


def test_sram_bytes_are_whole_words() -> None:
    prices = prices_of(EDGE)
    event = moved(Component.SRAM_TRANSFER, Direction.WRITE, 64)
    assert aj(prices, event) == 2 * 27_293_400
    assert aj(prices, moved(Component.SRAM_ACCESS, Direction.READ, 32)) == 30_022_300
    with pytest.raises(ValueError, match=r"^s: 33 bytes of SRAM; allowed are multiples of a word, 32 bytes$"):
        prices.price(moved(Component.SRAM_ACCESS, Direction.READ, 33))


@pytest.mark.parametrize("component", IDLE)
def test_idle_macs_cost_nothing(component: Component) -> None:
    assert prices_of(EDGE).price(compute("s", "matmul", component, 8, 5, 8)) == Energy(0, 0, 0)


@pytest.mark.parametrize("name", ["REQUANTIZE_SHIFT", "COMPARE", "CLAMP", "TABLE_READ", "DIVIDE", "SQUARE_ROOT"])
def test_what_no_table_has_is_not_modelled(name: str) -> None:
    for table in TABLES:
        if table != "eyeriss-65":
            prices = prices_of(machine(energy_table=table))
            assert prices.price(compute("s", "x", Component[name], 8, 1)) is None


def test_what_one_table_lacks_is_not_modelled() -> None:
    aladdin, horowitz = prices_of(at("aladdin-22")), prices_of(at("horowitz-45"))
    assert aladdin.sram_read_word_aj is aladdin.leakage_cycle_aj is aladdin.dram_byte_aj is None
    for component in (Component.SRAM_ACCESS, Component.SRAM_LEAKAGE, Component.DRAM_TRANSFER, Component.HOP):
        assert aladdin.price(moved(component, Direction.READ, 32)) is None
    assert aladdin.price(moved(Component.REGISTER, Direction.READ, 1)) is None
    assert horowitz.price(moved(Component.REGISTER, Direction.WRITE, 1)) is None
    assert horowitz.leakage_cycle_aj is None and horowitz.sram_area_mm2 is None
    assert prices_of(EDGE, energy_table("cacti-22")).price(multiply(8, 8)) is None


@given(
    counts=st.lists(st.integers(0, 10**18), min_size=1, max_size=8),
    component=st.sampled_from([Component.MAC_MULTIPLY, Component.MAC_ADD, Component.DRAM_TRANSFER, Component.REGISTER]),
)
@settings(deadline=None, max_examples=50)
def test_sums_are_exact(counts: list[int], component: Component) -> None:
    prices, one = prices_of(EDGE), compute("s", "x", component, 8, 1, 8)
    parts = [prices.price(scaled(one, count)) for count in counts]
    assert prices.price(scaled(one, sum(counts))) == tuple(map(sum, zip(*parts, strict=True)))


def test_boundaries() -> None:
    events = [
        multiply(8, 8),
        moved(Component.REGISTER, Direction.WRITE, 8),
        moved(Component.SRAM_ACCESS, Direction.READ, 32),
        moved(Component.SRAM_LEAKAGE, Direction.NONE, 1),
        moved(Component.DRAM_TRANSFER, Direction.READ, 1),
    ]
    inside = {
        boundary: [prices_of(machine(boundary=boundary)).in_boundary(event) for event in events]
        for boundary in Boundary
    }
    assert inside == {
        Boundary.CORE: [True, True, False, False, False],
        Boundary.CHIP: [True, True, True, True, False],
        Boundary.SYSTEM: [True, True, True, True, True],
    }


def test_eyeriss_is_in_macs() -> None:
    """With a MAC of 1 pJ: registers 1, hops 2, buffer 6 and DRAM 200 pJ for 16 bits."""
    prices = prices_of(machine(energy_table="eyeriss-65", voltage=1.0, mac_pj=1.0, sram=sram_of(108, 16)))
    pj = 10**6
    assert (aj(prices, multiply(16, 16)), aj(prices, add(32))) == (pj, 0)
    assert aj(prices, moved(Component.REGISTER, Direction.READ, 16)) == pj
    assert aj(prices, moved(Component.REGISTER, Direction.WRITE, 16)) == pj
    assert aj(prices, moved(Component.HOP, Direction.NONE, 16)) == 2 * pj
    assert aj(prices, moved(Component.SRAM_ACCESS, Direction.READ, 2)) == 6 * pj
    assert aj(prices, moved(Component.DRAM_TRANSFER, Direction.READ, 2)) == 200 * pj
    assert prices.price(compute("s", "x", Component.VECTOR_ADD, 8, 1)) is None
    with pytest.raises(ValueError, match=r"^energy table eyeriss-65 gives ratios .* edge-256 must say mac_pj, its pJ$"):
        prices_of(machine(energy_table="eyeriss-65"))
    with pytest.raises(ValueError, match=r"^hardware edge-256 has mac_pj, but energy table edge-22 is in pJ$"):
        prices_of(machine(mac_pj=1.0))


def test_tables_are_the_files() -> None:
    assert {path.stem for path in Path(energy_tables.__file__).parent.glob("*.toml")} == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_mixed_sources_are_declared(name: str) -> None:
    table = energy_table(name)
    citations = {row.source for row in describe(table).rows}
    assert table.name == name
    assert table.composite == (len(table.used_sources) > 1)
    assert ("composite" in describe(table).title) == table.composite == describe(table).composite
    assert table.composite or len(citations) == 1


@pytest.mark.parametrize("name", TABLES)
def test_every_value_has_its_provenance(name: str) -> None:
    rows = describe(energy_table(name)).rows
    assert rows
    for row in rows:
        assert 0 < row.low <= row.value <= row.high
        assert row.unit.startswith(("pJ", "MAC", "mW", "mm^2"))
        assert row.source and row.boundary
        assert row.constant.startswith("dram") == (row.node_nm is None) == (row.voltage is None)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_prices(name: str) -> None:
    prices = prices_of(hardware(name))
    assert prices.price(multiply(8, 8)) is not None
    assert prices.sram_read_word_aj is not None


def test_edge_takes_its_parts_whole() -> None:
    edge = energy_table("edge-22")
    assert edge.sram == energy_table("cacti-22").sram
    assert edge.register_write_bit == energy_table("aladdin-22").register_write_bit
    assert edge.dram == energy_table("dram").dram
    assert set(edge.used_sources) <= set(edge.sources)


def test_describe_shows_the_dram_in_use() -> None:
    rows = describe(energy_table("edge-22"), "LPDDR4").rows
    assert [row.constant for row in rows if row.constant.startswith("dram")] == ["dram.LPDDR4"]
    assert describe(energy_table("edge-22"), "LPDDR4").title == "edge-22 (composite of 6 sources)"
    assert [row.unit for row in describe(energy_table("horowitz-45")).rows][-1] == "pJ per 64 bits"


def test_dram_types() -> None:
    edge = energy_table("edge-22")
    assert dram_constant(edge, "flash") is None
    assert dram_constant(energy_table("jouppi-7"), "LPDDR4") is None
    with pytest.raises(ValueError, match=r"^dram.type is 'LPDR4'; energy table edge-22 has LPDDR4, .* HMC and flash$"):
        dram_constant(edge, "LPDR4")


SMALL = """name = "mine"
[sources]
a = "A"
b = "B"
[add_8]
value = 1
node_nm = 22
voltage = 0.8
source = "a"
boundary = "adder"
"""


def refuse(path: Path, text: str, edit: Callable[[str], str]) -> str:
    path.write_text(edit(text))
    with pytest.raises(ValueError) as caught:
        energy_table(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_own_tables(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    table: EnergyTable = energy_table(path)
    assert aj(prices_of(machine(energy_table=str(path))), add(8)) == 10**6
    assert not table.composite


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', 'name = "mine"\ncomposite = true', "composite is true, but its sources are a"),
        ('source = "a"', 'source = "a"\nalso = ["b"]', "composite is false, but its sources are a and b"),
        ('source = "a"', 'source = "c"', "source 'c' is not in sources; known: a, b"),
        ("[add_8]", '[take]\nsram = "cacti22"\n[add_8]', "take.sram is 'cacti22'; did you mean cacti-22?"),
        ("[add_8]", '[take]\nsram = "cacti-22"\n[add_8]', "composite is false, but its sources are a and cacti"),
        ("[add_8]", '[take]\narithmetic = "jouppi-7"\n[add_8]', "arithmetic are both given and taken from jouppi-7"),
        ("value = 1", "value = 0", "add_8.value is 0; expected float > 0.0"),
        ("value = 1", "value = 1\nlow = 2", "low 2.0 <= value 1.0 <= high 1.0 must hold"),
        ("value = 1", 'value = 1\nunit = "nJ"', "add_8.unit is 'nJ'; invalid enum value 'nJ'"),
        ("[add_8]", "[ad_8]", "unknown key ad_8; did you mean add_8?"),
        ('boundary = "adder"', "", "missing key add_8.boundary"),
    ],
)
def test_bad_tables(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in refuse(tmp_path / "mine.toml", SMALL, lambda text: text.replace(old, new, 1))


def test_unknown_tables() -> None:
    with pytest.raises(ValueError, match=r"^unknown energy table 'edge-2'; did you mean edge-22\? known: edge-22, "):
        prices_of(machine(energy_table="edge-2"))
