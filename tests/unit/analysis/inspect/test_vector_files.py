"""Files of vectors: described with their digests, the same again, in two's complement, and nowhere else."""

import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from analysis.inspect.vectors import MANIFEST, readmemh, write_vectors
from analysis.translation.steppers import MachineStepper
from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program import Manifest, Program
from reference.decoding import greedy
from reference.quantize.scheme import preset
from reference.tokenizer import BOS
from tests.small.programs import tiny_program
from tests.small.sentences import sentences
from tests.unit.analysis.inspect.vector_replay import read_hex


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(tiny_program(preset("int8")))


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_manifest_describes_every_file(machine: Machine, tmp_path: Path) -> None:
    pattern = "decoder.0.cross_attention.softmax.numerator"  # an inner site takes its operation with it
    told = str(write_vectors(machine, sentences(2), pattern, tmp_path))
    files = files_below(tmp_path)
    manifest = json.loads(files.pop(MANIFEST))
    (operation,) = manifest["operations"]
    assert told == f"1 operation, {len(files) + 1} files, described in {MANIFEST}"
    assert (operation["type"], operation["function"]) == ("softmax", "decode_step")
    assert [call["step"] for call in operation["calls"]] == [0, 1]
    described = {}
    for part in (operation["constants"], *(call["vectors"] for call in operation["calls"])):
        described[part["npz"]] = part["npz_sha256"]
        described |= {entry["file"]: entry["sha256"] for entry in part["files"]}
        arrays = np.load(tmp_path / part["npz"])
        assert sorted(arrays) == sorted(entry["tensor"] for entry in part["files"])
        for entry in part["files"]:
            assert arrays[entry["tensor"]].tolist() == read_hex(tmp_path, entry).tolist()
            assert entry["layout"] == "C"
    assert described == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    roles = {entry["tensor"].split(".")[-1]: entry["role"] for entry in operation["calls"][0]["vectors"]["files"]}
    inputs, outputs = dict.fromkeys(("scores", "source_mask"), "input"), ("numerator", "denominator", "output")
    assert roles == inputs | dict.fromkeys(outputs, "output")


def test_vectors_are_the_same_bytes_again_and_leave_the_machine_alone(machine: Machine, tmp_path: Path) -> None:
    for folder in ("once", "twice"):
        write_vectors(machine, sentences(3), "*.scores*", tmp_path / folder, steps=1)
    assert files_below(tmp_path / "once") == files_below(tmp_path / "twice")
    assert machine.counters == {}


def test_the_decode_steps_are_those_of_greedy_search(machine: Machine, tmp_path: Path) -> None:
    write_vectors(machine, sentences(1), "decoder.embedding", tmp_path, steps=3)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    fed = []
    for call in manifest["operations"][0]["calls"]:
        tensors = {entry["tensor"]: read_hex(tmp_path, entry) for entry in call["vectors"]["files"]}
        assert int(tensors["decode_step.position"]) == call["step"] == len(fed)
        fed += tensors["target_ids"].reshape(-1).tolist()
    (wanted,) = greedy(MachineStepper(machine, sentences(1)), [3])
    assert fed == [BOS, *wanted][: len(fed)] and len(fed) == len(wanted)


def test_no_decode_step_writes_encode_alone(machine: Machine, tmp_path: Path) -> None:
    write_vectors(machine, sentences(1), "*attention.key", tmp_path, steps=0)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert {operation["function"] for operation in manifest["operations"]} == {"encode"}
    with pytest.raises(ValueError, match="only operations of decode_step, and 0 decode steps"):
        write_vectors(machine, sentences(1), "generator*", tmp_path, steps=0)


def test_what_cannot_be_written_is_refused(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"similar: .*encoder\.0\.self_attention\.scores"):
        write_vectors(machine, sentences(1), "encoder.0.self_attention.scors*", tmp_path)
    with pytest.raises(ValueError, match="no sentence"):
        write_vectors(machine, [], "*", tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_hostile_name_cannot_leave_the_folder(machine: Machine, tmp_path: Path) -> None:
    program = machine.program
    old, new = "encoder.0.self_attention.query", "../../outside"
    text = msgspec.json.encode(program.manifest).decode().replace(f'"{old}"', f'"{new}"')
    hostile = Machine(Program(msgspec.json.decode(text, type=Manifest), program.constants))
    with pytest.raises(ValueError, match=r"'\.\./\.\./outside' cannot name a file"):
        write_vectors(hostile, sentences(1), new, tmp_path / "deep" / "folder")
    assert not files_below(tmp_path)


def test_readmemh_is_twos_complement_at_the_width() -> None:
    assert readmemh(np.array([[0, 1], [-1, -8]]), IntFormat(bits=4)) == b"0\n1\nf\n8\n"
    assert readmemh(np.array([-1, 2, -16]), IntFormat(bits=5)) == b"1f\n02\n10\n"
    assert readmemh(np.array([2**31 - 1, -(2**31)]), IntFormat(bits=32)) == b"7fffffff\n80000000\n"
    assert readmemh(np.array(200), IntFormat(bits=8, signed=False)) == b"c8\n"
    assert readmemh(np.zeros((2, 0, 3), int), IntFormat(bits=8)) == b""
