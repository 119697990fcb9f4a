"""What events cost: exact sums of count times energy, in attojoules, by every property of an event."""

from collections import defaultdict
from collections.abc import Iterable
from enum import Enum

import msgspec

from hwsim.accelerator.energy import AJ_PER_PJ, EnergyTable
from hwsim.accelerator.events import Component, Event, Level, Operand


class NotModelled(msgspec.Struct, frozen=True, kw_only=True):
    """Events without a constant in the energy table: part of no sum. `count` is in bytes at a memory level."""

    component: Component
    bits: int
    count: int


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of some events.

    Attributes
    ----------
    table
        Name of the energy table.
    energy_aj, low_aj, high_aj
        Total, aJ: nominal, and at the ends of the published ranges.
    by_component, by_level, by_operand, by_operation, by_site
        Nominal energies, aJ. Each sums to `energy_aj` exactly.
    not_modelled
        What the total leaves out.
    macs
        Useful multiply-accumulates.
    dram_bytes, sram_bytes, register_bytes
        All bytes of a level, both directions, both ends of a transfer.
    weight_bytes, activation_bytes, kv_cache_bytes, accumulator_bytes
        The DRAM bytes by operand; they sum to `dram_bytes`.
    """

    table: str
    energy_aj: int
    low_aj: int
    high_aj: int
    by_component: dict[str, int]
    by_level: dict[str, int]
    by_operand: dict[str, int]
    by_operation: dict[str, int]
    by_site: dict[str, int]
    not_modelled: list[NotModelled]
    macs: int
    dram_bytes: int
    sram_bytes: int
    register_bytes: int
    weight_bytes: int
    activation_bytes: int
    kv_cache_bytes: int
    accumulator_bytes: int

    @property
    def energy_pj(self) -> float:
        """Total, pJ, rounded to a float."""
        return self.energy_aj / AJ_PER_PJ


class _Sums:
    """Running sums of a pricing."""

    def __init__(self) -> None:
        self.low = self.nominal = self.high = self.macs = 0
        self.by: dict[str, defaultdict[str, int]] = {
            name: defaultdict(int) for name in ("component", "level", "operand", "operation", "site")
        }
        self.missing: defaultdict[tuple[Component, int], int] = defaultdict(int)
        self.moved: defaultdict[Level, int] = defaultdict(int)
        self.dram: defaultdict[Operand, int] = defaultdict(int)

    def add(self, event: Event, table: EnergyTable) -> None:
        self.moved[event.level] += event.count
        if event.level is Level.DRAM:
            self.dram[event.operand] += event.count
        if event.component is Component.MAC_MULTIPLY:
            self.macs += event.count
        energy = table.energy_of(event)
        if energy is None:
            self.missing[event.component, event.bits] += event.count
            return
        self.low += energy.low * event.count
        self.nominal += energy.nominal * event.count
        self.high += energy.high * event.count
        for name, sums in self.by.items():
            sums[_label(getattr(event, name))] += energy.nominal * event.count


def _label(value: Enum | str) -> str:
    return str(value.value) if isinstance(value, Enum) else value


def price(events: Iterable[Event], table: EnergyTable) -> Cost:
    """Cost of events under an energy table; linear in the counts, exact.

    Parameters
    ----------
    events
        In any order; like events may come more than once.
    table
        Constants.

    Returns
    -------
    Cost
        Events that the table has no constant for are listed in `not_modelled` and are in no energy.
    """
    sums = _Sums()
    for event in events:
        sums.add(event, table)
    missing = [
        NotModelled(component=component, bits=bits, count=count) for (component, bits), count in sums.missing.items()
    ]
    return Cost(
        table=table.name,
        energy_aj=sums.nominal,
        low_aj=sums.low,
        high_aj=sums.high,
        **{f"by_{name}": dict(parts) for name, parts in sums.by.items()},
        not_modelled=missing,
        macs=sums.macs,
        dram_bytes=sums.moved[Level.DRAM],
        sram_bytes=sums.moved[Level.SRAM],
        register_bytes=sums.moved[Level.REGISTER],
        weight_bytes=sums.dram[Operand.WEIGHT],
        activation_bytes=sums.dram[Operand.ACTIVATION],
        kv_cache_bytes=sums.dram[Operand.KV_CACHE],
        accumulator_bytes=sums.dram[Operand.ACCUMULATOR],
    )
