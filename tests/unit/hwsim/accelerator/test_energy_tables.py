"""Energy tables: their provenance, what is shown of them, a user's own, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hwsim.accelerator import energy_tables
from hwsim.accelerator.energy_tables import TABLES, EnergyTable, describe, dram_constant, energy_table
from hwsim.accelerator.prices import prices_of
from tests.unit.hwsim.accelerator.priced_events import add, aj, machine


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


def test_a_value_cites_all_that_it_stands_on(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        SMALL.replace('source = "a"', 'source = "b"\nalso = ["a"]').replace("[sources]", "composite = true\n[sources]")
    )
    (row,) = describe(energy_table(path)).rows
    assert (row.constant, row.value, row.unit, row.source) == ("add_8", 1, "pJ", "B; A")


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
