"""Runs of the machine: every tensor is seen, events add up, shapes may be empty, operations are found."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.formats import Accumulator, Counter, Overflow
from hwsim.machine import Machine, operation_of
from hwsim.program import Program
from hwsim.program.operations import written
from reference.quantize.scheme import Scheme
from tests.small.programs import tiny_program
from tests.unit.hwsim.machine.machine_inputs import SOURCE, Arrays, encode_inputs, run_both, step_inputs


def test_every_tensor_is_seen_once_in_order(tiny: Program) -> None:
    seen: list[str] = []
    arrays: Arrays = {}

    def observe(name: str, codes: NDArray[Any]) -> None:
        seen.append(name)
        arrays[name] = codes

    outputs = run_both(Machine(tiny), observe)
    assert seen == [name for _, operation in tiny.operations() for name in written(operation)]
    made_or_given = {*seen}.union(*(function.inputs for function in tiny.manifest.functions))
    assert made_or_given == set(tiny.tensors)
    for name, codes in outputs.items():
        assert np.array_equal(arrays[name], codes) and codes.dtype == np.int32
    for name, codes in arrays.items():
        assert codes.ndim == len(tiny.tensors[name].dims) and codes.dtype.kind == "i"


def test_observing_changes_nothing(tiny: Program) -> None:
    silent, watched = Machine(tiny), Machine(tiny)
    left, right = run_both(silent), run_both(watched, lambda name, codes: None)
    assert all(left[name].tobytes() == right[name].tobytes() for name in left)
    assert {n: c.tolist() for n, c in silent.counters.items()} == {n: c.tolist() for n, c in watched.counters.items()}


@pytest.mark.parametrize("rule", [Overflow.SATURATE, Overflow.WRAP])
def test_events_add_up_over_runs(rule: Overflow) -> None:
    """A machine's counters are the sum of what each run counts; totals are their sum."""
    program = tiny_program(Scheme(name="narrow", weight_bits=5, accumulator=Accumulator(bits=11, overflow=rule)))
    machine, once, step = Machine(program), Machine(program), Machine(program)
    assert not machine.counters and machine.totals == dict.fromkeys(Counter, 0)
    once.run("encode", encode_inputs())
    step.run("decode_step", step_inputs(program))
    for times in (1, 2, 3):
        machine.run("encode", encode_inputs())
        assert {name: events.tolist() for name, events in machine.counters.items()} == {
            name: (times * events).tolist() for name, events in once.counters.items()
        }
    machine.run("decode_step", step_inputs(program))
    assert machine.totals == {c: 3 * once.totals[c] + step.totals[c] for c in Counter}
    assert machine.totals == {c: sum(int(events[c]) for events in machine.counters.values()) for c in Counter}
    assert (
        machine.totals[Counter.OVERFLOW] and machine.totals[Counter.POSITIVE_TIE] and machine.totals[Counter.SATURATION]
    )
    assert all(type(count) is int for count in machine.totals.values())
    assert not {*once.counters} & {*step.counters}


def test_a_refused_input_counts_nothing(tiny: Program) -> None:
    machine = Machine(tiny)
    with pytest.raises(ValueError, match="source_mask"):
        machine.run("encode", encode_inputs() | {"source_mask": SOURCE})
    assert sum(machine.totals.values()) == 0


def test_an_empty_batch_gives_empty_outputs(tiny: Program) -> None:
    machine, nobody = Machine(tiny), SOURCE[:0]
    cross = machine.run("encode", encode_inputs(nobody))
    assert {codes.shape for codes in cross.values()} == {(0, 2, 5, 4)}
    outputs = machine.run("decode_step", step_inputs(tiny, nobody))
    assert outputs["generator.logits"].shape == (0, 1, 20)
    assert sum(machine.totals.values()) == 0


def test_a_step_without_past_or_source_runs(tiny: Program) -> None:
    """Caches start with 0 positions; nothing to attend to gives nothing, as section 4 says of such a row."""
    first = Machine(tiny).run("decode_step", step_inputs(tiny, past=0))
    assert {codes.shape for name, codes in first.items() if "cache" in name} == {(3, 2, 1, 4)}
    seen: Arrays = {}
    Machine(tiny).run("decode_step", step_inputs(tiny, SOURCE[:, :0]), seen.__setitem__)
    assert seen["decoder.0.cross_attention.softmax.output"].shape == (3, 2, 1, 0)
    assert (seen["decoder.0.cross_attention.softmax.denominator"] == 1).all()
    assert (seen["decoder.0.cross_attention.context.accumulator"] == 0).all()


def test_an_operation_is_found_by_what_it_makes(tiny: Program) -> None:
    for _, operation in tiny.operations():
        assert all(operation_of(tiny, name) is operation for name in written(operation))
    with pytest.raises(ValueError, match=r"no operation makes 'key'; perhaps .*self_attention\.key"):
        operation_of(tiny, "key")
    with pytest.raises(ValueError, match="no operation makes 'zebra'; perhaps see `hwsim show`"):
        operation_of(tiny, "zebra")
