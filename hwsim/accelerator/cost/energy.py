"""What events cost: exact sums of attojoules by every property of an event (docs/accelerator.md, section 11)."""

from collections.abc import Hashable, Iterable
from typing import TypeVar

import msgspec

from hwsim.accelerator.events import Component, Direction, Event, Level
from hwsim.accelerator.prices import AJ_PER_PJ, Prices

K = TypeVar("K", bound=Hashable)


class NotModelled(msgspec.Struct, frozen=True, kw_only=True):
    """Events without a constant in the energy table: part of no sum."""

    component: Component
    direction: Direction
    bits: int
    count: int

    @property
    def what(self) -> str:
        """In words: "clamp", "register read"."""
        return " ".join([self.component.value] + [self.direction.value] * (self.direction is not Direction.NONE))


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Energy and traffic of some events.

    Attributes
    ----------
    energy_aj, low_aj, high_aj
        Total within the boundary, aJ: nominal, and at the ends of the bands of DRAM.
    by_component, by_level, by_operand
        Nominal energies within the boundary, aJ. Each sums to `energy_aj` exactly.
    outside_aj
        Nominal energies outside the boundary, by level.
    not_modelled
        What the totals leave out.
    macs
        All multiply-accumulates: useful, gated, skipped.
    executed_macs
        The useful ones and the gated ones: those that take time.
    dram_bytes, sram_bytes
        All bytes of a level, both directions, both ends of a transfer.
    dram_bytes_by_operand
        Sums to `dram_bytes`.
    """

    energy_aj: int = 0
    low_aj: int = 0
    high_aj: int = 0
    by_component: dict[str, int] = {}
    by_level: dict[str, int] = {}
    by_operand: dict[str, int] = {}
    outside_aj: dict[str, int] = {}
    not_modelled: tuple[NotModelled, ...] = ()
    macs: int = 0
    executed_macs: int = 0
    dram_bytes: int = 0
    sram_bytes: int = 0
    dram_bytes_by_operand: dict[str, int] = {}

    @property
    def energy_pj(self) -> float:
        """Total, pJ, rounded to a float."""
        return self.energy_aj / AJ_PER_PJ


class _Sums:
    """Running sums of a pricing."""

    def __init__(self) -> None:
        self.low = self.nominal = self.high = 0
        self.by: dict[str, dict[str, int]] = {"component": {}, "level": {}, "operand": {}}
        self.outside: dict[str, int] = {}
        self.missing: dict[tuple[Component, Direction, int], int] = {}
        self.macs: dict[Component, int] = {}
        self.moved: dict[Level, int] = {}
        self.dram: dict[str, int] = {}

    def add(self, event: Event, prices: Prices) -> None:
        self._measure(event)
        energy = prices.price(event)
        if energy is None:
            _grow(self.missing, (event.component, event.direction, event.bits), event.count)
        elif not prices.in_boundary(event):
            _grow(self.outside, event.level.value, energy.nominal)
        elif energy.high:
            self.low += energy.low
            self.nominal += energy.nominal
            self.high += energy.high
            _grow(self.by["component"], event.component.value, energy.nominal)
            _grow(self.by["level"], event.level.value, energy.nominal)
            _grow(self.by["operand"], event.operand.value, energy.nominal)

    def _measure(self, event: Event) -> None:
        if event.component in (Component.SRAM_ACCESS, Component.SRAM_TRANSFER):
            _grow(self.moved, Level.SRAM, event.count)
        elif event.component is Component.DRAM_TRANSFER:
            _grow(self.moved, Level.DRAM, event.count)
            _grow(self.dram, event.operand.value, event.count)
        elif event.component in (Component.MAC_MULTIPLY, Component.MAC_GATED, Component.MAC_SKIPPED):
            _grow(self.macs, event.component, event.count)


def _grow(sums: dict[K, int], key: K, count: int) -> None:
    sums[key] = sums.get(key, 0) + count


def price(events: Iterable[Event], prices: Prices) -> Cost:
    """Cost of events under the prices of a machine; linear in the counts, exact."""
    sums = _Sums()
    for event in events:
        sums.add(event, prices)
    executed = sums.macs.get(Component.MAC_MULTIPLY, 0) + sums.macs.get(Component.MAC_GATED, 0)
    return Cost(
        energy_aj=sums.nominal,
        low_aj=sums.low,
        high_aj=sums.high,
        by_component=sums.by["component"],
        by_level=sums.by["level"],
        by_operand=sums.by["operand"],
        outside_aj=sums.outside,
        not_modelled=_not_modelled(sums.missing),
        macs=sum(sums.macs.values()),
        executed_macs=executed,
        dram_bytes=sums.moved.get(Level.DRAM, 0),
        sram_bytes=sums.moved.get(Level.SRAM, 0),
        dram_bytes_by_operand=sums.dram,
    )


def summed(costs: Iterable[Cost]) -> Cost:
    """Costs added up, field by field."""
    whole = Cost()
    for cost in costs:
        whole = _added(whole, cost)
    return whole


def _added(one: Cost, other: Cost) -> Cost:
    missing: dict[tuple[Component, Direction, int], int] = {}
    for entry in (*one.not_modelled, *other.not_modelled):
        _grow(missing, (entry.component, entry.direction, entry.bits), entry.count)
    return Cost(
        energy_aj=one.energy_aj + other.energy_aj,
        low_aj=one.low_aj + other.low_aj,
        high_aj=one.high_aj + other.high_aj,
        by_component=_merged(one.by_component, other.by_component),
        by_level=_merged(one.by_level, other.by_level),
        by_operand=_merged(one.by_operand, other.by_operand),
        outside_aj=_merged(one.outside_aj, other.outside_aj),
        not_modelled=_not_modelled(missing),
        macs=one.macs + other.macs,
        executed_macs=one.executed_macs + other.executed_macs,
        dram_bytes=one.dram_bytes + other.dram_bytes,
        sram_bytes=one.sram_bytes + other.sram_bytes,
        dram_bytes_by_operand=_merged(one.dram_bytes_by_operand, other.dram_bytes_by_operand),
    )


def _merged(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one | other}


def _not_modelled(missing: dict[tuple[Component, Direction, int], int]) -> tuple[NotModelled, ...]:
    return tuple(
        NotModelled(component=component, direction=direction, bits=bits, count=count)
        for (component, direction, bits), count in missing.items()
    )
