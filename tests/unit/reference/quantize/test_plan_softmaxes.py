"""Plans of the targets' softmaxes: the scale of scores that each needs, and what is refused."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch

from hwsim.program.targets import TARGETS
from reference.models.translation import Transformer
from reference.quantize.graph import Kind
from reference.quantize.plan.constants import ItaMaxConstants
from reference.quantize.plan.softmax import ibert, itamax_scale, itamax_shift
from reference.quantize.scheme import preset
from tests.small.models import small_model
from tests.small.programs import planned
from tests.unit.reference.quantize.plans import ONE, nodes, plan_of
from tests.unit.reference.quantize.relations import TargetRelations


@pytest.mark.parametrize("shift", range(9))
def test_itamax_has_the_finest_scale_that_covers_the_range(shift: int) -> None:
    exact = math.ldexp(math.log(2), -shift)
    for scale in (exact, exact * 0.75, exact * 0.500001):
        assert itamax_shift(scale) == shift
        assert itamax_scale(scale) == exact >= scale


def test_itamax_stops_at_both_ends() -> None:
    assert (itamax_shift(1e-9), itamax_shift(50.0)) == (8, 0)


def test_scores_of_itamax_have_the_base_two_as_nearly_as_8_bits_say() -> None:
    for target in ("ita", "pulp"):
        plan = plan_of(target)
        for site, constants in plan.softmax.items():
            assert isinstance(constants, ItaMaxConstants)
            scale = plan.quantizers[site.replace(".softmax", ".scores")].scale
            exact = math.ldexp(math.log(2), -constants.shift)
            assert exact <= scale < exact * (1 + 2.0 ** (1 - TARGETS[target].multiplier_bits))


def loud(factor: float) -> Transformer:
    """Scores of the first attention so large that their scale is."""
    model = small_model(ONE)
    with torch.no_grad():
        attention = model.encoder[0].self_attention
        for layer in (attention.query, attention.key):
            layer.weight.mul_(factor)
    return model


@pytest.mark.parametrize("target", ["ibert", "gemmini"])
def test_scores_too_coarse_for_a_polynomial_are_refused_by_site(target: str) -> None:
    with pytest.raises(
        ValueError, match=r"site encoder\.0\.self_attention\.scores: at its scale .* use more bits for scores"
    ):
        planned(loud(30.0), preset("native", target))


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


def test_scores_too_fine_for_i_bert_are_refused_by_site() -> None:
    with pytest.raises(ValueError, match=r"site encoder\.0\.self_attention\.scores: c is \d+, beyond 24 bits"):
        planned(loud(0.01), preset("native", "ibert"))


@pytest.mark.parametrize("target", ["tflm", "ita", "fullyqt", "nvdla"])
def test_others_take_coarse_and_fine_scores(target: str) -> None:
    for factor in (30.0, 0.01):
        TargetRelations(planned(loud(factor), preset("native", target))).check()
