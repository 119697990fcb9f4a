"""Energy per event: published constants with their source, in integer attojoules (1 pJ = 10^6 aJ)."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from hwsim.accelerator.events import Component, Event, Level

AJ_PER_PJ = 10**6

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


class Energy(NamedTuple):
    """Attojoules, with the range of the source; all three alike where it gives one number."""

    low: int
    nominal: int
    high: int


class Constant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published energy.

    Attributes
    ----------
    energy_aj
        Nominal, aJ for one `unit`.
    low_aj, high_aj
        The published range, aJ; equal to the nominal value where the source gives one number.
    published
        The figure as printed.
    unit
        What the energy is for.
    node_nm
        Technology, nm.
    source
        Where it is printed.
    assumed
        What was added to the source to use it here; empty if nothing.
    """

    energy_aj: int
    low_aj: int
    high_aj: int
    published: str
    unit: str
    node_nm: int
    source: str
    assumed: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.low_aj <= self.energy_aj <= self.high_aj:
            raise ValueError(f"energy {self.low_aj} <= {self.energy_aj} <= {self.high_aj} aJ must hold, above 0")

    def per(self, parts: int) -> Energy:
        """Energy of one of so many equal parts; exact, see `EnergyTable`."""
        return Energy(self.low_aj // parts, self.energy_aj // parts, self.high_aj // parts)


class EnergyTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Constants of one source, and the rules that turn them into the energy of an event.

    Multiplication of b1 by b2 bits: `multiply_8` * b1*b2/64. Addition of b bits: `add_8` up to 8 bits, else `add_32`
    for each 32 bits begun. SRAM and DRAM: by the byte, an eighth of 64 bits; a write costs what a read costs.

    Raises
    ------
    ValueError
        If a constant does not divide exactly (multiplication by 64, memories by 8), or there is no SRAM of `sram_kib`.
    """

    name: str
    multiply_8: Constant
    multiply_32: Constant
    """Not used: the rule for widths gives it within 4%."""
    add_8: Constant
    add_32: Constant
    sram_64_bits: dict[int, Constant]
    """By capacity in KiB."""
    sram_kib: int
    dram_64_bits: Constant

    def __post_init__(self) -> None:
        if self.sram_kib not in self.sram_64_bits:
            known = ", ".join(str(size) for size in self.sram_64_bits)
            raise ValueError(f"no SRAM of {self.sram_kib} KiB in table {self.name}; it has {known}")
        divided = [("multiply_8", self.multiply_8, 64), ("dram_64_bits", self.dram_64_bits, 8)]
        divided += [(f"sram_64_bits[{size}]", constant, 8) for size, constant in self.sram_64_bits.items()]
        for name, constant, parts in divided:
            for energy in (constant.low_aj, constant.energy_aj, constant.high_aj):
                if energy % parts:
                    raise ValueError(f"{name} is {energy} aJ, which is no multiple of {parts}")

    def constants(self) -> Iterator[tuple[str, Constant]]:
        """All constants by name."""
        for name in ("multiply_8", "multiply_32", "add_8", "add_32", "dram_64_bits"):
            yield name, getattr(self, name)
        for size, constant in self.sram_64_bits.items():
            yield f"sram_64_bits[{size}]", constant

    def energy_of(self, event: Event) -> Energy | None:
        """Energy of a single one of like events, aJ (exact); None if the table has no constant for it."""
        if event.component in MULTIPLIES:
            unit, parts = self.multiply_8.per(64), event.bits * event.second_bits
        elif event.component in ADDS:
            narrow = event.bits <= 8
            unit, parts = (self.add_8 if narrow else self.add_32).per(1), 1 if narrow else -(-event.bits // 32)
        elif event.level is Level.SRAM:
            unit, parts = self.sram_64_bits[self.sram_kib].per(8), 1
        elif event.level is Level.DRAM:
            unit, parts = self.dram_64_bits.per(8), 1
        else:
            return None
        return Energy(unit.low * parts, unit.nominal * parts, unit.high * parts)


def _horowitz(published: str, unit: str, assumed: str, *energies_aj: int) -> Constant:
    return Constant(
        low_aj=energies_aj[0],
        energy_aj=energies_aj[len(energies_aj) // 2],
        high_aj=energies_aj[-1],
        published=published,
        unit=unit,
        node_nm=45,
        source="M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, figure 1.1.9",
        assumed=assumed,
    )


_READ, _CACHE = "64-bit read", "a cache access stands for an SRAM access; a write costs as much; a byte costs an eighth"

HOROWITZ_45NM = EnergyTable(
    name="horowitz-45nm",
    multiply_8=_horowitz("0.2 pJ", "8-bit multiplication", "other widths: times b1*b2/64", 200_000),
    multiply_32=_horowitz("3.1 pJ", "32-bit multiplication", "", 3_100_000),
    add_8=_horowitz("0.03 pJ", "8-bit addition", "narrower ones cost as much", 30_000),
    add_32=_horowitz("0.1 pJ", "32-bit addition", "9 to 31 bits cost as much; wider ones: one per 32 bits", 100_000),
    sram_64_bits={
        8: _horowitz("10 pJ", _READ, _CACHE, 10_000_000),
        32: _horowitz("20 pJ", _READ, _CACHE + "; this capacity is assumed", 20_000_000),
        1024: _horowitz("100 pJ", _READ, _CACHE, 100_000_000),
    },
    sram_kib=32,
    dram_64_bits=_horowitz(
        "1300-2600 pJ",
        _READ,
        "nominal is the middle of the range; a write costs as much; a byte costs an eighth",
        1_300_000_000,
        1_950_000_000,
        2_600_000_000,
    ),
)
"""45 nm, 0.9 V. Shifts, comparisons, clamps, table reads, divisions, square roots and registers have no constant."""

TABLES = {table.name: table for table in (HOROWITZ_45NM,)}


def energy_table(name: str) -> EnergyTable:
    """A named table; the error lists the known ones."""
    if name not in TABLES:
        raise ValueError(f"unknown energy table {name!r}; known: {', '.join(TABLES)}")
    return TABLES[name]
