"""Instructions of a plan give what the checked functions of the operators give: every tensor, every event."""

import numpy as np
import pytest
from msgspec.structs import replace

from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.machine import Machine
from hwsim.machine.kernels import KERNELS
from hwsim.program import Program
from hwsim.program.operations import MatMul
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import Scheme, preset, scheme_for
from tests.small.programs import tiny_program
from tests.unit.hwsim.machine.machine_inputs import Arrays, encode_inputs, run_both

FEW_BITS = Scheme(
    name="few bits",
    weight_bits=3,
    activation_bits=5,
    accumulator=Accumulator(bits=12, overflow=Overflow.SATURATE),
)
SCHEMES = {
    "int8": preset("int8"),
    "w4a8": preset("w4a8"),
    "12 bits": Scheme(name="a12", activation_bits=12),
    "few bits": FEW_BITS,
    **{name: preset("native", name) for name in TARGETS},
    **{f"{name} int16": scheme_for(name, name="int16", activation_bits=16) for name in TARGETS if TARGETS[name].wide},
}


def seen(program: Program) -> tuple[Arrays, dict[str, list[int]]]:
    tensors: Arrays = {}
    machine = Machine(program)
    run_both(machine, tensors.__setitem__)
    return tensors, {name: events.tolist() for name, events in machine.counters.items()}


@pytest.mark.parametrize("name", SCHEMES)
def test_every_tensor_and_event_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tiny_program(SCHEMES[name])
    made, events = seen(program)
    for kind in KERNELS:
        monkeypatch.setitem(KERNELS, kind, lambda builder, operation: None)
    expected, counted = seen(program)
    assert made.keys() == expected.keys() and events == counted
    for tensor, codes in expected.items():
        assert codes.dtype == made[tensor].dtype and np.array_equal(codes, made[tensor]), tensor


@pytest.mark.parametrize("name", TARGETS)
def test_whole_functions_of_targets_are_instructions(name: str) -> None:
    machine = Machine(tiny_program(SCHEMES[name]))
    run_both(machine)
    parts = [part for plan, _ in machine._workers._plans.values() for part in plan.single]
    assert len(parts) > 50
    assert not [op for part in parts for op in part.operations if part.code is None]


def test_accumulators_of_few_bits_are_proven_too() -> None:
    """So that products by an engine, which writes 32 bits, are among what is compared."""
    machine = Machine(tiny_program(FEW_BITS))
    proven = [
        machine.workspace.effective(operation).overflow is Overflow.PROVEN
        for _, operation in machine.program.operations()
        if isinstance(operation, MatMul)
    ]
    assert any(proven)


def test_a_mask_of_16_bits_allows_by_all_of_them() -> None:
    """Also where its low byte is 0."""
    program = tiny_program(preset("int8"))
    wide = [replace(t, format=IntFormat(bits=16)) if "mask" in t.name else t for t in program.manifest.tensors]
    widened = Program(replace(program.manifest, tensors=wide), program.constants)
    inputs = encode_inputs()
    assert not inputs["source_mask"].all()
    expected = Machine(program).run("encode", inputs)
    made = Machine(widened).run("encode", inputs | {"source_mask": inputs["source_mask"].astype(np.int32) * 256})
    assert made.keys() == expected.keys() and all(np.array_equal(made[name], expected[name]) for name in made)
