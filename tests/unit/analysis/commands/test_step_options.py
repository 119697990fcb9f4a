"""`--steps` of `hwsim explain` and `hwsim vectors`: how many decode steps are run, in every mode, and by default."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from analysis import cli
from hwsim.program import Program
from reference.quantize.scheme import Scheme
from tests.small.programs import tiny_program, with_operation
from tests.small.sentences import sentences

QUERY = "decoder.0.self_attention.query"
WIDTH = 8
"""Codes of a sentence and step at the site."""
Call = Callable[..., int]


@pytest.fixture(scope="module")
def program() -> Program:
    return tiny_program(Scheme(name="plain"))


@pytest.fixture
def call(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command on the tiny program and its own ids, whatever the text says; the exit code."""
    program.save(tmp_path / "tiny.hwsim")
    words = SimpleNamespace(encode_all=lambda lines, most, what: sentences(len(lines)), check_ids=lambda sha256: None)
    monkeypatch.setattr("analysis.commands.shared.vocabulary", lambda model: words)
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["hwsim", *map(str, words)])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


def codes(path: str) -> int:
    (site,) = json.loads(Path(path).read_text())["sites"]
    assert site["site"] == QUERY
    return int(site["codes"])


@pytest.mark.parametrize(("words", "steps"), [((), 4), (("--steps", 1), 1), (("--steps", 3), 3), (("--steps", 6), 6)])
@pytest.mark.parametrize("count", [1, 2])
def test_schemes_are_compared_on_as_many_steps(call: Call, words: tuple[object, ...], steps: int, count: int) -> None:
    asked = ("--schemes", "half_even,floor", "--site", QUERY, "--sentences", count, "--json", "found.json", "--force")
    assert call("explain", "tiny.hwsim", *asked, *words) == 1
    assert codes("found.json") == count * steps * WIDTH


def test_schemes_at_a_site_of_a_decode_step_need_one(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("explain", "tiny.hwsim", "--schemes", "half_even,floor", "--site", QUERY, "--steps", 0) == 2
    message = f"pattern '{QUERY}' matches only sites that are not made in 0 decode steps"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("words", "steps"), [(("--steps", 0), 0), (("--steps", 1), 1), (("--steps", 5), 5)])
def test_two_programs_are_compared_on_as_many_steps(call: Call, words: tuple[object, ...], steps: int) -> None:
    assert call("explain", "tiny.hwsim", "tiny.hwsim", "--json", "found.json", "--force", *words) == 0
    found = json.loads(Path("found.json").read_text())
    assert found["calls"] == 1 + steps
    compared = {site["site"]: site["compared"] for site in found["sites"]}
    assert compared.get(QUERY, 0) == steps * WIDTH


def test_two_programs_are_compared_on_16_steps_by_default(call: Call) -> None:
    """As far as there are positions: the tiny program has 12."""
    assert call("explain", "tiny.hwsim", "tiny.hwsim", "--json", "found.json", "--force") == 0
    by_default = json.loads(Path("found.json").read_text())["calls"]
    assert call("explain", "tiny.hwsim", "tiny.hwsim", "--json", "found.json", "--force", "--steps", 16) == 0
    assert by_default == json.loads(Path("found.json").read_text())["calls"] > 1 + 5


def test_a_difference_behind_the_steps_is_not_seen(call: Call, program: Program, tmp_path: Path) -> None:
    operation = next(op for _, op in program.operations() if op.output == "decoder.0.self_attention.scores")
    shift = operation.requantization.shift + 1  # type: ignore[union-attr]
    wider = msgspec.structs.replace(operation.requantization, shift=shift)  # type: ignore[union-attr]
    with_operation(program, operation.output, requantization=wider).save(tmp_path / "other.hwsim")
    assert call("explain", "tiny.hwsim", "other.hwsim", "--steps", 0) == 0
    assert call("explain", "tiny.hwsim", "other.hwsim", "--steps", 4) == 1


@pytest.mark.parametrize(("words", "steps"), [((), 2), (("--steps", 1), 1), (("--steps", 4), 4)])
@pytest.mark.parametrize("count", [1, 2])
def test_vectors_are_of_as_many_steps(
    call: Call, words: tuple[object, ...], steps: int, count: int, tmp_path: Path
) -> None:
    assert call("vectors", "tiny.hwsim", "--site", QUERY, "--out", "made", "--sentences", count, *words) == 0
    operation = json.loads((tmp_path / "made" / "manifest.json").read_text())["operations"][0]
    assert len(operation["calls"]) == steps
    shapes = {tuple(file["shape"]) for one in operation["calls"] for file in one["vectors"]["files"]
              if file["tensor"] == QUERY}  # fmt: skip
    assert shapes == {(count, 1, WIDTH)}


def test_vectors_of_no_step_have_no_site_of_a_decode_step(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("vectors", "tiny.hwsim", "--site", QUERY, "--out", "made", "--steps", 0) == 2
    message = f"pattern '{QUERY}' matches only operations of decode_step, and 0 decode steps are asked"
    assert message in capsys.readouterr().err
    assert not Path("made").exists()
