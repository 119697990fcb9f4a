"""The quantization plan: every quantizer and every integer constant of a model under a scheme."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from hwsim.formats import IntFormat
from hwsim.program.targets import Target
from reference.models.translation import Transformer
from reference.quantize.calibrate import Range
from reference.quantize.graph import Graph, Kind, Node, trace
from reference.quantize.plan.constants import (
    AddConstants,
    AnyLayerNormConstants,
    AnySoftmaxConstants,
    EmbedConstants,
    LinearConstants,
    LogitsConstants,
    Quantizer,
    RescaledAddConstants,
    ScoresConstants,
    WeightQuantizer,
)
from reference.quantize.plan.layernorm import LAYERNORM
from reference.quantize.plan.residual import RESIDUAL
from reference.quantize.plan.snap import Snapped, check_shift, snap_around, snap_down, snap_together, snap_up
from reference.quantize.plan.softmax import SOFTMAX, itamax_scale
from reference.quantize.scheme import Scheme, SiteSettings
from reference.quantize.sites import POSITIONS_WEIGHT, Role, Site, enumerate_sites, weight_site
from reference.quantize.strict.rows import LayerNormConstants

LOGIT_BITS = 32


@dataclass(kw_only=True)
class Plan:
    """All that strict fake-quant and lowering need besides the float weights. Keys are sites."""

    scheme: Scheme
    graph: Graph
    sites: dict[str, Site]
    settings: dict[str, SiteSettings]
    quantizers: dict[str, Quantizer] = field(default_factory=dict)
    weights: dict[str, WeightQuantizer] = field(default_factory=dict)
    embed: dict[str, EmbedConstants] = field(default_factory=dict)
    linear: dict[str, LinearConstants] = field(default_factory=dict)
    scores: dict[str, ScoresConstants] = field(default_factory=dict)
    context: dict[str, Snapped] = field(default_factory=dict)
    softmax: dict[str, AnySoftmaxConstants] = field(default_factory=dict)
    add: dict[str, AddConstants | RescaledAddConstants] = field(default_factory=dict)
    layernorm: dict[str, AnyLayerNormConstants] = field(default_factory=dict)
    logits: dict[str, LogitsConstants] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """Whose arithmetic it is."""
        return self.scheme.arithmetic

    @property
    def logit_scale(self) -> float:
        return self.quantizers[self.graph.logits.site].scale


def make_plan(model: Transformer, scheme: Scheme, ranges: dict[str, Range]) -> Plan:
    """Choose and snap every scale of a model.

    Raises
    ------
    ValueError
        If the scheme does not fit the model, a site was not calibrated, or a scale cannot be encoded; names the site.
    """
    graph = trace(model)
    sites = enumerate_sites(graph, scheme.arithmetic)
    plan = Plan(scheme=scheme, graph=graph, sites=sites, settings=scheme.resolve(sites))
    planner = Planner(model, plan, ranges)
    with torch.no_grad():
        planner.run()
    return plan


def dropped_factor(d_head: int) -> float:
    """What `sqrt_mode = "dropped"` makes of scores: sqrt(d_head) over the nearest power of two that divides instead."""
    root = math.sqrt(d_head)
    return math.ldexp(root, -round(math.log2(root)))


class Planner:
    """Walks the graph for the embeddings, then for residual sums, which tie two producers, then for everything else."""

    def __init__(self, model: Transformer, plan: Plan, ranges: dict[str, Range]) -> None:
        self.model, self.plan, self.ranges = model, plan, ranges
        self.bits, self.width = plan.scheme.multiplier_bits, plan.target.multiplier_bits
        self.scale = {name: self._ideal(name) for name, site in plan.sites.items() if self._is_calibrated(site)}

    def run(self) -> None:
        nodes = self.plan.graph.nodes
        self._tie_embeddings()
        for node in nodes:
            if node.kind is Kind.EMBED:
                self._embed(node)
        for node in nodes:
            if node.kind is Kind.ADD:
                RESIDUAL[self.plan.target.residual](self, node)
        steps: dict[Kind, Callable[[Node], None]] = {
            Kind.LINEAR: self._linear,
            Kind.LINEAR_RELU: self._linear,
            Kind.SCORES: self._scores,
            Kind.SOFTMAX: partial(SOFTMAX[self.plan.target.softmax], self),
            Kind.CONTEXT: self._context,
            Kind.LAYERNORM: partial(LAYERNORM[self.plan.target.layernorm], self),
            Kind.LOGITS: self._logits,
        }
        for node in nodes:
            if node.kind in steps:
                steps[node.kind](node)
        for name, scale in self.scale.items():
            self.plan.quantizers[name] = Quantizer(
                format=self.plan.settings[name].format, scale=scale, zero_point=self._zero_point(name, scale)
            )
        for name, constants in self.plan.layernorm.items():  # its zero point is known only now
            if not isinstance(constants, LayerNormConstants):
                continue
            zero_point = self.plan.quantizers[f"{name}.output"].zero_point
            self.plan.layernorm[name] = replace(constants, output=replace(constants.output, zero_point=zero_point))

    # --- ranges to ideal scales ---------------------------------------------------------------------------------

    @staticmethod
    def _is_calibrated(site: Site) -> bool:
        return site.role not in (Role.WEIGHT, Role.LOGITS)

    def _range(self, name: str) -> tuple[float, float]:
        """The range that a site's codes must hold; it always holds 0."""
        if name.endswith(("softmax.numerator", "softmax.output")):
            return 0.0, 1.0  # known without looking
        if name not in self.ranges:
            raise ValueError(f"site {name} was not seen in calibration")
        low, high = self.ranges[name].estimate(self.plan.settings[name].estimator)
        return min(0.0, low), max(0.0, high)

    def _ideal(self, name: str) -> float:
        settings, (low, high) = self.plan.settings[name], self._range(name)
        fmt = settings.format
        if settings.symmetric:
            scale = max(high / fmt.max, low / fmt.min if fmt.min else 0.0)
        else:
            scale = (high - low) / (fmt.max - fmt.min)
        if not scale > 0.0:
            raise ValueError(f"site {name} is always 0 in calibration: it has no scale")
        return self._power_of_two(scale)

    def _power_of_two(self, scale: float) -> float:
        """The scale, or the next power of two if the scheme wants these."""
        return math.ldexp(1.0, math.ceil(math.log2(scale))) if self.plan.scheme.power_of_two else scale

    def _zero_point(self, name: str, scale: float) -> int:
        settings = self.plan.settings[name]
        if self.plan.sites[name].role is Role.PROBABILITY:
            return settings.format.min
        if settings.symmetric:
            return 0
        fmt, (low, _) = settings.format, self._range(name)
        return min(fmt.max, max(fmt.min, round(fmt.min - low / scale)))

    def snap_up(self, site: str, ratio: float) -> Snapped:
        """The target's encoding of a ratio, not below it."""
        return snap_up(site, ratio, self.bits, self.width)

    def snap_down(self, site: str, ratio: float) -> Snapped:
        """The target's encoding of a ratio, not above it."""
        return snap_down(site, ratio, self.bits, self.width)

    def is_embedding(self, site: str) -> bool:
        """Whether an embedding makes a site: its scale is spoken for."""
        return any(node.kind is Kind.EMBED and node.site == site for node in self.plan.graph.nodes)

    # --- scales that hang together ------------------------------------------------------------------------------

    def _owner(self, node: Node) -> Node:
        """The first node that uses the same embedding matrix under the same settings: they share codes."""
        mine = self.plan.settings[weight_site(node)]
        for other in self.plan.graph.nodes:
            same = other.kind in (Kind.EMBED, Kind.LOGITS) and other.module is node.module
            if same and self.plan.settings[weight_site(other)] == mine:
                return other
        return node

    def _tie_embeddings(self) -> None:
        """Embedding sums that share codes differ by a power of two, so that one multiplier a row serves both."""
        first, second = (node for node in self.plan.graph.nodes if node.kind is Kind.EMBED)
        if self._owner(second) is second:
            return
        power = round(math.log2(self.scale[second.site] / self.scale[first.site]))
        base = max(self.scale[first.site], math.ldexp(self.scale[second.site], -power))
        self.scale[first.site], self.scale[second.site] = base, math.ldexp(base, power)

    def ideal_weight(self, site: str, weight: Tensor) -> Tensor:
        """Scale of each row, or of the whole; rows of zeros borrow the largest."""
        settings = self.plan.settings[site]
        rows = weight.detach().double().reshape(len(weight), -1)
        low, high = rows.amin(-1).clamp(max=0), rows.amax(-1).clamp(min=0)
        if settings.granularity == "per_tensor":
            low, high = low.amin(0, keepdim=True), high.amax(0, keepdim=True)
        scale = torch.maximum(high / settings.format.max, low / settings.format.min)
        if not bool((scale > 0).any()):
            raise ValueError(f"site {site}: all weights are 0")
        return torch.where(scale > 0, scale, scale.max())

    def _embed(self, node: Node) -> None:
        assert isinstance(node.module, nn.Embedding)
        owner, s_sum = self._owner(node), self.scale[node.site]
        if owner is not node:
            constants = self.plan.embed[owner.site]
            power = round(math.log2(s_sum / self.scale[owner.site]))
            shift = check_shift(node.site, constants.shift + power)
            self.plan.embed[node.site] = replace(constants, shift=shift)
            return
        site, root = weight_site(node), math.sqrt(node.module.embedding_dim)
        rows = self.ideal_weight(site, node.module.weight) * root
        s_sum, multipliers, shift = self._snap_embedding(node, rows)
        self.plan.embed[node.site] = EmbedConstants(
            table=site,
            multipliers=torch.tensor(multipliers[:-1]),
            position_multiplier=multipliers[-1],
            shift=shift,
        )
        self.plan.weights[site] = WeightQuantizer(
            format=self.plan.settings[site].format,
            scale=torch.tensor(multipliers[:-1], dtype=torch.float64) * (math.ldexp(s_sum, -shift) / root),
        )
        if POSITIONS_WEIGHT not in self.plan.weights:
            scale = torch.tensor([math.ldexp(multipliers[-1], -shift) * s_sum], dtype=torch.float64)
            fmt = self.plan.settings[POSITIONS_WEIGHT].format
            self.plan.weights[POSITIONS_WEIGHT] = WeightQuantizer(format=fmt, scale=scale)

    def _snap_embedding(self, node: Node, rows: Tensor) -> tuple[float, list[int], int]:
        """Scale of the sum, and multipliers of the rows (whose real scales are given) and, last, of the positions.

        The first embedding settles the scale of the positions; the sum of another one moves to fit it.
        """
        site, s_sum, known = weight_site(node), self.scale[node.site], self.plan.weights.get(POSITIONS_WEIGHT)
        if known is None:
            s_positions = self.ideal_weight(POSITIONS_WEIGHT, self.model.positions).max().item()
            return s_sum, *snap_together(site, [*(rows / s_sum).tolist(), s_positions / s_sum], self.bits)
        ratios = (rows / s_sum).tolist()
        (positions, *multipliers), shift = snap_around(site, known.scale.item() / s_sum, ratios, self.bits)
        self.scale[node.site] = math.ldexp(known.scale.item() / positions, shift)
        return self.scale[node.site], [*multipliers, positions], shift

    def _linear(self, node: Node) -> None:
        assert isinstance(node.module, nn.Linear)
        site, s_in, s_out = weight_site(node), self.scale[node.inputs[0].site], self.scale[node.site]
        ideal = self.ideal_weight(site, node.module.weight)
        snapped = [self.snap_up(node.site, ratio) for ratio in (ideal * s_in / s_out).tolist()]
        scale = torch.tensor([s.ratio for s in snapped], dtype=torch.float64) * (s_out / s_in)
        self.plan.weights[site] = WeightQuantizer(format=self.plan.settings[site].format, scale=scale)
        self.plan.linear[node.site] = LinearConstants(
            bias_scale=scale * s_in,
            multipliers=torch.tensor([s.multiplier for s in snapped]),
            shifts=torch.tensor([s.shift for s in snapped]),
        )

    def _scores(self, node: Node) -> None:
        queries, keys = (symbol.site for symbol in node.inputs)
        root = math.sqrt(int(node.inputs[0].dims[-1]))
        mode = self.plan.scheme.sqrt_mode
        shift = round(math.log2(root)) if mode == "dropped" else math.floor(math.log2(root))
        product = self.scale[queries] * self.scale[keys]
        if mode == "shift":
            product *= 2**shift / root
        elif mode == "merged":
            product /= root
        if self.plan.target.softmax == "itamax":  # its exponential has base 2
            self.scale[node.site] = itamax_scale(self.scale[node.site])
        snapped = self.snap_down(node.site, product / self.scale[node.site])
        self.scale[node.site] = product / snapped.ratio
        self.plan.scores[node.site] = ScoresConstants(shift=None if mode == "merged" else shift, requantization=snapped)

    def _context(self, node: Node) -> None:
        product = math.prod(self.scale[symbol.site] for symbol in node.inputs)
        self.plan.context[node.site] = self.snap_down(node.site, product / self.scale[node.site])
        self.scale[node.site] = product / self.plan.context[node.site].ratio

    def _logits(self, node: Node) -> None:
        assert isinstance(node.module, nn.Embedding)
        owner, s_in = self._owner(node), self.scale[node.inputs[0].site]
        reach = self._logit_reach(node)
        if owner is node:
            site = weight_site(node)
            ideal = self.ideal_weight(site, node.module.weight)
            gain = min(2.0 ** (LOGIT_BITS - 2) / reach, 2.0**14)  # of the largest row, within what a multiplier encodes
            s_logits = self._power_of_two(s_in * ideal.max().item() / gain)
            multipliers, shift = snap_together(node.site, (ideal * (s_in / s_logits)).tolist(), self.bits)
            scale = torch.tensor(multipliers, dtype=torch.float64) * (math.ldexp(s_logits, -shift) / s_in)
            self.plan.weights[site] = WeightQuantizer(format=self.plan.settings[site].format, scale=scale)
            constants = LogitsConstants(table=site, multipliers=torch.tensor(multipliers), shift=shift)
        else:
            lookup = self.plan.embed[owner.site]
            worst = reach * int(lookup.multipliers.max())
            shift = max(0, worst.bit_length() - (LOGIT_BITS - 1))
            s_logits = s_in * math.ldexp(self.scale[owner.site], shift - lookup.shift)
            s_logits /= math.sqrt(node.module.embedding_dim)
            constants = LogitsConstants(table=lookup.table, multipliers=lookup.multipliers, shift=shift)
        self.plan.logits[node.site] = constants
        self.plan.quantizers[node.site] = Quantizer(format=IntFormat(bits=LOGIT_BITS), scale=s_logits)

    def _logit_reach(self, node: Node) -> int:
        """A bound of the generator's accumulator from formats alone."""
        fmt, site = self.plan.settings[weight_site(node)].format, node.inputs[0].site
        codes = self.plan.settings[site].format
        d_model = int(node.inputs[0].dims[-1])
        return d_model * -fmt.min * (codes.max - codes.min)
