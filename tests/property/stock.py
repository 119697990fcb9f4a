"""Plain `torch.fake_quantize_*` beside strict fake-quant: every product, sum and ReLU on real float32 tensors."""

import math
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwsim.formats import IntFormat
from reference.model import Transformer
from reference.quantize.constants import Quantizer
from reference.quantize.plan import Plan
from reference.quantize.strict import Codes, StrictArithmetic

EXACT = 1 << 24
"""float32 carries integers exactly up to here: condition A is sum |q_x - z| |q_w| + |q_b| <= 2^24."""
UNIT = Fraction(1, 1 << 24)
"""Half a unit in the last place of float32, relative."""


@dataclass(kw_only=True)
class Tally:
    """Codes compared, those under condition A, and how the others came out."""

    codes: int = 0
    in_condition: int = 0
    different: int = 0
    different_in_condition: int = 0
    certified: int = 0
    stages: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One rounding: what torch computes in real numbers, and the integers that it stands for.

    The exact value before rounding is accumulator*multiplier/2^shift; `mass` is the sum of magnitudes that the
    accumulator is made of, `terms` their number.
    """

    site: str
    real: Tensor
    accumulator: Tensor
    mass: Tensor
    multiplier: Tensor
    shift: Tensor
    terms: int
    grid: int = 1
    """Every term of the accumulator is a multiple of this."""


def is_power_of_two(scale: float | Tensor) -> bool:
    values = scale.tolist() if isinstance(scale, Tensor) else [scale]
    return all(math.frexp(value)[0] == 0.5 for value in values)


def dequantize(x: Codes, quantizer: Quantizer) -> Tensor:
    return (x.codes - quantizer.zero_point) * quantizer.scale


def fake_quantized_codes(real: Tensor, quantizer: Quantizer, fmt: IntFormat) -> Tensor:
    """Codes that torch's fake-quantize gives to a real tensor."""
    scale, zero_point = quantizer.scale, quantizer.zero_point
    made = torch.fake_quantize_per_tensor_affine(real, scale, zero_point, fmt.min, fmt.max)
    return (made.double() / scale).round() + zero_point


def fake_quantized_weight(weight: Tensor, scale: Tensor, fmt: IntFormat) -> Tensor:
    if len(scale) == 1:
        return torch.fake_quantize_per_tensor_affine(weight, scale.item(), 0, fmt.min, fmt.max)
    zeros = torch.zeros(len(scale), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale.float(), zeros, 0, fmt.min, fmt.max)


def tie_distance(value: Fraction) -> Fraction:
    """How far a number is from the nearest point halfway between two integers."""
    return abs(value - (math.floor(value) + Fraction(1, 2)))


def certify(stage: Stage, where: tuple[int, ...], apart: int) -> None:
    """Prove one difference harmless: one step, and the exact value so near a tie that float32 cannot tell the side.

    x, w and the bias are off by at most 2 units each, every product and sum by one, the division by the scale by 3.
    """
    row = where[-1] if stage.multiplier.numel() > 1 else 0
    ratio = Fraction(int(stage.multiplier[row]), 1 << int(stage.shift[row]))
    value = int(stage.accumulator[where]) * ratio
    bound = (stage.terms + 12) * UNIT * int(stage.mass[where]) * ratio
    distance = tie_distance(value)
    assert apart == 1 and distance <= bound, (
        f"{stage.site}: {apart} apart at {where}, {float(distance):.3g} from a tie; float32 errs by {float(bound):.3g}"
    )


class StockChecked(StrictArithmetic):
    """Strict fake-quant that compares each of its products, residual sums and ReLUs with plain torch.

    Parameters
    ----------
    certifying
        False: under condition A nothing may differ. True (scales of any kind): differences must be certified, and
        logits, whose 32 bits float32 does not carry, are left out.
    """

    def __init__(self, model: Transformer, plan: Plan, certifying: bool) -> None:
        super().__init__(model, plan)
        self.certifying, self.tally = certifying, Tally()

    # --- one comparison -----------------------------------------------------------------------------------------

    def _compare(self, stage: Stage, strict: Tensor, to: Quantizer) -> None:
        stock, tally = fake_quantized_codes(stage.real, to, to.format), self.tally
        apart = (stock - strict).abs()
        holds = (stage.mass <= EXACT * stage.grid).expand(strict.shape)
        tally.codes += strict.numel()
        tally.in_condition += int(holds.sum())
        tally.different += int((apart > 0).sum())
        tally.different_in_condition += int(((apart > 0) & holds).sum())
        kind = stage.site.rsplit(".", 1)[-1]
        tally.stages[kind] = tally.stages.get(kind, 0) + strict.numel()
        if self.certifying:
            for where in (apart > 0).nonzero().tolist():
                certify(stage, tuple(where), int(apart[tuple(where)]))
                tally.certified += 1

    def _powers(self, *scales: float | Tensor) -> None:
        assert self.certifying or all(map(is_power_of_two, scales)), f"not powers of two: {scales}"

    def _centred(self, x: Codes) -> Tensor:
        return x.codes.double() - self.plan.quantizers[x.site].zero_point

    # --- weights ------------------------------------------------------------------------------------------------

    def _real_weight(self, site: str, weight: Tensor) -> Tensor:
        """The weight as torch fake-quantizes it; a code that differs must be certified, and then ours is taken."""
        quantizer, codes = self.plan.weights[site], self.parameter(site, weight)
        scale = quantizer.scale[:, None] if len(quantizer.scale) > 1 else quantizer.scale
        stock = fake_quantized_weight(weight, quantizer.scale, quantizer.format)
        stock_codes = (stock.double() / scale).round()
        for i, j in (stock_codes != codes).nonzero().tolist():
            assert self.certifying, f"{site}: weight {i},{j} differs"
            value = Fraction(weight[i, j].item()) / Fraction(scale.expand_as(weight)[i, j].item())
            assert tie_distance(value) <= 4 * UNIT * abs(value), f"{site}: weight {i},{j} differs, and is no tie"
        return torch.where(stock_codes == codes, stock, (codes * scale).float())

    def _linear(self, site: str, x: Codes, layer: nn.Linear, made: Codes, rectified: bool) -> None:
        constants, source, to = self.plan.linear[site], self.plan.quantizers[x.site], self.plan.quantizers[site]
        self._powers(source.scale, to.scale, self.plan.weights[f"{site}.weight"].scale)
        row = self.row(f"{site}.weight", site, layer.weight, layer.bias, x.site)
        assert row.bias is not None
        bias = (row.bias * constants.bias_scale).float()
        real = functional.linear(dequantize(x, source), self._real_weight(f"{site}.weight", layer.weight), bias)
        accumulator = self._centred(x) @ row.weight.double().T + row.bias
        stage = Stage(
            site=site,
            real=torch.relu(real) if rectified else real,
            accumulator=accumulator.clamp(min=0) if rectified else accumulator,
            mass=self._centred(x).abs() @ row.weight.double().abs().T + row.bias.abs(),
            multiplier=constants.multipliers,
            shift=constants.shifts,
            terms=x.codes.shape[-1] + 1,
        )
        self._compare(stage, made.codes, to)

    def linear(self, site: str, x: Codes, layer: nn.Linear) -> Codes:
        made = super().linear(site, x, layer)
        self._linear(site, x, layer, made, rectified=False)
        return made

    def linear_relu(self, site: str, x: Codes, layer: nn.Linear) -> Codes:
        made = super().linear_relu(site, x, layer)
        self._linear(site, x, layer, made, rectified=True)
        return made

    def logits(self, site: str, x: Codes, embedding: nn.Embedding) -> Codes:
        made = super().logits(site, x, embedding)
        if self.certifying:
            return made
        constants, source, to = self.plan.logits[site], self.plan.quantizers[x.site], self.plan.quantizers[site]
        self._powers(source.scale, to.scale, self.plan.weights[constants.table].scale)
        weight = self.parameter(constants.table, embedding.weight).double()
        stage = Stage(
            site=site,
            real=functional.linear(dequantize(x, source), self._real_weight(constants.table, embedding.weight)),
            accumulator=self._centred(x) @ weight.T,
            mass=self._centred(x).abs() @ weight.abs().T,
            multiplier=constants.multipliers,
            shift=torch.tensor([constants.shift]),
            terms=x.codes.shape[-1],
        )
        self._compare(stage, made.codes, to)
        return made

    # --- two activations ----------------------------------------------------------------------------------------

    def scores(self, site: str, queries: Codes, keys: Codes) -> Codes:
        kept: dict[str, Tensor] = {}
        observe, self.observe = self.observe, kept.__setitem__
        made = super().scores(site, queries, keys)
        self.observe = observe
        constants, to = self.plan.scores[site], self.plan.quantizers[site]
        q, k = self.plan.quantizers[queries.site], self.plan.quantizers[keys.site]
        self._powers(q.scale, k.scale, to.scale)
        real = dequantize(queries, q) @ dequantize(keys, k).mT
        accumulator = self._centred(queries) @ self._centred(keys).mT
        mass = self._centred(queries).abs() @ self._centred(keys).abs().mT
        terms = queries.codes.shape[-1]
        product = q.scale * k.scale
        if constants.shift is not None:  # a rounding of its own, on the accumulator
            coarse = Quantizer(format=IntFormat(bits=32), scale=math.ldexp(product, constants.shift))
            one = torch.tensor([1])
            stage = Stage(
                site=f"{site}.shifted",
                real=real,
                accumulator=accumulator,
                mass=mass,
                multiplier=one,
                shift=constants.shift * one,
                terms=terms,
            )
            self._compare(stage, kept[f"{site}.shifted"], coarse)
            accumulator = kept[f"{site}.shifted"].double()
            real, mass, terms = (accumulator * coarse.scale).float(), accumulator.abs(), 1
        m, e = constants.requantization
        root = math.sqrt(queries.codes.shape[-1])
        if self.plan.scheme.sqrt_mode == "dropped":
            assert constants.shift is not None
            root = 2.0**constants.shift
        stage = Stage(
            site=site,
            real=real / root,
            accumulator=accumulator,
            mass=mass,
            multiplier=torch.tensor([m]),
            shift=torch.tensor([e]),
            terms=terms + 2,
        )
        self._compare(stage, made.codes, to)
        return made

    def context(self, site: str, probabilities: Codes, values: Codes) -> Codes:
        made = super().context(site, probabilities, values)
        (m, e), to = self.plan.context[site], self.plan.quantizers[site]
        p, v = self.plan.quantizers[probabilities.site], self.plan.quantizers[values.site]
        self._powers(p.scale, v.scale, to.scale)
        left, right = self._centred(probabilities), self._centred(values)
        stage = Stage(
            site=site,
            real=dequantize(probabilities, p) @ dequantize(values, v),
            accumulator=left @ right,
            mass=left.abs() @ right.abs(),
            multiplier=torch.tensor([m]),
            shift=torch.tensor([e]),
            terms=values.codes.shape[-2],
        )
        self._compare(stage, made.codes, to)
        return made

    def add(self, site: str, x: Codes, y: Codes) -> Codes:
        made = super().add(site, x, y)
        constants, to = self.plan.add[site], self.plan.quantizers[site]
        a, b = self.plan.quantizers[x.site], self.plan.quantizers[y.site]
        self._powers(a.scale, b.scale, to.scale)
        left, right = (self._centred(v) * m for v, m in zip((x, y), constants.multipliers, strict=True))
        stage = Stage(
            site=site,
            real=dequantize(x, a) + dequantize(y, b),
            accumulator=left + right,
            mass=left.abs() + right.abs(),
            multiplier=torch.tensor([1]),
            shift=torch.tensor([constants.shift]),
            terms=2,
            grid=math.gcd(*constants.multipliers),
        )
        self._compare(stage, made.codes, to)
        return made
