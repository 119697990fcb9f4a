"""Plans of the targets' softmaxes: the scale of scores that each needs, and what is refused."""

import copy
import math
import re
from types import SimpleNamespace

import msgspec
import pytest
import torch

from reference.models.translation import Transformer
from reference.quantize.graph import Kind
from reference.quantize.plan import make_plan
from reference.quantize.plan.constants import ItaMaxConstants
from reference.quantize.plan.softmax import ibert, itamax_scale, itamax_shift
from reference.quantize.scheme import Rule, preset, scheme_for
from tests.small.models import small_model
from tests.small.programs import planned
from tests.unit.reference.quantize.plans import ONE, calibrated, nodes, plan_of
from tests.unit.reference.quantize.relations import TargetRelations


@pytest.mark.parametrize("shift", range(9))
def test_itamax_has_the_finest_scale_that_covers_the_range(shift: int) -> None:
    exact = math.ldexp(math.log(2), -shift)
    for scale in (exact, exact * 0.75, exact * 0.500001):
        assert itamax_shift(scale) == shift
        assert itamax_scale(scale, None) == exact >= scale


@pytest.mark.parametrize("scale", [1e-6, 0.02, 3.0])
def test_a_wired_itamax_has_one_scale(scale: float) -> None:
    """Whatever range was calibrated: ln(2) / 2^B."""
    assert itamax_scale(scale, 5) == math.log(2) / 32
    assert itamax_scale(scale, 0) == math.log(2)


def test_itamax_stops_at_both_ends() -> None:
    assert (itamax_shift(1e-9), itamax_shift(50.0)) == (8, 0)


@pytest.mark.parametrize(("target", "wired"), [("ita", 5), ("ita-head", 0), ("deeploy", 5)])
def test_scores_of_itamax_have_the_base_two_as_nearly_as_8_bits_say(target: str, wired: int) -> None:
    model, seen = calibrated()
    scheme = preset("native", target)
    plan = make_plan(model, scheme, seen)
    for site, constants in plan.softmax.items():
        assert isinstance(constants, ItaMaxConstants)
        scale = plan.quantizers[site.replace(".softmax", ".scores")].scale
        exact = math.ldexp(math.log(2), -wired)
        assert exact * (1 - 1e-12) <= scale < exact * (1 + 2.0**-7)
        assert constants.shift == wired
    ranged = msgspec.structs.replace(scheme, rules=[Rule(pattern="*.scores", range=2.5)])
    refusal = (
        f"site encoder.0.self_attention.scores: target {target} wires its scale to ln(2) / 2^{wired}, which a `range` "
        "cannot change; remove the rule (`hwsim centre` moves scores into that range)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(refusal)}$"):
        make_plan(model, ranged, seen)


def test_an_itamax_that_is_not_wired_has_the_finest_scale() -> None:
    model, seen = calibrated()
    plan = make_plan(model, scheme_for("ita-head", name="x", beyond=["score_scale"]), seen)
    for site, constants in plan.softmax.items():
        low, high = seen[site.replace(".softmax", ".scores")].average
        needed = max(high / 127, low / -128)  # a scale of the whole range
        assert constants.shift > 0
        assert math.ldexp(math.log(2), -constants.shift - 1) < needed <= math.ldexp(math.log(2), -constants.shift)


def loud(factor: float) -> Transformer:
    """Scores of the first attention so large that their scale is."""
    model = small_model(ONE)
    with torch.no_grad():
        attention = model.encoder[0].self_attention
        for layer in (attention.query, attention.key):
            layer.weight.mul_(factor)
    return model


@pytest.mark.parametrize("target", ["ibert", "pulp"])
def test_scores_too_coarse_for_a_polynomial_are_refused_by_site(target: str) -> None:
    site = r"encoder\.0\.self_attention\.scores"
    with pytest.raises(ValueError, match=rf"site {site}: at its scale .* give {site} range = "):
        planned(loud(30.0), preset("native", target))


def test_scores_of_gemmini_stop_at_31_halvings() -> None:
    """ln2 is 8 at least: 255 * floor(65536 / 8) / 2^16 is 31, and 255 * floor(65536 / 7) / 2^16 is 36."""
    plan = planned(loud(30.0), preset("native", "gemmini"))
    site = nodes(plan, Kind.SOFTMAX)[0].site
    scale = plan.quantizers[site.replace(".softmax", ".scores")].scale
    assert plan.softmax[site].ln2 == 8
    assert 0.693147 / 8.1 < scale <= 0.693147 / 8


@pytest.mark.parametrize("scale", [0.6, 0.6931, 0.69311, 0.9, 1.3])
def test_scores_of_i_bert_are_no_coarser_than_ln_2(scale: float) -> None:
    """Coarser ones have constants too, ln2 being a ceiling of 1, but exponentials of another base."""
    plan = plan_of("ibert")
    node = nodes(plan, Kind.SOFTMAX)[0]
    planner = SimpleNamespace(plan=copy.deepcopy(plan), scale={node.inputs[0].site: scale})
    if scale <= 0.6931:
        ibert(planner, node)  # type: ignore[arg-type]
        return
    with pytest.raises(
        ValueError, match=r"self_attention\.scores: at its scale .* needed: a scale of at most 0\.6931,"
    ):
        ibert(planner, node)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["tflm", "ita", "ita-head", "deeploy", "gemmini", "onnxruntime", "fullyqt", "nvdla"])
def test_others_take_coarse_and_fine_scores(target: str) -> None:
    for factor in (30.0, 0.01, 1e-9):
        TargetRelations(planned(loud(factor), preset("native", target))).check()
