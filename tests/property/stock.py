"""Plain `torch.fake_quantize_*` beside the machine: every product, sum and ReLU on real float32 tensors."""

import math
from collections import Counter as Multiset
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwsim.formats import IntFormat, Scaling
from reference.models.translation import Transformer
from reference.quantize.plan import Plan
from reference.quantize.plan.constants import AddConstants, Quantizer, RescaledAddConstants
from reference.quantize.plan.snap import Snapped
from reference.quantize.strict import Codes, StrictArithmetic
from tests.property.equality import Prepared, machine_trace, strict_trace
from tests.property.explain import UNIT, Rescaled, Stage, explain, tie_distance

EXACT = 1 << 24
"""float32 carries integers exactly up to here: condition A wants sum |q_x - z| |q_w| + |q_b| <= 2^24."""


@dataclass(kw_only=True)
class Tally:
    """Codes compared, those under condition A, and how the others came out; tallies add up.

    `exact` codes are those of which torch's float32 is exact; `condition` holds if the scheme is an exact HALF_EVEN
    too; `condition_rows` are the rows of results (last axis) that meet it throughout. Every difference has one of the
    reasons of `tests.property.explain`; there is none without. `unlike_strict` counts codes of the machine that strict
    fake-quant makes otherwise of the same inputs.
    """

    examples: int = 0
    refused: int = 0
    codes: int = 0
    exact: int = 0
    condition: int = 0
    condition_rows: int = 0
    different: int = 0
    different_in_condition: int = 0
    different_where_exact: int = 0
    unlike_strict: int = 0
    reasons: Multiset[str] = field(default_factory=Multiset)
    stages: Multiset[str] = field(default_factory=Multiset)

    def add(self, other: "Tally") -> None:
        for name, value in vars(other).items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
            else:
                getattr(self, name).update(value)


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


def check_prepared(prepared: Prepared) -> Tally:
    """The tally of a whole model, `encode` and every step, by the codes of the machine."""
    batch = prepared.batch
    trace = machine_trace(prepared.program, batch.source.numpy(), batch.target.numpy(), prepared.sites)
    calls = trace.records()
    machine = {site: iter([torch.tensor(call[site]) for call in calls if site in call]) for site in set().union(*calls)}
    checked = StockChecked(prepared.model, prepared.plan, machine)
    strict_trace(Prepared(**(vars(prepared) | {"strict": checked})))
    return checked.tally


class StockChecked(StrictArithmetic):
    """Compares each product, residual sum and ReLU of the machine with plain torch; every difference is explained.

    Parameters
    ----------
    machine
        Site -> the machine's codes of it, call by call. They replace strict fake-quant's, so that every stage is
        judged by itself, on the machine's own inputs.

    Raises
    ------
    AssertionError
        At the first code that cannot be explained.
    """

    def __init__(self, model: Transformer, plan: Plan, machine: Mapping[str, Iterator[Tensor]]) -> None:
        super().__init__(model, plan)
        self.tally = Tally(examples=1)
        self._machine, self._seen = machine, dict[str, Tensor]()

    def _see(self, site: str, codes: Tensor) -> Codes:
        made = next(self._machine[site]).to(codes.dtype)
        self.tally.unlike_strict += int((made != codes).sum())
        self._seen[site] = made
        return super()._see(site, made)

    # --- one comparison -----------------------------------------------------------------------------------------

    def _compare(self, stage: Stage, made: Tensor, to: Quantizer) -> None:
        stock, tally = fake_quantized_codes(stage.real, to, to.format), self.tally
        apart, condition = stock != made, stage.condition
        tally.codes += made.numel()
        tally.exact += int(stage.exact.sum())
        tally.condition += int(condition.sum())
        tally.condition_rows += int(condition.all(-1).sum())
        tally.different += int(apart.sum())
        tally.different_in_condition += int((apart & condition).sum())
        tally.different_where_exact += int((apart & stage.exact).sum())
        tally.stages[stage.site.rsplit(".", 1)[-1]] += made.numel()
        for index in (apart | stage.in_doubt).nonzero().tolist():
            where = tuple(index)
            tally.reasons[explain(stage, where, int(made[where]), int(stock[where]), to)] += 1

    def _stage(
        self,
        site: str,
        real: Tensor,
        rescaled: Rescaled,
        scales: tuple[float | Tensor, ...],
        terms: int,
        scaling: Scaling | None = None,
    ) -> Stage:
        """A stage of one operand, by the target's scheme if no other is said."""
        return Stage(
            site=site,
            real=real,
            operands=(rescaled,),
            scaling=self.plan.target.scaling if scaling is None else scaling,
            exact=(rescaled.mass <= EXACT) & all(map(is_power_of_two, scales)),
            terms=terms,
        )

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
            row = scale.expand_as(weight)[i, j].item()
            assert not is_power_of_two(row), f"{site}: weight {i},{j} differs"
            value = Fraction(weight[i, j].item()) / Fraction(row)
            assert tie_distance(value) <= 4 * UNIT * abs(value), f"{site}: weight {i},{j} differs, and is no tie"
        return torch.where(stock_codes == codes, stock, (codes * scale).float())

    def _linear(self, site: str, x: Codes, layer: nn.Linear, made: Codes, rectified: bool) -> None:
        constants, source, to = self.plan.linear[site], self.plan.quantizers[x.site], self.plan.quantizers[site]
        row = self.row(f"{site}.weight", site, layer.weight, layer.bias, x.site)
        assert row.bias is not None
        bias = (row.bias * constants.bias_scale).float()
        real = functional.linear(dequantize(x, source), self._real_weight(f"{site}.weight", layer.weight), bias)
        accumulator = self._centred(x) @ row.weight.double().T + row.bias
        rescaled = Rescaled(
            x=accumulator.clamp(min=0) if rectified else accumulator,
            mass=self._centred(x).abs() @ row.weight.double().abs().T + row.bias.abs(),
            multiplier=constants.multipliers,
            shift=constants.shifts,
        )
        scales = (source.scale, to.scale, self.plan.weights[f"{site}.weight"].scale)
        real = torch.relu(real) if rectified else real
        self._compare(self._stage(site, real, rescaled, scales, x.codes.shape[-1] + 1), made.codes, to)

    def linear(self, site: str, x: Codes, layer: nn.Linear) -> Codes:
        made = super().linear(site, x, layer)
        self._linear(site, x, layer, made, rectified=False)
        return made

    def linear_relu(self, site: str, x: Codes, layer: nn.Linear) -> Codes:
        made = super().linear_relu(site, x, layer)
        self._linear(site, x, layer, made, rectified=True)
        return made

    def logits(self, site: str, x: Codes, embedding: nn.Embedding) -> Codes:
        """Compared where float32 is exact: else it does not carry their 32 bits."""
        made = super().logits(site, x, embedding)
        constants, source, to = self.plan.logits[site], self.plan.quantizers[x.site], self.plan.quantizers[site]
        weight = self.parameter(constants.table, embedding.weight).double()
        rescaled = Rescaled(
            x=self._centred(x) @ weight.T,
            mass=self._centred(x).abs() @ weight.abs().T,
            multiplier=constants.multipliers,
            shift=torch.tensor([constants.shift]),
        )
        real = functional.linear(dequantize(x, source), self._real_weight(constants.table, embedding.weight))
        scales = (source.scale, to.scale, self.plan.weights[constants.table].scale)
        stage = self._stage(site, real, rescaled, scales, x.codes.shape[-1], Scaling.HALF_EVEN)
        if bool(stage.exact.all()):
            self._compare(stage, made.codes, to)
        return made

    # --- two activations ----------------------------------------------------------------------------------------

    def scores(self, site: str, queries: Codes, keys: Codes) -> Codes:
        made = super().scores(site, queries, keys)
        constants, to = self.plan.scores[site], self.plan.quantizers[site]
        q, k = self.plan.quantizers[queries.site], self.plan.quantizers[keys.site]
        accumulator = self._centred(queries) @ self._centred(keys).mT
        mass = self._centred(queries).abs() @ self._centred(keys).abs().mT
        real, terms = dequantize(queries, q) @ dequantize(keys, k).mT, queries.codes.shape[-1]
        root, product, one = math.sqrt(terms), q.scale * k.scale, torch.tensor([1])
        if constants.shift is not None:  # a rounding of its own, on the accumulator
            coarse = Quantizer(format=IntFormat(bits=32), scale=math.ldexp(product, constants.shift))
            rescaled = Rescaled(x=accumulator, mass=mass, multiplier=one, shift=constants.shift * one)
            scales, shifted = (q.scale, k.scale), f"{site}.shifted"
            stage = self._stage(shifted, real, rescaled, scales, terms, Scaling.HALF_EVEN)
            self._compare(stage, self._seen[shifted], coarse)
            accumulator = self._seen[shifted].double()
            real, mass, terms = (accumulator * coarse.scale).float(), accumulator.abs(), 1
        m, e = constants.requantization
        if self.plan.scheme.sqrt_mode == "dropped":
            assert constants.shift is not None
            root = 2.0**constants.shift
        rescaled = Rescaled(x=accumulator, mass=mass, multiplier=m * one, shift=e * one)
        scales = (q.scale, k.scale, to.scale, root)
        self._compare(self._stage(site, real / root, rescaled, scales, terms + 2), made.codes, to)
        return made

    def context(self, site: str, probabilities: Codes, values: Codes) -> Codes:
        made = super().context(site, probabilities, values)
        (m, e), to = self.plan.context[site].requantization, self.plan.quantizers[site]
        p, v = self.plan.quantizers[probabilities.site], self.plan.quantizers[values.site]
        left, right = self._centred(probabilities), self._centred(values)
        rescaled = Rescaled(
            x=left @ right,
            mass=left.abs() @ right.abs(),
            multiplier=torch.tensor([m]),
            shift=torch.tensor([e]),
        )
        real = dequantize(probabilities, p) @ dequantize(values, v)
        stage = self._stage(site, real, rescaled, (p.scale, v.scale, to.scale), values.codes.shape[-2])
        self._compare(stage, made.codes, to)
        return made

    def _operands(
        self, constants: AddConstants | RescaledAddConstants, x: Tensor, y: Tensor
    ) -> tuple[tuple[Rescaled, ...], Snapped | None, Scaling]:
        """What a residual sum rounds, and how: both at once, (7) of docs/numerics.md, or each operand, (R10)."""
        if isinstance(constants, AddConstants):
            left, right = (v * m for v, m in zip((x, y), constants.multipliers, strict=True))
            one, shift = torch.tensor([1]), torch.tensor([constants.shift])
            both = Rescaled(x=left + right, mass=left.abs() + right.abs(), multiplier=one, shift=shift)
            return (both,), None, Scaling.HALF_EVEN
        each = (
            Rescaled(x=v, mass=v.abs(), multiplier=torch.tensor([m]), shift=torch.tensor([e]))
            for v, (m, e) in zip(
                (x * (1 << constants.left_shift), y * (1 << constants.left_shift)),
                (constants.a, constants.b),
                strict=True,
            )
        )
        return tuple(each), constants.output, self.plan.target.scaling

    def add(self, site: str, x: Codes, y: Codes) -> Codes:
        made = super().add(site, x, y)
        constants, to = self.plan.add[site], self.plan.quantizers[site]
        a, b = self.plan.quantizers[x.site], self.plan.quantizers[y.site]
        operands, output, scaling = self._operands(constants, self._centred(x), self._centred(y))
        finest = min(a.scale, b.scale)
        mass = (self._centred(x).abs() * a.scale + self._centred(y).abs() * b.scale) / finest
        stage = Stage(
            site=site,
            real=dequantize(x, a) + dequantize(y, b),
            operands=operands,
            output=output,
            clip=constants.operand if isinstance(constants, RescaledAddConstants) else None,
            scaling=scaling,
            exact=(mass <= EXACT) & all(map(is_power_of_two, (a.scale, b.scale, to.scale))),
            terms=2,
        )
        self._compare(stage, made.codes, to)
        return made
