"""Runs do not touch each other: memory, machines, rows of a batch and processes."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program import operations as ops
from tests import ROOT
from tests.small.bare import bare
from tests.unit.hwsim.machine.machine_inputs import SOURCE, encode_inputs, run_both, step_inputs


@pytest.mark.parametrize(("source", "past"), [(SOURCE, 3), (SOURCE[:1, :1], 0)], ids=["several", "one of each"])
def test_outputs_are_the_callers_own(source: NDArray[Any], past: int, tiny: Program) -> None:
    """Writing over outputs, inputs and what was observed changes no later run, and none of it is the same memory."""
    machine = Machine(tiny)
    given = {"encode": encode_inputs(source), "decode_step": step_inputs(tiny, source, past)}
    expected = {name: machine.run(name, inputs) for name, inputs in given.items()}
    constants = {name: array.copy() for name, array in tiny.constants.items()}
    for name, inputs in given.items():
        handed = {key: array.copy() for key, array in inputs.items()}
        observed: list[NDArray[Any]] = []
        outputs = machine.run(name, handed, lambda site, codes, into=observed: into.append(codes))
        for array in observed:
            assert not any(np.shares_memory(array, held) for held in (*handed.values(), *tiny.constants.values()))
        assert all(np.array_equal(handed[key], inputs[key]) for key in inputs)
        kept = {key: array.copy() for key, array in outputs.items()}
        for array in handed.values():
            array[...] = 1
        assert all(np.array_equal(outputs[key], kept[key]) for key in outputs)
        for array in [*observed, *outputs.values()]:
            array[...] = 77
        again = machine.run(name, inputs)
        assert all(np.array_equal(again[key], codes) for key, codes in expected[name].items())
    assert all(np.array_equal(tiny.constants[name], array) for name, array in constants.items())


def test_a_function_that_only_moves_hands_out_copies() -> None:
    """Splitting one head off moves nothing, yet the output is not the input."""
    tensors = [
        ir.TensorInfo(name="merged", format=IntFormat(bits=8), dims=[2, 1, 4]),
        ir.TensorInfo(name="split", format=IntFormat(bits=8), dims=[2, 1, 1, 4]),
        ir.TensorInfo(name="again", format=IntFormat(bits=8), dims=[2, 1, 4]),
    ]
    moves: list[ops.Operation] = [
        ops.SplitHeads(output="split", input="merged"),
        ops.MergeHeads(output="again", input="split"),
    ]
    manifest = bare(
        dimensions=[],
        tensors=tensors,
        constants=[],
        functions=[ir.Function(name="move", inputs=["merged"], outputs=["split", "again"], operations=moves)],
    )
    given = np.arange(8, dtype=np.int32).reshape(2, 1, 4)
    outputs = Machine(Program(manifest, {})).run("move", {"merged": given})
    given[...] = 0
    for codes in outputs.values():
        assert codes.reshape(-1).tolist() == list(range(8))
    outputs["split"][...] = 0
    assert outputs["again"].any()


def test_two_machines_agree_whatever_ran_before(tiny: Program) -> None:
    """Shapes, orders and functions before do not matter."""
    fresh, used = Machine(tiny), Machine(tiny)
    used.run("decode_step", step_inputs(tiny, SOURCE[:1], past=0))
    used.run("encode", encode_inputs(SOURCE[::-1, :3]))
    left, right = run_both(fresh), run_both(used)
    assert left.keys() == right.keys()
    assert all(codes.tobytes() == right[name].tobytes() for name, codes in left.items())


def test_rows_of_a_batch_do_not_see_each_other(tiny: Program) -> None:
    whole = Machine(tiny).run("decode_step", step_inputs(tiny))
    for row in range(len(SOURCE)):
        inputs = {name: array[row : row + 1] if array.ndim else array for name, array in step_inputs(tiny).items()}
        alone = Machine(tiny).run("decode_step", inputs)
        assert all(np.array_equal(alone[name][0], codes[row]) for name, codes in whole.items())


SCRIPT = """
import hashlib, sys
import numpy as np
from hwsim import Machine, load
machine, digest = Machine(load(sys.argv[1])), hashlib.sha256()
inputs = dict(np.load(sys.argv[2]))
for name, codes in machine.run("decode_step", inputs, lambda name, codes: digest.update(codes.tobytes())).items():
    digest.update(codes.tobytes())
print(digest.hexdigest())
"""


def test_another_process_computes_the_same_bytes(tiny: Program, tmp_path: Path) -> None:
    tiny.save(tmp_path / "tiny.hwsim")
    inputs = step_inputs(tiny)
    np.savez(tmp_path / "inputs.npz", **inputs)
    digest = hashlib.sha256()
    for codes in Machine(tiny).run("decode_step", inputs, lambda name, codes: digest.update(codes.tobytes())).values():
        digest.update(codes.tobytes())
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "tiny.hwsim"), str(tmp_path / "inputs.npz")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert other.stdout.strip() == digest.hexdigest()
