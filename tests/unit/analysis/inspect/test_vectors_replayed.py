"""Vectors: from the hex files and the manifest alone, the oracle gets every output."""

import json
from pathlib import Path
from typing import get_args

import pytest

from analysis.inspect.vectors import MANIFEST, write_vectors
from analysis.translation.steppers import MachineStepper
from hwsim.formats import Accumulator, Counter, Granularity, Overflow
from hwsim.machine import Machine
from hwsim.program.operations import Operation
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import Scheme, preset, scheme_for
from tests.small.programs import tiny_program
from tests.small.sentences import sentences
from tests.unit.analysis.inspect.vector_replay import REPLAY, Bench

TILE = Granularity.TILE
SCHEMES = {
    "int8": preset("int8"),
    "w4a8": preset("w4a8"),
    "merged": Scheme(name="merged", activation_bits=5, sqrt_mode="merged"),
    "saturate": Scheme(name="saturate", accumulator=Accumulator(bits=13, overflow=Overflow.SATURATE)),
    "wrap": Scheme(name="wrap", weight_bits=6, accumulator=Accumulator(bits=12, overflow=Overflow.WRAP)),
    "tile": Scheme(name="tile", accumulator=Accumulator(bits=12, overflow=Overflow.WRAP, granularity=TILE, tile=3)),
    **{name: preset("native", name) for name in TARGETS if name != "fullyqt"},
    **{f"{name}-int16": scheme_for(name, name=name, activation_bits=16) for name in ("tflm", "cmsis-nn", "nvdla")},
}


@pytest.mark.parametrize("name", SCHEMES)
def test_the_oracle_gets_every_output_from_the_files(tmp_path: Path, name: str) -> None:
    machine = Machine(tiny_program(SCHEMES[name]))
    write_vectors(machine, sentences(2), "*", tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    compared, types = 0, set()
    for operation in manifest["operations"]:
        assert operation["calls"]
        for call in operation["calls"]:
            bench = Bench(tmp_path, operation, call)
            made = bench.replay()
            assert sorted(bench.outputs) == sorted(bench.fields[field] for field in made)
            for field, codes in made.items():
                assert codes == bench[field].reshape(-1).tolist(), (operation["output"], field)
                compared += len(codes)
            types.add(operation["type"])
    assert types == {operation.__struct_config__.tag for _, operation in machine.program.operations()}
    assert len(manifest["operations"]) == len(list(machine.program.operations()))
    assert compared > 4000


def test_every_operation_is_replayed_in_some_scheme() -> None:
    programs = [tiny_program(scheme) for scheme in SCHEMES.values()]
    made = {operation.__struct_config__.tag for program in programs for _, operation in program.operations()}
    assert made == {operation.__struct_config__.tag for operation in get_args(Operation)} == set(REPLAY)


@pytest.mark.parametrize(
    ("name", "site", "rounding"),
    [
        ("int8", "encoder.0.self_attention.query", "HALF_EVEN"),
        ("int8", "encoder.0.self_attention.scores.shifted", "HALF_EVEN"),
        ("int8", "encoder.0.self_attention.softmax.output", "HALF_EVEN"),
        ("tflm", "encoder.0.self_attention.query", "HALF_UP, then HALF_AWAY"),
        ("tflm", "encoder.0.self_attention.residual", "HALF_UP, then HALF_AWAY"),
        ("tflm", "encoder.0.self_attention.softmax.output", "docs/operators/softmax.md"),
        ("tflm", "encoder.0.self_attention.layernorm.output", "docs/operators/layernorm.md"),
        ("tflm-int16", "encoder.0.self_attention.query", "HALF_UP"),
        ("tflm-int16", "encoder.0.self_attention.residual", "HALF_UP, then HALF_AWAY"),
        ("cmsis-nn-int16", "encoder.0.self_attention.softmax.output", "docs/operators/softmax.md"),
        ("ita", "encoder.0.self_attention.query", "HALF_UP"),
        ("pulp", "encoder.0.self_attention.residual", "HALF_UP"),
        ("nvdla-int16", "encoder.0.self_attention.scores.truncated", "HALF_AWAY"),
        ("nvdla", "encoder.0.self_attention.query", "HALF_AWAY"),
        ("gemmini", "encoder.0.self_attention.query", "HALF_EVEN, in binary32"),
        ("gemmini", "encoder.embedding", "HALF_EVEN"),
    ],
)
def test_the_manifest_says_how_each_operation_rounds(tmp_path: Path, name: str, site: str, rounding: str) -> None:
    write_vectors(Machine(tiny_program(SCHEMES[name])), sentences(1), site, tmp_path, steps=0)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["target"] == SCHEMES[name].target
    assert [one["rounding"] for one in manifest["operations"]] == [rounding]


@pytest.mark.parametrize("name", ["saturate", "wrap", "tile"])
def test_the_narrow_accumulators_of_this_test_do_overflow(name: str) -> None:
    machine = Machine(tiny_program(SCHEMES[name]))
    MachineStepper(machine, sentences(2))
    assert machine.totals[Counter.OVERFLOW] > 0
