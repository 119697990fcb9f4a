"""A machine at a table's voltage, events in a line, and what one of them costs."""

from typing import Any

import msgspec

from hwsim.accelerator.energy_tables import energy_table
from hwsim.accelerator.events import Component, Direction, Event, Operand
from hwsim.accelerator.hardware import Hardware, Sram
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.prices import Prices
from tests.unit.hwsim.accelerator.sample_events import compute, move

EDGE = hardware("edge-256")


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


def sram_of(kib: float, word_bits: int) -> Sram:
    return Sram(capacity_bytes=int(1024 * kib), word_bytes=word_bits // 8, ports=1)
