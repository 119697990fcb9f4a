"""A saved program comes back whole; a save that fails leaves what was there."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from safetensors.numpy import load_file

from hwsim import files
from hwsim.formats import Accumulator, IntFormat
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.loading import load
from hwsim.program.packing import packed_bytes
from reference.quantize.scheme import Scheme, preset
from tests.small.programs import tiny_program
from tests.unit.hwsim.program.program_files import mini_program, taken_apart

SCHEMES = {
    "int8": preset("int8"),
    "w4a8": preset("w4a8"),
    "w6": Scheme(name="w6", weight_bits=6, activation_bits=5),
    "wide": Scheme(name="wide", weight_bits=13, activation_bits=12, accumulator=Accumulator(bits=53)),
}


def codes_of(program: Program) -> dict[str, NDArray[Any]]:
    """Every tensor of one encoding and one decoding step."""
    machine, seen = Machine(program), {}
    source = np.array([[4, 9, 13, 2], [5, 2, 0, 0]])
    visible = source != 0
    inputs = {"source_ids": source, "source_mask": visible, "encode.position": np.array(0)}
    cross = machine.run("encode", inputs, seen.__setitem__)
    past = {state.past: np.ones((2, 2, 3, 4), np.int64) for state in program.manifest.states}
    inputs = {"target_ids": np.array([[7], [8]]), "decode_step.position": np.array(3), "source_mask": visible}
    machine.run("decode_step", inputs | cross | past, seen.__setitem__)
    return seen


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_loaded_program_is_the_saved_one(scheme: str, tmp_path: Path) -> None:
    """Manifest, constants and every code; and it saves to the same bytes again."""
    program = tiny_program(SCHEMES[scheme])
    program.save(tmp_path / "program.hwsim")
    loaded = load(str(tmp_path / "program.hwsim"))
    assert loaded.manifest == program.manifest
    assert list(loaded.constants) == list(program.constants)
    for name, array in program.constants.items():
        assert np.array_equal(loaded.constants[name], array), name
    before, after = codes_of(program), codes_of(loaded)
    assert list(before) == list(after) and len(before) > 80
    for name, codes in before.items():
        assert codes.dtype == after[name].dtype and np.array_equal(codes, after[name]), name
    loaded.save(tmp_path / "again.hwsim")
    assert (tmp_path / "again.hwsim").read_bytes() == (tmp_path / "program.hwsim").read_bytes()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_file_has_as_many_bytes_as_it_says(scheme: str, tmp_path: Path) -> None:
    program = tiny_program(SCHEMES[scheme])
    program.save(tmp_path / "program.hwsim")
    _, arrays = taken_apart((tmp_path / "program.hwsim").read_bytes())
    weights = {info.name for info in program.manifest.constants if info.role == "weight"}
    assert program.weight_bytes == sum(arrays[name].nbytes for name in weights)
    for info in program.manifest.constants:
        assert arrays[info.name].nbytes == packed_bytes(info.shape, info.format.bits)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_failed_save_leaves_the_old_file(
    step: str, failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or none, where there was none; and nothing half-written beside it."""

    def fail(*arguments: object) -> None:
        raise failure

    program, path = mini_program(), tmp_path / "program.hwsim"
    path.write_bytes(b"the old file")
    monkeypatch.setattr(files.os, step, fail)
    for target in (path, tmp_path / "new.hwsim"):
        with pytest.raises(type(failure)):
            program.save(target)
    assert os.listdir(tmp_path) == ["program.hwsim"] and path.read_bytes() == b"the old file"
    monkeypatch.undo()
    program.save(path)
    assert load(path).manifest == program.manifest


def test_constants_of_any_layout_are_saved(tmp_path: Path) -> None:
    """Of 16 bits in the order of Fortran: their bytes are no rows."""
    manifest = mini_program().manifest
    infos = [replace(info, format=IntFormat(bits=16)) if info.name == "weight" else info for info in manifest.constants]
    weight = np.arange(12, dtype=np.int16).reshape(4, 3).T
    program = Program(replace(manifest, constants=infos), mini_program().constants | {"weight": weight})
    program.save(tmp_path / "one.hwsim")
    entries = load_file(tmp_path / "one.hwsim")
    assert entries["weight"].view("<i2").tolist() == weight.tolist()
