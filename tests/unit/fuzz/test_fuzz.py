"""Ten thousand malformed program files; and that the fuzzer sees what it looks for."""

import os
import signal
from pathlib import Path

import pytest

from hwsim.program import Program
from hwsim.program.targets import TARGETS
from tests.fuzz import __main__ as command
from tests.fuzz.outcomes import Offence, outcome
from tests.fuzz.variants import KINDS, variant
from tests.unit.hwsim.program.program_files import mini_program

SEED, OF_MINI, OF_TARGETS = 1, 8_000, 2_000

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("mini") / "mini.hwsim"
    mini_program().save(path)
    return {"mini": path.read_bytes()}


def test_malformed_files_are_refused_or_run(mini: dict[str, bytes], tmp_path: Path) -> None:
    """Of a mini program; some of those that load are run."""
    path, seen = tmp_path / "variant.hwsim", set()
    for number in range(OF_MINI):
        _, kind, content = variant(mini, SEED, number)
        try:
            seen.add((kind, outcome(content, path, run=number % 200 == 0)))
        except Exception as error:
            raise AssertionError(f"seed {SEED}, variant {number}, {kind}") from error
    assert {kind for kind, _ in seen} == set(KINDS) and {end for _, end in seen} == {"refused", "loaded", "ran"}


def test_malformed_files_of_every_target_are_refused_or_load(tmp_path: Path) -> None:
    """Every kind of operation; `python -m tests.fuzz` runs them, too, which compiles the kernels of all."""
    given, path, seen = command.wholes(tmp_path, list(TARGETS)), tmp_path / "variant.hwsim", set()
    del given["mini"]
    for number in range(OF_TARGETS):
        name, kind, content = variant(given, SEED, number)
        try:
            seen.add((name, outcome(content, path, run=False)))
        except Exception as error:
            raise AssertionError(f"seed {SEED}, variant {number}, {kind} of {name}") from error
    assert seen == {(name, end) for name in TARGETS for end in ("refused", "loaded")}


def test_a_variant_is_the_same_again(mini: dict[str, bytes]) -> None:
    assert variant(mini, 3, 4) == variant(mini, 3, 4) != variant(mini, 3, 5)


def found(mini: dict[str, bytes], tmp_path: Path) -> str:
    _, wrong = command.fuzz(mini, SEED, range(40), 1000, tmp_path / "variant.hwsim")
    return wrong


def test_a_traceback_is_an_offence(mini: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> Program:
        raise KeyError("name")

    monkeypatch.setattr("tests.fuzz.outcomes.load", broken)
    assert found(mini, tmp_path).startswith("seed 1, variant 0: KeyError: 'name'")


def test_a_crash_and_a_hang_are_offences(
    mini: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fuzz.outcomes.load", lambda path: os.kill(os.getpid(), signal.SIGKILL))
    assert found(mini, tmp_path) == "seed 1, variant 0: the process ended with -9"
    monkeypatch.setattr(command, "SECONDS", 1)
    monkeypatch.setattr("tests.fuzz.outcomes.load", lambda path: os.read(os.pipe()[0], 1))
    assert found(mini, tmp_path) == "seed 1, variant 0: no answer in 1 s"


def test_a_refusal_of_two_lines_is_an_offence(
    mini: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wordy(path: Path) -> Program:
        raise ValueError(f"{path} is\nwrong")

    monkeypatch.setattr("tests.fuzz.outcomes.load", wordy)
    with pytest.raises(Offence, match="the refusal is"):
        outcome(mini["mini"], tmp_path / "variant.hwsim", run=False)
