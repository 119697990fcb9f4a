"""Show: every site, operation and constant once, with the program's own numbers, at any width of the terminal."""

import io
import json

import msgspec
import pytest
from rich.console import Console

from analysis.inspect.show import Description, describe, render, show
from hwsim.formats import Accumulator, Granularity, Overflow
from hwsim.program import Program
from hwsim.program.catalogue import Dyadic
from hwsim.program.operations import Requantize
from hwsim.program.targets import TARGETS
from hwsim.program.validate import validate
from reference.quantize.scheme import Scheme, preset
from tests.small.programs import tiny_program


@pytest.fixture(scope="module")
def program() -> Program:
    return tiny_program(preset("int8"))


def printed(description: Description, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    for renderable in render(description):
        console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_everything_is_described_once(program: Program) -> None:
    shown = describe(program)
    assert [site.name for site in shown.sites] == list(program.tensors)
    assert [constant.name for constant in shown.constants] == list(program.constants)
    assert [(step.function, step.output) for step in shown.operations] == [
        (f, o.output) for f, o in program.operations()
    ]
    assert shown.weight_bytes == sum(constant.bytes for constant in shown.constants if constant.role == "weight")
    assert shown.functions == {"encode": 34, "decode_step": 46}


def test_accumulators_show_what_is_proven(program: Program) -> None:
    reach = validate(program)
    steps = {step.output: step for step in describe(program).operations}
    assert {name for name, step in steps.items() if step.reach} == set(reach)
    for name, interval in reach.items():
        low, high = interval
        step = steps[name]
        assert step.reach == (low, high) and step.bits == 32
        needed = step.bits_needed
        assert needed is not None
        assert -(2 ** (needed - 1)) <= low and high < 2 ** (needed - 1)
        assert not (-(2 ** (needed - 2)) <= low and high < 2 ** (needed - 2))
    assert {step.overflow for step in steps.values() if step.type == "matmul"} == {"proven"}


def test_multipliers_and_shifts_are_those_of_the_constants(program: Program) -> None:
    steps = {step.output: step for step in describe(program).operations}
    for _, operation in program.operations():
        if isinstance(operation, Requantize) and isinstance(operation.requantization, Dyadic):
            (stage,) = steps[operation.output].stages
            name = operation.requantization.multiplier
            values = program.constants[name].tolist() if isinstance(name, str) else [name]
            assert stage.multiplier == (min(values), max(values))
    names = {step.type: [stage.name for stage in step.stages] for step in steps.values()}
    assert names["softmax"] == ["denominator", "output"]
    assert names["layernorm"] == ["numerator", "denominator", "quotient", "output"]
    assert names["add"] == names["embed"] == names["shift_right"] == [""]
    assert names["matmul"] == names["relu"] == names["append"] == []


def test_a_description_is_plain_data(program: Program) -> None:
    plain = msgspec.to_builtins(describe(program, "encoder.0.*"))
    assert json.loads(json.dumps(plain)) == json.loads(msgspec.json.encode(plain))


@pytest.mark.parametrize("width", [40, 71, 72, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(program: Program, width: int) -> None:
    assert max(map(len, printed(describe(program), width))) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_no_name_is_cut_or_folded(program: Program, width: int) -> None:
    shown = describe(program)
    firsts = {line.split()[0] for line in printed(shown, width) if line.split()}
    names = [*program.tensors, *program.constants, *(step.output for step in shown.operations)]
    for name in names:
        assert name in firsts if width == 120 else {name, name.split(".", 3)[-1]} & firsts, name


def test_a_narrow_terminal_groups_names_under_their_beginning(program: Program) -> None:
    lines = printed(describe(program, "encoder.0.self_attention.k*"), 80)
    assert " encoder.0.self_attention" in [line.rstrip() for line in lines]
    assert not any("encoder.0.self_attention.key.accumulator" in line for line in lines)


def test_a_pattern_takes_sites_their_operations_and_constants(program: Program) -> None:
    shown = describe(program, "encoder.0.self_attention.softmax.*")
    assert {site.name.split(".")[-1] for site in shown.sites} == {"numerator", "denominator", "output"}
    assert [step.type for step in shown.operations] == ["softmax"]
    assert [constant.name.split(".")[-1] for constant in shown.constants] == ["table"]
    assert shown.functions == describe(program).functions
    text = "\n".join(printed(describe(program, "*.softmax.table"), 80))
    assert "Constants (" in text and "Sites" not in text and "Operations" not in text
    assert show(program, "source_ids")


def test_a_pattern_without_a_match_names_similar_sites(program: Program) -> None:
    with pytest.raises(ValueError, match=r"no site; similar: .*encoder\.0\.self_attention\.scores"):
        describe(program, "encoder.0.self_attention.scors")


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_described_by_its_own_schemes(name: str) -> None:
    shown = describe(tiny_program(preset("native", name)))
    target = TARGETS[name]
    assert (shown.target, shown.borrowed, shown.extended) == (name, target.borrowed, None)
    steps = {step.output: step for step in shown.operations}
    stages = {stage.scheme for step in steps.values() if step.type == "requantize" for stage in step.stages}
    assert stages == {target.requantization, "dyadic"}  # the logits'
    (norm,) = steps["encoder.0.feed_forward.layernorm.output"].stages[-1:] or [None]
    assert norm is not None and norm.shift
    softmax = steps["encoder.0.self_attention.softmax.output"]
    assert bool(softmax.stages) == (target.softmax not in ("gemmini", "pulp"))  # whose constants are no ratio
    residual = steps["encoder.0.self_attention.residual"]
    assert all(stage.multiplier for stage in residual.stages) and residual.stages
    if residual.type == "rescaled_add":
        assert [stage.name for stage in residual.stages][:2] == ["a", "b"]
    assert max(map(len, printed(shown, 100))) <= 100
    text = "\n".join(printed(shown, 120))
    assert f"{name}: " in text and all(lender in text for lender in target.borrowed.values())


def test_the_overflow_rule_is_shown_unless_proven() -> None:
    accumulator = Accumulator(bits=16, overflow=Overflow.SATURATE)
    shown = describe(tiny_program(Scheme(name="narrow", accumulator=accumulator)))
    assert {step.overflow for step in shown.operations if step.type == "matmul"} == {"saturate"}
    assert any("/16 saturate" in line for line in printed(shown, 120))
    by_tile = Accumulator(bits=16, overflow=Overflow.WRAP, granularity=Granularity.TILE)
    shown = describe(tiny_program(Scheme(name="narrow", accumulator=by_tile)))
    assert {step.granularity for step in shown.operations if step.type == "matmul"} == {"tile"}
    assert any("/16 wrap tile" in line for line in printed(shown, 120))
