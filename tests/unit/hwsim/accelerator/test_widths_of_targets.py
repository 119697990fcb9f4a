"""Widths of what targets are charged: the multipliers, shifts and accumulators that their hardware has."""

import pytest

from hwsim.accelerator.events import Component
from hwsim.program import Program
from hwsim.program.catalogue import CATALOGUE, Requantization, scheme_type
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import Scheme, preset
from tests.small.programs import tiny_program
from tests.unit.hwsim.accelerator.target_terms import TFLITE_SUM, TOGETHER, C, add, terms
from tests.unit.hwsim.program.program_edits import edited, manifest, native, replace

OWN = {
    "fullyqt": 16,
    "tflm": 31,
    "cmsis-nn": 31,
    "tosa": 31,
    "ita": 8,
    "ita-head": 8,
    "pulp": 16,
    "deeploy": 16,
    "gemmini": 24,
    "ibert": 31,
    "nvdla": 15,
    "onnxruntime": 24,
}
"""Bits of the multipliers of docs/targets.md."""
ENCODED = {"q31_double": 31, "q31_double_half_up": 31, "q31_single": 31, "q15": 15, "dyadic": 16, "nvdla": 15}
ENCODED |= {"narrow_after": 8, "narrow_before": 16, "float32": 24, "float32_inside": 24}
"""Bits of the multipliers of a scheme that is not the target's."""


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
    own = dict.fromkeys(("requantize", "project_heads", "rescaled_add"), OWN[target])
    own |= {"tflite_layernorm": 31, "gemmini_softmax": 24, "gemmini_layernorm": 24}
    if target in ("ita", "ita-head"):
        own["rescaled_add"] = 16  # that of its cluster
    seen = multipliers(native(target))
    assert seen == {kind: {own.get(kind, 16)} for kind in seen}
    assert seen.keys() >= {"embed", "requantize", "generator"}
    accumulator = TARGETS[target].accumulator.bits
    shifted = widths(native(target), C.REQUANTIZE_SHIFT)
    assert shifted["requantize"] == {(accumulator + OWN[target], 0)}
    assert shifted["generator"] == {(accumulator + 16, 0)}


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_charged_is_what_the_program_holds(target: str) -> None:
    """The greatest multiplier of every requantization has as many bits as are charged, and none has more.

    PULP's have fewer bits where the product of 32 has no room.
    """
    program, held = native(target), dict[str, set[int]]()
    for _, op in program.operations():
        kind = "generator" if op.output == "generator.logits" else str(op.__struct_config__.tag)
        for ratio in (getattr(op, field) for field in op.__struct_fields__):
            if isinstance(ratio, Requantization):
                m = ratio.multiplier
                greatest = int(program.constants[m].max()) if isinstance(m, str) else m
                held.setdefault(kind, set()).add(greatest.bit_length())
    charged = multipliers(program)
    for kind, bits in held.items():
        (most,) = charged[kind]
        assert max(bits) <= most
        assert bits == {most} or TARGETS[target].limits.product_bits or (kind, OWN[target]) == ("rescaled_add", 8)


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
