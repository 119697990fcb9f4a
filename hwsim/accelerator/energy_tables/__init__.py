"""Energies as published, with where each is from: data in TOML files, records here, prices in `prices.py`."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from hwsim.accelerator.reading import listed, nearest, read_toml, unknown_name

_FOLDER = Path(__file__).parent

TABLES = (
    "edge-22",
    "horowitz-45",
    "jouppi-7",
    "node-5",
    "aladdin-40",
    "aladdin-22",
    "cacti-22",
    "cacti-32",
    "cacti-45",
    "eyeriss-65",
    "dram",
)
"""Names of the tables; the first is the default."""

Positive = Annotated[float, Meta(gt=0)]


class Constant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published energy.

    Attributes
    ----------
    value
        As printed.
    low, high
        The published spread; None: the value.
    unit
        pJ, or the energy of one 16-bit MAC.
    bits
        Of registers, hops and DRAM: how many bits the value moves.
    node_nm, voltage
        Where the value holds: technology in nm, supply in V; None for DRAM, which does not scale.
    source
        A key of the table's `sources`.
    also
        Keys of other sources that entered: of a scaling, of low and high.
    boundary
        What is in the value, and what is not.
    assumed
        What was added to the source to use it here; empty if nothing.
    """

    value: Positive
    low: Positive | None = None
    high: Positive | None = None
    unit: Literal["pJ", "MAC"] = "pJ"
    bits: Annotated[int, Meta(ge=1)] = 1
    node_nm: Annotated[int, Meta(ge=1)] | None = None
    voltage: Positive | None = None
    source: str
    also: tuple[str, ...] = ()
    boundary: str
    assumed: str = ""

    def __post_init__(self) -> None:
        low, high = self.band
        if not low <= self.value <= high:
            raise ValueError(f"low {low} <= value {self.value} <= high {high} must hold")

    @property
    def band(self) -> tuple[float, float]:
        """Low and high."""
        return (self.low or self.value, self.high or self.value)


class SramPoint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One memory: KiB, bits of a word, energy of a read and a write of a word, mW, mm^2; 0 mW or mm^2: not known."""

    kib: Positive
    word_bits: Annotated[int, Meta(ge=1)]
    read: Positive
    write: Positive
    leakage_mw: Annotated[float, Meta(ge=0)] = 0.0
    area_mm2: Annotated[float, Meta(ge=0)] = 0.0


class SramTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Memories of one source; the other attributes are those of `Constant`."""

    points: Annotated[tuple[SramPoint, ...], Meta(min_length=1)]
    unit: Literal["pJ", "MAC"] = "pJ"
    node_nm: Annotated[int, Meta(ge=1)]
    voltage: Positive
    source: str
    also: tuple[str, ...] = ()
    boundary: str
    assumed: str = ""


class Take(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which parts come from another table, by its name."""

    arithmetic: str = ""
    registers: str = ""
    sram: str = ""
    dram: str = ""


_PARTS = {
    "arithmetic": ("multiply_8", "add_8", "mac_16"),
    "registers": ("register_write_bit", "register_read_bit", "hop_bit"),
    "sram": ("sram",),
    "dram": ("dram", "unpriced_dram"),
}


class EnergyTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Energies; what is None, the table does not model.

    Attributes
    ----------
    composite
        True if just if its values have more than one source; checked.
    sources
        Citations by key.
    multiply_8, add_8
        Of 8 by 8 and of 8 bits.
    mac_16
        In place of both, for MACs only: a 16-bit multiplication with its addition.
    dram
        By type; the type `any` prices every type.
    unpriced_dram
        Known types without a published energy.
    take
        Parts from other tables; empty once the table is loaded.
    """

    name: str
    description: str = ""
    composite: bool = False
    sources: dict[str, str] = {}
    take: Take = Take()
    multiply_8: Constant | None = None
    add_8: Constant | None = None
    mac_16: Constant | None = None
    register_write_bit: Constant | None = None
    register_read_bit: Constant | None = None
    hop_bit: Constant | None = None
    sram: SramTable | None = None
    dram: dict[str, Constant] = {}
    unpriced_dram: tuple[str, ...] = ()

    def parts(self) -> Iterator[tuple[str, Constant | SramTable]]:
        """All values by name, in order."""
        for name in ("multiply_8", "add_8", "mac_16", "register_write_bit", "register_read_bit", "hop_bit", "sram"):
            part = getattr(self, name)
            if part is not None:
                yield name, part
        for kind, constant in self.dram.items():
            yield f"dram.{kind}", constant

    @property
    def used_sources(self) -> list[str]:
        """Keys of the sources of its values, in order of first use."""
        return list(dict.fromkeys(key for _, part in self.parts() for key in (part.source, *part.also)))


SRAM_ROW = "sram "
"""How the rows of memories begin."""


class Row(NamedTuple):
    """A value as a report shows it."""

    constant: str
    value: float
    low: float
    high: float
    unit: str
    node_nm: int | None
    voltage: float | None
    source: str
    boundary: str
    assumed: str


class Description(NamedTuple):
    """A table as a report shows it; `title` says so if it is a composite."""

    name: str
    title: str
    composite: bool
    rows: tuple[Row, ...]


def energy_table(name_or_path: str | Path) -> EnergyTable:
    """A table of this folder, or of a file, with the parts that it takes from others in their place.

    Raises
    ------
    ValueError
        If there is none of that name, the file is at fault, a source has no citation, or `composite` is wrong.
    """
    name = str(name_or_path)
    if name in TABLES:
        return _known(name)
    if name.endswith(".toml"):
        return _loaded(Path(name))
    raise ValueError(unknown_name("energy table", name, TABLES))


def table_text(name: str) -> str:
    """The TOML file of one of `TABLES`."""
    return _file(name).read_text(encoding="utf-8")


def describe(table: EnergyTable, dram_type: str | None = None) -> Description:
    """Every value of a table with its unit and citation; of DRAM all types, or the one that is used."""
    if dram_type is not None:
        table = msgspec.structs.replace(table, dram=_one_type(table, dram_type))
    rows = [row for name, part in table.parts() for row in _rows(table, name, part)]
    count = len(table.used_sources)
    mixed = f" (composite of {count} sources)" if count > 1 else ""
    return Description(table.name, f"{table.name}{mixed}", count > 1, tuple(rows))


def dram_constant(table: EnergyTable, kind: str) -> Constant | None:
    """The energy of a DRAM type; None if the table has no DRAM, or lists the type as one without a figure.

    Raises
    ------
    ValueError
        If the table has DRAM, but not this type.
    """
    constant = table.dram.get(kind, table.dram.get("any"))
    if constant is None and table.dram and kind not in table.unpriced_dram:
        known = (*table.dram, *table.unpriced_dram)
        raise ValueError(f"dram.type is {kind!r}; energy table {table.name} has {listed(known)}")
    return constant


def _one_type(table: EnergyTable, kind: str) -> dict[str, Constant]:
    constant = dram_constant(table, kind)
    return {} if constant is None else {kind: constant}


@cache
def _known(name: str) -> EnergyTable:
    return _loaded(_file(name))


def _file(name: str) -> Path:
    return _FOLDER / f"{name}.toml"


def _loaded(path: Path) -> EnergyTable:
    table = _complete(read_toml(path, EnergyTable, "energy table"))
    unknown = [key for key in table.used_sources if key not in table.sources]
    if unknown:
        near = nearest(unknown[0], table.sources)
        raise ValueError(f"energy table {table.name}: source {unknown[0]!r} is not in sources; {near}")
    if table.composite != (len(table.used_sources) > 1):
        raise ValueError(
            f"energy table {table.name}: composite is {str(table.composite).lower()}, "
            f"but its sources are {listed(table.used_sources) if table.used_sources else 'none'}"
        )
    return table


def _complete(table: EnergyTable) -> EnergyTable:
    """The table with the parts that it takes; their citations come along."""
    for part, fields in _PARTS.items():
        name = getattr(table.take, part)
        if not name:
            continue
        if name not in TABLES or name == table.name:
            raise ValueError(f"energy table {table.name}: take.{part} is {name!r}; {nearest(name, TABLES)}")
        other = _known(name)
        if any(getattr(table, field) for field in fields):
            raise ValueError(f"energy table {table.name}: {part} are both given and taken from {name}")
        values = {field: getattr(other, field) for field in fields}
        table = msgspec.structs.replace(table, sources=other.sources | table.sources, **values)
    return msgspec.structs.replace(table, take=Take())


def _rows(table: EnergyTable, name: str, part: Constant | SramTable) -> Iterator[Row]:
    cited = "; ".join(table.sources[key] for key in (part.source, *part.also))

    def row(constant: str, value: float, unit: str, low: float, high: float) -> Row:
        return Row(constant, value, low, high, unit, part.node_nm, part.voltage, cited, part.boundary, part.assumed)

    if isinstance(part, SramTable):
        for constant, value, unit in _sram_values(part):
            yield row(constant, value, unit, value, value)
    else:
        moves = name.endswith("_bit") or name.startswith("dram")
        per = f" per {part.bits} bits" if part.bits > 1 else " per bit"
        yield row(name, part.value, f"{part.unit}{per if moves else ''}", *part.band)


def _sram_values(table: SramTable) -> Iterator[tuple[str, float, str]]:
    for point in table.points:
        shown = f"{SRAM_ROW}{point.kib:g} KiB, {point.word_bits} bits"
        yield f"{shown}, read", point.read, table.unit
        yield f"{shown}, write", point.write, table.unit
        if point.leakage_mw:
            yield f"{shown}, leakage", point.leakage_mw, "mW"
        if point.area_mm2:
            yield f"{shown}, area", point.area_mm2, "mm^2"
