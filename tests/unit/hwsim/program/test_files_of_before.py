"""Program files that earlier versions wrote load, run, and give every code that they gave then."""

import hashlib
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.loading import load
from hwsim.program.operations import Operation, RescaledAdd, ShiftRight
from tests import GOLDEN

CODES = {
    "deeploy": "d6feb765ac68067000071161655e3b148fd9bde49a2f4b97cf25dff6f31d0276",
    "fullyqt": "84811d13e75d18cca94dd17482d2b993808e6788a181336d7ef559fb646465c3",
    "gemmini": "6790507b9670c245f29b34cc46e7b77066070b7b0b4c8956affebd7fed5406a0",
    "ibert": "8e249b2fd4cc83d93dfbb6ee4c00f43f4f8c24d5f4afdc9c544f93396959129f",
    "ita": "109b4f7a937bc94a1cea5833dcb1a92d1d2076a8346c6272185ec93a8e34b480",
    "ita-head": "a8cf63642b2b87d938bfa7787066860d89a519da93bfa9493e98bf89b0067427",
    "nvdla-int16": "bcd78a737fd3d6f6ee035da838badd7f14d6e422c05c1ae1bf2b1d01f718a194",
    "onnxruntime": "4660dc088ee9010465cf20ef7bef860b5e4967f49623b65f3c544f4301aea9fa",
    "pulp": "5b33a730364a8a8c7ad32dc79aa4755f9b8fa3dad53d94fec5d07d26a4985563",
    "tflm": "249829856917839d3b631743d4527031688cea0e0ec0431fe3fd52211c6ab224",
    "tflm-int16": "7e8ae2d0dbdc44a7ccacbffe01894a45c7ea054b895a5451913bf9c086b84d85",
}
"""SHA-256 of all tensors of a short translation, written down with the files (tests/golden/README.md)."""
_ANEW = "; `hwsim quantize --out FILE` makes a program anew, from the model and the scheme that it came from"
_EARLIER = "; its arithmetic is 'hwsim-2'" + _ANEW
_ITA = (
    "encoder.0.self_attention.softmax.output: scores of scale ln(2) / 2^4; the limit `score_scale` is 5 (SoftmaxShift "
    "of ita_softmax_top.sv; ITA 40564cf, compiled); target ita has no hardware for it, unless `beyond` names it"
    + _EARLIER
)
REFUSED = {
    "gemmini": "encoder.0.self_attention.softmax.output: gemmini_softmax was another in arithmetic 'hwsim-2' than in "
    "'hwsim-3'" + _ANEW,
    "ita": _ITA,
    "ita_heads": _ITA,
    "pulp": "function encode, encoder.0.self_attention.key: |x| * multiplier + rounding reaches 4293078761, at or "
    "above 2^31: narrow_before has products of 32 bits" + _EARLIER,
}
"""Files of 'hwsim-2' whose integers were not those of the hardware, and why they are no programs today."""
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


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_of_other_integers_is_refused_with_the_way_to_make_it_anew(name: str) -> None:
    path = file(f"refused/{name}")
    with pytest.raises(ValueError, match="is not a valid program") as error:
        load(path)
    assert str(error.value) == f"{path} is not a valid program: {REFUSED[name]}"


@pytest.mark.parametrize(
    ("name", "scheme", "most", "remedy"), [("pulp", "narrow_before", 31, ""), ("ibert", "dyadic", 62, _EARLIER)]
)
def test_only_a_damaged_file_of_before_is_to_be_made_anew(
    name: str, scheme: str, most: int, remedy: str, tmp_path: Path
) -> None:
    content, count = re.subn(
        rb'(%s[^}]*shift\\":)\d\d' % scheme.encode(), rb"\g<1>99", file(name).read_bytes(), count=1
    )
    assert count == 1
    (tmp_path / "damaged.hwsim").write_bytes(content)
    with pytest.raises(ValueError, match=f"{scheme}: shift 99; allowed are 0 to {most} - at `[^`]+`") as error:
        load(tmp_path / "damaged.hwsim")
    assert str(error.value).rpartition("`$.")[2].partition("`")[2] == remedy


def test_the_files_hold_every_operation() -> None:
    operations = [operation for name in CODES for _, operation in load(file(name)).operations()]
    assert any(isinstance(op, ShiftRight) and isinstance(op.bias, str) for op in operations), "a biased shift"
    assert any(isinstance(op, RescaledAdd) and isinstance(op.operand, IntFormat) for op in operations), "operands"
    missing = {operation.__name__ for operation in set(get_args(Operation)) - {type(op) for op in operations}}
    assert not missing, f"no golden program holds {', '.join(sorted(missing))}: see tests/golden/README.md"
