"""The equality check finds what it must: faults are planted in the machine or its program, and none goes unseen."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from hwsim.formats import Accumulator, IntFormat, Overflow, Scaling
from hwsim.machine import STEPS, Machine
from hwsim.machine.kernels import KERNELS, caches
from hwsim.operators import requantize, residual
from hwsim.program import Program
from hwsim.program import operations as ops
from reference.quantize.scheme import Rule, Scheme
from tests.property import equality
from tests.property.equality import compare
from tests.small.models import TINY
from tests.strategies import Case, Weights

CASE = Case(
    config=replace(TINY, vocabulary_size=24, d_model=20, d_head=6, d_ff=24),
    weights=Weights(seed=5, magnitudes=(0.3, 0.1), zero_rows=0.1, constant_layernorm=False, eps=1e-5),
    scheme=Scheme(name="few bits", residual_bits=6, multiplier_bits=2, rules=[Rule(pattern="*query", bits=4)]),
    pairs=(([5, 6, 7, 8, 3], [9, 10, 11, 3]), ([12, 3], [13, 14, 15, 16, 17, 3]), ([18, 19, 20, 3], [3])),
    calibration=1,
)
NARROW = replace(
    CASE, scheme=Scheme(name="narrow", accumulator=Accumulator(bits=15, overflow=Overflow.SATURATE), multiplier_bits=2)
)


def _round_half_up(product: Any, shift: Any) -> Any:
    return (product + ((1 << shift) >> 1)) >> shift


def _round_half_even(product: Any, shift: Any) -> Any:
    floor, rest, half = product >> shift, product & ((1 << shift) - 1), (1 << shift) >> 1
    return floor + ((rest > half) | ((half > 0) & (rest == half) & (floor & 1 == 1)))


def _requantize(rounding: Callable[[Any, Any], Any], limit: Callable[[Any, IntFormat], Any]) -> Callable[..., Any]:
    """A stand-in for `hwsim.operators.requantize.requantize` with a rounding and a saturation of its own."""

    def stand_in(acc: Any, m: Any, e: Any, zero_point: int, output: IntFormat, counters: Any, scaling: Scaling) -> Any:
        assert scaling is Scaling.HALF_EVEN
        return limit(rounding(acc.astype(np.int64) * m, e) + zero_point, output).astype(np.int32)

    return stand_in


def _clamp(codes: Any, fmt: IntFormat) -> Any:
    return np.clip(codes, fmt.min, fmt.max)


def _wrap(codes: Any, fmt: IntFormat) -> Any:
    return (codes - fmt.min) % (1 << fmt.bits) + fmt.min


def _rounds_twice(a: Any, b: Any, *, shift: int, **rest: Any) -> Any:
    """A stand-in for `hwsim.operators.residual.add` that rounds each operand."""
    left = _round_half_even((a.astype(np.int64) - rest["a_zero"]) * rest["a_multiplier"], shift)
    right = _round_half_even((b.astype(np.int64) - rest["b_zero"]) * rest["b_multiplier"], shift)
    return _clamp(left + right + rest["zero_point"], rest["output"]).astype(np.int32)


# --- faults in the program ------------------------------------------------------------------------------------------


def _with_operations(program: Program, kind: type, change: Callable[[Any], Any]) -> Program:
    """The program with its first operation of a kind in `decode_step` changed."""
    encode, step = program.manifest.functions
    operations = list(step.operations)
    index = next(i for i, operation in enumerate(operations) if isinstance(operation, kind))
    operations[index] = change(operations[index])
    functions = [encode, msgspec.structs.replace(step, operations=operations)]
    return Program(msgspec.structs.replace(program.manifest, functions=functions), program.constants)


def _swapped_table(program: Program) -> Program:
    tables = {info.name: program.constants[info.name] for info in program.manifest.constants if info.role == "table"}
    for table in tables.values():
        table[[1, 2]] = table[[2, 1]]
    return Program(program.manifest, program.constants | tables)


def _off_by_one(program: Program) -> Program:
    return _with_operations(program, ops.Add, lambda op: msgspec.structs.replace(op, shift=op.shift + 1))


def _sqrt_off_by_one(program: Program) -> Program:
    return _with_operations(program, ops.ShiftRight, lambda op: msgspec.structs.replace(op, shift=op.shift + 1))


def _one_weight(program: Program) -> Program:
    name = "decoder.0.cross_attention.output.weight"
    weight = program.constants[name]
    weight.flat[np.abs(weight).argmax()] //= 2
    return Program(program.manifest, program.constants | {name: weight})


def _no_mask(program: Program) -> Program:
    """The decoder sees the source's padding."""
    encode, step = program.manifest.functions
    operations = [
        msgspec.structs.replace(operation, mask=None) if isinstance(operation, ops.Softmax) else operation
        for operation in step.operations
    ]
    functions = [encode, msgspec.structs.replace(step, operations=operations)]
    return Program(msgspec.structs.replace(program.manifest, functions=functions), program.constants)


def _wraps(program: Program) -> Program:
    """Every accumulator wraps where it should saturate."""
    wrapping = Accumulator(bits=NARROW.scheme.accumulator.bits, overflow=Overflow.WRAP)
    functions = [
        msgspec.structs.replace(
            function,
            operations=[
                msgspec.structs.replace(op, accumulator=wrapping) if isinstance(op, ops.MatMul) else op
                for op in function.operations
            ],
        )
        for function in program.manifest.functions
    ]
    return Program(msgspec.structs.replace(program.manifest, functions=functions), program.constants)


# --- faults in instructions -----------------------------------------------------------------------------------------


@pytest.fixture
def by_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation has a kernel of a plan, so that the checked functions run, in which faults are planted."""
    for kind in KERNELS:
        monkeypatch.setitem(KERNELS, kind, lambda builder, operation: None)
    monkeypatch.setattr(Machine, "session", lambda *arguments: None)


ARGUMENTS: dict[str, tuple[type, str, int]] = {
    "greatest code": (ops.Requantize, "hi", -1),
    "zero point of a term": (ops.Add, "terms.a_zero", 1),
    "another shift": (ops.ShiftRight, "shift", 1),
    "row of the table": (ops.Softmax, "table.start", 4),
    "epsilon": (ops.LayerNorm, "eps", 1 << 20),
    "zero point of an embedding": (ops.Embed, "zero_point", 1),
}
"""Operation, which argument of its last instruction is wrong, and by how much."""


def moved(arguments: Any, path: str, more: int) -> Any:
    """The arguments of an instruction with one of them larger."""
    name, _, inner = path.partition(".")
    old = getattr(arguments, name)
    return arguments._replace(**{name: moved(old, inner, more) if inner else old + more})


# --- the tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [CASE, NARROW], ids=["proven", "narrow"])
def test_nothing_differs_without_a_fault(case: Case) -> None:
    outcome = compare(case)
    assert outcome.different == 0, outcome.first
    assert outcome.events["positive_tie"] > 0 < outcome.events["negative_tie"]
    assert outcome.events["saturation"] > 0


@pytest.mark.usefixtures("by_steps")
def test_the_stand_in_without_a_fault_differs_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requantize, "requantize", _requantize(_round_half_even, _clamp))
    assert compare(CASE).different == 0


@pytest.mark.usefixtures("by_steps")
def test_wrong_tie_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requantize, "requantize", _requantize(_round_half_up, _clamp))
    assert compare(CASE).different > 0


@pytest.mark.usefixtures("by_steps")
def test_lost_saturation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requantize, "requantize", _requantize(_round_half_even, _wrap))
    assert compare(CASE).different > 0


@pytest.mark.usefixtures("by_steps")
def test_residual_rounded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual, "add", _rounds_twice)
    assert compare(CASE).different > 0


@pytest.mark.usefixtures("by_steps")
def test_cache_in_the_wrong_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """New positions are put ahead of the old ones; masks of a step hide nothing, yet the scores are out of place."""

    def backwards(w: Any, op: ops.Append, values: dict[str, Any]) -> None:
        values[op.output] = np.concatenate((values[op.input], values[op.past]), axis=2)

    monkeypatch.setitem(STEPS, ops.Append, backwards)
    assert compare(CASE).different > 0


@pytest.mark.parametrize("fault", ARGUMENTS)
def test_wrong_argument(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, path, more = ARGUMENTS[fault]
    sound = KERNELS[kind]

    def wrong(builder: Any, operation: Any) -> Any:
        *before, last = sound(builder, operation)
        return [*before, last._replace(arguments=moved(last.arguments, path, more))]

    monkeypatch.setitem(KERNELS, kind, wrong)
    assert compare(CASE).different > 0


def test_cache_a_position_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where caches stay in the machine."""
    sound = caches.stored

    def late(builder: Any, name: str, new: str, past: Any) -> Any:
        made = sound(builder, name, new, past)
        return made._replace(arguments=made.arguments._replace(past=builder.sizes.of([1])))

    monkeypatch.setattr(caches, "stored", late)
    outcome = compare(CASE)
    assert outcome.different > 0 and outcome.first.startswith("session, step")


@pytest.mark.parametrize("fault", [_swapped_table, _off_by_one, _sqrt_off_by_one, _one_weight, _no_mask])
def test_wrong_program(fault: Callable[[Program], Program], monkeypatch: pytest.MonkeyPatch) -> None:
    sound = equality.load
    monkeypatch.setattr(equality, "load", lambda path: fault(sound(path)))
    assert compare(CASE).different > 0


def test_wrong_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = equality.load
    monkeypatch.setattr(equality, "load", lambda path: _wraps(sound(path)))
    outcome = compare(NARROW)
    assert outcome.events["overflow"] > 0
    assert outcome.different > 0


def test_lost_count_of_overflows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codes are right and the counter is not: that is a difference too."""
    sound = equality.machine_trace

    def forgetful(*arguments: Any) -> equality.Trace:
        trace = sound(*arguments)
        trace.events = dict.fromkeys(trace.events, 0)
        return trace

    monkeypatch.setattr(equality, "machine_trace", forgetful)
    outcome = compare(NARROW)
    assert outcome.different == 1
    assert "overflows" in outcome.first
