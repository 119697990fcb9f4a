"""(12a) to (12f) of docs/numerics.md: what is 0, constant or vanishing has a scale under every target."""

import math

import pytest
import torch
from torch import Tensor

from hwsim.program.targets import DEFAULT_TARGET, TARGETS
from hwsim.program.validate import validate
from reference.lower import lower
from reference.models.translation import Transformer
from reference.quantize.plan import Plan, make_plan
from reference.quantize.scheme import NATIVE, PRESETS, Scheme, preset
from reference.quantize.strict import StrictArithmetic
from reference.train import teacher_forced
from tests.small.models import ODD, small_model
from tests.small.programs import planned, seen_by
from tests.small.pruned import PRUNINGS, VANISHINGS, Pruning, pruned
from tests.small.sentences import random_batch

SCHEMES = [*PRESETS.values(), *(preset(NATIVE, target) for target in TARGETS if target != DEFAULT_TARGET)]
HALF = (1 << 30) - 1
"""floor(L/2), where bias and accumulator are int32."""


def model_of(*prunings: Pruning) -> Transformer:
    return pruned(small_model(ODD, seed=3), *prunings)


def codes_of(model: Transformer, plan: Plan) -> dict[str, Tensor]:
    """Codes of every site on the text of calibration."""
    seen: dict[str, Tensor] = {}
    with torch.no_grad():
        teacher_forced(model, StrictArithmetic(model, plan, seen.__setitem__), random_batch(20))
    return seen


@pytest.mark.parametrize(
    "prune", [*PRUNINGS.values(), *VANISHINGS.values()], ids=[*PRUNINGS, *(f"faint {name}" for name in VANISHINGS)]
)
def test_every_target_has_a_program_of_a_pruned_model(prune: Pruning) -> None:
    model = pruned(small_model(ODD, seed=3, tied=False), prune)
    seen = seen_by(model)
    for scheme in SCHEMES:
        validate(lower(model, make_plan(model, scheme, seen), name="pruned"))


# --- (12b): sites that are 0 ----------------------------------------------------------------------------------------


def test_a_site_that_was_only_0_has_the_range_of_one() -> None:
    model = model_of(PRUNINGS["a value projection"], PRUNINGS["a feed-forward layer"])
    plan = planned(model, preset("int8"))
    scale = {name: quantizer.scale for name, quantizer in plan.quantizers.items()}
    assert scale["encoder.0.self_attention.value"] == 1 / 127  # symmetric
    assert scale["encoder.0.feed_forward.hidden"] == 1 / 255  # unsigned
    wanted = (1 / 255) * (1 / 127) / (2 / 255)  # the context's ratio, whose multiplier is rounded down
    assert math.isclose(scale["encoder.0.self_attention.context"], 2 / 255, rel_tol=2**-14)
    assert math.isclose(plan.context["encoder.0.self_attention.context"].requantization.ratio, wanted, rel_tol=2**-14)
    codes = codes_of(model, plan)
    for site in ("self_attention.value", "self_attention.context", "feed_forward.hidden", "feed_forward.output"):
        zero = plan.quantizers[f"encoder.0.{site}"].zero_point
        assert set(codes[f"encoder.0.{site}"].unique().tolist()) == {zero}


def test_what_is_added_and_was_only_0_has_no_greater_range_than_the_sum() -> None:
    model = model_of(VANISHINGS["a deviation beside eps"])
    low, high = seen_by(model)["encoder.0.feed_forward.residual"].average
    s_y = planned(model, preset("int8")).quantizers["encoder.0.feed_forward.output"].scale
    assert high < 1e-5
    assert math.isclose(s_y, (high - low) / 65535 * 256, rel_tol=2**-12)


# --- (12c): parameters that are 0 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_a_bias_alone_is_a_code_of_the_output(scheme: Scheme) -> None:
    model = model_of(PRUNINGS["a value projection but its bias"])
    plan, site = planned(model, scheme), "decoder.0.cross_attention.value"
    constants, to = plan.linear[site], plan.quantizers[site]
    assert (constants.multipliers.double() / 2.0 ** constants.shifts.double()).eq(1).all()
    wanted = min(to.format.max, round(float(torch.tensor(0.7)) / to.scale) + to.zero_point)
    assert set(codes_of(model, plan)[site].unique().tolist()) == {wanted}


@pytest.mark.parametrize("tied", [True, False])
def test_a_table_of_zeros_gives_logits_of_0(tied: bool) -> None:
    model = pruned(small_model(ODD, seed=3, tied=tied), PRUNINGS["the generator"])
    assert not codes_of(model, planned(model, preset("int8")))["generator.logits"].any()


# --- (12d), (12e): rows beside their bias ---------------------------------------------------------------------------


def test_a_row_beside_its_bias_takes_half_of_the_accumulator() -> None:
    """And its neighbours keep their scales; it is its bias alone at every position."""
    site, prune = "encoder.0.self_attention.query", VANISHINGS["a row of queries beside its bias"]
    model = model_of(prune)
    plan = planned(model, preset("int8"))
    bias = lower(model, plan, name="x").constants[f"{site}.bias"]
    assert HALF * (1 - 2**-14) < bias[1] <= HALF  # the multiplier is rounded up
    column = codes_of(model, plan)[site][..., 1]
    assert set(column.unique().tolist()) == {round(5.0 / plan.quantizers[site].scale)}
    scales, weight = (
        plan.weights[f"{site}.weight"].scale,
        model.encoder[0].self_attention.query.weight.detach().double(),
    )
    for row in (0, 2, 3):
        assert 1 <= scales[row] / max(weight[row].max() / 127, -weight[row].min() / 128) < 1 + 2**-14


def test_a_unit_that_no_input_wakes_has_half_of_the_accumulator_for_its_bias() -> None:
    site, model = "decoder.0.feed_forward.hidden", model_of(PRUNINGS["a dead unit by far"])
    plan = planned(model, preset("int8"))
    assert lower(model, plan, name="x").constants[f"{site}.bias"][1] == -HALF
    assert not codes_of(model, plan)[site][..., 1].any()
    assert plan.weights[f"{site}.weight"].scale[1] <= 0.1 / 127 * (1 + 2**-14)  # not that of its bias


# --- (12f): scales finer than their neighbours encode ---------------------------------------------------------------


def test_queries_are_no_finer_than_wired_scores_encode() -> None:
    plan = planned(model_of(VANISHINGS["queries"]), preset(NATIVE, "ita"))
    queries, keys, scores = (
        plan.quantizers[f"encoder.0.self_attention.{part}"].scale for part in ("query", "key", "scores")
    )
    assert queries > 1e-12  # of their own they have 1e-14
    assert 2.0**-34 <= queries * keys / math.sqrt(5) / scores < 2.0**-31
    assert math.isclose(scores, math.log(2) / 32, rel_tol=0.5)


def test_a_sum_beside_eps_leaves_room_for_both() -> None:
    plan = planned(model_of(VANISHINGS["a deviation beside eps"]), preset("int8"))
    s_sum = plan.quantizers["encoder.0.feed_forward.residual"].scale
    eps = plan.layernorm["encoder.0.feed_forward.layernorm"].eps
    assert eps == round(1e-5 * 12**2 / s_sum**2)
    assert eps + 12**2 * 65535**2 / 4 < 2**52
