"""Program files that earlier versions wrote load, run, and give every code that they gave then."""

import hashlib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.loading import load
from hwsim.program.operations import Operation
from tests import GOLDEN

CODES = {
    "fullyqt": "84811d13e75d18cca94dd17482d2b993808e6788a181336d7ef559fb646465c3",
    "gemmini": "ff4b366db65193125e5865a0bcdf53550c4800084e16c20bdea151bcce8b7bb3",
    "ibert": "8e249b2fd4cc83d93dfbb6ee4c00f43f4f8c24d5f4afdc9c544f93396959129f",
    "ita": "867310879d2d373843b337fc7b482f6d48e21eac606bd065d8d8e97db1673b42",
    "onnxruntime": "4660dc088ee9010465cf20ef7bef860b5e4967f49623b65f3c544f4301aea9fa",
    "ita_heads": "71852a5ee233259ddec3fc9049cb946819a722aa984f9eca2e9aabdee5cd2cca",
    "tflm": "249829856917839d3b631743d4527031688cea0e0ec0431fe3fd52211c6ab224",
}
"""SHA-256 of all tensors of a short translation, written down with the files (tests/golden/README.md)."""
SOURCE = np.array([[5, 9, 12, 7, 2], [19, 4, 2, 0, 0]])
TARGET = ((1, 1), (6, 11), (13, 2))


def file(name: str) -> Path:
    return GOLDEN / "programs" / f"{name}.hwsim"


def digest(program: Program) -> str:
    """Of every tensor of one encoding and three decode steps, names included."""
    total = hashlib.sha256()

    def see(name: str, codes: np.ndarray) -> None:
        total.update(name.encode() + np.ascontiguousarray(codes, np.int64).tobytes())

    machine, mask = Machine(program), program.manifest.pad_id != SOURCE
    known = machine.run("encode", {"source_ids": SOURCE, "source_mask": mask, "encode.position": np.array(0)}, see)
    for state in program.manifest.states:
        _, heads, _, d_head = program.tensors[state.past].dims
        known[state.past] = np.zeros((len(SOURCE), int(heads), 0, int(d_head)), np.int64)
    for position, ids in enumerate(TARGET):
        own = {"target_ids": np.array(ids)[:, None], "decode_step.position": np.array(position), "source_mask": mask}
        inputs = {name: (known | own)[name] for name in program.functions["decode_step"].inputs}
        outputs = machine.run("decode_step", inputs, see)
        known |= {state.past: outputs[state.present] for state in program.manifest.states}
    return total.hexdigest()


@pytest.mark.parametrize("name", CODES)
def test_an_earlier_file_loads_and_gives_the_codes_of_then(name: str) -> None:
    assert digest(load(file(name))) == CODES[name]


@pytest.mark.parametrize("name", CODES)
def test_an_earlier_file_is_written_as_it_was(name: str, tmp_path: Path) -> None:
    load(file(name)).save(tmp_path / "again.hwsim")
    assert (tmp_path / "again.hwsim").read_bytes() == file(name).read_bytes()


def test_the_files_hold_every_operation() -> None:
    found = {type(operation) for name in CODES for _, operation in load(file(name)).operations()}
    missing = {operation.__name__ for operation in set(get_args(Operation)) - found}
    assert not missing, f"no golden program holds {', '.join(sorted(missing))}: see tests/golden/README.md"
