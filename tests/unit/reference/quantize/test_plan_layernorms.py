"""Plans of the targets' LayerNorms: codes of gamma and beta, shifts, and gammas of every magnitude."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hwsim.program.targets import TARGETS
from hwsim.program.validate import validate
from reference.lower import lower
from reference.models.translation import Transformer
from reference.quantize.plan import Plan, make_plan
from reference.quantize.plan.constants import IBertLayerNormConstants, LayerNormConstants, PulpLayerNormConstants
from reference.quantize.scheme import preset, scheme_for
from reference.quantize.strict import StrictArithmetic
from tests.small.models import small_model
from tests.small.programs import planned
from tests.unit.reference.quantize.plans import ONE, calibrated, plan_of
from tests.unit.reference.quantize.relations import TargetRelations

ENCODER_NORM = "encoder.0.self_attention.layernorm"


def normed(change: Callable[[nn.LayerNorm], object]) -> Transformer:
    """A model one of whose LayerNorms was changed."""
    model = small_model(ONE)
    norm = model.encoder[0].attention_residual.norm
    with torch.no_grad():
        change(norm)
    return model


def scaled_gamma(norm: nn.LayerNorm) -> None:
    norm.weight.copy_(torch.linspace(-2, 2, len(norm.weight)))
    norm.weight[5] = 0.0
    norm.bias.copy_(torch.linspace(-1, 3, len(norm.bias)))


def codes_of(model: Transformer, plan: Plan, site: str) -> tuple[list[int], list[int]]:
    strict = StrictArithmetic(model, plan)
    norm = model.encoder[0].attention_residual.norm
    with torch.no_grad():
        gamma, (beta, _) = strict.parameter(f"{site}.gamma", norm.weight), strict.beta(site, norm)
    return gamma.int().tolist(), beta.long().tolist()


@pytest.mark.parametrize("target", TARGETS)
def test_gamma_and_beta_come_back_from_their_codes(target: str) -> None:
    """Negative, large and 0 alike; the error is half a step, or one where a magnitude is rounded up.

    A beta of PULP also has the half that its floor lacks.
    """
    model = normed(scaled_gamma)
    plan = planned(model, preset("native", target))
    TargetRelations(plan).check()
    norm = model.encoder[0].attention_residual.norm
    gamma, beta = codes_of(model, plan, ENCODER_NORM)
    scale = plan.weights[f"{ENCODER_NORM}.gamma"].scale
    real = torch.tensor(gamma).double() * scale
    step = 2.0**-15 if TARGETS[target].layernorm == "ibert" else float(scale.max()) * 0.5000001
    assert torch.allclose(real, norm.weight.double(), rtol=2.0**-14, atol=step)
    constants = plan.layernorm[ENCODER_NORM]
    if isinstance(constants, LayerNormConstants):
        s_beta = plan.quantizers[f"{ENCODER_NORM}.quotient"].scale * scale
    else:
        s_beta = constants.beta_scale
    half, step = 0, float(s_beta.max())
    if TARGETS[target].layernorm in ("pulp", "gemmini", "tflite"):
        step /= 1.9999999
    if isinstance(constants, PulpLayerNormConstants):
        assert constants.shift >= 16
        half = 2 ** (constants.shift - 1)
    codes = torch.tensor(beta).double() - half
    assert torch.allclose(codes * s_beta, norm.bias.double(), atol=step, rtol=1e-12)
    validate(lower(model, plan, name="x"))


def test_signs_of_gamma() -> None:
    model = normed(scaled_gamma)
    plan = planned(model, preset("native", "ibert"))
    gamma, _ = codes_of(model, plan, ENCODER_NORM)
    norm = model.encoder[0].attention_residual.norm
    assert gamma == norm.weight.sign().int().tolist()
    assert {-1, 0, 1} == set(gamma)
    constants = plan.layernorm[ENCODER_NORM]
    assert isinstance(constants, IBertLayerNormConstants)
    assert int(constants.multipliers.max()) < 1 << 16
    ratios = constants.multipliers.double() * 2.0 ** -constants.shifts.double()
    assert float(ratios[5]) == float(ratios.max())  # of 0: the greatest one


def test_the_variance_shift_is_the_least() -> None:
    for bits in (8, 12, 16):
        model, seen = calibrated()
        plan = make_plan(model, scheme_for("ibert", name="x", residual_bits=bits), seen)
        for constants in plan.layernorm.values():
            assert isinstance(constants, IBertLayerNormConstants)
            shift, squares = constants.variance_shift, 12 * ((1 << bits) - 1) ** 2
            assert squares >> 2 * shift < 1 << 32
            assert shift == 0 or squares >> 2 * (shift - 1) >= 1 << 32


def test_gamma_of_gemmini_is_an_operand_of_its_array() -> None:
    """8 bits, of which the greatest |gamma| takes the last code."""
    model = normed(scaled_gamma)  # linspace(-2, 2) of 12, of which the sixth is 0
    gamma, _ = codes_of(model, planned(model, preset("native", "gemmini")), ENCODER_NORM)
    assert gamma == [-127, -104, -81, -58, -35, 0, 12, 35, 58, 81, 104, 127]


@pytest.mark.parametrize("target", ["ita", "ita-head", "pulp", "deeploy"])
def test_gamma_of_pulp_is_an_int32_of_which_23_bits_are_used(target: str) -> None:
    """So that 255, the greatest deviation of int8 codes, times gamma is an int32."""
    for site, constants in plan_of(target).layernorm.items():
        assert isinstance(constants, PulpLayerNormConstants)
        gamma = plan_of(target).weights[f"{site}.gamma"]
        assert gamma.format.bits == 32
        assert 1 << 21 <= 1 / float(gamma.scale) < 1 << 22  # gamma is 1 in a model that was not trained
        assert 0 < constants.shift < 31


@pytest.mark.parametrize(("magnitude", "shift"), [(1e-6, 31), (1e9, 3)])
def test_a_shift_of_pulp_stops_at_both_ends(magnitude: float, shift: int) -> None:
    """(12f) leaves an output the scale 4*gamma*sqrt(12)/64/2^16, and gamma 22 bits of magnitude: 4*sqrt(12) is 13.9."""
    model = normed(lambda norm: norm.weight.mul_(magnitude))
    plan = make_plan(model, preset("native", "deeploy"), calibrated()[1])
    assert plan.layernorm[ENCODER_NORM].shift == shift
    assert plan.layernorm[ENCODER_NORM].half == 1 << shift - 1


@pytest.mark.parametrize("target", TARGETS)
def test_a_gamma_of_zeros_leaves_beta_as_a_code_of_the_output(target: str) -> None:
    """(12c)."""
    model = normed(lambda norm: (norm.weight.zero_(), norm.bias.fill_(0.5)))
    plan = planned(model, preset("native", target))
    TargetRelations(plan).check()
    program, scale = lower(model, plan, name="x"), plan.quantizers[f"{ENCODER_NORM}.output"].scale
    shift = getattr(plan.layernorm[ENCODER_NORM], "shift", 0)
    unit = 1024 if target in ("tflm", "cmsis-nn") else 1  # (L13) divides by 1024 ahead of the ratio
    assert not program.constants[f"{ENCODER_NORM}.gamma"].any()
    assert shift == 0
    assert set(program.constants[f"{ENCODER_NORM}.beta"].tolist()) == {round(0.5 * unit / scale)}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("magnitude", [1e-6, 1e-3, 300.0])
def test_a_gamma_of_another_magnitude(target: str, magnitude: float) -> None:
    """Plans and lowers, or names the site."""
    model = normed(lambda norm: norm.weight.mul_(magnitude))
    try:
        plan = planned(model, preset("native", target))
        validate(lower(model, plan, name="x"))
    except ValueError as error:
        assert "encoder.0" in str(error)  # noqa: PT017
        return
    TargetRelations(plan).check()
