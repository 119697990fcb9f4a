"""Whole programs: equal to the machine where they fit their hardware, and not where they do not."""

import typing
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from hwsim.formats import IntFormat
from hwsim.machine import Machine, operation_of
from hwsim.program import ConstantInfo, Operation, Program
from hwsim.program.catalogue import Dyadic, Q31Double
from hwsim.program.operations import TfliteLayerNorm
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
SUM, HEADS = "encoder.0.self_attention.residual", "encoder.0.self_attention.output.accumulator"


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


def rescaled(program: Program, site: str, change: typing.Callable[[typing.Any, typing.Any], typing.Any]) -> Program:
    """The multipliers and shifts of a layer become `change` of them, dyadic ones of a channel each."""
    old: typing.Any = operation_of(program, site).requantization  # type: ignore[union-attr]
    channels = program.tensors[site].dims[-1]
    both = (np.resize(program.constants.get(name, name), channels) for name in (old.multiplier, old.shift))
    infos, arrays = list(program.manifest.constants), dict(program.constants)
    for role, array in zip(("multiplier", "shift"), change(*both), strict=True):
        arrays[f"{site}.new.{role}"] = array.astype(np.int64)
        fmt = IntFormat(bits=40, signed=False)
        infos.append(ConstantInfo(name=f"{site}.new.{role}", format=fmt, shape=[*array.shape], role=role))  # type: ignore[arg-type]
    manifest = msgspec.structs.replace(program.manifest, constants=infos)
    scheme = Dyadic(multiplier=f"{site}.new.multiplier", shift=f"{site}.new.shift")
    return with_operation(Program(manifest, arrays), site, requantization=scheme)


def test_a_multiplier_whose_product_leaves_an_int32_is_seen(pulp: Program) -> None:
    """More bits of a multiplier and as many of shift are one ratio to the machine, one register too few here."""
    # a target without limits, which nothing refuses; the hardware is PULP's
    planted = rescaled(pulp, HIDDEN, lambda m, e: (m << 8, e + 8))
    planted = Program(msgspec.structs.replace(planted.manifest, target="fullyqt"), planted.constants)
    machine, replay = Machine(planted), Replay(planted, widths_of("pulp"))
    tally = compare(machine, replay, sentences(3), each=True)
    assert tally.tensors_different == {HIDDEN}
    assert tally.first is not None
    assert (tally.first.tensor, tally.first.call) == (HIDDEN, "encode")
    assert replay.lost.events > 0
    roomy = Replay(planted, widths_of("ibert"))
    assert compare(machine, roomy, sentences(3)).different == roomy.lost.events == 0
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


@pytest.mark.parametrize("target", TARGETS)
def test_the_constants_of_a_program_are_what_its_hardware_encodes(target: str) -> None:
    assert misfits(Replay(program_of(target)).context) == []


def beyond(program: Program, target: str) -> list[str]:
    return misfits(Replay(program, widths_of(target)).context)


def test_ratios_beyond_the_hardware_are_listed(pulp: Program) -> None:
    """PULP's layers have one shift, to 31, and ITA's multipliers 8 bits."""
    far = with_operation(pulp, KEY, requantization=Dyadic(multiplier=1, shift=32))
    assert beyond(far, "pulp") == [f"{KEY}: shift 32; the hardware has 0 to 31"]
    wide = with_operation(pulp, KEY, requantization=Dyadic(multiplier=256, shift=5))
    assert f"{KEY}: multiplier 256; the hardware has 0 to 255" in beyond(wide, "ita")
    assert beyond(wide, "pulp") == []
    apart = rescaled(pulp, KEY, lambda m, e: (m // m, np.arange(len(e)) % 3 + 20))
    assert beyond(apart, "pulp") == [f"{KEY}: shifts 20 to 22; the hardware has one a layer"]
    assert beyond(apart, "ibert") == []


@pytest.mark.parametrize(
    ("site", "field", "found"),
    [
        (SUM, "b_requantization", "shift 32; the hardware has 0 to 31"),  # borrowed from PULP
        (SUM, "output_requantization", "shift 32; the hardware has 0 to 31"),
        (HEADS, "requantization", "multiplier 300; the hardware has 0 to 255"),
    ],
)
def test_residual_sums_and_heads_have_ratios_too(site: str, field: str, found: str) -> None:
    planted = with_operation(program_of("ita"), site, **{field: Dyadic(multiplier=300, shift=32)})
    assert beyond(planted, "ita") == [f"{site}: {found}"]


def test_biases_beyond_the_hardware_are_listed(pulp: Program) -> None:
    """ITA's have 24 bits; NVDLA's 16 and one left shift, PULP's 32."""
    bias = with_constant(pulp, KEY + ".bias", {0: 2**24 + 1, 1: 3})
    assert beyond(bias, "pulp") == []
    assert f"{KEY}.bias: 16777217; the hardware has -8388608 to 8388607" in beyond(bias, "ita")
    lost = f"{KEY}.bias: 16777217 is no multiple of 2^10; the hardware has 16 bits and one left shift"
    assert lost in beyond(bias, "nvdla")


def test_gammas_and_betas_beyond_the_hardware_are_listed() -> None:
    """TFLite's gammas have 16 bits, its betas 32; I-BERT's gammas are signs."""
    op = TfliteLayerNorm(
        output="y", input="x", gamma="g", beta="b", variance_limit=1,
        requantization=Q31Double(multiplier=2**30, shift=40),
    )  # fmt: skip
    for gamma, beta, found in (
        (2**15 - 1, 2**31 - 1, []),
        (2**15, 5, ["g: 32768; the hardware has -32768 to 32767"]),
        (5, -(2**31) - 1, ["b: -2147483649; the hardware has -2147483648 to 2147483647"]),
    ):
        context = context_of("tflm", {"y": IntFormat(bits=16)}, {"g": [1, gamma], "b": [1, beta]})
        context.program.operations = lambda: [("encode", op)]  # type: ignore[method-assign,assignment,return-value]
        assert misfits(context) == found
