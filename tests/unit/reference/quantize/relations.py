"""What the scales of a plan must be: the ratio that its constants encode, product by product and sum by sum."""

import math
from collections.abc import Sequence
from fractions import Fraction

from torch import nn

from reference.quantize.graph import Kind, Node
from reference.quantize.plan import Plan
from reference.quantize.plan.constants import (
    GemminiLayerNormConstants,
    GemminiSoftmaxConstants,
    GemmlowpConstants,
    IBertLayerNormConstants,
    IBertSoftmaxConstants,
    Int16SoftmaxConstants,
    ItaMaxConstants,
    LayerNormConstants,
    PulpLayerNormConstants,
    PulpSoftmaxConstants,
    QLinearSoftmaxConstants,
    RescaledAddConstants,
    SoftmaxConstants,
    TfliteLayerNormConstants,
)
from reference.quantize.sites import POSITIONS_WEIGHT, weight_site
from tests.small.models import TINY
from tests.unit.reference.quantize.page_arithmetic import fl32

CLOSE = Fraction(1, 10**12)
"""Scales are float64: products of a few of them err by some 1e-16."""
WIRED = {"ita": 5, "ita-head": 0, "deeploy": 5}
"""B of the ITAMax that each has."""


def close(got: float | Fraction, wanted: float | Fraction, what: str = "") -> None:
    assert abs(Fraction(got) / Fraction(wanted) - 1) <= CLOSE, f"{what}: {float(got)}, wanted {float(wanted)}"


def in_binary32(real: float) -> tuple[int, int, int]:
    """ln2, b and c of Gemmini's exponential, of section 7 of the softmax page: all but ln2 in binary32."""
    one, two, three = (fl32(Fraction(value)) for value in (1.353, 0.344, 0.3585))
    s = fl32(Fraction(real))
    return math.trunc(0.693147 / float(s)), math.trunc(fl32(one / s)), math.trunc(fl32(two / fl32(fl32(three * s) * s)))


class Relations:
    """Section 11 of the numerics page, row by row: the ratio of scales, and the one that their constants encode."""

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

    def _linear(self, node: Node, skipped: Sequence[bool] = ()) -> None:
        constants, s_in, s_out = self.plan.linear[node.site], self.scale(node.inputs[0].site), self.scale(node.site)
        scales, unit = self.weight(weight_site(node)), 2 ** (constants.truncate or 0)
        rows = list(zip(constants.multipliers.tolist(), constants.shifts.tolist(), scales, strict=True))
        biases = constants.bias_scale.tolist()
        rows *= len(biases) // len(rows)  # one scale of the weights, and one a row of the bias
        skipped = skipped if len(skipped) == len(biases) else [False] * len(biases)
        for (m, e, s_w), bias_scale, skip in zip(rows, biases, skipped, strict=True):
            self.equal(node, s_in * s_w * unit / s_out, m, e)
            if not skip:
                close(bias_scale, s_in * s_w * unit, "bias")

    def _linear_relu(self, node: Node) -> None:
        """As other layers; but a row that no input makes positive may have a bias scale of its own, (12e)."""
        constants = self.plan.linear[node.site]
        assert isinstance(node.module, nn.Linear)
        codes = (node.module.bias.detach().double() / constants.bias_scale).round().tolist()
        silent = [1 - code in (1 << 22, 1 << 30, 1 << 32) for code in codes]  # half of 24, 32 and 34 bits
        self._linear(node, skipped=silent)

    def _project_heads(self, node: Node) -> None:
        """(R14): one ratio a head from accumulator to code, one more from the sum to the output."""
        if self.plan.target.heads == "merged":
            self._linear(node)
            return
        constants, heads = self.plan.heads[node.site], node.site.removesuffix("output") + "heads"
        (s_w,), s_in, s_heads = self.weight(weight_site(node)), self.scale(node.inputs[0].site), self.scale(heads)
        assert len(constants.multipliers) == len(constants.shifts) == node.inputs[0].dims[1]
        for m, e in zip(constants.multipliers.tolist(), constants.shifts.tolist(), strict=True):
            self.equal(node, s_in * s_w / s_heads, m, e)
        self.equal(node, s_heads / self.scale(node.site), *constants.output)
        close(constants.bias_scale.item(), s_in * s_w, "bias")
        assert self.plan.quantizers[heads].zero_point == 0

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
        unit = 2 ** (constants.truncate or 0)
        self.equal(node, product * unit / (divisor * self.scale(node.site)), *constants.requantization)

    def _context(self, node: Node) -> None:
        product = math.prod(self.scale(symbol.site) for symbol in node.inputs)
        constants = self.plan.context[node.site]
        unit = 2 ** (constants.truncate or 0)
        self.equal(node, product * unit / self.scale(node.site), *constants.requantization)

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
                assert group == (0 if self.plan.target.name == "deeploy" else 16)
                assert shift == WIRED[self.plan.target.name]
                self._is_just_above(node, s / Fraction(math.log(2)) * 2**shift)
                close(output.scale, Fraction(1, 2**bits - 1))
            case QLinearSoftmaxConstants(table_scale=scale, keys=keys, multiplier=multiplier):
                assert (Fraction(scale), keys, multiplier) == (s, TINY.max_positions, 2**bits)
                assert (output.scale, output.zero_point) == (2.0**-bits, output.format.min)
                return None
            case Int16SoftmaxConstants(requantization=(m, e), clamped=clamped):
                assert Fraction(m, 2**e) <= s * 65535 / 10 < Fraction(m + 1, 2**e)
                assert 1 << 30 <= m < 1 << 31
                assert clamped == (self.plan.target.name != "cmsis-nn")
                assert output.scale == 2.0**-15
            case PulpSoftmaxConstants(ln2=ln2, b=b, c=c):
                real = float(s)
                wanted = (math.trunc(0.693147 / real), math.trunc(1.353 / real), math.trunc(0.344 / (0.3585 * real**2)))
                assert (ln2, b, c) == wanted
                close(output.scale, Fraction(1, top))
            case GemminiSoftmaxConstants(ln2=ln2, b=b, c=c):
                assert (ln2, b, c) == in_binary32(float(s))
                close(output.scale, Fraction(1, top))
            case _:
                raise AssertionError(f"no relations of {constants}")
        assert output.zero_point == 0
        return None

    def _is_just_above(self, node: Node, ratio: Fraction) -> None:
        """A wanted scale grew by less than one step of the multiplier that its codes are made with."""
        m = self.plan.scores[node.inputs[0].site].requantization.multiplier
        step = 1 << max(0, m.bit_length() - self.plan.scheme.multiplier_bits)
        assert 1 - CLOSE <= ratio < (1 + Fraction(step, m)) * (1 + CLOSE)

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
            case PulpLayerNormConstants(shift=shift, half=half, beta_scale=s_beta, overflow=overflow):
                assert s_gamma == [s_out / 2**shift]
                assert s_beta.tolist() == [float(s_gamma[0])]
                assert (half, overflow.value) == (2**shift // 2, "wrap")
            case GemminiLayerNormConstants(requantization=snapped, beta_scale=s_beta):
                self.equal(node, s_gamma[0] / s_out, *snapped)
                assert [Fraction(scale) for scale in s_beta.tolist()] == s_gamma
            case TfliteLayerNormConstants(requantization=snapped, beta_scale=s_beta, variance_limit=limit):
                self.equal(node, s_gamma[0] / s_out, *snapped)
                assert [Fraction(scale) for scale in s_beta.tolist()] == [s_gamma[0] / 1024]
                assert limit == 1
            case _:
                raise AssertionError(f"no relations of {constants}")
        return None

    def _add(self, node: Node) -> None:
        constants, s_out = self.plan.add[node.site], self.scale(node.site)
        if not isinstance(constants, RescaledAddConstants):
            super()._add(node)
            return
        s_a, s_b = (self.scale(symbol.site) for symbol in node.inputs)
        left, t = constants.left_shift, s_out
        if constants.output is not None:
            t = s_out * 2**left * Fraction(constants.output.multiplier, 2**constants.output.shift)
            self._greatest(node, max(s_a, s_b) / t)
        else:
            assert (left, constants.operand) == (0, None)
        self.equal(node, s_a / t, *constants.a)
        self.equal(node, s_b / t, *constants.b)

    def _greatest(self, node: Node, ratio: Fraction) -> None:
        """How the greater operand's scale lies to t: at most a half of TFLite's, a whole of those that clip."""
        constants, sites = self.plan.add[node.site], [node.site, *(symbol.site for symbol in node.inputs)]
        if self.plan.target.residual == "tflite":
            wide = max(self.plan.settings[site].bits for site in sites)
            assert (constants.left_shift, constants.operand) == (20 if wide <= 8 else 15, None)
            assert 2 * ratio < 1 + Fraction(1, 2**20)
            return
        assert constants.left_shift == 0
        if "operand_bits" not in self.plan.scheme.beyond:
            assert (constants.operand.min, constants.operand.max) == (-128, 127)
        for m, e in (constants.a, constants.b):
            assert m <= 1 << e, "an operand leaves what it saturates to"
        assert ratio > 1 - Fraction(2, 2**self.plan.scheme.multiplier_bits)
