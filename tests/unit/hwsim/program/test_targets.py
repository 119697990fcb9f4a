"""Targets: provenance of every operator, widths in words, and that every preset of each plans, lowers and runs."""

import functools
import re
from pathlib import Path

import msgspec
import pytest

from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.program import Program
from hwsim.program.catalogue import CATALOGUE, Dyadic, scheme_type
from hwsim.program.loading import load
from hwsim.program.operations import AnyAdd, AnyLayerNorm, AnySoftmax, Embed, GemmlowpSoftmax, MatMul, Requantize
from hwsim.program.targets import DEFAULT_TARGET, TARGETS, Operator, Target, target
from hwsim.program.validate import validate
from reference.lower import lower
from reference.models.translation import Transformer
from reference.quantize.plan import make_plan
from reference.quantize.scheme import NATIVE, PRESETS, Rule, Scheme, extended, preset, scheme_for
from reference.quantize.sites import Role
from tests.small.models import ODD, TWO_LAYERS, sites_of, small_model
from tests.small.programs import seen_by
from tests.small.sentences import copied, sentences

KINDS = {"requantization", "residual", "softmax", "layernorm", "mask", "activation", "embedding", "generator"}
METHODS = ("requantization", "residual", "softmax", "layernorm")
NAMES = [*PRESETS, NATIVE]


# --- the records ------------------------------------------------------------------------------------------------------


def test_an_unknown_target_lists_the_known() -> None:
    with pytest.raises(ValueError) as error:
        target("tpu")
    assert str(error.value) == f"unknown target 'tpu'; known: {', '.join(TARGETS)}"
    assert target(DEFAULT_TARGET) is TARGETS[DEFAULT_TARGET]
    assert len(TARGETS) == 12


@pytest.mark.parametrize("name", TARGETS)
def test_every_operator_has_provenance(name: str) -> None:
    known = target(name)
    assert known.name == name
    assert known.operators.keys() == KINDS
    for kind, operator in known.operators.items():
        assert operator.source.strip(), kind
        expected = f"borrowed from {operator.borrowed_from} (" if operator.borrowed_from else "native ("
        assert str(operator).startswith(expected)
        assert operator.source in str(operator)
        assert operator.native == (kind not in known.borrowed)


def owner_of(kind: str, operator: Operator) -> Target | None:
    """Whose record has the operator that another borrows; None for TensorFlow Lite itself, which has no record."""
    assert operator.borrowed_from is not None
    if operator.borrowed_from == "tflite":
        assert kind == "layernorm"
        return None
    return target(operator.borrowed_from)


@pytest.mark.parametrize("name", TARGETS)
def test_a_borrowed_operator_is_its_owners_own(name: str) -> None:
    borrower = target(name)
    for kind in borrower.borrowed:
        owner = owner_of(kind, borrower.operators[kind])
        if owner is None:
            assert borrower.layernorm == "tflite"
            continue
        assert owner is not borrower
        assert owner.operators[kind].native, f"{name} borrows the {kind} of {owner.name}, which borrows it too"
        if kind in METHODS:
            assert getattr(owner, kind) == getattr(borrower, kind), kind


def test_the_default_borrows_nothing_and_nobody_borrows_the_requantization() -> None:
    assert target(DEFAULT_TARGET).borrowed == {}
    assert not [name for name, known in TARGETS.items() if "requantization" in known.borrowed]


@pytest.mark.parametrize("name", TARGETS)
def test_the_requantization_is_in_the_catalogue_and_its_multipliers_fit(name: str) -> None:
    known = target(name)
    assert known.scheme is scheme_type(known.requantization)
    assert known.scaling is known.scheme(multiplier="m", shift=1).scaling
    limits = CATALOGUE[known.requantization].limits
    assert 1 <= known.multiplier_bits <= limits.multiplier_bits
    if limits.low > 1:  # normalised: all of the multiplier's bits are needed
        assert known.multiplier_bits == limits.multiplier_bits


def test_only_an_itamax_has_groups_and_deeploys_has_one_pass() -> None:
    itamaxes = {name: known.itamax_group for name, known in TARGETS.items() if known.softmax == "itamax"}
    assert itamaxes == {"ita": 16, "ita-head": 16, "deeploy": 0}
    assert not [name for name, known in TARGETS.items() if known.itamax_group and name not in itamaxes]


def test_the_softmax_sees_no_mask_where_the_hardware_has_none() -> None:
    """Whose records name no mask of their own, borrow one."""
    bare = {name for name, known in TARGETS.items() if known.limits.masks is not None}
    assert bare == {"tflm", "cmsis-nn", "ita", "ita-head", "pulp", "deeploy", "gemmini"}
    for name in bare:
        assert target(name).operators["mask"].borrowed_from == "fullyqt"
        assert str(target(name).limits.masks) == "none"


# --- widths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
def test_the_native_configuration_extends_nothing(name: str) -> None:
    scheme, known = preset(NATIVE, name), target(name)
    assert extended(scheme, sites_of(target=name)) == []
    assert (scheme.target, scheme.arithmetic) == (name, known)
    assert (scheme.weight_bits, scheme.activation_bits) == (known.weight_bits[0], known.activation_bits[0])
    assert (scheme.residual_bits, scheme.accumulator) == (known.residual_bits, known.accumulator)
    assert (scheme.multiplier_bits, scheme.sqrt_mode) == (known.multiplier_bits, known.sqrt_mode)


# --- presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset_name", NAMES)
@pytest.mark.parametrize("name", TARGETS)
def test_every_preset_settles_every_site(name: str, preset_name: str) -> None:
    scheme = preset(preset_name, name)
    assert scheme.name == (
        preset_name if name == DEFAULT_TARGET and preset_name in PRESETS else f"{name}-{preset_name}"
    )
    settled = scheme.resolve(sites_of(target=name))
    assert settled.keys() == sites_of(target=name).keys()
    for site, settings in settled.items():
        if site.endswith(".scores"):
            assert settings.bits >= target(name).least_score_bits
        if settings.bits > target(name).zero_point_bits:
            assert settings.symmetric, site


def test_an_unknown_preset_of_a_target_lists_native_too() -> None:
    for name in ("fullyqt", "ita"):
        with pytest.raises(ValueError, match="unknown configuration 'int5'; known: int8, int6, int4, w4a8, native"):
            preset("int5", name)
    with pytest.raises(ValueError, match="unknown target 'tpu'; known: fullyqt"):
        preset("int8", "tpu")
    with pytest.raises(ValueError, match="unknown target 'tpu'; known: fullyqt"):
        Scheme(name="x", target="tpu")


def test_only_some_sites_are_there_under_a_target() -> None:
    inner = {
        name: [site for site in sites_of(target=name) if site.endswith(("numerator", "denominator", "quotient"))]
        for name in TARGETS
    }
    for name, known in TARGETS.items():
        assert bool([site for site in inner[name] if ".softmax." in site]) == (known.softmax == "table"), name
        assert bool([site for site in inner[name] if ".layernorm." in site]) == (known.layernorm == "fullyqt"), name


@pytest.mark.parametrize(
    ("name", "role", "fmt"),
    [
        ("fullyqt", Role.POSITIVE, IntFormat(bits=8, signed=False)),
        ("tflm", Role.PROBABILITY, IntFormat(bits=8)),
        ("ibert", Role.POSITIVE, IntFormat(bits=8, signed=False)),
        ("ita", Role.POSITIVE, IntFormat(bits=8, signed=False)),
        ("gemmini", Role.CENTRED, IntFormat(bits=8)),
    ],
)
def test_formats_of_probabilities(name: str, role: Role, fmt: IntFormat) -> None:
    site = "encoder.0.self_attention.softmax.output"
    assert sites_of(target=name)[site].role is role
    assert preset(NATIVE, name).resolve(sites_of(target=name))[site].format == fmt


@pytest.mark.parametrize(
    ("name", "rule", "message"),
    [
        ("nvdla", Rule(pattern="*.scores", bits=16), r"scores: .* need an exp table of 2\^16 entries .*nvdla; allowed"),
        ("tflm", Rule(pattern="*.scores", bits=13), r"scores: .* need a table of fake-quant's \(the kernel has none\)"),
        ("ita", Rule(pattern="*.softmax.output", bits=9), "softmax.output: ITAMax makes at most 8 bits, not 9"),
        ("onnxruntime", Rule(pattern="*.softmax.output", bits=9), "output: QLinearSoftmax makes at most 8 bits, not 9"),
        ("ibert", Rule(pattern="*.gamma", bits=8), "gamma: gamma is a sign under target ibert, 2 bits and narrow"),
        (
            "ibert",
            Rule(pattern="*.gamma", narrow=False),
            "gamma: gamma is a sign under target ibert, 2 bits and narrow",
        ),
        ("tflm", Rule(pattern="*.gamma", granularity="per_channel"), "gamma: this parameter has one scale"),
        ("tflm", Rule(pattern="*.softmax.output", symmetric=False), "a probability site has zero point 0"),
        ("gemmini", Rule(pattern="*.softmax.output", signed=False), "softmax.output: a centred site is signed"),
        ("ibert", Rule(pattern="*.softmax.output", signed=True), "softmax.output: a positive site is unsigned"),
        ("ita", Rule(pattern="*.softmax.numerator", bits=8), r"pattern '\*.softmax.numerator' matches no site"),
    ],
    ids=lambda value: value.pattern if isinstance(value, Rule) else "",
)
def test_what_a_target_cannot_do_is_refused_by_site(name: str, rule: Rule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scheme_for(name, name="x", rules=[rule]).resolve(sites_of(target=name))


# --- whole programs ---------------------------------------------------------------------------------------------------


@functools.cache
def two_layers() -> tuple[Transformer, dict]:
    model = small_model(ODD, seed=5, **TWO_LAYERS)
    return model, seen_by(model, copied(sentences(4)))


def program_of(scheme: Scheme) -> Program:
    model, ranges = two_layers()
    return lower(model, make_plan(model, scheme, ranges), name="small")


def refusal(scheme: Scheme) -> str:
    """What planning, lowering or validation refuse; empty if nothing."""
    try:
        validate(program_of(scheme))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("preset_name", NAMES)
@pytest.mark.parametrize("name", TARGETS)
def test_every_preset_of_every_target_is_a_valid_program_of_its_operations(name: str, preset_name: str) -> None:
    program, known = program_of(preset(preset_name, name)), target(name)
    validate(program)
    assert program.manifest.target == name
    schemes = {type(op.requantization) for _, op in program.operations() if isinstance(op, Requantize)}
    assert schemes == {known.scheme, Dyadic}  # the generator's logits are dyadic everywhere
    accumulators = {op.accumulator for _, op in program.operations() if isinstance(op, MatMul)}
    assert accumulators == {preset(preset_name, name).accumulator}
    made = {
        kind: {type(op).__name__ for _, op in program.operations() if isinstance(op, union)}
        for kind, union in KINDS_OF.items()
    }
    assert made == {
        "softmax": {SOFTMAXES[known.softmax]},
        "layernorm": {LAYERNORMS[known.layernorm]},
        "residual": {"Add" if known.residual == "one_rounding" else "RescaledAdd"},
    }
    assert len([op for _, op in program.operations() if isinstance(op, Embed)]) == 2


KINDS_OF = {"softmax": AnySoftmax, "layernorm": AnyLayerNorm, "residual": AnyAdd}
SOFTMAXES = {
    "table": "Softmax",
    "gemmlowp": "GemmlowpSoftmax",
    "ibert": "IBertSoftmax",
    "itamax": "ItaMax",
    "gemmini": "GemminiSoftmax",
    "pulp": "PulpSoftmax",
    "qlinear": "QLinearSoftmax",
}
LAYERNORMS = {
    "fullyqt": "LayerNorm",
    "ibert": "IBertLayerNorm",
    "pulp": "PulpLayerNorm",
    "tflite": "TfliteLayerNorm",
    "gemmini": "GemminiLayerNorm",
}


EXPONENTIAL = r"^site encoder\.0\.self_attention\.scores: at its scale \S+ the exponential's constants are ln2 "
NARROW = {  # what the tiny model at so few bits has no constants for
    "pulp": EXPONENTIAL + "0, b 0",
    "gemmini": EXPONENTIAL + "1, b 1",
    "ibert": EXPONENTIAL + "1, b [0-3],",
}
WIDE = dict.fromkeys(("ita", "ita-head", "deeploy"), r"softmax\.output: ITAMax makes at most 8 bits, not 10")
WIDE["pulp"] = r"softmax\.output: iSoftmax makes at most 8 bits, not 10"
WIDE["onnxruntime"] = r"softmax\.output: QLinearSoftmax makes at most 8 bits, not 10"
WIDE["gemmini"] = r"layernorm\.output: sums of squares reach 51538034700, at or above 2\^31"  # 12 * 65535^2


@pytest.mark.parametrize(("bits", "refused"), [(3, NARROW), (10, WIDE)], ids=["3", "10"])
@pytest.mark.parametrize("name", TARGETS)
def test_other_widths_are_a_program_or_refused_by_site(name: str, bits: int, refused: dict[str, str]) -> None:
    said = refusal(scheme_for(name, name="x", weight_bits=bits, activation_bits=bits, residual_bits=16))
    assert re.search(refused.get(name, "^$"), said), said


@pytest.mark.parametrize("name", [name for name, known in TARGETS.items() if 16 in known.activation_bits])
def test_16_bit_activations_of_the_hardware_run(name: str) -> None:
    """Products of two of them want a wide accumulator, or one that saturates."""
    scheme = scheme_for(name, name="x", activation_bits=16)
    accumulator = msgspec.structs.replace(scheme.accumulator, overflow=Overflow.SATURATE)
    narrow = [Rule(pattern=pattern, bits=8) for pattern in ("*.key", "*.value")]
    assert refusal(scheme_for(name, name="x", activation_bits=16, accumulator=accumulator)) == ""
    assert refusal(scheme_for(name, name="x", activation_bits=16, rules=narrow)) == ""


@pytest.mark.parametrize("name", ["fullyqt", "tosa"])
@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
def test_what_a_32_bit_accumulator_holds_is_all_that_is_requantized(name: str, overflow: Overflow) -> None:
    """Products of two 16-bit codes leave it; what comes out of it does not, and has multipliers of 31 bits."""
    accumulator = Accumulator(bits=32, overflow=overflow)
    assert refusal(scheme_for(name, name="x", activation_bits=16, accumulator=accumulator)) == ""


def test_a_target_survives_its_file(tmp_path: Path) -> None:
    for name in TARGETS:
        program = program_of(preset(NATIVE, name))
        program.save(tmp_path / "program.hwsim")
        again = load(tmp_path / "program.hwsim")
        assert again.manifest == program.manifest


def test_probabilities_of_gemmlowp_have_its_zero_point() -> None:
    program = program_of(preset(NATIVE, "tflm"))
    found = [op for _, op in program.operations() if isinstance(op, GemmlowpSoftmax)]
    assert len(found) == 6
    assert {program.tensors[op.output].zero_point for op in found} == {-128}
    assert {program.tensors[op.output].scale for op in found} == {2.0**-8}
