"""What an event costs on a hardware record: constants in whole attojoules (docs/accelerator.md, section 11)."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec

from hwsim.accelerator.energy_tables import (
    SRAM_ROW,
    Constant,
    EnergyTable,
    Row,
    SramPoint,
    SramTable,
    describe,
    dram_constant,
    energy_table,
)
from hwsim.accelerator.events import Component, Direction, Event, Level
from hwsim.accelerator.hardware import Boundary, Hardware

AJ_PER_PJ = 10**6
AJ_PER_MJ = 10**15
"""A milliwatt for a second."""

MULTIPLIES = (
    Component.MAC_MULTIPLY,
    Component.ZERO_POINT_MULTIPLY,
    Component.REQUANTIZE_MULTIPLY,
    Component.VECTOR_MULTIPLY,
)
ADDS = (
    Component.MAC_ADD,
    Component.BIAS_ADD,
    Component.ZERO_POINT_ADD,
    Component.REQUANTIZE_ADD,
    Component.VECTOR_ADD,
)
IDLE = (Component.MAC_GATED, Component.MAC_SKIPPED, Component.MAC_PADDED)
"""MACs that do nothing: no energy by definition, which is not the same as not modelled."""

MULTIPLY_EXPONENT = 0.99
ADD_EXPONENT = 0.87

_LEVELS = {
    Boundary.CORE: (Level.DATAPATH, Level.REGISTER),
    Boundary.CHIP: (Level.DATAPATH, Level.REGISTER, Level.SRAM),
    Boundary.SYSTEM: (Level.DATAPATH, Level.REGISTER, Level.SRAM, Level.DRAM),
}


class Energy(NamedTuple):
    """Attojoules, with the published spread; all three alike where there is none."""

    low: int
    nominal: int
    high: int


NOTHING = Energy(0, 0, 0)

_Key = tuple[Component, int, int, Direction]


class Prices:
    """Constants of one hardware record under one energy table, each rounded once; sums of counts are exact.

    Attributes
    ----------
    hardware, table
        What they are of.
    sram_read_word_aj, sram_write_word_aj
        A word of the scratchpad, aJ; None if the table has no SRAM.
    leakage_cycle_aj
        The scratchpad during a cycle, aJ; None if the table has no leakage.
    dram_byte_aj
        A byte of DRAM, nominal, aJ; None if the table has no DRAM.
    sram_area_mm2
        Of the scratchpad; None if the table has no areas.
    """

    def __init__(self, hardware: Hardware, table: EnergyTable) -> None:
        self.hardware = hardware
        self.table = table
        self._mac_pj = _mac_pj(hardware, table)
        self.sram_read_word_aj = self._sram_word(lambda point: point.read)
        self.sram_write_word_aj = self._sram_word(lambda point: point.write)
        self.leakage_cycle_aj = self._leakage()
        self.sram_area_mm2 = _whole(table.sram, hardware, lambda point: point.area_mm2)
        self._dram_byte = self._of_bits(dram_constant(table, hardware.dram.type), 8)
        self.dram_byte_aj = None if self._dram_byte is None else self._dram_byte.nominal
        self._units: dict[_Key, tuple[Energy | None, int]] = {}
        self._inside = _LEVELS[hardware.boundary]

    def price(self, event: Event) -> Energy | None:
        """Energy of all of an event's `count`; None if the table does not model it.

        Raises
        ------
        ValueError
            If SRAM bytes are not whole words.
        """
        key = (event.component, event.bits, event.second_bits, event.direction)
        found = self._units.get(key)
        if found is None:
            found = self._units[key] = self._unit(*key)
        unit, size = found
        if unit is None:
            return None
        count, rest = divmod(event.count, size)
        if rest:
            raise ValueError(
                f"{event.site}: {event.count} bytes of SRAM; allowed are multiples of a word, {size} bytes"
            )
        return Energy(unit.low * count, unit.nominal * count, unit.high * count)

    def in_boundary(self, event: Event) -> bool:
        """Whether the hardware's boundary includes the event's level."""
        return event.level in self._inside

    @property
    def reach(self) -> Boundary:
        """The widest boundary all of whose levels the table prices."""
        if self.sram_read_word_aj is None:
            return Boundary.CORE
        return Boundary.CHIP if self.dram_byte_aj is None else Boundary.SYSTEM

    def constants(self) -> tuple[Row, ...]:
        """The published values that these prices are made of, SRAM as it is between the table's points."""
        rows = describe(self.table, self.hardware.dram.type).rows
        points = [row for row in rows if row.constant.startswith(SRAM_ROW)]
        if not points:
            return rows
        others = [row for row in rows if row not in points]
        return *others, *(self._sram_row(points[0], what, value, unit) for what, value, unit in self._sram_values())

    def _sram_values(self) -> Iterator[tuple[str, float, str]]:
        sram = self.hardware.sram
        size = f"{sram.capacity_bytes / 1024:g} KiB"
        for what, word_aj in (("read", self.sram_read_word_aj), ("write", self.sram_write_word_aj)):
            yield f"{size}, {what} of {8 * sram.word_bytes} bits", (word_aj or 0) / AJ_PER_PJ, "pJ"
        if self.leakage_cycle_aj is not None:
            yield f"{size}, leakage", self.leakage_cycle_aj / AJ_PER_PJ, "pJ per cycle"

    def _sram_row(self, like: Row, what: str, value: float, unit: str) -> Row:
        assumed = f"between the points of the table, at {self.hardware.voltage:g} V"
        return like._replace(
            constant=f"{SRAM_ROW}{what}", value=value, low=value, high=value, unit=unit, assumed=assumed
        )

    def _unit(self, component: Component, bits: int, second: int, direction: Direction) -> tuple[Energy | None, int]:
        """Energy of one unit, and how many of an event's count make one."""
        if component in (Component.SRAM_ACCESS, Component.SRAM_TRANSFER):
            word = self.sram_read_word_aj if direction is Direction.READ else self.sram_write_word_aj
            return _alike(word), self.hardware.sram.word_bytes
        if component is Component.SRAM_LEAKAGE:
            return _alike(self.leakage_cycle_aj), 1
        if component is Component.DRAM_TRANSFER:
            return self._dram_byte, 1
        return self._logic(component, bits, second, direction), 1

    def _logic(self, component: Component, bits: int, second: int, direction: Direction) -> Energy | None:
        table, overhead = self.table, self.hardware.overhead
        if component in IDLE or (table.mac_16 is not None and component is Component.MAC_ADD):
            return NOTHING
        if component in MULTIPLIES:
            if second < 1:
                raise ValueError(f"{component.value} of {bits} by {second} bits; both widths must be at least 1")
            mac = table.mac_16 if component is Component.MAC_MULTIPLY else None
            base = 256 if mac else 64
            return self._rounded(mac or table.multiply_8, overhead * (bits * second / base) ** MULTIPLY_EXPONENT)
        if component in ADDS:
            return self._rounded(table.add_8, overhead * (bits / 8) ** ADD_EXPONENT)
        if component is Component.HOP:
            return self._of_bits(table.hop_bit, overhead)
        if component is Component.REGISTER:
            read = direction is Direction.READ
            return self._of_bits(table.register_read_bit if read else table.register_write_bit, overhead)
        return None

    def _of_bits(self, constant: Constant | None, bits: float) -> Energy | None:
        return None if constant is None else self._rounded(constant, bits / constant.bits)

    def _rounded(self, constant: Constant | None, factor: float) -> Energy | None:
        if constant is None:
            return None
        factor *= self._unit_aj(constant)
        low, high = constant.band
        return Energy(round(low * factor), round(constant.value * factor), round(high * factor))

    def _sram_word(self, value: Callable[[SramPoint], float]) -> int | None:
        table, sram = self.table.sram, self.hardware.sram
        if table is None:
            return None
        return round(self._unit_aj(table) * word_energy(table, sram.capacity_bytes, 8 * sram.word_bytes, value))

    def _leakage(self) -> int | None:
        leakage_mw = _whole(self.table.sram, self.hardware, lambda point: point.leakage_mw)
        if leakage_mw is None or self.table.sram is None:
            return None
        return round(leakage_mw * self._volts(self.table.sram) * AJ_PER_MJ / self.hardware.clock_hz)

    def _unit_aj(self, part: Constant | SramTable) -> float:
        """Attojoules of one unit of the value at the hardware's voltage."""
        return AJ_PER_PJ * self._volts(part) * (self._mac_pj if part.unit == "MAC" else 1.0)

    def _volts(self, part: Constant | SramTable) -> float:
        return 1.0 if part.voltage is None else (self.hardware.voltage / part.voltage) ** 2


def prices_of(hardware: Hardware, table: EnergyTable | None = None) -> Prices:
    """Prices of a hardware record, under its own energy table or another.

    Energies are at the hardware's voltage, E ~ V^2, DRAM excepted; those of datapath and registers times `overhead`.

    Raises
    ------
    ValueError
        If there is no such table, it has DRAM but not of the hardware's type, or it gives ratios to a MAC and the
        hardware has no `mac_pj`, or the reverse.

    Notes
    -----
    Other widths, docs/accelerator.md (13): a multiplication as (b1*b2/64)^0.99, an addition as (b/8)^0.87.
    """
    return Prices(hardware, energy_table(hardware.energy_table) if table is None else table)


def word_energy(table: SramTable, capacity_bytes: int, word_bits: int, value: Callable[[SramPoint], float]) -> float:
    """Energy of a word of a memory, in the table's unit: log-log in capacity and in width between the points.

    A capacity beyond the table costs what its end costs: larger ones are banks of the largest, of which one is
    accessed. A word narrower than the narrowest costs its share; a wider one than the widest comes from as many banks
    side by side as it needs, each with its share of word and capacity.
    """
    widths = [point.word_bits for point in table.points]
    banks = math.ceil(word_bits / max(widths))
    share = min(1.0, word_bits / min(widths))
    width = max(word_bits / banks, min(widths))
    return banks * share * _at(table, capacity_bytes / banks / 1024, width, value)


def _whole(table: SramTable | None, hardware: Hardware, value: Callable[[SramPoint], float]) -> float | None:
    """Leakage or area of the whole scratchpad: that of all its banks; None if the table has none."""
    points = () if table is None else tuple(point for point in table.points if value(point))
    if table is None or not points:
        return None
    known = msgspec.structs.replace(table, points=points)
    widths = [point.word_bits for point in known.points]
    word_bits = 8 * hardware.sram.word_bytes
    side = math.ceil(word_bits / max(widths))
    kib = hardware.sram.capacity_bytes / 1024 / side
    deep = math.ceil(kib / max(point.kib for point in known.points))
    return side * deep * _at(known, kib, max(word_bits / side, min(widths)), value)


def _at(table: SramTable, kib: float, word_bits: float, value: Callable[[SramPoint], float]) -> float:
    """Interpolated in capacity for each width of the table, then in width."""
    by_width = []
    for width in sorted({point.word_bits for point in table.points}):
        line = sorted((point.kib, value(point)) for point in table.points if point.word_bits == width)
        by_width.append((float(width), _log_log(line, kib)))
    return _log_log(by_width, word_bits)


def _log_log(line: list[tuple[float, float]], x: float) -> float:
    """The value at x on straight lines between points in logarithms; beyond the ends, that of the end."""
    for (x0, y0), (x1, y1) in pairwise(line):
        if x0 < x < x1:
            return float(y0 * (y1 / y0) ** (math.log(x / x0) / math.log(x1 / x0)))
    return min(line, key=lambda point: abs(math.log(point[0] / x)))[1]


def _alike(energy_aj: int | None) -> Energy | None:
    return None if energy_aj is None else Energy(energy_aj, energy_aj, energy_aj)


def _mac_pj(hardware: Hardware, table: EnergyTable) -> float:
    """Energy of the unit MAC; 1 where the table has none."""
    ratios = any(part.unit == "MAC" for _, part in table.parts())
    if ratios and hardware.mac_pj is None:
        raise ValueError(
            f"energy table {table.name} gives ratios to a 16-bit MAC; hardware {hardware.name} must say mac_pj, its pJ"
        )
    if hardware.mac_pj is not None and not ratios:
        raise ValueError(f"hardware {hardware.name} has mac_pj, but energy table {table.name} is in pJ")
    return hardware.mac_pj or 1.0
