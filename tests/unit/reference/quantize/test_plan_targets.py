"""Plans of targets: scales follow the constants of every scheme exactly; refusals name their sites."""

import copy
import functools
import math
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hwsim.program.catalogue import CATALOGUE, Dyadic
from hwsim.program.operations import Embed, Requantize
from hwsim.program.targets import TARGETS
from hwsim.program.validate import validate
from reference.floating import FloatArithmetic
from reference.lower import lower
from reference.models.translation import Transformer
from reference.quantize.calibrate import calibrate
from reference.quantize.graph import Kind, Node
from reference.quantize.plan import Plan, make_plan
from reference.quantize.plan.constants import (
    GemminiSoftmaxConstants,
    GemmlowpConstants,
    IBertLayerNormConstants,
    IBertSoftmaxConstants,
    ItaMaxConstants,
    LayerNormConstants,
    PulpLayerNormConstants,
    RescaledAddConstants,
    SoftmaxConstants,
    TfliteLayerNormConstants,
)
from reference.quantize.plan.snap import Snapped
from reference.quantize.plan.softmax import ibert, itamax_scale, itamax_shift
from reference.quantize.scheme import Rule, Scheme, preset, scheme_for
from reference.quantize.strict import StrictArithmetic
from reference.train import teacher_forced
from tests.unit.reference.quantize.test_plan import CLOSE, Relations, planned, sentences
from tests.unit.reference.quantize.test_plan import small_model as larger_model

PRESETS = ("int8", "int6", "int4", "w4a8", "native")
ENCODER_NORM = "encoder.0.self_attention.layernorm"


def small_model() -> Transformer:
    """One layer each, a width that is no power of two."""
    return larger_model(d_model=12, d_ff=20, n_heads=2, d_head=5, encoder_layers=1, decoder_layers=1)


@functools.cache
def ranges() -> tuple[Transformer, dict]:
    model = small_model()
    return model, calibrate(model, [sentences()])


@functools.cache
def plan_of(target: str, name: str = "native") -> Plan:
    model, seen = ranges()
    return make_plan(model, preset(name, target), seen)


def close(got: float | Fraction, wanted: float | Fraction, what: str = "") -> None:
    assert abs(Fraction(got) / Fraction(wanted) - 1) <= CLOSE, f"{what}: {float(got)}, wanted {float(wanted)}"


def nodes(plan: Plan, kind: Kind) -> list[Node]:
    return [node for node in plan.graph.nodes if node.kind is kind]


# --- relations of scales ----------------------------------------------------------------------------------------------


class TargetRelations(Relations):
    """Also (R10), the LayerNorms of docs/operators/layernorm.md, and the outputs of its softmaxes."""

    def _softmax(self, node: Node) -> None:
        constants, output = self.plan.softmax[node.site], self.plan.quantizers[f"{node.site}.output"]
        s, top, bits = self.scale(node.inputs[0].site), output.format.max, output.format.bits
        match constants:
            case SoftmaxConstants():
                return super()._softmax(node)
            case GemmlowpConstants(multiplier=q, left_shift=left):
                assert 1 << 30 <= q < 1 << 31
                wanted = min(s * 2**26, Fraction(2**31 - 1))
                assert abs(Fraction(q, 2**31) * 2**left / wanted - 1) <= Fraction(1, 2**31)
                assert (output.scale, output.zero_point) == (2.0**-bits, output.format.min)
                return None
            case IBertSoftmaxConstants(ln2=ln2, b=b, c=c, requantization=(m, e)):
                real = float(s)
                assert ln2 == -math.floor(-0.6931 / real)
                assert b == math.floor(0.96963238 / 0.35815147 / real)
                assert c == math.floor(1 / 0.35815147 / real**2)
                wanted = Fraction(2**15 - 1, c << 30)
                assert Fraction(m, 2**e) <= wanted < Fraction(m + 1, 2**e)
                assert 1 << 15 <= m < 1 << 16 or c.bit_length() > 16
                assert (output.scale, output.zero_point) == (2.0**-bits, 0)
                return None
            case ItaMaxConstants(shift=shift, group=group):
                assert group == self.plan.target.itamax_group
                assert abs(s * 2**shift / Fraction(math.log(2)) - 1) < Fraction(
                    1, 2 ** (self.plan.scheme.multiplier_bits - 1)
                )
                close(output.scale, Fraction(1, 2**bits - 1))
            case GemminiSoftmaxConstants(ln2=ln2, b=b, c=c):
                real = float(s)
                wanted = (math.trunc(0.693147 / real), math.trunc(1.353 / real), math.trunc(0.344 / (0.3585 * real**2)))
                assert (ln2, b, c) == wanted
                close(output.scale, Fraction(1, top))
        assert output.zero_point == 0
        return None

    def _layernorm(self, node: Node) -> None:
        constants = self.plan.layernorm[node.site]
        n, s_out = int(node.inputs[0].dims[-1]), self.scale(f"{node.site}.output")
        s_gamma = self.weight(f"{node.site}.gamma")
        match constants:
            case LayerNormConstants():
                return super()._layernorm(node)
            case IBertLayerNormConstants(multipliers=m, shifts=e, beta_scale=s_beta):
                unit = Fraction(math.sqrt(n)) / 2**30  # s_o[j] = |gamma[j]| sqrt(n) / 2^30
                for multiplier, shift, s_g, s_b in zip(m.tolist(), e.tolist(), s_gamma, s_beta.tolist(), strict=True):
                    self.equal(node, s_g * unit / s_out, multiplier, shift)
                    close(s_b, s_g * unit, "beta")
            case PulpLayerNormConstants(shift=shift, beta_scale=s_beta):
                assert s_gamma == [s_out / 2**shift]
                assert s_beta.tolist() == [float(s_gamma[0])]
            case TfliteLayerNormConstants(requantization=snapped, beta_scale=s_beta, variance_limit=limit):
                self.equal(node, s_gamma[0] / s_out, *snapped)
                assert [Fraction(scale) for scale in s_beta.tolist()] == [s_gamma[0] / 1024]
                assert limit == 1
        return None

    def _add(self, node: Node) -> None:
        constants, s_out = self.plan.add[node.site], self.scale(node.site)
        if not isinstance(constants, RescaledAddConstants):
            super()._add(node)
            return
        s_a, s_b = (self.scale(symbol.site) for symbol in node.inputs)
        left, t = constants.left_shift, s_out
        if constants.output is not None:
            wide = max(self.plan.settings[site].bits for site in (node.site, *(symbol.site for symbol in node.inputs)))
            assert left == (20 if wide <= 8 else 15)
            t = s_out * 2**left * Fraction(constants.output.multiplier, 2**constants.output.shift)
            assert 2 * max(s_a, s_b) / t < 1 + Fraction(1, 2**20)  # t is twice the greater operand's, as nearly
        else:
            assert left == 0
        self.equal(node, s_a / t, *constants.a)
        self.equal(node, s_b / t, *constants.b)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("target", TARGETS)
def test_scales_are_what_the_constants_of_a_target_encode(target: str, name: str) -> None:
    relations = TargetRelations(plan_of(target, name))
    relations.check()
    assert len(relations.checked) == 9


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
    model, seen = ranges()
    plan = make_plan(model, scheme_for(target, name="x", **fields), seen)
    TargetRelations(plan).check()
    validate(lower(model, plan, name="x"))


def test_a_wrong_scale_of_a_target_is_noticed() -> None:
    """The check of the relations can fail."""
    model, seen = ranges()
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


# --- multipliers ------------------------------------------------------------------------------------------------------


def in_scheme(plan: Plan) -> list[tuple[int, int]]:
    """Every multiplier and shift that the target's requantization scheme must encode."""
    found = [tuple(s.requantization) for s in plan.scores.values()] + [tuple(s) for s in plan.context.values()]
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
    model, seen = ranges()
    plan = make_plan(model, scheme_for(target, name="x", multiplier_bits=significant), seen)
    for multiplier, _ in in_scheme(plan):
        assert multiplier.bit_length() == TARGETS[target].multiplier_bits
        assert (multiplier & -multiplier).bit_length() > multiplier.bit_length() - significant
    validate(lower(model, plan, name="x"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_program_has_the_schemes_of_the_target(target: str) -> None:
    model, _ = ranges()
    program = lower(model, plan_of(target), name="x")
    for _, op in program.operations():
        if isinstance(op, Requantize):
            assert type(op.requantization) is (Dyadic if op.output == "generator.logits" else TARGETS[target].scheme)
        if isinstance(op, Embed):
            multiplier, bits = op.position_multiplier, TARGETS[target].multiplier_bits
            assert multiplier < 1 << 16  # the embedding is dyadic under every target
            assert multiplier.bit_length() - (multiplier & -multiplier).bit_length() < bits
    assert program.manifest.logit_scale == plan_of(target).logit_scale


def test_a_shared_table_stays_shared_under_every_target() -> None:
    for target in TARGETS:
        plan = plan_of(target)
        assert {constants.table for constants in (*plan.embed.values(), *plan.logits.values())} == {
            "encoder.embedding.weight"
        }, target


# --- softmax ----------------------------------------------------------------------------------------------------------


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


# --- LayerNorm --------------------------------------------------------------------------------------------------------


def normed(change: Callable[[nn.LayerNorm], object]) -> Transformer:
    """A model one of whose LayerNorms was changed."""
    model = small_model()
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
    """Negative, large and 0 alike; the error is half a step, or one where a magnitude is rounded up."""
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
    assert torch.allclose(
        torch.tensor(beta).double() * s_beta, norm.bias.double(), atol=float(s_beta.max()), rtol=1e-12
    )
    validate(lower(model, plan, name="x"))


@pytest.mark.parametrize("target", ["ibert", "gemmini"])
def test_signs_of_gamma(target: str) -> None:
    model = normed(scaled_gamma)
    plan = planned(model, preset("native", target))
    gamma, _ = codes_of(model, plan, ENCODER_NORM)
    norm = model.encoder[0].attention_residual.norm
    assert gamma == norm.weight.sign().int().tolist()
    assert {-1, 0, 1} == set(gamma)
    constants = plan.layernorm[ENCODER_NORM]
    assert isinstance(constants, IBertLayerNormConstants)
    assert int(constants.multipliers.max()) < 1 << 16
    ratios = constants.multipliers.double() * 2.0 ** -constants.shifts.double()
    assert float(ratios[5]) == float(ratios.max())  # of 0: the greatest one


@pytest.mark.parametrize("target", ["ibert", "gemmini"])
def test_the_variance_shift_is_the_least(target: str) -> None:
    for bits in (8, 12, 16):
        model, seen = ranges()
        plan = make_plan(model, scheme_for(target, name="x", residual_bits=bits), seen)
        for constants in plan.layernorm.values():
            assert isinstance(constants, IBertLayerNormConstants)
            shift, squares = constants.variance_shift, 12 * ((1 << bits) - 1) ** 2
            assert squares >> 2 * shift < 1 << 32
            assert shift == 0 or squares >> 2 * (shift - 1) >= 1 << 32


@pytest.mark.parametrize("target", ["ita", "pulp"])
def test_gamma_of_pulp_has_16_bits_but_for_a_power_of_two(target: str) -> None:
    for site, constants in plan_of(target).layernorm.items():
        assert isinstance(constants, PulpLayerNormConstants)
        gamma = plan_of(target).weights[f"{site}.gamma"]
        assert gamma.format.bits == 16
        assert 1 << 14 <= 1 / float(gamma.scale) < 1 << 15 or constants.shift in (0, 31)


@pytest.mark.parametrize("target", TARGETS)
def test_a_gamma_of_zeros_is_refused_by_site(target: str) -> None:
    model = normed(lambda norm: (norm.weight.zero_(), norm.bias.fill_(0.5)))
    with pytest.raises(ValueError, match=rf"site {ENCODER_NORM}\.gamma: all weights are 0"):
        planned(model, preset("native", target))


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


# --- refusals ---------------------------------------------------------------------------------------------------------


def loud(factor: float) -> Transformer:
    """Scores of the first attention so large that their scale is."""
    model = small_model()
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


def test_a_site_that_was_not_seen_is_named_under_every_target() -> None:
    model, seen = ranges()
    for target in TARGETS:
        without = {name: value for name, value in seen.items() if name != "decoder.0.cross_attention.context"}
        with pytest.raises(ValueError, match=r"site decoder\.0\.cross_attention\.context was not seen in calibration"):
            make_plan(model, preset("native", target), without)


# --- what it is good for ----------------------------------------------------------------------------------------------


def signal_to_noise(scheme: Scheme) -> float:
    model, batch = small_model(), sentences()
    plan = planned(model, scheme)
    with torch.no_grad():
        real = teacher_forced(model, FloatArithmetic(), batch).double()
        strict = teacher_forced(model, StrictArithmetic(model, plan), batch).codes * plan.logit_scale
    return 10 * math.log10(float(real.square().sum() / (real - strict).square().sum()))


@pytest.mark.parametrize("target", TARGETS)
def test_signal_to_noise_of_a_target(target: str) -> None:
    """Every target computes the model: its native configuration is far above noise."""
    assert signal_to_noise(preset("native", target)) > 18.0
