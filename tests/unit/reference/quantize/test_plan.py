"""The plan: scales follow multipliers exactly, ranges never shrink, shared tables are shared, and training works."""

import math
import random
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from reference.floating import FloatArithmetic
from reference.lower import lower
from reference.models.translation import Transformer, TransformerConfig
from reference.quantize.calibrate import calibrate
from reference.quantize.graph import Kind, Node
from reference.quantize.plan import Plan, make_plan
from reference.quantize.scheme import Rule, Scheme, preset
from reference.quantize.sites import POSITIONS_WEIGHT, Role, weight_site
from reference.quantize.strict import StrictArithmetic
from reference.tokenizer import EOS
from reference.train import Batch, loss_per_token, make_batch, teacher_forced
from tests.property.equality import RefusedError, prepare
from tests.strategies import EFFORT, A, B, Case, cases

CLOSE = Fraction(1, 10**12)
"""Scales are float64: products of a few of them err by some 1e-16."""


def small_model(seed: int = 0, **changes: int) -> Transformer:
    torch.manual_seed(seed)
    sizes = {"d_model": 24, "n_heads": 3, "d_head": 10, "d_ff": 40, "encoder_layers": 2, "decoder_layers": 2} | changes
    return Transformer(TransformerConfig(vocabulary_size=50, max_positions=12, **sizes)).eval()  # type: ignore[arg-type]


def sentences(seed: int = 0, count: int = 6) -> Batch:
    rng = random.Random(seed)

    def words() -> list[int]:
        return [*(rng.randrange(EOS + 1, 50) for _ in range(rng.randrange(2, 9))), EOS]

    return make_batch([(words(), words()) for _ in range(count)])


def planned(model: Transformer, scheme: Scheme) -> Plan:
    return make_plan(model, scheme, calibrate(model, [sentences()]))


# --- section 11 of the numerics page, row by row --------------------------------------------------------------------


class Relations:
    """The ratio that every product and sum of scales has, and the one that its constants encode."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.checked: set[Kind] = set()

    def check(self) -> None:
        for node in self.plan.graph.nodes:
            test = getattr(self, f"_{node.kind.value}", None)
            if test is not None:
                test(node)
                self.checked.add(node.kind)

    def scale(self, site: str) -> Fraction:
        return Fraction(self.plan.quantizers[site].scale)

    def weight(self, site: str) -> list[Fraction]:
        return [Fraction(scale) for scale in self.plan.weights[site].scale.tolist()]

    def equal(self, node: Node, ratio: Fraction, multiplier: int, shift: int) -> None:
        encoded = Fraction(multiplier, 1 << shift)
        assert abs(ratio / encoded - 1) <= CLOSE, f"{node.site}: scales say {float(ratio)}, constants {float(encoded)}"

    def _linear(self, node: Node) -> None:
        constants, s_in, s_out = self.plan.linear[node.site], self.scale(node.inputs[0].site), self.scale(node.site)
        scales = self.weight(weight_site(node))
        rows = zip(constants.multipliers.tolist(), constants.shifts.tolist(), scales, strict=True)
        for (m, e, s_w), bias_scale in zip(rows, constants.bias_scale.tolist(), strict=True):
            self.equal(node, s_in * s_w / s_out, m, e)
            assert abs(Fraction(bias_scale) / (s_in * s_w) - 1) <= CLOSE

    _linear_relu = _linear

    def _scores(self, node: Node) -> None:
        constants, mode = self.plan.scores[node.site], self.plan.scheme.sqrt_mode
        product = math.prod(self.scale(symbol.site) for symbol in node.inputs)
        d_head = int(node.inputs[0].dims[-1])
        k = constants.shift
        assert (k is None) == (mode == "merged")
        divisor = Fraction(1)
        if mode == "merged":
            divisor = Fraction(math.sqrt(d_head))
        elif mode == "shift":
            assert k == math.floor(math.log2(math.sqrt(d_head)))
            divisor = Fraction(math.sqrt(d_head)) / 2**k
        self.equal(node, product / (divisor * self.scale(node.site)), *constants.requantization)

    def _context(self, node: Node) -> None:
        product = math.prod(self.scale(symbol.site) for symbol in node.inputs)
        self.equal(node, product / self.scale(node.site), *self.plan.context[node.site])

    def _softmax(self, node: Node) -> None:
        constants = self.plan.softmax[node.site]
        s_n, s_d, s_out = (self.scale(f"{node.site}.{part}") for part in ("numerator", "denominator", "output"))
        top = self.plan.settings[f"{node.site}.numerator"].format.max
        assert abs(s_n * top - 1) <= CLOSE
        self.equal(node, s_n / s_d, *constants.denominator)
        self.equal(node, s_n / (s_d * s_out), *constants.output)
        assert constants.table_scale == self.plan.quantizers[node.inputs[0].site].scale

    def _layernorm(self, node: Node) -> None:
        constants = self.plan.layernorm[node.site]
        n, s_x = int(node.inputs[0].dims[-1]), self.scale(node.inputs[0].site)
        parts = ("numerator", "denominator", "quotient", "output")
        s_n, s_d, s_q, s_out = (self.scale(f"{node.site}.{part}") for part in parts)
        (s_gamma,) = self.weight(f"{node.site}.gamma")
        ratios = (s_x / (n * s_n), s_x / (n * s_d), s_n / (s_d * s_q), s_q * s_gamma / s_out)
        for part, ratio in zip(parts, ratios, strict=True):
            rescale = getattr(constants, part)
            self.equal(node, ratio, rescale.multiplier, rescale.shift)
            quantizer = self.plan.quantizers[f"{node.site}.{part}"]
            assert (rescale.fmt, rescale.zero_point) == (quantizer.format, quantizer.zero_point)
        assert isinstance(node.module, nn.LayerNorm)
        eps = Fraction(node.module.eps) * n**2 / s_x**2
        assert abs(constants.eps - eps) <= Fraction(1, 2) + eps * CLOSE

    def _add(self, node: Node) -> None:
        constants = self.plan.add[node.site]
        for symbol, multiplier in zip(node.inputs, constants.multipliers, strict=True):
            self.equal(node, self.scale(symbol.site) / self.scale(node.site), multiplier, constants.shift)

    def _embed(self, node: Node) -> None:
        constants, s_sum = self.plan.embed[node.site], self.scale(node.site)
        root = Fraction(math.sqrt(int(node.output.dims[-1])))
        for m, s_e in zip(constants.multipliers.tolist(), self.weight(constants.table), strict=True):
            self.equal(node, s_e * root / s_sum, m, constants.shift)
        (s_p,) = self.weight(POSITIONS_WEIGHT)
        self.equal(node, s_p / s_sum, constants.position_multiplier, constants.shift)

    def _logits(self, node: Node) -> None:
        constants = self.plan.logits[node.site]
        s_in, s_logits = self.scale(node.inputs[0].site), self.scale(node.site)
        for m, s_e in zip(constants.multipliers.tolist(), self.weight(constants.table), strict=True):
            self.equal(node, s_in * s_e / s_logits, m, constants.shift)


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
    assert len(checked) == 9


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("multiplier_bits", [1, 2, 16])
def test_scales_of_larger_models(tied: bool, multiplier_bits: int) -> None:
    plan = planned(small_model(tied=tied), Scheme(name="x", multiplier_bits=multiplier_bits))
    Relations(plan).check()


def test_a_wrong_scale_is_noticed() -> None:
    """The check of the relations can fail."""
    plan = planned(small_model(), preset("int8"))
    plan.linear["encoder.0.feed_forward.output"].multipliers[3] += 1
    with pytest.raises(AssertionError, match=r"encoder\.0\.feed_forward\.output: scales say"):
        Relations(plan).check()


# --- powers of two --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_powers_of_two_everywhere_but_inside_softmax_and_layernorm(tied: bool) -> None:
    model = small_model(d_model=16, d_head=4, tied=tied)
    plan = planned(model, Scheme(name="x", power_of_two=True, multiplier_bits=1))
    inner = ("softmax.numerator", "softmax.denominator")
    for name, quantizer in plan.quantizers.items():
        if not name.endswith(inner):
            assert math.frexp(quantizer.scale)[0] == 0.5, name
    for name, weight in plan.weights.items():
        assert all(math.frexp(scale)[0] == 0.5 for scale in weight.scale.tolist()), name


# --- shared tables --------------------------------------------------------------------------------------------------


def test_tied_embeddings_share_one_table_and_one_multiplier_a_row() -> None:
    model = small_model()
    plan = planned(model, preset("int8"))
    program = lower(model, plan, name="tied")
    tables = {constants.table for constants in (*plan.embed.values(), *plan.logits.values())}
    assert tables == {"encoder.embedding.weight"}
    rows = [constants.multipliers for constants in (*plan.embed.values(), *plan.logits.values())]
    assert all(torch.equal(other, rows[0]) for other in rows)
    named = [info.name for info in program.manifest.constants if "embedding" in info.name or "generator" in info.name]
    assert sorted(named) == ["encoder.embedding.weight", "encoder.embedding.weight.multiplier"]
    encoder, decoder = (plan.quantizers[f"{side}.embedding"].scale for side in ("encoder", "decoder"))
    assert math.frexp(encoder / decoder)[0] == 0.5


def test_a_width_of_its_own_makes_a_table_of_its_own() -> None:
    model = small_model()
    scheme = Scheme(name="x", rules=[Rule(pattern="generator.logits.weight", bits=4)])
    plan = planned(model, scheme)
    assert {constants.table for constants in plan.embed.values()} == {"encoder.embedding.weight"}
    assert plan.logits["generator.logits"].table == "generator.logits.weight"
    assert plan.weights["generator.logits.weight"].format.bits == 4
    Relations(plan).check()


def test_untied_embeddings_share_the_positions_only() -> None:
    model = small_model(tied=False)
    plan = planned(model, preset("int8"))
    program = lower(model, plan, name="untied")
    weights = {info.name for info in program.manifest.constants if info.role == "weight"}
    tables = {"encoder.embedding.weight", "decoder.embedding.weight", "generator.logits.weight"}
    assert weights >= tables | {"positions.weight"}


def test_one_scale_for_a_whole_table() -> None:
    model = small_model()
    scheme = Scheme(name="x", rules=[Rule(pattern="*.weight", granularity="per_tensor")])
    plan = planned(model, scheme)
    assert all(len(weight.scale) == 1 for weight in plan.weights.values())
    with torch.no_grad():
        codes = teacher_forced(model, StrictArithmetic(model, plan), sentences()).codes
    assert codes.shape[-1] == 50


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_site_that_was_not_seen_is_named() -> None:
    model = small_model()
    ranges = calibrate(model, [sentences()])
    del ranges["decoder.1.cross_attention.context"]
    with pytest.raises(ValueError, match=r"site decoder\.1\.cross_attention\.context was not seen in calibration"):
        make_plan(model, preset("int8"), ranges)


def test_a_site_that_is_always_zero_is_named() -> None:
    model = small_model()
    with torch.no_grad():
        model.encoder[0].feed_forward.expand.bias.fill_(-100.0)
    with pytest.raises(ValueError, match=r"site encoder\.0\.feed_forward\.hidden is always 0 in calibration"):
        planned(model, preset("int8"))


def test_weights_that_are_all_zero_are_named() -> None:
    model = small_model()
    with torch.no_grad():
        model.decoder[1].self_attention.key.weight.zero_()
    with pytest.raises(ValueError, match=r"site decoder\.1\.self_attention\.key\.weight: all weights are 0"):
        planned(model, preset("int8"))


def test_calibration_without_text_is_refused() -> None:
    with pytest.raises(ValueError, match="calibration text is empty"):
        calibrate(small_model(), [])


def test_calibration_names_a_site_that_is_not_finite() -> None:
    model = small_model()
    with torch.no_grad():
        model.encoder[1].feed_forward.expand.weight[0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"site encoder\.1\.feed_forward\.hidden takes the value"):
        calibrate(model, [sentences()])


# --- what it is good for --------------------------------------------------------------------------------------------


def signal_to_noise(scheme: Scheme) -> float:
    """Decibels of the logits on the text of calibration."""
    model, batch = small_model(), sentences()
    plan = planned(model, scheme)
    with torch.no_grad():
        real = teacher_forced(model, FloatArithmetic(), batch).double()
        strict = teacher_forced(model, StrictArithmetic(model, plan), batch).codes * plan.logit_scale
    return 10 * math.log10(float(real.square().sum() / (real - strict).square().sum()))


def test_signal_to_noise_follows_the_widths() -> None:
    at8, at6, at4 = (signal_to_noise(preset(name)) for name in ("int8", "int6", "int4"))
    assert at8 > 25.0
    assert at6 > 16.0
    assert at8 > at6 + 6.0 > at4 + 12.0


def train(steps: int) -> tuple[list[float], dict[str, Tensor]]:
    """Losses, and the first step's gradients, of a tiny model trained in int4 on sentences to copy."""
    model, batch = small_model(encoder_layers=1, decoder_layers=1).train(), sentences()
    plan = planned(model, preset("int4"))
    strict = StrictArithmetic(model, plan)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses, gradients = [], {}
    for step in range(steps):
        logits = teacher_forced(model, strict, batch).codes * plan.logit_scale
        loss = loss_per_token(logits, batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if step == 0:
            gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients


def test_training_in_int4_learns() -> None:
    losses, _ = train(30)
    assert losses[-1] < 0.7 * losses[0]


def test_gradients_reach_every_parameter() -> None:
    _, gradients = train(1)
    model = small_model(encoder_layers=1, decoder_layers=1)
    assert gradients.keys() == {name for name, _ in model.named_parameters()}
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    # A bias of keys shifts all scores of a row alike, which softmax does not notice.
    felt = {name for name, gradient in gradients.items() if bool(gradient.abs().max() > 0)}
    assert {name for name in gradients if not name.endswith("key.bias")} <= felt
