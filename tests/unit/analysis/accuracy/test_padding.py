"""Padding that holds the greatest codes there are is in no running sum of any product."""

from typing import Any

import numpy as np
import pytest

from analysis.accuracy.padding import Padding
from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine
from hwsim.machine.steps import products
from hwsim.operators.gemm import partial_extremes
from hwsim.program import Program
from hwsim.program.operations import AnyProduct, ProjectHeads
from reference.quantize.scheme import scheme_for
from tests.small.programs import tiny_program
from tests.small.sentences import sentences

LENGTHS = [3, 5, 7, 9]
Arrays = dict[str, np.ndarray[Any, Any]]


def watched(machine: Machine) -> dict[str, Arrays]:
    """Values of each call of a batch whose sentences have these lengths, padding at its worst."""
    calls: dict[str, Arrays] = {"encode": {}, "decode_step": {}}
    rows = sentences(4)
    assert [len(row) for row in rows] == LENGTHS
    stepper = MachineStepper(machine, rows, calls["encode"].__setitem__)
    stepper.observe = calls["decode_step"].__setitem__
    stepper.step(np.array([1] * 4), np.arange(4))
    return {name: {one: spoiled(machine.program, one, x) for one, x in call.items()} for name, call in calls.items()}


def spoiled(program: Program, name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    info, array = program.tensors[name], np.array(array, np.int32)
    for axis, dim in enumerate(info.dims):
        if dim == "source" and name != "source_mask" and info.format.bits <= 16:
            for one, length in zip(array, LENGTHS, strict=True):
                one.swapaxes(0, axis - 1)[length:] = info.format.max
    return array


def by_hand(program: Program, operation: AnyProduct, operands: products.Operands) -> tuple[int, int]:
    """Extremes of what each sentence has without its padding."""
    name = operation.input if isinstance(operation, ProjectHeads) else operation.a
    dims, columns = program.tensors[name].dims, program.tensors[operation.output].dims[-1]
    sums = []
    for s, length in enumerate(LENGTHS):
        rows, terms = (length if dim == "source" else None for dim in dims[-2:])
        shared = not isinstance(operands.b, np.ndarray)
        b = operands.b.codes if shared else operands.b[s, ..., : length if columns == "source" else None, :terms]
        a = operands.a[s, ..., :rows, :terms].astype(np.int64) - operands.a_zero
        b = b.astype(np.int64) - operands.b_zero
        start = np.zeros(b.shape[-2], np.int64) if operands.bias is None else operands.bias
        running = start[:, None] + (a[..., :, None, :] * b[..., None, :, :]).cumsum(-1)
        sums += [running.ravel(), start]
    found = np.concatenate(sums)
    return int(found.min()), int(found.max())


@pytest.mark.parametrize("target", ["fullyqt", "ita", "onnxruntime"])
def test_running_sums_are_those_of_the_sentences(target: str) -> None:
    machine = Machine(program := tiny_program(scheme_for(target, name=target)))
    padding, seen = Padding(program), 0
    for function, values in watched(machine).items():
        for operation in program.functions[function].operations:
            if not isinstance(operation, AnyProduct):
                continue
            heads = isinstance(operation, ProjectHeads)
            each = (products.head_operands if heads else products.operands)(machine.workspace, operation, values)
            for operands in each if heads else [each]:
                a, b, bias, a_zero, b_zero = padding.without(operation, operands, padding.real(values))
                got = partial_extremes(a, b, bias, a_zero=a_zero, b_zero=b_zero)
                assert got == by_hand(program, operation, operands), operation.output
                seen += 1
    assert seen > 20


def test_a_sentence_ends_with_the_last_position_that_its_mask_allows() -> None:
    padding = Padding(tiny_program(scheme_for("fullyqt", name="fullyqt")))
    mask = np.array([[1, 0, 1, 0, 0], [1, 1, 1, 1, 0]])
    (real,) = padding.real({"source_mask": mask}).values()
    assert real.tolist() == [[True, True, True, False, False], [True, True, True, True, False]]
    assert padding.real({"source_mask": mask[:, :1]}) == {}
