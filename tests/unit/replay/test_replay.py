"""Whole programs: equal to the machine where they fit their hardware, and not where they do not."""

import typing
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from hwsim.formats import IntFormat
from hwsim.machine import Machine, operation_of
from hwsim.program import Operation, Program
from hwsim.program.catalogue import NarrowBefore
from hwsim.program.targets import TARGETS
from tests.replay.comparison import compare
from tests.replay.misfits import misfits
from tests.replay.replay import STEPS, Replay
from tests.replay.widths import WIDTHS, widths_of
from tests.small.programs import with_constant, with_operation
from tests.small.sentences import sentences
from tests.unit.replay.programs import context_of, program_of, tally_of

KEY = "encoder.0.self_attention.key"
HIDDEN = "encoder.0.feed_forward.output"
"""Its accumulators are the largest."""


def test_every_operation_of_a_program_has_a_step() -> None:
    assert {operation.__struct_config__.tag for operation in typing.get_args(Operation)} <= STEPS.keys()


def test_every_target_has_widths() -> None:
    assert TARGETS.keys() <= WIDTHS.keys()


def test_a_target_without_widths_is_refused() -> None:
    with pytest.raises(ValueError, match="no widths of target 'itta'; known: fullyqt, tflm, "):
        widths_of("itta")


def test_an_operation_without_a_step_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of("fullyqt")
    monkeypatch.delitem(STEPS, "matmul")
    with pytest.raises(ValueError, match="no replay of the operation 'matmul'; there are embed, shift_right, "):
        tally_of(program)


@pytest.mark.parametrize("target", TARGETS)
def test_a_program_within_its_hardware_gives_the_codes_of_the_machine(target: str) -> None:
    program = program_of(target)
    tally = tally_of(program)
    assert (tally.different, tally.first) == (0, None)
    assert tally.codes > 10_000
    made = {one for function in program.manifest.functions for one in outputs(function)}
    assert tally.tensors == made


def outputs(function: typing.Any) -> set[str]:
    """Tensors that a function computes, those that only move codes left out."""
    moved = ("SplitHeads", "MergeHeads", "Append")
    operations = [op for op in function.operations if type(op).__name__ not in moved]
    fields = ("output", "numerator", "denominator", "quotient", "heads")
    return {getattr(op, field) for op in operations for field in fields if hasattr(op, field)}


@pytest.fixture(scope="module")
def pulp() -> Program:
    return program_of("pulp")


def test_a_multiplier_whose_product_leaves_an_int32_is_seen(pulp: Program) -> None:
    """2^8 times a multiplier and 8 bits more of shift are one ratio to the machine, and one register too few here."""
    scheme = operation_of(pulp, HIDDEN).requantization  # type: ignore[union-attr]
    planted = pulp
    for name, change in ((scheme.multiplier, lambda m: m << 8), (scheme.shift, lambda e: e + 8)):
        if isinstance(name, str):
            values = {j: int(change(value)) for j, value in enumerate(pulp.constants[name])}
            planted = with_constant(planted, name, values)
        else:
            field = "multiplier" if name is scheme.multiplier else "shift"
            scheme = msgspec.structs.replace(scheme, **{field: change(name)})
    planted = with_operation(planted, HIDDEN, requantization=scheme)
    # a target without limits, which nothing refuses; the hardware is PULP's
    planted = Program(msgspec.structs.replace(planted.manifest, target="fullyqt"), planted.constants)
    machine, replay = Machine(planted), Replay(planted, widths_of("pulp"))
    tally = compare(machine, replay, sentences(3), each=True)
    assert tally.tensors_different == {HIDDEN}
    assert tally.first is not None
    assert (tally.first.tensor, tally.first.call) == (HIDDEN, "encode")
    assert compare(machine, Replay(planted, widths_of("ibert")), sentences(3)).different == 0
    spread = compare(machine, replay, sentences(3))  # where the replay reads its own codes
    assert spread.different > tally.different > 0
    assert spread.first == tally.first


def test_rows_of_2049_equal_keys_are_seen_under_ita() -> None:
    """The machine's sum is 2049 * 256, its inverse 0; ITA's 19 bits keep 256, and every key gets 255."""
    tag = SimpleNamespace(tag="itamax")
    op = SimpleNamespace(input="scores", output="output", mask=None, shift=5, group=16, __struct_config__=tag)
    formats = {"scores": IntFormat(bits=8), "output": IntFormat(bits=8, signed=False)}
    codes = {}
    for target in ("ita", "deeploy"):
        values = {"scores": np.full((1, 1, 1, 2049), 7)}
        STEPS["itamax"](context_of(target, formats), op, values)
        codes[target] = set(values["output"].reshape(-1).tolist())
    assert codes == {"ita": {255}, "deeploy": {0}}


def test_constants_beyond_the_hardware_are_listed(pulp: Program) -> None:
    """PULP's layers have one shift, to 31; NVDLA's biases 16 bits and one left shift; ITA's 24."""
    before = misfits(Replay(pulp).context)
    planted = with_operation(pulp, KEY, requantization=NarrowBefore(multiplier=1, shift=32))
    assert set(misfits(Replay(planted).context)) - set(before) == {f"{KEY}: shift 32; the hardware has 0 to 31"}
    bias = with_constant(pulp, KEY + ".bias", {0: 2**24 + 1, 1: 3})
    assert set(misfits(Replay(bias).context)) == set(before)
    assert set(misfits(Replay(bias, widths_of("ita")).context)) >= {
        f"{KEY}.bias: 16777217; the hardware has -8388608 to 8388607"
    }
    assert f"{KEY}.bias: 16777217 is no multiple of 2^10; the hardware has 16 bits and one left shift" in misfits(
        Replay(bias, widths_of("nvdla")).context
    )
