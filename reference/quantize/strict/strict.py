"""Strict fake-quant: the model in integer codes, carried by float tensors, differentiable straight through."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hwsim.formats import IntFormat, Overflow, Rounding
from hwsim.program.catalogue import scaling_of, scheme_type
from reference.models.arithmetic import Mask
from reference.models.translation import Transformer
from reference.quantize.plan import Plan
from reference.quantize.plan.constants import (
    ContextConstants,
    GemminiLayerNormConstants,
    HeadsConstants,
    LayerNormConstants,
    LinearConstants,
    PulpLayerNormConstants,
    ScoresConstants,
)
from reference.quantize.sites import POSITIONS_WEIGHT, heads_site
from reference.quantize.strict import (
    attention,
    dense,
    exact,
    fullyqt_layernorm,
    matmul,
    operators,
    parameters,
    planned,
    scaling,
)
from reference.quantize.strict.kept import Kept

WIDE_BETA_BITS = 48
"""Of LayerNorm's beta where its scale is a target's: I-BERT's is 2^-30 of the output's."""
BETA_BITS: dict[type, int] = {PulpLayerNormConstants: 32, GemminiLayerNormConstants: 32}
"""Where the operator has a width of its own."""
TRUNCATED = IntFormat(bits=32)
"""What NVDLA's CACC hands on."""
Observer = Callable[[str, Tensor], None]


class Codes(NamedTuple):
    """Codes of a site (float32 holding integers); the site says which quantizer they have."""

    codes: Tensor
    site: str


class Row(NamedTuple):
    """A weight ready for use: codes (rows, in), bias codes or None, and the bound of its accumulator's partial sums."""

    weight: Tensor
    bias: Tensor | None
    bound: int


class StrictArithmetic:
    """`reference.models.arithmetic.Arithmetic` on codes, by the equations of docs/numerics.md.

    Parameters
    ----------
    model
        Its parameters are quantized; without gradients, once.
    plan
        Scales and integer constants.
    observe
        Called with (site, codes) for every site, inner sites and the shift of the scores included.
    """

    def __init__(self, model: Transformer, plan: Plan, observe: Observer | None = None) -> None:
        self.plan = plan
        self.observe = observe
        self.overflows = 0
        self.kept = Kept()
        self._dense: dict[str, dense.Site | None] = {}
        self._products: dict[tuple[str, int], attention.Constants | None] = {}

    def _see(self, site: str, codes: Tensor) -> Codes:
        if self.observe is not None:
            self.observe(site, codes)
        return Codes(codes, site)

    def _count(self, overflows: int) -> None:
        self.overflows += overflows

    # --- parameters ---------------------------------------------------------------------------------------------

    def parameter(self, site: str, value: Tensor) -> Tensor:
        """Codes of a parameter: (rows, ...) with one scale for all or for each row."""
        quantizer = self.plan.weights[site]
        by_row = len(quantizer.scale) > 1 and value.dim() > 1
        scale = quantizer.scale[:, None] if by_row else quantizer.scale
        return parameters.quantize_parameter(value, scale, quantizer.format)

    def row(self, weight_site: str, node: str, weight: Tensor, bias: Tensor | None, a_site: str) -> Row:
        """Weight and bias codes of a product with the codes of `a_site`; kept while no gradient is wanted."""

        def make() -> Row:
            codes = self.parameter(weight_site, weight)
            bias_codes = None if bias is None else self.bias(self.plan.linear[node], bias)
            return self._bounded(codes, bias_codes, a_site)

        return self.kept.get(f"{node} {weight_site}", (weight, bias), make)

    def _bounded(self, codes: Tensor, bias: Tensor | None, a_site: str) -> Row:
        a = self.plan.quantizers[a_site]
        reach = max(a.format.max - a.zero_point, a.zero_point - a.format.min)
        sums = codes.detach().double().abs().sum(-1) * reach
        if bias is not None:
            sums = sums + bias.detach().abs()
        return Row(codes, bias, int(sums.max()))

    def head_rows(self, site: str, layer: nn.Linear, a_site: str) -> Row:
        """Weight (h,d,e) and bias (h,d), which is head 0's, of the products of `a_site` that make an output `site`."""

        def make() -> Row:
            constants = self.plan.heads[site]
            count = len(constants.multipliers)
            codes = self.parameter(f"{site}.weight", layer.weight).unflatten(1, (count, -1)).transpose(0, 1)
            bias = self.bias(constants, layer.bias)
            return self._bounded(codes, nn.functional.pad(bias[None], (0, 0, 0, count - 1)), a_site)

        return self.kept.get(f"{site} heads", (layer.weight, layer.bias), make)

    @staticmethod
    def bias(constants: LinearConstants | HeadsConstants, bias: Tensor) -> Tensor:
        """Codes of a layer's bias, float64: its own width, shifted left."""
        shifted = float(1 << constants.bias_shift)
        return parameters.quantize_bias(bias, constants.bias_scale * shifted, constants.bias_bits) * shifted

    # --- products -----------------------------------------------------------------------------------------------

    def _product(self, a: Codes, b: Tensor, bias: Tensor | None, b_zero: int, bound: int) -> Tensor:
        a_zero, accumulator = self.plan.quantizers[a.site].zero_point, self.plan.scheme.accumulator
        if planned.cannot_overflow(self.plan, bound):
            return matmul.matmul(a.codes, b, bias, a_zero, b_zero, bound)
        acc, events = matmul.matmul_ordered(a.codes, b, bias, a_zero, b_zero, accumulator)
        self._count(events)
        return acc

    def _held(self, bound: int) -> int:
        """What the accumulator can hold of a bound."""
        accumulator = self.plan.scheme.accumulator
        return bound if accumulator.overflow is Overflow.PROVEN else min(bound, -accumulator.min)

    def _linear_accumulator(self, site: str, x: Codes, layer: nn.Linear) -> tuple[Tensor, int]:
        row = self.row(f"{site}.weight", site, layer.weight, layer.bias, x.site)
        truncate = self.plan.linear[site].truncate
        if truncate is None:
            return self._product(x, row.weight, row.bias, 0, row.bound), self._held(row.bound)
        acc = self._product(x, row.weight, None, 0, row.bound)
        acc, _ = self._truncated(acc, truncate, 0)
        if row.bias is not None:
            acc = exact.clamp_codes(total := acc.double() + row.bias, total.detach(), 1.0, TRUNCATED)
        return acc, -TRUNCATED.min

    def _truncated(self, acc: Tensor, truncate: int | None, bound: int) -> tuple[Tensor, int]:
        """(R13): an accumulator in the 32 bits that NVDLA's SDP reads."""
        if truncate is None:
            return acc, bound
        held = exact.shift_right(acc, truncate, rounding=Rounding.HALF_AWAY, fmt=TRUNCATED)
        return held, -TRUNCATED.min

    def _rescaled(self, site: str, acc: Tensor, m: int | Tensor, e: int | Tensor, bound: int) -> Tensor:
        """Codes of a site from an accumulator, by the site's scheme."""
        to, scheme = self.plan.quantizers[site], scheme_type(self.plan.settings[site].requantization)
        return scaling.requantize_by(acc, scaling_of(scheme), m, e, to.zero_point, to.format, bound)

    def _at_once(self, site: str, x: Codes, layer: nn.Linear, relu: bool) -> Tensor | None:
        """Codes of a layer by `dense`, or None if it has another scheme or an accumulator that may overflow."""
        if site not in self._dense:
            self._dense[site] = planned.linear_site(self.plan, site, x.site, len(layer.weight), relu)
        to = self._dense[site]
        return None if to is None else self._by_weight(site, f"{site}.weight", x, layer.weight, layer.bias, to)

    def _by_weight(
        self, node: str, weight_site: str, x: Codes, weight: Tensor, bias: Tensor | None, to: dense.Site
    ) -> Tensor | None:
        def make() -> tuple[Tensor, Tensor | None, dense.Weight | None]:
            codes = self.parameter(weight_site, weight)
            bias_codes = None if bias is None else self.bias(self.plan.linear[node], bias)
            plain = None if bias_codes is None else bias_codes.detach()
            return codes, bias_codes, dense.prepare(to, codes.detach(), plain)

        codes, bias_codes, ready = self.kept.get(f"{node} at once", (weight, bias), make)
        if ready is None or not planned.cannot_overflow(self.plan, ready.bound):
            return None
        if exact.tracked(x.codes, codes, bias_codes):
            return dense.Dense.apply(x.codes, codes, bias_codes, to, ready)  # type: ignore[no-any-return, no-untyped-call]
        return dense.product(x.codes, to, ready, None)

    def linear(self, site: str, x: Codes, layer: nn.Linear) -> Codes:
        return self._layer(site, x, layer, relu=False)

    def linear_relu(self, site: str, x: Codes, layer: nn.Linear) -> Codes:
        return self._layer(site, x, layer, relu=True)

    def _layer(self, site: str, x: Codes, layer: nn.Linear, relu: bool) -> Codes:
        codes = self._at_once(site, x, layer, relu)
        if codes is None:
            acc, bound = self._linear_accumulator(site, x, layer)
            constants = self.plan.linear[site]
            ratios = constants.multipliers, constants.shifts
            codes = self._rescaled(site, exact.relu(acc) if relu else acc, *ratios, bound)
        return self._see(site, codes)

    def project_heads(self, site: str, x: Codes, layer: nn.Linear) -> Codes:
        if self.plan.target.heads == "merged":
            merged = Codes(x.codes.transpose(1, 2).flatten(-2), x.site)
            return self.linear(f"{site}.output", merged, layer)
        heads, output = heads_site(f"{site}.output"), f"{site}.output"
        constants, row = self.plan.heads[output], self.head_rows(output, layer, x.site)
        assert row.bias is not None
        acc, bound = self._product(x, row.weight, row.bias[:, None], 0, row.bound), self._held(row.bound)  # b,h,n,d
        to, scheme = self.plan.quantizers[heads], scheme_type(self.plan.settings[heads].requantization)
        made = scaling.sum_of_heads(acc, constants.multipliers, constants.shifts, to.format, bound, scaling_of(scheme))
        self._see(heads, made.heads)
        greatest = len(constants.multipliers) * -to.format.min
        return self._see(output, self._rescaled(output, made.total, *constants.output, greatest))

    def _activation_product(self, a: Codes, b: Codes, b_rows: Tensor) -> tuple[Tensor, int]:
        bound = planned.pair_bound(self.plan, a.codes.shape[-1], a.site, b.site)
        return self._product(a, b_rows, None, self.plan.quantizers[b.site].zero_point, bound), self._held(bound)

    def _pair(self, site: str, a: Codes, b: Codes, to: ScoresConstants | ContextConstants) -> Tensor | None:
        """Codes of a product of activations by `attention`, or None as in `_at_once`; b is (..., k, n)."""
        length = a.codes.shape[-1]
        if (site, length) not in self._products:
            self._products[site, length] = planned.pair_constants(self.plan, site, length, a.site, b.site, to)
        constants = self._products[site, length]
        if constants is None:
            return None
        observed = self.observe is not None and getattr(to, "shift", None) is not None
        see = (lambda acc: self._see(f"{site}.shifted", acc)) if observed else None
        return attention.product(a.codes, b.codes, constants, see)

    def scores(self, site: str, queries: Codes, keys: Codes) -> Codes:
        constants = self.plan.scores[site]
        codes = self._pair(site, queries, Codes(keys.codes.mT, keys.site), constants)
        if codes is not None:
            return self._see(site, codes)
        acc, bound = self._activation_product(queries, keys, keys.codes)
        acc, bound = self._truncated(acc, constants.truncate, bound)
        if constants.shift is not None:
            acc = self._see(f"{site}.shifted", exact.shift_right(acc, constants.shift)).codes
        return self._see(site, self._rescaled(site, acc, *constants.requantization, bound))

    def context(self, site: str, probabilities: Codes, values: Codes) -> Codes:
        constants = self.plan.context[site]
        codes = self._pair(site, probabilities, values, constants)
        if codes is not None:
            return self._see(site, codes)
        acc, bound = self._activation_product(probabilities, values, values.codes.transpose(-1, -2))
        acc, bound = self._truncated(acc, constants.truncate, bound)
        return self._see(site, self._rescaled(site, acc, *constants.requantization, bound))

    def logits(self, site: str, x: Codes, embedding: nn.Embedding) -> Codes:
        constants, rows = self.plan.logits[site], len(embedding.weight)
        if site not in self._dense:
            ratios = constants.multipliers, torch.tensor([constants.shift])
            self._dense[site] = planned.dense_site(self.plan, site, x.site, *ratios, rows, relu=False)
        to = self._dense[site]
        assert to is not None
        codes = self._by_weight(site, constants.table, x, embedding.weight, None, to)
        if codes is not None:
            return self._see(site, codes)
        row = self.row(constants.table, site, embedding.weight, None, x.site)
        acc, bound = self._product(x, row.weight, None, 0, row.bound), self._held(row.bound)
        return self._see(site, exact.requantize(acc, constants.multipliers, constants.shift, 0, to.to_format, bound))

    # --- rows ---------------------------------------------------------------------------------------------------

    def softmax(self, site: str, scores: Codes, mask: Mask | None) -> Codes:
        constants, allowed = self.plan.softmax[site], None if mask is None else mask.allowed
        slope = self.plan.quantizers[scores.site].scale
        at = operators.Scores(site, scores.codes, allowed, self.plan, slope, self.observe)
        return self._see(f"{site}.output", operators.SOFTMAX[type(constants)](at, constants))

    def layernorm(self, site: str, x: Codes, norm: nn.LayerNorm) -> Codes:
        constants = self.plan.layernorm[site]
        gamma, beta, bound = self.kept.get(site, (norm.weight, norm.bias), lambda: self._affine(site, norm))
        zero = self.plan.quantizers[x.site].zero_point
        at = operators.Norm(site, x.codes, zero, gamma, beta, bound, self.plan, self.observe, self._count)
        return self._see(f"{site}.output", operators.LAYERNORM[type(constants)](at, constants))

    def _affine(self, site: str, norm: nn.LayerNorm) -> tuple[Tensor, Tensor, int | None]:
        """Codes of gamma and beta, and the bound of what they make where the constants know one."""
        constants, gamma = self.plan.layernorm[site], self.parameter(f"{site}.gamma", norm.weight)
        beta, _ = self.beta(site, norm)
        if not isinstance(constants, LayerNormConstants):
            return gamma, beta, None
        return gamma, beta, fullyqt_layernorm.affine_bound(gamma, beta, constants)

    def beta(self, site: str, norm: nn.LayerNorm) -> tuple[Tensor, int]:
        """Codes of LayerNorm's beta, and their width: integers at the scale of what gamma multiplies."""
        constants = self.plan.layernorm[site]
        if isinstance(constants, LayerNormConstants):
            scale = self.plan.quantizers[f"{site}.quotient"].scale * self.plan.weights[f"{site}.gamma"].scale.item()
            bits = self.plan.scheme.bias_bits
            return parameters.quantize_bias(norm.bias, scale, bits), bits
        bits = BETA_BITS.get(type(constants), WIDE_BETA_BITS)
        half = constants.half if isinstance(constants, PulpLayerNormConstants) else 0
        return parameters.quantize_bias(norm.bias, constants.beta_scale, bits) + half, bits

    # --- the rest -----------------------------------------------------------------------------------------------

    def embed(
        self, site: str, ids: Tensor, first_position: Tensor, embedding: nn.Embedding, positions: Tensor
    ) -> Codes:
        constants, to = self.plan.embed[site], self.plan.quantizers[site]
        multipliers = constants.multipliers
        codes = exact.embed(
            ids,
            first_position,
            self._table_codes(constants.table, embedding),
            multipliers if len(multipliers) > 1 else int(multipliers),
            self._position_codes(positions),
            constants.position_multiplier,
            constants.shift,
            to.zero_point,
            to.format,
        )
        return self._see(site, codes)

    def _table_codes(self, site: str, embedding: nn.Embedding) -> Tensor:
        return self.kept.get(site, (embedding.weight,), lambda: self.parameter(site, embedding.weight))

    def _position_codes(self, positions: Tensor) -> Tensor:
        return self.kept.get(POSITIONS_WEIGHT, (positions,), lambda: self.parameter(POSITIONS_WEIGHT, positions))

    def add(self, site: str, x: Codes, y: Codes) -> Codes:
        constants, quantizers = self.plan.add[site], self.plan.quantizers
        a_zero, b_zero = quantizers[x.site].zero_point, quantizers[y.site].zero_point
        at = operators.Sum(site, x.codes, y.codes, a_zero, b_zero, self.plan)
        return self._see(site, operators.RESIDUAL[type(constants)](at, constants))

    def split_heads(self, x: Codes, n_heads: int) -> Codes:
        rows = x.codes.reshape(*x.codes.shape[:-1], n_heads, -1)
        return Codes(rows.transpose(1, 2).contiguous(), x.site)

    def extend(self, site: str, past: Codes, x: Codes) -> Codes:
        return Codes(torch.cat((past.codes, x.codes), dim=2), x.site)

    def dropout(self, x: Codes) -> Codes:
        return x
