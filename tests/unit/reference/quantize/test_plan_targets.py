"""Plans of targets: scales follow the constants of every scheme exactly, and multipliers are what it encodes."""

import pytest

from hwsim.program.catalogue import CATALOGUE, Dyadic
from hwsim.program.operations import Embed, Requantize
from hwsim.program.targets import TARGETS
from hwsim.program.validate import validate
from reference.lower import lower
from reference.quantize.graph import Kind
from reference.quantize.plan import Plan, make_plan
from reference.quantize.plan.constants import RescaledAddConstants
from reference.quantize.plan.snap import Snapped
from reference.quantize.scheme import Rule, preset, scheme_for
from tests.unit.reference.quantize.plans import calibrated, nodes, plan_of
from tests.unit.reference.quantize.relations import TargetRelations

PRESETS = ("int8", "int6", "int4", "w4a8", "native")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("target", TARGETS)
def test_scales_are_what_the_constants_of_a_target_encode(target: str, name: str) -> None:
    relations = TargetRelations(plan_of(target, name))
    relations.check()
    assert len(relations.checked) == 10


@pytest.mark.parametrize("target", ["tflm", "ita", "ibert", "gemmini", "pulp"])
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
    validate(lower(model, plan, name="x"))


def test_a_wrong_scale_of_a_target_is_noticed() -> None:
    """The check of the relations can fail."""
    model, seen = calibrated()
    for target in ("tflm", "ita", "ibert"):
        plan = make_plan(model, preset("native", target), seen)
        site = nodes(plan, Kind.ADD)[0].site
        old = plan.add[site]
        assert isinstance(old, RescaledAddConstants)
        wrong = RescaledAddConstants(
            left_shift=old.left_shift, a=old.a, b=Snapped(old.b.multiplier + 1, old.b.shift + 1), output=old.output
        )
        plan.add[site] = wrong
        with pytest.raises(AssertionError, match="scales say"):
            TargetRelations(plan).check()


def in_scheme(plan: Plan) -> list[tuple[int, int]]:
    """Every multiplier and shift that the target's requantization scheme must encode."""
    found = [tuple(s.requantization) for s in plan.scores.values()] + [
        tuple(s.requantization) for s in plan.context.values()
    ]
    for linear in plan.linear.values():
        found += zip(linear.multipliers.tolist(), linear.shifts.tolist(), strict=True)
    for add in plan.add.values():
        if isinstance(add, RescaledAddConstants):
            found += [tuple(s) for s in (add.a, add.b, add.output) if s is not None]
    return found


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("target", TARGETS)
def test_multipliers_are_what_the_scheme_encodes(target: str, name: str) -> None:
    plan, limits = plan_of(target, name), CATALOGUE[TARGETS[target].requantization].limits
    for multiplier, shift in in_scheme(plan):
        assert limits.low <= multiplier <= limits.high
        assert limits.least_shift <= shift <= limits.greatest_shift
        assert multiplier.bit_length() <= TARGETS[target].multiplier_bits
        assert multiplier.bit_length() == TARGETS[target].multiplier_bits, "a multiplier keeps all of its bits"


@pytest.mark.parametrize("target", ["tflm", "tosa", "ita", "nvdla", "gemmini"])
@pytest.mark.parametrize("significant", [1, 4])
def test_few_significant_bits_are_still_normalised(target: str, significant: int) -> None:
    model, seen = calibrated()
    plan = make_plan(model, scheme_for(target, name="x", multiplier_bits=significant), seen)
    for multiplier, _ in in_scheme(plan):
        assert multiplier.bit_length() == TARGETS[target].multiplier_bits
        assert (multiplier & -multiplier).bit_length() > multiplier.bit_length() - significant
    validate(lower(model, plan, name="x"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_program_has_the_schemes_of_the_target(target: str) -> None:
    model, _ = calibrated()
    program = lower(model, plan_of(target), name="x")
    for _, op in program.operations():
        if isinstance(op, Requantize):
            assert type(op.requantization) is (Dyadic if op.output == "generator.logits" else TARGETS[target].scheme)
        if isinstance(op, Embed):
            multiplier, bits = op.position_multiplier, TARGETS[target].multiplier_bits
            assert multiplier < 1 << 16  # the embedding is dyadic under every target
            assert multiplier.bit_length() - (multiplier & -multiplier).bit_length() < bits
    assert program.manifest.logit_scale == plan_of(target).logit_scale
