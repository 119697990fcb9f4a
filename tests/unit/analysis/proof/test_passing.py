"""How much of a call a proof holds at once, and what a configuration holds after it."""

import weakref
from typing import Any

import pytest
from numpy.typing import NDArray
from torch import Tensor

from analysis.proof.equality import prove_equal
from analysis.proof.passing import Passing
from analysis.proof.text import prove_text
from analysis.translation.steppers import MachineStepper
from analysis.workload import Configuration, Model
from hwsim.accelerator.zeros import ZeroCounter
from hwsim.machine import Machine
from hwsim.machine.plan import Worker
from hwsim.program.operations import written

Array = NDArray[Any]


def test_a_tensor_goes_after_its_last_reader(int8: Configuration, rows: list[list[int]]) -> None:
    """What is there is what a later operation of the encoder reads, by its records; inputs and outputs stay."""
    program = int8.program
    function, passing = program.functions["encode"], Passing(program)
    reads = [set(program.inputs_of(operation)) for operation in function.operations]
    number = {written(operation)[-1]: i for i, operation in enumerate(function.operations)}
    seen = []

    def observe(name: str, array: Array) -> None:
        if made := passing.take(name, array):
            assert name == made[-1]
            seen.append(made)
            assert reads[number[name]] <= passing.values.keys()
            passing.drop(name)
            wanted = set[str]().union(*reads[number[name] + 1 :], function.outputs)
            assert passing.values.keys() - set(function.inputs) == wanted & {one for done in seen for one in done}

    passing.begin("encode")
    MachineStepper(int8.machine, rows, observe)
    assert seen == [written(operation) for operation in function.operations]
    assert set(passing.values) == {*function.inputs, *function.outputs}


def test_few_tensors_are_alive_at_once(
    model: Model, int8: Configuration, rows: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each call of a proof, of all that the machine shows; the encoder alone makes some fifty."""
    shown: list[weakref.ref[Array]] = []
    most, plain = 0, Worker.read

    def read(worker: Worker, name: str) -> Array:
        nonlocal most
        array = plain(worker, name)
        shown.append(weakref.ref(array))
        most = max(most, sum(one() is not None for one in shown))
        return array

    monkeypatch.setattr(Worker, "read", read)
    zeros = ZeroCounter(int8.program)
    assert prove_equal(model.network, int8.strict, int8.machine, rows, zeros=zeros).equal
    assert zeros.counts.total.macs_zero > 0
    layers = model.network.config.decoder_layers
    given = 2 * 2 * layers  # keys and values of the encoder, and those of the past
    assert most <= given + 2 * 2 * layers + 8, most


def test_zeros_of_what_passes_are_those_of_whole_calls(
    model: Model, int8: Configuration, rows: list[list[int]]
) -> None:
    zeros, whole = ZeroCounter(int8.program), ZeroCounter(int8.program)

    class Whole(Machine):
        def run(self, function: str, inputs: Any, observe: Any = None) -> dict[str, Array]:
            values = dict(inputs)
            outputs = super().run(function, inputs, lambda name, x: (values.__setitem__(name, x), observe(name, x)))
            whole.count(function, values)
            return outputs

    result = prove_equal(model.network, int8.strict, Whole(int8.program), rows, zeros=zeros)
    assert result.equal and zeros.counts == whole.counts


def test_a_configuration_forgets_and_begins_anew(model: Model, int8: Configuration, rows: list[list[int]]) -> None:
    before, _, _ = prove_text(model, int8, rows)
    kept = [weakref.ref(worker) for _, workers in int8.machine._workers._plans.values() for worker in workers]
    tables = [weakref.ref(one.value) for one in int8.strict.kept._entries.values() if isinstance(one.value, Tensor)]
    assert kept and tables and all(one() is not None for one in [*kept, *tables])
    int8.forget()
    assert all(one() is None for one in [*kept, *tables])
    again, _, _ = prove_text(model, int8, rows)
    assert again == before


def test_what_was_counted_is_not_forgotten(int8: Configuration, rows: list[list[int]]) -> None:
    forgetful, other = Machine(int8.program), Machine(int8.program)
    for machine in (forgetful, other):
        MachineStepper(machine, rows, lambda name, array: None)
    forgetful.forget()
    assert forgetful.totals == other.totals and any(other.totals.values())
