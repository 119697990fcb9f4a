"""Datapath terms of what targets add: counted by hand from docs/operators; and estimates of their programs."""

import functools
from collections import Counter as Multiset

import pytest

from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.events import Component
from hwsim.accelerator.layers import Term
from hwsim.accelerator.lowered import program_workload
from hwsim.accelerator.lowered.arithmetic import arithmetic
from hwsim.accelerator.lowered.residence import Call, Residence
from hwsim.accelerator.presets import hardware
from hwsim.formats import IntFormat
from hwsim.program import Program
from hwsim.program.catalogue import CATALOGUE, NarrowAfter, Q31Double, Requantization, scheme_type
from hwsim.program.operations import (
    AnyAdd,
    AnyLayerNorm,
    AnySoftmax,
    GemminiSoftmax,
    GemmlowpSoftmax,
    IBertSoftmax,
    ItaMax,
    Operation,
    RescaledAdd,
)
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import Scheme, preset
from tests.property.equality import TARGET_OPERATIONS
from tests.tiny_program import tiny_program
from tests.unit.hwsim.program.test_validate_refusals import manifest
from tests.unit.hwsim.program.test_validate_target_refusals import (
    IBERT,
    INT8,
    INT16,
    PULP,
    TFLITE,
    UINT8,
    alone,
    edited,
    norm,
    replace,
)

C = Component
ROWS, KEYS = 6, 7
"""Rows and columns of the small examples."""


def terms(program: Program, function: str, sizes: dict[str, int]) -> list[tuple[Operation, Term]]:
    """Every term of a call with its operation."""
    call = Call(Residence(program, program.functions[function]), sizes)
    return [(op, term) for op in program.functions[function].operations for term in arithmetic(op, call)]


def counted(program: Program, rows: int = ROWS, keys: int = KEYS) -> Multiset[Component]:
    """Operations of the datapath, by component."""
    sizes = {"batch": rows, "keys": keys} if "keys" in program.tensors["x"].dims else {"batch": rows}
    made = Multiset[Component]()
    for _, term in terms(program, "forward", sizes):
        assert term.count >= 0
        made[term.component] += term.count
    return +made


def softmax(op: AnySoftmax, y: IntFormat, zero: int = 0) -> Program:
    return alone(op, INT8, y, ["batch", "keys"], zeros=(0, zero), maximum=64)


def layernorm(op: AnyLayerNorm) -> Program:
    return norm(op, KEYS, INT16)


def add(op: AnyAdd, zeros: tuple[int, int] = (0, 0)) -> Program:
    return alone(op, INT8, INT8, ["batch", KEYS], zeros=zeros)


# --- by hand: operations of each key or column, and of each row -------------------------------------------------------

GEMMLOWP = softmax(GemmlowpSoftmax(output="y", input="x", multiplier=1 << 30, left_shift=20), INT8, -128)
IBERT_SOFTMAX = softmax(IBertSoftmax(output="y", input="x", ln2=25, b=93, c=3348, multiplier=40087, shift=42), UINT8)
ITAMAX = softmax(ItaMax(output="y", input="x", shift=5, group=16), UINT8)
GEMMINI = softmax(GemminiSoftmax(output="y", input="x", ln2=24, b=46, c=1150), INT8)
NARROW, Q31 = NarrowAfter(multiplier=200, shift=8), Q31Double(multiplier=1 << 30, shift=35)
TOGETHER = RescaledAdd(output="y", a="x", b="z", a_requantization=NARROW, b_requantization=NARROW)
TFLITE_SUM = RescaledAdd(
    output="y", a="x", b="z", left_shift=20, a_requantization=Q31, b_requantization=Q31, output_requantization=Q31
)

HAND: dict[str, tuple[Program, dict[Component, int], dict[Component, int]]] = {
    "gemmlowp_softmax": (
        GEMMLOWP,
        {
            C.COMPARE: 1,
            # d; x + 2^28, R(x4) + x3, + x2, x + y, exp(-1/8) +; the sum
            C.VECTOR_ADD: 1 + 5 + 1,
            # by Q; x2, x3, x4, 1/3, exp(-1/8); seven bits of the remainder; by the reciprocal
            C.VECTOR_MULTIPLY: 1 + 5 + 7 + 1,
            C.REQUANTIZE_SHIFT: 1,
            C.REQUANTIZE_ADD: 2,  # of the rounding, and lo
            C.CLAMP: 1,
        },
        # -32/17 H, then H X and X (2^29 - HX) three times; H, 48/17 +, then 2^29 - and X + three times
        {C.VECTOR_MULTIPLY: 1 + 3 * 2, C.VECTOR_ADD: 2 + 3 * 2},
    ),
    "ibert_softmax": (
        IBERT_SOFTMAX,
        {
            C.COMPARE: 1,
            C.VECTOR_ADD: 1 + 3 + 1,  # d; y + ln2 z, r + b, + c; the sum
            C.VECTOR_MULTIPLY: 2 + 1,  # ln2 z, (r + b) r; E16 F
            C.DIVIDE: 1,  # z
            C.REQUANTIZE_MULTIPLY: 1,  # (S12)
            C.REQUANTIZE_SHIFT: 3,  # 2^(30-z), 2^e, 2^(32-B)
            C.REQUANTIZE_ADD: 1,
            C.CLAMP: 1,
        },
        {C.DIVIDE: 1},  # F
    ),
    "itamax": (
        ITAMAX,
        {C.COMPARE: 1, C.VECTOR_ADD: 3, C.REQUANTIZE_SHIFT: 2, C.CLAMP: 1},  # M - x, sum, M - x; 256 >>, inv >>
        {C.DIVIDE: 1},  # inv
    ),
    "gemmini_softmax": (
        GEMMINI,
        {
            C.COMPARE: 1,
            C.VECTOR_ADD: 1 + 3 + 1,  # d; z ln2 - d, + b, + c; the sum
            C.VECTOR_MULTIPLY: 3 + 1,  # d floor(65536/ln2), z ln2, the square; by 2^(B-1) - 1
            C.REQUANTIZE_SHIFT: 1,
            C.DIVIDE: 1,
            C.CLAMP: 1,
        },
        {},
    ),
    "ibert_layernorm": (
        layernorm(replace(IBERT, variance_shift=5)),
        {
            C.VECTOR_ADD: 3,  # sum, y, V
            C.VECTOR_MULTIPLY: 2,  # y^2, y F
            C.BIAS_ADD: 1,
            C.REQUANTIZE_MULTIPLY: 1,
            C.REQUANTIZE_SHIFT: 1,
            C.REQUANTIZE_ADD: 1,
            C.CLAMP: 1,
        },
        {C.DIVIDE: 2, C.SQUARE_ROOT: 1},  # mu, F
    ),
    "pulp_layernorm": (
        layernorm(PULP),
        {
            C.VECTOR_ADD: 3,
            C.VECTOR_MULTIPLY: 2,  # y^2, y w
            C.DIVIDE: 1,  # by sigma
            C.BIAS_ADD: 1,
            C.REQUANTIZE_SHIFT: 1,
            C.CLAMP: 1,
        },
        {C.DIVIDE: 2, C.VECTOR_ADD: 1, C.SQUARE_ROOT: 1},  # mu, variance; + 1
    ),
    "tflite_layernorm": (
        layernorm(TFLITE),
        {
            C.VECTOR_ADD: 3,
            C.VECTOR_MULTIPLY: 3,  # x'^2, by I, by w
            C.BIAS_ADD: 1,
            C.REQUANTIZE_MULTIPLY: 1,  # (L14)
            C.REQUANTIZE_SHIFT: 3,  # (L12), (L13), (L14)
            C.REQUANTIZE_ADD: 3,
            C.CLAMP: 1,
        },
        # mean; by floor(2^20/n), mean^2, four of each of five steps, sqrt(1/2); the difference, one of each step
        {C.DIVIDE: 1, C.VECTOR_MULTIPLY: 2 + 4 * 5 + 1, C.VECTOR_ADD: 1 + 5},
    ),
    "rescaled_add, each": (
        add(TOGETHER),
        {C.REQUANTIZE_MULTIPLY: 2, C.REQUANTIZE_SHIFT: 2, C.REQUANTIZE_ADD: 2, C.VECTOR_ADD: 1, C.CLAMP: 1},
        {},
    ),
    "rescaled_add, and the sum": (
        add(TFLITE_SUM, zeros=(3, -4)),
        {
            C.ZERO_POINT_ADD: 2,
            C.REQUANTIZE_MULTIPLY: 3,
            C.REQUANTIZE_SHIFT: 3,
            C.REQUANTIZE_ADD: 3 + 1,  # of the roundings, and the result's zero point
            C.VECTOR_ADD: 1,
            C.CLAMP: 1,
        },
        {},
    ),
}


@pytest.mark.parametrize("case", HAND)
def test_counts_are_those_of_the_equations(case: str) -> None:
    program, of_each_column, of_each_row = HAND[case]
    expected = Multiset[Component]()
    for component, count in of_each_column.items():
        expected[component] += count * ROWS * KEYS
    for component, count in of_each_row.items():
        expected[component] += count * ROWS
    assert counted(program) == expected


def test_every_operation_that_only_targets_have_was_counted() -> None:
    kinds = {type(op).__name__ for program, _, _ in HAND.values() for _, op in program.operations()}
    assert kinds == TARGET_OPERATIONS


@pytest.mark.parametrize("case", HAND)
def test_counts_are_linear_in_the_rows(case: str) -> None:
    program = HAND[case][0]
    one, five = counted(program, 1), counted(program, 5)
    assert five == Multiset({component: 5 * count for component, count in one.items()})


@pytest.mark.parametrize("case", [case for case in HAND if "softmax" in case or case == "itamax"])
def test_counts_are_affine_in_the_keys(case: str) -> None:
    one, two, ten = (counted(HAND[case][0], 1, keys) for keys in (1, 2, 10))
    for component in ten:
        assert ten[component] - one[component] == 9 * (two[component] - one[component])


# --- widths -----------------------------------------------------------------------------------------------------------


OWN = {
    "fullyqt": 16,
    "tflm": 31,
    "cmsis-nn": 31,
    "tosa": 31,
    "ita": 8,
    "pulp": 16,
    "gemmini": 24,
    "ibert": 31,
    "nvdla": 15,
    "onnxruntime": 24,
}
"""Bits of the multipliers of docs/targets.md."""
ENCODED = {"q31_double": 31, "q31_double_half_up": 31, "q31_single": 31, "q15": 15, "dyadic": 16, "nvdla": 15}
ENCODED |= {"narrow_after": 8, "narrow_before": 16, "float32": 24, "float32_inside": 24}
"""Bits of the multipliers of a scheme that is not the target's."""


@functools.cache
def native(target: str) -> Program:
    return tiny_program(preset("native", target))


def widths(program: Program, component: Component) -> dict[str, set[tuple[int, int]]]:
    """Both widths of a component's events, by operation; the generator apart from other products."""
    seen: dict[str, set[tuple[int, int]]] = {}
    for function in program.functions:
        sizes = {"batch": 1} if function == "forward" else {"batch": 1, "source": 3}
        sizes |= {"target": 1, "past": 2} if function == "decode_step" else {}
        for op, term in terms(program, function, sizes):
            kind = "generator" if op.output == "generator.logits" else str(op.__struct_config__.tag)
            if term.component is component and term.count:
                seen.setdefault(kind, set()).add((term.bits, term.second_bits))
    return seen


def multipliers(program: Program) -> dict[str, set[int]]:
    return {kind: {m for _, m in pairs} for kind, pairs in widths(program, C.REQUANTIZE_MULTIPLY).items()}


@pytest.mark.parametrize("target", TARGETS)
def test_a_program_is_charged_the_multipliers_of_its_hardware(target: str) -> None:
    own = {"requantize": OWN[target], "rescaled_add": OWN[target], "tflite_layernorm": 31}
    seen = multipliers(native(target))
    assert seen == {kind: {own.get(kind, 16)} for kind in seen}
    assert seen.keys() >= {"embed", "requantize", "generator"}
    accumulator = TARGETS[target].accumulator.bits
    shifted = widths(native(target), C.REQUANTIZE_SHIFT)
    assert shifted["requantize"] == {(accumulator + OWN[target], 0)}
    assert shifted["generator"] == {(accumulator + 16, 0)}


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_charged_is_what_the_program_holds(target: str) -> None:
    """The greatest multiplier of every requantization has as many bits as are charged, and none has more."""
    program, held = native(target), dict[str, set[int]]()
    for _, op in program.operations():
        kind = "generator" if op.output == "generator.logits" else str(op.__struct_config__.tag)
        for ratio in (getattr(op, field) for field in op.__struct_fields__):
            if isinstance(ratio, Requantization):
                m = ratio.multiplier
                greatest = int(program.constants[m].max()) if isinstance(m, str) else m
                held.setdefault(kind, set()).add(greatest.bit_length())
    charged = multipliers(program)
    assert held == {kind: charged[kind] for kind in held}


@pytest.mark.parametrize("scheme", [preset("int8"), preset("w4a8"), Scheme(name="stock", power_of_two=True)])
@pytest.mark.parametrize("significant", [1, 16])
def test_the_default_target_is_charged_16_bits_everywhere(scheme: Scheme, significant: int) -> None:
    """A multiplier of few significant bits is still as wide."""
    seen = multipliers(tiny_program(replace(scheme, multiplier_bits=significant)))
    assert seen == {kind: {16} for kind in ("embed", "requantize", "generator", "softmax", "layernorm", "add")}


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("target", TARGETS)
def test_width_of_a_multiplier_by_scheme_and_target(target: str, name: str) -> None:
    own = name == TARGETS[target].requantization
    ratio = scheme_type(name)(multiplier=CATALOGUE[name].limits.low, shift=3)
    program = edited(add(replace(TOGETHER, a_requantization=ratio, b_requantization=ratio)), manifest(target=target))
    width = 0 if name == "shift" else OWN[target] if own else ENCODED[name]
    assert multipliers(program) == ({} if name == "shift" else {"rescaled_add": {width}})
    assert widths(program, C.REQUANTIZE_SHIFT) == {"rescaled_add": {(8 + width, 0)}}


def test_widths_of_a_rescaled_sum() -> None:
    assert widths(add(TOGETHER), C.REQUANTIZE_MULTIPLY) == {"rescaled_add": {(8, 8)}}
    assert widths(add(TFLITE_SUM), C.REQUANTIZE_MULTIPLY) == {"rescaled_add": {(28, 31), (32, 31)}}


@pytest.mark.parametrize("target", TARGETS)
def test_accumulators_of_a_target_have_its_width(target: str) -> None:
    added = {
        term.bits
        for _, term in terms(native(target), "encode", {"batch": 1, "source": 3})
        if term.component is C.MAC_ADD
    }
    assert added == {TARGETS[target].accumulator.bits}


# --- whole programs ---------------------------------------------------------------------------------------------------


def priced(program: Program, lengths: list[tuple[int, int]]) -> Estimate:
    return estimate(program_workload(program, lengths), hardware("edge-256"))


@pytest.mark.parametrize("name", ["native", "w4a8"])
@pytest.mark.parametrize("target", TARGETS)
def test_an_estimate_of_a_target_adds_up(target: str, name: str) -> None:
    result = priced(tiny_program(preset(name, target)), [(4, 6), (9, 3)])
    total = result.total.cost
    assert total.energy_aj == sum(phase.cost.energy_aj for phase in result.phases) > 0
    assert total.energy_aj == sum(layer.cost.energy_aj for layer in result.total.layers)
    assert total.low_aj < total.energy_aj < total.high_aj
    events = [event for layer in result.total.layers for event in layer.events]
    assert all(event.count > 0 and 0 <= event.bits <= 128 and 0 <= event.second_bits <= 64 for event in events)


@pytest.mark.parametrize("target", TARGETS)
def test_targets_multiply_alike(target: str) -> None:
    """MACs are the model's, whatever the arithmetic around them."""
    own, default = (priced(native(name), [(5, 5)]).total.cost.macs for name in (target, "fullyqt"))
    assert own == default > 0


@pytest.mark.parametrize("target", ["tflm", "ita", "ibert", "gemmini"])
def test_a_batch_of_two_counts_twice_on_the_datapath(target: str) -> None:
    program = native(target)
    one, two = (terms(program, "encode", {"batch": b, "source": 4}) for b in (1, 2))
    for (_, single), (_, double) in zip(one, two, strict=True):
        assert double.count == 2 * single.count


def test_what_a_target_needs_is_priced_or_listed() -> None:
    listed = {C.REQUANTIZE_SHIFT, C.COMPARE, C.CLAMP, C.TABLE_READ, C.DIVIDE, C.SQUARE_ROOT, C.REGISTER, C.HOP}
    for target in TARGETS:
        missing = {entry.component for entry in priced(native(target), [(3, 2)]).total.cost.not_modelled}
        assert missing <= listed
        assert (C.TABLE_READ in missing) == (TARGETS[target].softmax == "table")
