"""Decoding with caches in place equals runs whose caches come and go: rows dropped, doubled, moved, on any threads."""

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.formats import Accumulator, Overflow
from hwsim.machine import Machine, session
from hwsim.program import Program
from hwsim.program import operations as ops
from reference.quantize.scheme import Scheme
from tests.small.programs import tiny_program
from tests.unit.hwsim.machine.machine_inputs import SOURCE, Arrays, encode_inputs

PARENTS = [[0, 1, 2], [2, 0, 0, 1], [3, 3, 0, 1, 1, 2], [5, 0], [1, 0, 1], [0, 1, 2]]
"""Rows moved, doubled, dropped, doubled again."""


class ByRuns:
    """What a session must give: `Machine.run`, the caller keeping the caches."""

    def __init__(self, machine: Machine, source: NDArray[Any] = SOURCE) -> None:
        self.machine = machine
        self.rows: Arrays = {"source_mask": source != 0} | machine.run("encode", encode_inputs(source))
        for state in machine.program.manifest.states:
            self.rows[state.past] = np.zeros((len(source), 2, 0, 4), np.int32)

    def step(self, inputs: Arrays, parents: NDArray[Any]) -> Arrays:
        self.rows = {name: codes[parents] for name, codes in self.rows.items()}
        outputs = self.machine.run("decode_step", inputs | self.rows)
        states = self.machine.program.manifest.states
        self.rows |= {state.past: outputs.pop(state.present) for state in states}
        return outputs


def steps(decoder: Any, parents: list[list[int]] = PARENTS) -> list[Arrays]:
    rng = np.random.default_rng(7)
    made = []
    for position, rows in enumerate(parents):
        ids = rng.integers(3, 20, (len(rows), 1))
        inputs = {"target_ids": ids, "decode_step.position": np.array(position)}
        made.append(decoder.step(inputs, np.array(rows, np.int64)))
    return made


def assert_same(left: list[Arrays], right: list[Arrays]) -> None:
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        assert all(codes.dtype == np.int32 and np.array_equal(codes, other[name]) for name, codes in one.items())


def begin(machine: Machine, source: NDArray[Any] = SOURCE) -> session.Session:
    begun = machine.session("encode", "decode_step", encode_inputs(source))
    assert begun is not None
    return begun


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_session_equals_runs(threads: int, tiny: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events too: each row's work is counted once, whoever does it."""
    monkeypatch.setattr(session, "ROWS_A_THREAD", 1)
    machine, plain = Machine(tiny, threads=threads), Machine(tiny, threads=1)
    assert_same(steps(begin(machine)), steps(ByRuns(plain)))
    assert {name: events.tolist() for name, events in machine.counters.items()} == {
        name: events.tolist() for name, events in plain.counters.items()
    }
    assert sum(machine.totals.values())


def test_caches_grow(tiny: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for one position at first, for as many rows as there are sentences: both are exceeded."""
    monkeypatch.setattr(session, "FIRST_POSITIONS", 1)
    monkeypatch.setattr(session, "roomy", lambda size: size)
    parents = [*PARENTS, [0, 0, 1, 1, 2, 2, 0], *([[0, 1, 2, 3, 4, 5, 6]] * 5)]
    assert_same(steps(begin(Machine(tiny)), parents), steps(ByRuns(Machine(tiny)), parents))


def test_two_sessions_of_a_machine_do_not_touch(tiny: Program) -> None:
    machine = Machine(tiny)
    first, second = begin(machine), begin(machine, SOURCE[::-1, :3])
    expected = [ByRuns(Machine(tiny)), ByRuns(Machine(tiny), SOURCE[::-1, :3])]
    for position in range(3):
        inputs = {"target_ids": np.array([[7], [9], [4]]), "decode_step.position": np.array(position)}
        for got, wanted in zip((first, second), expected, strict=True):
            parents = np.arange(3)
            assert_same([got.step(inputs, parents)], [wanted.step(inputs, parents)])


def test_an_accumulator_that_saturates_is_followed_too() -> None:
    """Its products have no kernel of the session, so that caches come and go."""
    scheme = Scheme(name="narrow", weight_bits=5, accumulator=Accumulator(bits=11, overflow=Overflow.SATURATE))
    machine = Machine(tiny_program(scheme))
    assert machine.session("encode", "decode_step", encode_inputs()) is None


def test_a_cache_that_something_else_reads_stays_as_it_is(tiny: Program) -> None:
    """A residual sum of two caches, say; so does one that two products read in two ways."""

    def with_reader(reader: ops.Operation, info: Any) -> Machine:
        functions = [
            msgspec.structs.replace(f, operations=[*f.operations, reader]) if f.name == "decode_step" else f
            for f in tiny.manifest.functions
        ]
        manifest = msgspec.structs.replace(tiny.manifest, functions=functions, tensors=[*tiny.manifest.tensors, info])
        return Machine(Program(manifest, tiny.constants))

    cache = tiny.tensors["decoder.0.cross_attention.key.heads"]
    reader = ops.MergeHeads(output="merged", input=cache.name)
    batch, heads, length, width = cache.dims
    info = msgspec.structs.replace(cache, name="merged", dims=[batch, length, int(heads) * int(width)])
    assert with_reader(reader, info).session("encode", "decode_step", encode_inputs()) is None


def test_wrong_steps_are_refused_and_lose_nothing(tiny: Program) -> None:
    got, wanted = begin(Machine(tiny)), ByRuns(Machine(tiny))
    good: Arrays = {"target_ids": np.array([[7], [9], [4]]), "decode_step.position": np.array(0)}
    with pytest.raises(ValueError, match=r"parents \[0, 3\] of a step after 3 rows; allowed: 0 to 2"):
        got.step(good, np.array([0, 3]))
    with pytest.raises(ValueError, match=r"decode_step: missing inputs \['target_ids'\], unknown inputs \[\]"):
        got.step({"decode_step.position": np.array(0)}, np.arange(3))
    with pytest.raises(ValueError, match=r"input target_ids has shape \(2, 1\): batch is 2, needed 3"):
        got.step(good | {"target_ids": np.array([[7], [9]])}, np.arange(3))
    with pytest.raises(ValueError, match="target_ids holds 20 to 20; the vocabulary has 0 to 19"):
        got.step(good | {"target_ids": np.full((3, 1), 20)}, np.array([2, 0, 0]))
    assert_same([got.step(good, np.arange(3))], [wanted.step(good, np.arange(3))])


def test_nobody_left_is_no_error(tiny: Program) -> None:
    begun = begin(Machine(tiny))
    inputs = {"target_ids": np.zeros((0, 1), np.int64), "decode_step.position": np.array(0)}
    assert begun.step(inputs, np.zeros(0, np.int64))["generator.logits"].shape == (0, 1, 20)


def test_a_session_ends_with_the_positions(tiny: Program) -> None:
    begun = begin(Machine(tiny))
    for position in range(12):
        begun.step({"target_ids": np.full((3, 1), 5), "decode_step.position": np.array(position)}, np.arange(3))
    with pytest.raises(ValueError, match=r"past \+ target is 13, keys has at most 12|past is 12, needed 11"):
        begun.step({"target_ids": np.full((3, 1), 5), "decode_step.position": np.array(11)}, np.arange(3))
