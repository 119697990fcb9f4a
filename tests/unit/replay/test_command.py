"""`python -m tests.replay`: what it runs, what it says and what it writes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hwsim.machine import Machine
from hwsim.program.operations import PulpLayerNorm
from tests.replay import __main__ as command
from tests.replay.__main__ import everything, lines, main, scheme_of
from tests.replay.comparison import Difference, Tally
from tests.small.programs import with_constant
from tests.small.sentences import sentences
from tests.unit.replay.programs import program_of

RUN = {"name": "tflm-native", "sentences": 20, "overflows": 0, "wrapped": 0, "constants_beyond": []}


def test_every_target_and_the_other_arithmetic_of_16_bits() -> None:
    assert everything() == [
        *("fullyqt", "tflm", "cmsis-nn", "tosa", "ita", "ita-head", "pulp", "deeploy", "gemmini", "ibert"),
        *("nvdla", "onnxruntime", "tflm:16", "cmsis-nn:16", "nvdla:16"),
    ]


def test_a_name_may_say_the_bits_of_activations() -> None:
    native, wide = scheme_of("tflm"), scheme_of("tflm:16")
    assert (native.name, native.target, native.activation_bits) == ("tflm-native", "tflm", 8)
    assert (wide.name, wide.target, wide.activation_bits) == ("tflm-a16", "tflm", 16)


def test_what_is_said_of_a_target() -> None:
    tally = Tally(codes=12345, different=0, tensors={"a", "b"})
    said = "tflm-native: 20 sentences, 12,345 codes compared, 0 different, in 0 of 2 tensors, 7 s"
    assert lines(RUN, tally, 7.4) == [said]
    tally.different, tally.tensors_different = 1, {"b"}
    tally.first = Difference(tensor="b", call="decode step 3", index=(0, 2), machine=5, replay=-6)
    run = RUN | {"overflows": 1200, "wrapped": 3, "constants_beyond": ["k: shift 99", "v: shift 98"]}
    assert lines(run, tally, 7.4) == [
        "tflm-native: 20 sentences, 12,345 codes compared, 1 different, in 1 of 2 tensors, 7 s",
        "  first: b[0, 2] in decode step 3: machine 5, replay -6",
        "  1,200 overflows in the machine, 3 values cut in the replay",
        "  2 constants that its hardware does not encode, first: k: shift 99",
    ]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small model in place of the shipped one."""
    model: Any = SimpleNamespace(folder=None, encode=lambda source, what: sentences(3))
    monkeypatch.setattr(command, "load_model", lambda folder: model)
    monkeypatch.setattr(command, "ranges_of", lambda model: {})
    program = program_of("ita")
    monkeypatch.setattr(command, "configure", lambda model, scheme, ranges: SimpleNamespace(program=program))


@pytest.mark.usefixtures("small")
def test_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "replay.json"
    assert main(["--target", "ita", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert written["context"]["command"] == f"python -m tests.replay --target ita --json {file}"
    (run,) = written["runs"]
    assert run["codes"] > 10_000
    assert {name: run[name] for name in run if name not in ("codes", "tensors")} == {
        "name": "ita-native", "target": "ita", "sentences": 3, "different": 0, "tensors_different": 0, "first": None,
        "overflows": 0, "wrapped": 0, "constants_beyond": [],
    }  # fmt: skip


@pytest.mark.usefixtures("small")
def test_codes_that_wrap_in_the_machine_are_cut_in_the_replay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Deeploy's LayerNorm, its first beta beyond what an int8 makes of them."""
    program = program_of("deeploy")
    norm = next(op for _, op in program.operations() if isinstance(op, PulpLayerNorm))
    planted = with_constant(program, norm.beta, {0: 140 << norm.shift})
    monkeypatch.setattr(command, "configure", lambda model, scheme, ranges: SimpleNamespace(program=planted))
    file = tmp_path / "replay.json"
    assert main(["--target", "deeploy", "--json", str(file)]) == 0
    (run,) = json.loads(file.read_text())["runs"]
    assert (run["different"], run["target"]) == (0, "deeploy")
    assert run["overflows"] == run["wrapped"] > 0


@pytest.mark.usefixtures("small")
def test_a_code_that_differs_is_written_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Machine):
        def run(self, *arguments: Any, **named: Any) -> Any:
            if "source_ids" in arguments[1]:
                observe = arguments[2]

                def off(name: str, array: Any) -> None:
                    observe(name, array + 1 if name == "encoder.0.feed_forward.output" else array)

                arguments = (*arguments[:2], off)
            return super().run(*arguments, **named)

    monkeypatch.setattr(command, "Machine", Wrong)
    file = tmp_path / "replay.json"
    assert main(["--target", "ita", "--each", "--json", str(file)]) == 1
    (run,) = json.loads(file.read_text())["runs"]
    assert run["tensors_different"] == 2, "the tensor itself, and the sum that reads it from the machine"
    assert run["first"]["tensor"] == "encoder.0.feed_forward.output"
    assert run["first"]["machine"] == run["first"]["replay"] + 1
    assert run["different"] > 0
