"""Operations of whole programs, ticked off by kernels in plain Python that run them, against terms of the cost model.

Every operation gets the codes that the machine gave it and must make the machine's codes: what is counted was computed.
"""

import functools
from collections import Counter as Multiset
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator.lowered import arithmetic, function_layers
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import Scheme, preset, scheme_for
from tests.oracle.accelerator.unit import Event, Unit
from tests.property.counting import OWN, Arrays, Counting
from tests.property.equality import RefusedError, prepare
from tests.small.programs import tiny_program
from tests.strategies import EFFORT, A, Case, cases, target_cases

# --- a program's two functions, run by the machine --------------------------------------------------------------------


def calls(program: Program, source: list[int], target: list[int]) -> list[tuple[str, dict[str, int], Arrays]]:
    """(function, sizes, all its tensors) of `encode` and of the last of `target`'s steps; all keys but one allowed."""
    machine, ids = Machine(program), np.array([source])
    visible = np.ones(ids.shape, np.int64)
    visible[0, 1:2] = 0

    def run(function: str, inputs: Arrays) -> Arrays:
        seen = dict(inputs)
        seen |= machine.run(function, inputs, lambda name, codes: seen.update({name: codes}))
        return seen

    encoded = run("encode", {"source_ids": ids, "source_mask": visible, "encode.position": np.array(0)})
    cross = {name: encoded[name] for name in program.functions["encode"].outputs}
    states = program.manifest.states
    shapes = {state.past: program.tensors[state.past].dims for state in states}
    past = {name: np.zeros((1, heads, 0, d_head), np.int32) for name, (_, heads, _, d_head) in shapes.items()}
    for step, token in enumerate(target):
        inputs = {"target_ids": np.array([[token]]), "decode_step.position": np.array(step), "source_mask": visible}
        stepped = run("decode_step", {**inputs, **cross, **past})
        past = {state.past: stepped[state.present] for state in states}
    sizes = {"batch": 1, "source": len(source)}
    decoding = {**sizes, "target": 1, "past": len(target) - 1}
    return [("encode", sizes, encoded), ("decode_step", decoding, stepped)]


def terms(program: Program, function: str, sizes: dict[str, int]) -> Multiset[Event]:
    """What the cost model says, by (component, bits, second_bits)."""
    made = Multiset[Event]()
    for layer in function_layers(program, function, sizes):
        for term in layer.terms:
            made[term.component.value, term.bits, term.second_bits] += term.count * layer.repeat
    return made


def by_component(counts: Multiset[Event]) -> dict[str, int]:
    made = Multiset[str]()
    for (component, _, _), count in counts.items():
        made[component] += count
    return dict(+made)


def by_width(counts: Multiset[Event]) -> Multiset[Event]:
    """Of two factors the wider first."""
    made = Multiset[Event]()
    for (component, *bits), count in counts.items():
        made[component, max(bits), min(bits)] += count
    return made


def compare(program: Program, source: list[int], target: list[int]) -> Multiset[str]:
    """Both functions, by component, and by width where the page tells it; what was met is returned."""
    met = Multiset[str]()
    for function, sizes, values in calls(program, source, target):
        counting = Counting(program, function, values)
        theirs, ours = by_width(terms(program, function, sizes)), by_width(counting.unit.counts)
        assert by_component(theirs) == by_component(ours)
        told = {e: count for e, count in ours.items() if e[1] and (e[2] or "multiply" not in e[0])}
        assert {event: count for event, count in told.items() if theirs[event] < count} == {}
        assert sum(told.values()) > 0.5 * sum(ours.values())
        met += counting.checked
    return met


@functools.cache
def native(target: str) -> Program:
    return tiny_program(preset("native", target))


SOURCE, TARGET = [5, 9, 17, 4, 3], [6, 11, 8]


@pytest.mark.parametrize("target", TARGETS)
def test_terms_of_a_target_are_what_its_kernels_count(target: str) -> None:
    met = compare(native(target), SOURCE, TARGET)
    assert met["MatMul"] and met["Requantize"] and met["Embed"]


@functools.cache
def wide(target: str) -> Program:
    """Weights of 16 bits where the target has them, so that biases come after NVDLA's shift."""
    weight_bits = max(TARGETS[target].at(16).weight_bits)
    return tiny_program(scheme_for(target, name="wide", activation_bits=16, weight_bits=weight_bits))


@pytest.mark.parametrize(
    ("target", "kind"), [("tflm", "Int16Softmax"), ("cmsis-nn", "Int16Softmax"), ("nvdla", "ShiftRight")]
)
def test_terms_of_16_bit_activations_are_what_their_kernels_count(target: str, kind: str) -> None:
    assert compare(wide(target), SOURCE, TARGET)[kind]


def test_every_operation_was_met() -> None:
    programs = [*(native(target) for target in TARGETS), wide("tflm"), wide("nvdla"), tiny_program(Scheme(name="x"))]
    kinds = {type(op) for program in programs for _, op in program.operations()}
    assert kinds == set(ops.Operation.__args__)


FEW = settings(EFFORT, max_examples=6)


def look(drawn: st.SearchStrategy[Case]) -> tuple[int, Multiset[str]]:
    """How many examples were compared, and the operations that they met."""
    compared, met = 0, Multiset[str]()

    @FEW
    @given(drawn)
    def equal(case: Case) -> None:
        nonlocal compared, met
        try:
            program = prepare(case).program
        except RefusedError:
            return
        source, target = case.pairs[0]
        met += compare(program, source, target[:2])
        compared += 1

    equal()
    return compared, met


def test_terms_of_drawn_programs() -> None:
    compared, met = look(cases(A))
    assert compared >= 4
    assert {"Softmax", "LayerNorm", "Add", "Relu", "ShiftRight"} <= met.keys()


def test_terms_of_drawn_programs_of_targets() -> None:
    compared, met = look(st.sampled_from(sorted(TARGETS)).flatmap(target_cases))
    assert compared >= 4
    assert {"RescaledAdd", "Requantize"} <= met.keys()


# --- planted errors ---------------------------------------------------------------------------------------------------


def test_a_wrong_size_of_a_product_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = arithmetic.product_size

    def wider(operation: Any, call: Any) -> tuple[int, int, int, int]:
        products, m, k, n = real(operation, call)
        return products, m, k, n + (n == 4)

    monkeypatch.setattr(arithmetic, "product_size", wider)
    with pytest.raises((AssertionError, ValueError)):
        compare(native("fullyqt"), SOURCE, TARGET)


@pytest.mark.parametrize("kind", ["clamp", "divide", "square_root", "table_read", "vector_add", "mac_add", "bias_add"])
def test_an_operation_that_is_not_ticked_is_seen(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = Unit.tick, [1]

    def forgetful(unit: Unit, component: str, bits: int = 0, second_bits: int = 0) -> None:
        if component == kind and left:
            left.pop()
            return
        real(unit, component, bits, second_bits)

    monkeypatch.setattr(Unit, "tick", forgetful)
    with pytest.raises(AssertionError):
        compare(native("fullyqt"), SOURCE, TARGET)


def test_a_wrong_width_of_a_multiplier_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OWN, "tflm", 30)
    with pytest.raises(AssertionError):
        compare(native("tflm"), SOURCE, TARGET)
