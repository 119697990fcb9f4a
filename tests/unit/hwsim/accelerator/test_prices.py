"""What events cost: published arithmetic and efficiencies, widths, voltage, bands, boundaries."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator.energy_tables import TABLES, energy_table
from hwsim.accelerator.events import Component, Direction
from hwsim.accelerator.hardware import Boundary
from hwsim.accelerator.presets import PRESETS, hardware
from hwsim.accelerator.prices import ADDS, IDLE, MULTIPLIES, Energy, prices_of
from tests.unit.hwsim.accelerator.priced_events import EDGE, add, aj, at, machine, moved, multiply, sram_of
from tests.unit.hwsim.accelerator.sample_events import compute, scaled


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


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_prices(name: str) -> None:
    prices = prices_of(hardware(name))
    assert prices.price(multiply(8, 8)) is not None
    assert prices.sram_read_word_aj is not None
