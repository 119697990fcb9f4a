"""Presets are complete and sourced; a user's file fails with one line that names file and key."""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from hwsim.accelerator import presets
from hwsim.accelerator.hardware import ArrayKind, Boundary, Dataflow, Hardware
from hwsim.accelerator.presets import PRESETS, hardware
from hwsim.accelerator.reading import read_toml

EDGE = (Path(presets.__file__).parent / "preset_files" / "edge-256.toml").read_text()


def leaves(value: object, at: str = "") -> Iterator[str]:
    """Paths of a record's numbers and choices."""
    if not isinstance(value, dict):
        yield at
        return
    for key, item in value.items():
        yield from leaves(item, f"{at}.{key}" if at else str(key))


def described(record: Hardware) -> set[str]:
    """What of a record needs a source."""
    plain = msgspec.to_builtins(record, str_keys=True)
    for name in ("name", "description", "sources"):
        del plain[name]
    return {path for path in leaves(plain) if path != "mac_pj" or record.mac_pj is not None}


@pytest.mark.parametrize("name", PRESETS)
def test_every_number_of_a_preset_has_a_source(name: str) -> None:
    record = hardware(name)
    assert record.name == name
    assert record.description
    assert set(record.sources) == described(record)
    assert all(source.strip() for source in record.sources.values())


def test_completeness_can_fail() -> None:
    record = hardware("edge-256")
    sources = {path: source for path, source in record.sources.items() if path != "array.macs_per_cycle.8"}
    assert described(msgspec.structs.replace(record, sources=sources)) - set(sources) == {"array.macs_per_cycle.8"}


def test_presets_are_the_files() -> None:
    folder = Path(presets.__file__).parent / "preset_files"
    assert {path.stem for path in folder.glob("*.toml")} == set(PRESETS)


def test_default_preset() -> None:
    record = hardware(PRESETS[0])
    assert record.name == "edge-256"
    assert (record.array.rows, record.array.cols, record.array.dataflow) == (16, 16, Dataflow.WS)
    assert record.sram.capacity_bytes == 256 * 1024
    assert record.dram.bandwidth_bytes_per_second == 4 * 10**9
    assert record.boundary is Boundary.SYSTEM
    assert [record.array.rate(bits, bits) for bits in (4, 8, 16)] == [2, 1, pytest.approx(0.25)]


def test_ita_has_the_published_array() -> None:
    record = hardware("ita")
    assert record.array.kind is ArrayKind.DOT_PRODUCT
    assert record.array.rows * record.array.cols == 1024
    assert record.array.accumulator_bits == 26
    assert (record.voltage, record.clock_hz, record.boundary) == (0.8, 500_000_000, Boundary.CORE)


@pytest.mark.parametrize(
    ("m", "k", "n", "vela"), [(64, 512, 512, 69376), (64, 512, 2048, 265984), (64, 2048, 512, 272128)]
)
def test_ethos_cycles_are_within_a_tenth_of_vela(m: int, k: int, n: int, vela: int) -> None:
    """Vela 5.2.0's cycles of the unit, against equation (3): folds times streamed rows."""
    array = hardware("ethos-u55-256").array
    cycles = -(-k // array.rows) * -(-n // array.cols) * m
    assert array.rows * array.cols == 256
    assert abs(cycles - vela) <= vela / 10


def test_ethos_keeps_activations_in_the_system_sram() -> None:
    sram = hardware("ethos-u55-256").sram
    assert sram.tile_bytes == 48 * 1024
    assert sram.resident_kib == 2048


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """The default preset's file with one change."""
    assert EDGE.count(old) >= 1, old
    path = tmp_path / "mine.toml"
    path.write_text(EDGE.replace(old, new, 1))
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    assert hardware(edited(tmp_path, "rows = 16", "rows = 32")).array.rows == 32
    assert hardware(str(edited(tmp_path, "rows = 16", "rows = 16"))) == hardware("edge-256")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows = 16", "rowz = 16", "unknown key array.rowz; did you mean rows?"),
        (
            "rows = 16",
            "qqq = 16",
            "unknown key array.qqq; known: kind, rows, cols, dataflow, fold_mode, macs_per_cycle",
        ),
        ("clock_hz", "clok_hz", "unknown key clok_hz; did you mean clock_hz?"),
        ("rows = 16\n", "", "missing key array.rows"),
        ("rows = 16", "rows = 0", "array.rows is 0; expected int >= 1"),
        ("rows = 16", 'rows = "16"', "array.rows is '16'; expected int, got str"),
        ("rows = 16", "rows = true", "array.rows is True; expected int, got bool"),
        ("rows = 16", "rows = [16]", "array.rows: Expected int, got array"),
        ('"ws"', '"sw"', "array.dataflow is 'sw'; allowed are os, ws and is"),
        ("voltage = 0.8", "voltage = nan", "voltage is nan; it must be finite"),
        ("voltage = 0.8", "voltage = 1e999", "voltage is inf; it must be finite"),
        ("voltage = 0.8", "voltage = -1", "voltage is -1; expected float > 0.0"),
        ("8 = 1", "eight = 1", "array.macs_per_cycle.eight as a key is 'eight'; expected int, got str"),
        ("8 = 1", "99 = 1", "array.macs_per_cycle.99 as a key is '99'; expected int <= 16"),
        ("8 = 1", '8 = "1"', "array.macs_per_cycle.8 is '1'; expected float, got str"),
        ("8 = 1", "8 = 1.5", "array.macs_per_cycle of 8 bits is 1.5; allowed are whole numbers and one over them"),
        ("resident_kib = 0", "resident_kib = 256", "sram.resident_kib is 256 of 262144 bytes; tiles need some of it"),
        ("rows = 16", "rows = = 16", "no TOML: Invalid value (at line 12, column 8)"),
        ("rows = 16", "rows = 16\nrows = 17", "no TOML: Cannot overwrite a value (at line 13, column 10)"),
        ('"array.rows" = "assumed', '"array.rows" = 7 #', "sources.'array.rows' is 7; expected str, got int"),
    ],
)
def test_faults_name_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(ValueError) as caught:
        hardware(path)
    assert str(caught.value).startswith(f"hardware {path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"x = " + b"[" * 100_000, "it is nested too deeply"),
        (b"x = " + b"9" * 5000, "Exceeds the limit"),
        (b"", "missing key name"),
    ],
)
def test_files_that_are_no_records(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        hardware(path)
    assert str(caught.value).startswith(f"hardware {path}: {message}")
    assert "\n" not in str(caught.value)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ValueError, match=r"not a regular file$"):
        hardware(tmp_path / "folder.toml")
    with pytest.raises(ValueError, match=r"No such file or directory$"):
        hardware(tmp_path / "none.toml")


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^unknown hardware 'edge-265'; did you mean edge-256\? known: edge-256, ita"):
        hardware("edge-265")
    with pytest.raises(ValueError, match=r"^unknown hardware 'zzz'; known: edge-256, .* ends in .toml$"):
        hardware("zzz")


class Colour(str, Enum):
    RED = "red"


class Circle(msgspec.Struct, frozen=True, tag="circle", tag_field="shape"):
    radius: int


class Square(msgspec.Struct, frozen=True, tag="square", tag_field="shape"):
    side: Annotated[int, Meta(ge=1)]
    colour: Colour = Colour.RED


class Drawing(msgspec.Struct, frozen=True):
    shapes: tuple[Circle | Square, ...]
    one: Circle | None = None
    pair: tuple[int, str] = (0, "")
    named: dict[str, list[Square]] = {}


def drawing(tmp_path: Path, text: str) -> Drawing:
    path = tmp_path / "d.toml"
    path.write_text(text)
    return read_toml(path, Drawing, "drawing")


def test_unions_lists_and_dicts_are_read(tmp_path: Path) -> None:
    text = 'shapes = [{shape = "square", side = 2}]\npair = [1, "a"]\none = {radius = 3}\nnamed.a = [{side = 1}]'
    assert drawing(tmp_path, text) == Drawing(
        shapes=(Square(side=2),), one=Circle(radius=3), pair=(1, "a"), named={"a": [Square(side=1)]}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'shapes = [{shape = "circle", radius = 1}, {shape = "square", sid = 2}]',
            "unknown key shapes[1].sid; did you",
        ),
        ('shapes = [{shape = "sqare", side = 2}]', "shapes[0].shape is 'sqare'; allowed are circle and square"),
        ("shapes = [{side = 2}]", "missing key shapes[0].shape; allowed are circle and square"),
        ('shapes = [{shape = "circle"}]', "missing key shapes[0].radius"),
        ("shapes = [1]", "shapes[0] is 1; expected object, got int"),
        ("shapes = []\none = {radios = 1}", "unknown key one.radios; did you mean radius?"),
        ("shapes = []\npair = [1, 2]", "pair[1] is 2; expected str, got int"),
        ("shapes = []\npair = [1]", "pair: Expected array of length 2, got 1"),
        ("shapes = []\nnamed.x = [{side = 1}, {side = 0}]", "named.x[1].side is 0; expected int >= 1"),
        ('shapes = []\nnamed.x = [{side = 1, colour = "blue"}]', "named.x[0].colour is 'blue'; allowed are red"),
        ('shapes = []\nnamed."a\\nb" = 3', "named.'a\\nb' is 3; expected array, got int"),
    ],
)
def test_faults_at_every_depth(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        drawing(tmp_path, text)
    assert str(caught.value).startswith(f"drawing {tmp_path / 'd.toml'}: {message}")
    assert "\n" not in str(caught.value)


def refusal(path: Path) -> str:
    """The message about a file; empty if it is read."""
    try:
        hardware(path)
    except ValueError as error:
        return str(error)
    return ""


LINES = EDGE.splitlines()


@given(at=st.integers(0, len(LINES) - 1), text=st.text(max_size=20))
@settings(deadline=None, max_examples=60)
def test_a_spoilt_line_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, at: int, text: str
) -> None:
    path = tmp_path_factory.mktemp("spoilt") / "mine.toml"
    path.write_text("\n".join([*LINES[:at], text, *LINES[at + 1 :]]), errors="replace")
    message = refusal(path)
    assert not message or (message.isprintable() and str(path) in message)
