"""Sums of priced events: by hand, exact by every property, linear, and without what the table does not model."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hwsim.accelerator.cost.energy import Cost, price, summed
from hwsim.accelerator.energy_tables import EnergyTable, energy_table
from hwsim.accelerator.events import Component, Direction, Event, Level, Operand
from hwsim.accelerator.hardware import Boundary, Hardware
from hwsim.accelerator.prices import Prices, prices_of
from tests.unit.hwsim.accelerator.sample_events import compute, move, scaled
from tests.unit.hwsim.accelerator.test_vectors import SMALL, with_sram

MACHINE = with_sram(SMALL, capacity_bytes=1 << 16)
MULTIPLY = compute("a", "matmul", Component.MAC_MULTIPLY, 8, 100, 8)
ADD = compute("a", "matmul", Component.MAC_ADD, 32, 100)
GATED, SKIPPED, PADDED = (
    compute("a", "matmul", component, 8, count, 8)
    for component, count in ((Component.MAC_GATED, 7), (Component.MAC_SKIPPED, 5), (Component.MAC_PADDED, 3))
)
CLAMP = compute("a", "matmul", Component.CLAMP, 8, 11)
NEAR = move("a", "matmul", Component.SRAM_ACCESS, Operand.WEIGHT, Direction.READ, 8, 40)
FILL = move("a", "matmul", Component.SRAM_TRANSFER, Operand.ACTIVATION, Direction.WRITE, 8, 8)
FAR = move("a", "matmul", Component.DRAM_TRANSFER, Operand.ACTIVATION, Direction.READ, 8, 9)
BACK = move("a", "matmul", Component.DRAM_TRANSFER, Operand.KV_CACHE, Direction.WRITE, 8, 2)
REGISTER = move("a", "matmul", Component.REGISTER, Operand.NONE, Direction.WRITE, 1, 64)
LEAKAGE = move("a", "matmul", Component.SRAM_LEAKAGE, Operand.NONE, Direction.NONE, 0, 1000)
ALL = (MULTIPLY, ADD, GATED, SKIPPED, PADDED, CLAMP, NEAR, FILL, FAR, BACK, REGISTER, LEAKAGE)


def prices(boundary: Boundary = Boundary.SYSTEM, table: EnergyTable | None = None) -> Prices:
    hardware: Hardware = replace(MACHINE, boundary=boundary)
    return prices_of(hardware, table)


def one(event: Event, of: Prices) -> int:
    energy = of.price(event)
    assert energy is not None
    return energy.nominal


def test_measures_by_hand() -> None:
    """All MACs, those that took time, and bytes: neither energies nor boundaries matter."""
    for boundary in Boundary:
        cost = price(ALL, prices(boundary))
        assert (cost.macs, cost.executed_macs) == (112, 107)
        assert (cost.dram_bytes, cost.sram_bytes) == (11, 48)
        assert cost.dram_bytes_by_operand == {"activation": 9, "kv_cache": 2}


def test_constants_times_counts() -> None:
    """A word of 4 bytes: 10 reads and 2 writes; 11 bytes of DRAM; leakage by the cycle."""
    of = prices()
    cost = price(ALL, of)
    assert of.sram_read_word_aj is not None and of.sram_write_word_aj is not None
    assert of.dram_byte_aj is not None and of.leakage_cycle_aj is not None
    assert cost.by_component["sram_access"] == 10 * of.sram_read_word_aj
    assert cost.by_component["sram_transfer"] == 2 * of.sram_write_word_aj
    assert cost.by_component["sram_leakage"] == 1000 * of.leakage_cycle_aj
    assert cost.by_component["dram_transfer"] == cost.by_level["dram"] == 11 * of.dram_byte_aj
    assert cost.by_operand["kv_cache"] == 2 * of.dram_byte_aj
    assert cost.energy_pj == pytest.approx(cost.energy_aj / 1e6)


def test_a_boundary_leaves_levels_out_and_says_so() -> None:
    levels = {
        level: sum(one(event, prices()) for event in ALL if event.level is level and event != CLAMP) for level in Level
    }
    inside = {Boundary.CORE: 2, Boundary.CHIP: 3, Boundary.SYSTEM: 4}
    for boundary, count in inside.items():
        cost = price(ALL, prices(boundary))
        order = list(Level)
        assert cost.by_level == {level.value: levels[level] for level in order[:count]}
        assert cost.outside_aj == {level.value: levels[level] for level in order[count:]}
        assert cost.energy_aj == sum(levels[level] for level in order[:count])


def test_what_has_no_constant_is_listed_and_in_no_sum() -> None:
    """`edge-22` prices no clamp; gated, skipped and padded MACs cost nothing by definition, and are not listed."""
    with_clamp, without = price(ALL, prices()), price([event for event in ALL if event != CLAMP], prices())
    (entry,) = with_clamp.not_modelled
    assert (entry.component, entry.direction, entry.bits, entry.count) == (Component.CLAMP, Direction.NONE, 8, 11)
    assert replace(with_clamp, not_modelled=()) == without
    assert without.not_modelled == ()
    assert not {"clamp", "mac_gated", "mac_skipped", "mac_padded"} & with_clamp.by_component.keys()


def test_a_table_of_memories_prices_no_logic() -> None:
    """`dram` alone: all else is listed, whatever the boundary."""
    cost = price(ALL, prices(table=energy_table("dram")))
    listed = {entry.component for entry in cost.not_modelled}
    nothing = {Component.MAC_GATED, Component.MAC_SKIPPED, Component.MAC_PADDED, Component.DRAM_TRANSFER}
    assert listed == {event.component for event in ALL} - nothing
    assert cost.by_level.keys() == {"dram"}


def test_a_direction_that_has_no_constant_is_told_from_one_that_has() -> None:
    """A table may price writes of a register and not its reads: each entry says which way."""
    both = [replace(REGISTER, direction=direction) for direction in (Direction.READ, Direction.WRITE)]
    cost = price(both, prices(table=energy_table("dram")))
    assert [entry.what for entry in cost.not_modelled] == ["register read", "register write"]
    assert [entry.count for entry in cost.not_modelled] == [64, 64]


def test_bands_of_dram_are_beside_the_sum() -> None:
    of = prices()
    far, cost = [of.price(event) for event in (FAR, BACK)], price(ALL, of)
    assert cost.energy_aj - cost.low_aj == sum(one.nominal - one.low for one in far if one)
    assert cost.high_aj - cost.energy_aj == sum(one.high - one.nominal for one in far if one)


EVENTS = st.lists(
    st.builds(scaled, st.sampled_from(ALL), st.integers(1, 1 << 70).map(lambda count: 4 * count)), max_size=8
)


def check_sums(cost: Cost) -> None:
    """Every breakdown adds up to the last digit."""
    assert sum(cost.by_component.values()) == cost.energy_aj
    assert sum(cost.by_level.values()) == cost.energy_aj
    assert sum(cost.by_operand.values()) == cost.energy_aj
    assert sum(cost.dram_bytes_by_operand.values()) == cost.dram_bytes
    assert cost.low_aj <= cost.energy_aj <= cost.high_aj
    assert cost.executed_macs <= cost.macs


@settings(deadline=None)
@given(EVENTS, EVENTS, st.sampled_from(Boundary), st.integers(2, 9))
def test_costs_are_exact_and_linear(some: list[Event], more: list[Event], boundary: Boundary, times: int) -> None:
    of = prices(boundary)
    both = price([*some, *more], of)
    check_sums(both)
    assert _plain(summed([price(some, of), price(more, of)])) == _plain(both)
    assert _plain(summed([price(some, of)] * times)) == _plain(price([scaled(e, times * e.count) for e in some], of))
    inside, outside = (sum(part) for part in (both.by_level.values(), both.outside_aj.values()))
    system = price([*some, *more], prices())
    assert inside + outside == system.energy_aj


def _plain(cost: Cost) -> tuple[object, ...]:
    """Without the order in which things were first seen."""
    listed = Counter({(entry.component, entry.direction, entry.bits): entry.count for entry in cost.not_modelled})
    rest = replace(cost, not_modelled=())
    return listed, rest
