"""What the constants of every operation are settled in: the plan, and the planner that knows ranges and scales."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hwsim.formats import IntFormat, Overflow
from hwsim.program.catalogue import Dyadic, NarrowBefore, Requantization, scheme_type
from hwsim.program.targets import LimitName, Target
from reference.models.translation import Transformer
from reference.quantize.calibrate import Range
from reference.quantize.graph import Graph, Kind, Node
from reference.quantize.plan.constants import (
    AnyAddConstants,
    AnyLayerNormConstants,
    AnySoftmaxConstants,
    ContextConstants,
    EmbedConstants,
    HeadsConstants,
    LinearConstants,
    LogitsConstants,
    Quantizer,
    ScoresConstants,
    WeightQuantizer,
)
from reference.quantize.plan.snap import SharedSnapped, Snapped, snap_down, snap_together, snap_up
from reference.quantize.scheme import Scheme, SiteSettings
from reference.quantize.sites import Role, Site, weight_site

HARDWARE_BITS: dict[type[Requantization], int] = {Dyadic: 16, NarrowBefore: 16}
"""Multipliers of schemes that could encode more, where they are not the target's own."""


RESULT_BITS = 30
"""Of the greatest result that a ratio is to make: far beyond every code, and within all products."""
LEAST = 2.0**-126
"""The least binary32 that is not subnormal; what is below is 0 (numerics, section 12)."""


def magnitude(fmt: IntFormat) -> int:
    """The greatest |code| of a format."""
    return max(fmt.max, -fmt.min)


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
    heads: dict[str, HeadsConstants] = field(default_factory=dict)
    scores: dict[str, ScoresConstants] = field(default_factory=dict)
    context: dict[str, ContextConstants] = field(default_factory=dict)
    softmax: dict[str, AnySoftmaxConstants] = field(default_factory=dict)
    add: dict[str, AnyAddConstants] = field(default_factory=dict)
    layernorm: dict[str, AnyLayerNormConstants] = field(default_factory=dict)
    logits: dict[str, LogitsConstants] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """Whose arithmetic it is."""
        return self.scheme.arithmetic

    @property
    def logit_scale(self) -> float:
        return self.quantizers[self.graph.logits.site].scale


class Planner:
    """A model's ranges, and the scale of every site as it stands: ideal at first, then as operations snap it."""

    def __init__(self, model: Transformer, plan: Plan, ranges: dict[str, Range]) -> None:
        self.model, self.plan, self.ranges = model, plan, ranges
        self.bits = plan.scheme.multiplier_bits
        self.scale = {name: self._ideal(name) for name, site in plan.sites.items() if self._is_calibrated(site)}

    def write_quantizers(self) -> None:
        """Write the quantizer of every site whose scale is known now."""
        for name, scale in self.scale.items():
            self.plan.quantizers[name] = Quantizer(
                format=self.plan.settings[name].format, scale=scale, zero_point=self._zero_point(name, scale)
            )

    # --- ranges to ideal scales ---------------------------------------------------------------------------------

    @staticmethod
    def _is_calibrated(site: Site) -> bool:
        return site.role not in (Role.WEIGHT, Role.LOGITS)

    def _range(self, name: str) -> tuple[float, float]:
        """The range that a site's codes must hold; it always holds 0, and it is never 0 alone (12b)."""
        if name.endswith(("softmax.numerator", "softmax.output")):
            return 0.0, 1.0  # known without looking
        if name not in self.ranges:
            raise ValueError(f"site {name} was not seen in calibration; calibrate this model on some text")
        settings = self.plan.settings[name]
        low, high = (settings.range * end for end in self.ranges[name].estimate(settings.estimator))
        if self.is_silent(name):
            return 0.0 if self.plan.sites[name].role is Role.POSITIVE else -1.0, 1.0
        return min(0.0, low), max(0.0, high)

    def is_silent(self, name: str) -> bool:
        """Whether a site was only 0 in calibration."""
        if name not in self.ranges:
            return False
        return all(abs(end) < LEAST for end in self.ranges[name].estimate(self.plan.settings[name].estimator))

    def _ideal(self, name: str) -> float:
        settings, (low, high) = self.plan.settings[name], self._range(name)
        fmt = settings.format
        if settings.symmetric:
            scale = max(high / fmt.max, low / fmt.min if fmt.min else 0.0)
        else:
            scale = (high - low) / (fmt.max - fmt.min)
        return self.power_of_two(scale)

    def power_of_two(self, scale: float) -> float:
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

    # --- ratios to multipliers and shifts -----------------------------------------------------------------------

    def widths(self, scheme: type[Requantization]) -> tuple[int, int]:
        """Significant bits, and bits, of a scheme's multipliers."""
        own = self.plan.target
        if scheme is own.scheme:
            return self.bits, own.multiplier_bits
        width = HARDWARE_BITS.get(scheme, scheme.record().limits.multiplier_bits)
        return (width if self.bits >= own.multiplier_bits else min(self.bits, width)), width

    def encodable(self, site: str, reach: int = 1) -> tuple[float, float]:
        """The least and the greatest ratio that a site's scheme encodes for integers to `reach`, r0 and r1 of (12a)."""
        scheme = scheme_type(self.plan.settings[site].requantization)
        limits, (bits, width) = scheme.record().limits, self.widths(scheme)
        bound = self.plan.target.limits.shift if scheme is self.plan.target.scheme else None
        if bound is None or "shift" in self.plan.scheme.beyond:
            shortest, longest = limits.least_shift, limits.greatest_shift
        else:
            shortest, longest = max(bound.low, limits.least_shift), min(bound.high, limits.greatest_shift)
        narrowest = limits.low.bit_length() or 1
        half_of_product = 1 << limits.product_bits - 2
        while self._added(site, longest) + min(reach, half_of_product) >= 2 * half_of_product:
            longest -= 1
        most = math.ldexp(1 - 2.0 ** -min(bits, width), width - shortest)
        return math.ldexp(1.0, narrowest - 1 - longest), min(most, math.ldexp(1 / reach, RESULT_BITS))

    def snap_up(self, site: str, ratio: float, reach: int) -> Snapped:
        """The encoding of a ratio by the site's scheme, not below it, for integers to `reach`."""
        return self._snap(snap_up, site, max(ratio, self.encodable(site, max(1, reach))[0]), reach)

    def snap_up_together(self, site: str, ratios: Sequence[float], reaches: Sequence[int]) -> SharedSnapped:
        """The encodings of ratios under one shift, none below its ratio, for integers to `reaches`."""
        return self._fitting(site, lambda bits, width: snap_together(site, ratios, bits, width), max(ratios), reaches)

    def snap_down(self, site: str, ratio: float, reach: int) -> Snapped:
        """The encoding of a ratio by the site's scheme, not above it, for integers to `reach`."""
        return self._snap(snap_down, site, min(ratio, self.encodable(site, reach)[1]), reach)

    def _snap(self, snap: Callable[[str, float, int, int], Snapped], site: str, ratio: float, reach: int) -> Snapped:
        def encode(bits: int, width: int) -> SharedSnapped:
            multiplier, shift = snap(site, ratio, bits, width)
            return SharedSnapped([multiplier], shift)

        (multiplier,), shift = self._fitting(site, encode, ratio, [reach])
        return Snapped(multiplier, shift)

    def _fitting(
        self, site: str, encode: Callable[[int, int], SharedSnapped], ratio: float, reaches: Sequence[int]
    ) -> SharedSnapped:
        """The widest multipliers whose products, and whose shift, the hardware of the site's scheme holds."""
        scheme = scheme_type(self.plan.settings[site].requantization)
        limits, (bits, width) = scheme.record().limits, self.widths(scheme)
        if (accumulator := self.plan.scheme.accumulator).overflow is not Overflow.PROVEN:
            reaches = [min(reach, 1 << accumulator.bits - 1) for reach in reaches]
        for narrower in range(width, 0, -1):
            multipliers, e = snapped = encode(min(bits, narrower), narrower)
            product = max(reach * m for reach, m in zip(reaches, multipliers, strict=True))
            product += self._added(site, e)
            if product < 1 << limits.product_bits - 1 and e <= limits.greatest_shift:
                return snapped
            if narrower == limits.low.bit_length() > 1:
                break
        raise ValueError(
            f"site {site}: integers to {max(reaches)} leave no multiplier for the ratio {ratio:.3g} in products of "
            f"{limits.product_bits} bits and shifts to {limits.greatest_shift}, the limits of {scheme.record().name}; "
            "use fewer bits here or at its input"
        )

    def _added(self, site: str, shift: int) -> int:
        """The greatest that a site's scheme adds to a product ahead of its shift: a zero point, and its rounding."""
        settings = self.plan.settings[site]
        before = scheme_type(settings.requantization).record().zero_point == "before the shift"
        zero = magnitude(settings.format) if before and not settings.symmetric else 0
        return (zero << shift) + (1 << shift >> 1)

    def limit(self, name: LimitName) -> int | None:
        """The greatest value of a limit that the scheme keeps."""
        bound = self.plan.target.limits.bound(name)
        return None if bound is None or name in self.plan.scheme.beyond else bound.high

    def reach(self, site: str) -> int:
        """The greatest |code - zero point| of a site."""
        settings = self.plan.settings[site]
        fmt = settings.format
        return magnitude(fmt) if settings.symmetric else fmt.max - fmt.min

    def is_embedding(self, site: str) -> bool:
        """Whether an embedding makes a site: its scale is spoken for."""
        return any(node.kind is Kind.EMBED and node.site == site for node in self.plan.graph.nodes)

    # --- weights ------------------------------------------------------------------------------------------------

    def owner(self, node: Node) -> Node:
        """The first node that uses the same embedding matrix under the same settings: they share codes."""
        mine = self.plan.settings[weight_site(node)]
        for other in self.plan.graph.nodes:
            same = other.kind in (Kind.EMBED, Kind.LOGITS) and other.module is node.module
            if same and self.plan.settings[weight_site(other)] == mine:
                return other
        return node

    def ideal_weight(self, site: str, weight: Tensor, unit: float) -> Tensor:
        """Scale of each row, or of the whole; rows of zeros borrow the largest, and all zeros have `unit` (12c)."""
        settings = self.plan.settings[site]
        rows = weight.detach().double().reshape(len(weight), -1)
        if not bool(rows.isfinite().all()):
            row = int((~rows.isfinite()).any(-1).int().argmax())
            raise ValueError(f"site {site}: row {row} holds what is not finite; set it to 0, or train the model again")
        low, high = rows.amin(-1).clamp(max=0), rows.amax(-1).clamp(min=0)
        if settings.granularity == "per_tensor":
            low, high = low.amin(0, keepdim=True), high.amax(0, keepdim=True)
        scale = torch.maximum(high / settings.format.max, low / settings.format.min)
        heard = torch.maximum(high, -low) >= LEAST
        return torch.where(heard, scale, scale.max() if bool(heard.any()) else unit)
