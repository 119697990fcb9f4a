"""Ranges are calibrated once, kept, found again bit for bit, and never believed when they are not as they should be."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from analysis.translation import calibration as module
from analysis.translation.calibration import CalibrationText, choose_text, ranges_of
from analysis.workload import Model, calibrate_model, configure, load_model
from reference.data import ParallelText
from reference.quantize import kept
from reference.quantize.calibrate import Range
from reference.quantize.scheme import preset
from tests.small.models import save_tiny_model, small_model

Ranges = dict[str, Range]


class Bench:
    """A stored model, a text, the user's cache folder, and what was said and done."""

    def __init__(self, folder: Path, user: Path, text: ParallelText) -> None:
        self.model, self.user = load_model(folder), user
        self.text = CalibrationText(name="text", source=text.source, target=text.target)
        self.said: list[str] = []
        self.calibrated = 0

    def ranges(self, **changes: Any) -> Ranges:
        return ranges_of(self.model, replace(self.text, **changes), say=self.said.append)

    def files(self) -> list[Path]:
        return sorted((self.model.folder / "ranges").glob("*"))


@pytest.fixture
def bench(vocabulary: Path, small_text: ParallelText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    save_tiny_model(tmp_path / "model", vocabulary)
    made = Bench(tmp_path / "model", tmp_path / "cache" / "hwsim" / "ranges", small_text)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calibrate = module.calibrate

    def counted(*given: Any) -> Ranges:
        made.calibrated += 1
        return calibrate(*given)

    monkeypatch.setattr(module, "calibrate", counted)
    return made


def bits(ranges: Ranges) -> dict[str, list[str]]:
    return {site: [x.hex() for x in (*one.average, *one.extremes)] for site, one in ranges.items()}


def test_ranges_come_back_bit_for_bit_and_make_the_same_program(bench: Bench, small_text: ParallelText) -> None:
    made = bench.ranges()
    again = bench.ranges()
    plain = calibrate_model(bench.model, small_text)
    assert bench.calibrated == 1 and bench.said == []
    assert bits(made) == bits(again) == bits(plain) and list(again) == list(plain)
    files = []
    for number, ranges in enumerate((plain, again)):
        path = bench.model.folder / f"{number}.hwsim"
        configure(bench.model, preset("int8"), ranges).program.save(path)
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_numbers_survive_the_file(tmp_path: Path, bench: Bench) -> None:
    """Zero with its sign, the least number above it, and neighbours of 1/10."""
    numbers = [-0.0, 5e-324, 0.1, 0.10000000000000002, 1 / 3, 1.7976931348623157e308]
    sites = sorted(kept.observed_sites(bench.model.network))
    ranges = {site: Range((-x, x), (-1.7976931348623157e308, x)) for site, x in zip(sites, numbers * 9, strict=False)}
    ranges = {site: ranges.get(site, Range((0.0, 1.0), (0.0, 1.0))) for site in sites}
    assert kept.write_ranges(tmp_path, "0" * 64, ranges)
    found = kept.read_ranges(tmp_path, "0" * 64, bench.model.network)
    assert found is not None and bits(found) == bits(ranges)


CHANGES: dict[str, Callable[[Bench], Ranges]] = {
    "another source": lambda bench: bench.ranges(source=(*bench.text.source[:-1], bench.text.source[0])),
    "another translation": lambda bench: bench.ranges(target=(*(bench.text.target or ())[:-1], "die")),
    "no translations": lambda bench: bench.ranges(target=None),
    "other weights": lambda bench: _with(bench, network=small_model(bench.model.network.config, seed=6)),
    "other heads of the same weights": lambda bench: _with(bench, network=_split(bench.model)),
}
"""Each decides the ranges."""


def _with(bench: Bench, **fields: Any) -> Ranges:
    bench.model = replace(bench.model, **fields)
    return bench.ranges()


def _split(model: Model) -> Any:
    """The same tensors as four heads of two."""
    network = small_model(model.network.config, n_heads=4, d_head=2)
    network.load_state_dict(model.network.state_dict())
    return network


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_the_ranges_makes_them_anew(bench: Bench, change: str) -> None:
    bench.ranges()
    CHANGES[change](bench)
    assert bench.calibrated == 2 and len(bench.files()) == 2 and bench.said == []


@pytest.mark.parametrize(
    ("where", "value"), [("MOMENTUM", 0.8), ("ARITHMETIC", 2), ("TOKENS_PER_BATCH", 100), ("hash", "another")]
)
def test_settings_and_vocabulary_are_part_of_the_name(
    bench: Bench, where: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bench.text.inputs(bench.model)
    owner: Any = {"TOKENS_PER_BATCH": module, "hash": bench.model.tokenizer}.get(where, kept)
    monkeypatch.setattr(owner, where, value)
    assert bench.text.inputs(bench.model) != before


def _edit(change: Callable[[Any], Any], *, sealed: bool = True) -> Callable[[bytes], bytes]:
    """A change of the content; `sealed` with the hash that the changed ranges have."""

    def edit(content: bytes) -> bytes:
        record = json.loads(content)
        change(record)
        if sealed:
            record["ranges_sha256"] = kept._hash(msgspec.convert(record["ranges"], dict[str, Range]))
        return json.dumps(record).encode()

    return edit


SITE = "encoder.0.feed_forward.hidden"
DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "truncated"),
    "cut": (lambda content: content[:-40], "truncated"),
    "no JSON": (lambda content: b"\x00\xff" * 40, "malformed"),
    "a list": (lambda content: b"[]", "Expected `object`"),
    "deep": (lambda content: b"[" * 100_000, "Expected `object`"),
    "a text for a number": (
        lambda content: content.replace(b'"average": [', b'"average": ["x", ', 1),
        "average",
    ),
    "other inputs": (_edit(lambda record: record.update(inputs_sha256="f" * 64)), "other inputs"),
    "one digit": (
        _edit(lambda record: record["ranges"][SITE]["average"].__setitem__(1, 9.5), sealed=False),
        "not those that were written",
    ),
    "a site less": (_edit(lambda record: record["ranges"].pop(SITE)), f"site {SITE} is missing"),
    "a site more": (
        _edit(lambda record: record["ranges"].update({"x.y": record["ranges"][SITE]})),
        "site x.y is unknown to the model",
    ),
    "ends exchanged": (
        _edit(lambda record: record["ranges"][SITE].update(extremes=[2.0, 1.0])),
        f"site {SITE} has the range 2.0 to 1.0",
    ),
    "a field more": (_edit(lambda record: record.update(more=1)), "unknown field"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_file_is_said_and_made_anew(bench: Bench, damage: str) -> None:
    good = bits(bench.ranges())
    (file,) = bench.files()
    change, reason = DAMAGE[damage]
    content = file.read_bytes()
    file.write_bytes(change(content))
    assert file.read_bytes() != content
    assert bits(bench.ranges()) == good and bench.calibrated == 2
    (line,) = bench.said
    assert str(file) in line and reason in line and "\n" not in line
    assert file.read_bytes() == content
    assert bits(bench.ranges()) == good and bench.calibrated == 2 and len(bench.said) == 1


def test_a_range_that_is_not_finite_is_not_believed(bench: Bench, tmp_path: Path) -> None:
    """JSON has no infinity; a number that is too large to be one is refused on the way in."""
    ranges = bench.ranges()
    (file,) = bench.files()
    number = repr(ranges[SITE].extremes[1]).encode()
    file.write_bytes(file.read_bytes().replace(number, b"1e999"))
    assert bits(bench.ranges()) == bits(ranges) and len(bench.said) == 1


def test_a_folder_in_the_place_of_the_file_is_left_alone(bench: Bench) -> None:
    good = bench.ranges()
    (file,) = bench.files()
    file.unlink()
    file.mkdir()
    assert bench.ranges() == good and file.is_dir()
    assert bench.calibrated == 2 and len(bench.said) == 1 and "not a regular file" in bench.said[0]
    assert bench.ranges() == good and bench.calibrated == 2, "the user's cache has them now"


def test_where_the_model_cannot_be_written_the_users_cache_has_them(bench: Bench) -> None:
    (bench.model.folder / "ranges").write_text("a file, where no folder can be")
    good = bench.ranges()
    assert [path.suffix for path in bench.user.iterdir()] == [".json"]
    assert bench.ranges() == good and bench.calibrated == 1 and bench.said == []


def test_where_nothing_can_be_written_nothing_is_kept(bench: Bench) -> None:
    for place in (bench.model.folder / "ranges", bench.user.parents[1]):
        place.write_text("a file, where no folder can be")
    assert bench.ranges() == bench.ranges() and bench.calibrated == 2 and len(bench.said) <= 1


def test_a_relative_cache_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert kept.user_folder() == tmp_path / ".cache" / "hwsim" / "ranges"


def test_the_oldest_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_FILES", 3)
    (tmp_path / "mine.json").write_text("not ours")
    for number in range(5):
        assert kept.write_ranges(tmp_path, f"{number:064x}"[::-1], {"a": Range((0.0, 1.0), (0.0, 1.0))})
        os.utime(tmp_path / (f"{number:064x}"[::-1][:16] + ".json"), (number, number))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n}{'0' * 15}.json" for n in (2, 3, 4)] + [
        "mine.json"
    ]


# --- the shipped model ------------------------------------------------------------------------------------------------


def test_the_shipped_model_is_not_calibrated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hash of its inputs is exact, so that neither model, corpus nor settings change without a new file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "calibrate", None)
    said: list[str] = []
    ranges = ranges_of(load_model(), say=said.append)
    assert said == [] and len(ranges) == 180 and not any(tmp_path.iterdir())


def test_nothing_else_is_kept_beside_the_shipped_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_text: ParallelText
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = load_model()
    before = sorted((model.folder / "ranges").iterdir())
    ranges_of(model, CalibrationText(name="text", source=small_text.source[:2], target=small_text.target[:2]))
    assert sorted((model.folder / "ranges").iterdir()) == before and len(before) == 1
    assert len(list((tmp_path / "hwsim" / "ranges").iterdir())) == 1


@pytest.mark.slow
def test_the_shipped_ranges_are_what_calibration_gives() -> None:
    """Sums of floats differ a little from CPU to CPU: 1e-4 of a range, a fortieth of an int8 step."""
    model = load_model()
    shipped, found = ranges_of(model), calibrate_model(model)
    assert shipped.keys() == found.keys()
    for site, one in shipped.items():
        for ours, theirs in ((one.average, found[site].average), (one.extremes, found[site].extremes)):
            assert ours == pytest.approx(theirs, rel=0, abs=1e-4 * (theirs[1] - theirs[0])), site


def test_the_default_text_is_of_the_shipped_vocabulary(bench: Bench) -> None:
    with pytest.raises(ValueError, match="vocabulary of its own"):
        choose_text(bench.model, None, None)
