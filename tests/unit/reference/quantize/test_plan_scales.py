"""Scales of a plan follow its multipliers exactly, and ranges never shrink."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reference.quantize.calibrate import calibrate
from reference.quantize.graph import Kind
from reference.quantize.plan import Plan
from reference.quantize.scheme import Scheme, preset
from reference.quantize.sites import Role, weight_site
from tests.property.equality import RefusedError, prepare
from tests.small.models import small_model
from tests.small.programs import planned
from tests.strategies import EFFORT, A, B, Case, cases
from tests.unit.reference.quantize.plans import TWO
from tests.unit.reference.quantize.relations import Relations


def assert_no_range_shrank(case: Case, plan: Plan) -> None:
    """Every site holds the range that was observed, but for the half step by which a zero point is rounded."""
    model = case.model()
    ranges = calibrate(model, case.calibration_batches())
    for name, quantizer in plan.quantizers.items():
        if plan.sites[name].role is Role.LOGITS:
            continue
        low, high = ranges[name].estimate(plan.settings[name].estimator)
        if name.endswith(("softmax.numerator", "softmax.output")):
            low, high = 0.0, 1.0
        fmt, zero = quantizer.format, quantizer.zero_point
        slack = 1e-9 + (0.0 if plan.settings[name].symmetric else 0.5)
        assert fmt.max - zero >= high / quantizer.scale - slack, name
        if fmt.signed or zero:
            assert fmt.min - zero <= low / quantizer.scale + slack, name
    weights = {weight_site(n): n.module for n in plan.graph.nodes if isinstance(n.module, nn.Linear | nn.Embedding)}
    for name, module in weights.items():
        if name in plan.weights:
            quantizer = plan.weights[name]
            codes = module.weight.detach().double() / quantizer.scale[:, None]
            assert float(codes.max()) <= quantizer.format.max + 1e-9, name
            assert float(codes.min()) >= quantizer.format.min - 1e-9, name


def test_scales_are_what_the_constants_encode_and_ranges_hold() -> None:
    checked: set[Kind] = set()

    @settings(EFFORT, max_examples=60)
    @given(st.one_of(cases(A), cases(B)))
    def holds(case: Case) -> None:
        try:
            plan = prepare(case).plan
        except RefusedError:
            return
        relations = Relations(plan)
        relations.check()
        assert_no_range_shrank(case, plan)
        checked.update(relations.checked)

    holds()
    assert len(checked) == 10


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("multiplier_bits", [1, 2, 16])
def test_scales_of_larger_models(tied: bool, multiplier_bits: int) -> None:
    plan = planned(small_model(TWO, tied=tied), Scheme(name="x", multiplier_bits=multiplier_bits))
    Relations(plan).check()


def test_a_wrong_scale_is_noticed() -> None:
    """The check of the relations can fail."""
    plan = planned(small_model(TWO), preset("int8"))
    plan.linear["encoder.0.feed_forward.output"].multipliers[3] += 1
    with pytest.raises(AssertionError, match=r"encoder\.0\.feed_forward\.output: scales say"):
        Relations(plan).check()


@pytest.mark.parametrize("tied", [True, False])
def test_powers_of_two_everywhere_but_inside_softmax_and_layernorm(tied: bool) -> None:
    model = small_model(TWO, d_model=16, d_head=4, tied=tied)
    plan = planned(model, Scheme(name="x", power_of_two=True, multiplier_bits=1))
    inner = ("softmax.numerator", "softmax.denominator")
    for name, quantizer in plan.quantizers.items():
        if not name.endswith(inner):
            assert math.frexp(quantizer.scale)[0] == 0.5, name
    for name, weight in plan.weights.items():
        assert all(math.frexp(scale)[0] == 0.5 for scale in weight.scale.tolist()), name
