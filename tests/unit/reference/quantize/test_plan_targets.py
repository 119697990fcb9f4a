"""Plans of targets: scales follow the constants of every scheme exactly, and multipliers are what it encodes."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwsim.formats import Accumulator, Overflow
from hwsim.program import Program
from hwsim.program.catalogue import Dyadic
from hwsim.program.operations import Embed, MatMul, Requantize, RescaledAdd
from hwsim.program.targets import TARGETS
from hwsim.program.validate import validate
from reference.lower import lower
from reference.quantize.graph import Kind
from reference.quantize.plan import Plan, make_plan
from reference.quantize.plan.constants import RescaledAddConstants
from reference.quantize.plan.snap import Snapped
from reference.quantize.scheme import Rule, preset, scheme_for
from tests.small.models import small_model
from tests.small.programs import planned
from tests.unit.reference.quantize.plans import ONE, calibrated, nodes, plan_of
from tests.unit.reference.quantize.relations import TargetRelations

PRESETS = ("int8", "int6", "int4", "w4a8", "native")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("target", TARGETS)
def test_scales_are_what_the_constants_of_a_target_encode(target: str, name: str) -> None:
    relations = TargetRelations(plan_of(target, name))
    relations.check()
    assert len(relations.checked) == 10


@pytest.mark.parametrize("target", ["tflm", "ita", "ibert", "gemmini", "pulp", "deeploy"])
@pytest.mark.parametrize(
    "fields",
    [
        {"sqrt_mode": "shift"},
        {"sqrt_mode": "dropped"},
        {"multiplier_bits": 3},
        {"power_of_two": True},
        {"residual_bits": 8},
        {"residual_bits": 16},
        {"rules": [Rule(pattern="*.scores", bits=10), Rule(pattern="*.weight", granularity="per_tensor")]},
    ],
    ids=lambda fields: "-".join(f"{k}" for k in fields),
)
def test_scales_of_other_schemes_of_a_target(target: str, fields: dict) -> None:
    model, seen = calibrated()
    plan = make_plan(model, scheme_for(target, name="x", **fields), seen)
    TargetRelations(plan).check()
    if target == "gemmini" and fields == {"residual_bits": 16}:  # 12 * 65535^2, in an int32
        with pytest.raises(ValueError, match="sums of squares reach 51538034700, at or above 2\\^31"):
            validate(lower(model, plan, name="x"))
        return
    validate(lower(model, plan, name="x"))


@pytest.mark.parametrize("target", ["tflm", "cmsis-nn", "nvdla"])
def test_scales_of_activations_of_16_bits(target: str) -> None:
    model, seen = calibrated()
    plan = make_plan(model, scheme_for(target, name="x", activation_bits=16), seen)
    TargetRelations(plan).check()
    validate(lower(model, plan, name="x"))
    truncated = [c.truncate for c in (*plan.linear.values(), *plan.scores.values(), *plan.context.values())]
    assert any(truncated) == (target == "nvdla")  # sums beyond the 32 bits of its SDP


def test_a_wrong_scale_of_a_target_is_noticed() -> None:
    """The check of the relations can fail: by one multiplier, one shift, or operands that leave their clamp."""
    model, seen = calibrated()
    for target in ("tflm", "ita", "ibert"):
        plan = make_plan(model, preset("native", target), seen)
        site = nodes(plan, Kind.ADD)[0].site
        old = plan.add[site]
        assert isinstance(old, RescaledAddConstants)
        for wrong in (Snapped(old.b.multiplier - 1, old.b.shift), Snapped(old.b.multiplier, old.b.shift + 1)):
            plan.add[site] = replace(old, b=wrong)
            with pytest.raises(AssertionError, match="scales say"):
                TargetRelations(plan).check()
        if target == "ita":
            plan.add[site] = replace(old, a=Snapped(old.a.multiplier + 1, old.a.shift))
            with pytest.raises(AssertionError, match="an operand leaves what it saturates to"):
                TargetRelations(plan).check()


# --- multipliers ------------------------------------------------------------------------------------------------------

BITS = {"fullyqt": 16, "tflm": 31, "cmsis-nn": 31, "tosa": 31, "ita": 8, "ita-head": 8, "pulp": 16, "deeploy": 16}
BITS |= {"gemmini": 24, "ibert": 31, "nvdla": 15, "onnxruntime": 24}
SUM_BITS = BITS | {"ita": 16, "ita-head": 16}
"""Of multipliers of products, and of residual sums: ITA's cluster adds."""
INT32_PRODUCTS = ("pulp", "deeploy")
SHIFTS = dict.fromkeys(TARGETS, (0, 62)) | {"tosa": (2, 62), "pulp": (0, 31), "deeploy": (0, 31)}
SHIFTS |= {"ita": (0, 34), "ita-head": (0, 34)}


def of_products(plan: Plan) -> Iterator[tuple[str, list[int], list[int]]]:
    """Site, multipliers and shifts of every matrix product but the generator's."""
    for site, constants in {**plan.scores, **plan.context}.items():
        yield site, [constants.requantization.multiplier], [constants.requantization.shift]
    for site, linear in plan.linear.items():
        yield site, linear.multipliers.tolist(), linear.shifts.tolist()
    for site, heads in plan.heads.items():
        yield site.removesuffix("output") + "heads", heads.multipliers.tolist(), heads.shifts.tolist()
        yield site, [heads.output.multiplier], [heads.output.shift]


def of_sums(plan: Plan) -> list[Snapped]:
    """Every ratio of a residual sum."""
    adds = [add for add in plan.add.values() if isinstance(add, RescaledAddConstants)]
    return [s for add in adds for s in (add.a, add.b, add.output) if s is not None]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("target", [name for name in TARGETS if name not in INT32_PRODUCTS])
def test_a_multiplier_keeps_all_of_its_bits(target: str, name: str) -> None:
    """Under the one shift of a layer of NVDLA the greatest does."""
    plan, (least, most) = plan_of(target, name), SHIFTS[target]
    for _, multipliers, shifts in of_products(plan):
        assert all(least <= e <= most for e in shifts)
        widths = {m.bit_length() for m in multipliers}
        assert max(widths) == BITS[target]
        assert len(set(shifts)) == 1 if target == "nvdla" else widths == {BITS[target]}
    for m, e in of_sums(plan):
        assert m.bit_length() == SUM_BITS[target]
        assert 0 <= e <= (31 if target.startswith("ita") else most)


def reaches(program: Program, site: str) -> list[int]:
    """The greatest |sum| of each row of a product: of its weights' codes, or of all codes of two activations."""
    op = next(op for _, op in program.operations() if isinstance(op, MatMul) and op.output == f"{site}.accumulator")

    def widest(name: str) -> int:
        fmt = program.tensors[name].format
        return max(fmt.max, -fmt.min)

    if op.b in program.constants:
        rows = np.abs(program.constants[op.b].astype(object)).sum(1) * widest(op.a)
        return (rows + np.abs(program.constants[str(op.bias)].astype(object))).tolist()
    length = 12 if site.endswith("context") else 5  # keys at most, or the width of a head
    return [length * widest(op.a) * widest(op.b)]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("target", INT32_PRODUCTS)
def test_a_product_fills_an_int32_and_no_more(target: str, name: str) -> None:
    """The widest multiplier of a layer, whose shift is one, has 16 bits, or a bit more would leave 32 in some row."""
    plan, met = plan_of(target, name), set()
    program = lower(calibrated()[0], plan, name="x")
    for site, multipliers, shifts in of_products(plan):
        (e,), reach = set(shifts), reaches(program, site)
        assert 0 <= e <= 31
        assert all(r * m + (1 << e >> 1) < 1 << 31 for m, r in zip(multipliers, reach, strict=True)), site
        widest = max(multipliers).bit_length()
        fuller = max(2 * r * (m + 1) + (1 << e) for m, r in zip(multipliers, reach, strict=True))
        assert widest == 16 or (widest < 16 and fuller >= 0.97 * 2**31)
        met.add(widest == 16)
    assert all(s.multiplier.bit_length() == 16 for s in of_sums(plan))  # 256 * 2^16
    assert met == {"int8": {False}, "native": {False}, "w4a8": {True, False}}.get(name, {True})


@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
def test_a_row_of_an_accumulator_that_overflows_is_as_far_as_its_weights_go(overflow: Overflow) -> None:
    """A row of one great weight has a multiplier of 16 bits, though others reach beyond the 17 of the accumulator."""
    model = small_model(ONE)
    with torch.no_grad():
        model.encoder[0].self_attention.key.weight[3] = 0.0
        model.encoder[0].self_attention.key.weight[3, 0] = 3.0
    plan = planned(model, scheme_for("deeploy", name="x", accumulator=Accumulator(bits=17, overflow=overflow)))
    program, site = lower(model, plan, name="x"), "encoder.0.self_attention.key"
    assert plan.linear[site].multipliers[3].item() << 16 >= 1 << 31
    assert max(reaches(program, site)) >= 1 << 16
    validate(program)


@pytest.mark.parametrize("target", ["tflm", "tosa", "ita", "nvdla", "gemmini"])
@pytest.mark.parametrize("significant", [1, 4])
def test_few_significant_bits_are_still_normalised(target: str, significant: int) -> None:
    model, seen = calibrated()
    plan = make_plan(model, scheme_for(target, name="x", multiplier_bits=significant), seen)
    for _, multipliers, _ in of_products(plan):
        assert max(multipliers).bit_length() == BITS[target]
        assert all(m.bit_length() - (m & -m).bit_length() < significant for m in multipliers)
    for m, _ in of_sums(plan):
        assert m.bit_length() == SUM_BITS[target]
        assert m.bit_length() - (m & -m).bit_length() < significant
    if (target, significant) == ("gemmini", 1):  # a scale of scores that grew to the next power of two
        with pytest.raises(ValueError, match=r"ln2 7: a distance of 255 takes 36 halvings; at most 31"):
            validate(lower(model, plan, name="x"))
        return
    validate(lower(model, plan, name="x"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_program_has_the_schemes_of_the_target(target: str) -> None:
    model, _ = calibrated()
    program = lower(model, plan_of(target), name="x")
    for _, op in program.operations():
        if isinstance(op, Requantize):
            assert type(op.requantization) is (Dyadic if op.output == "generator.logits" else TARGETS[target].scheme)
        if isinstance(op, RescaledAdd):
            name = {"ita": "narrow_before", "ita-head": "narrow_before"}.get(target, TARGETS[target].requantization)
            assert op.a_requantization.record().name == op.b_requantization.record().name == name
        if isinstance(op, Embed):
            multiplier, bits = op.position_multiplier, TARGETS[target].multiplier_bits
            assert multiplier < 1 << 16  # the embedding is dyadic under every target
            assert multiplier.bit_length() - (multiplier & -multiplier).bit_length() < bits
    assert program.manifest.logit_scale == plan_of(target).logit_scale
