"""Scales finer than what makes or reads a site encodes become the finest that is encoded: (12f) of docs/numerics.md.

It is done before any scale is snapped, so that what is tied later finds ratios that it can encode.
"""

import math
from collections.abc import Callable

from torch import nn

from reference.quantize.graph import Kind, Node
from reference.quantize.plan.embedding import coarsest_positions, coarsest_rows
from reference.quantize.plan.planner import Planner
from reference.quantize.plan.products import score_product
from reference.quantize.plan.softmax import score_scale
from reference.quantize.sites import heads_site, weight_site

ROOM = 4
"""A scale that is raised leaves two bits for those of its neighbours to grow when they are snapped."""
SUM_RATIO = 2.0**16
"""What the multipliers of every sum encode."""
LAYERNORM_RATIO = 2.0**16
"""What the multipliers of every LayerNorm encode."""
NORMALISED = 1 << 6
"""2^22 less the bits of that ratio: what normalised values times gamma may reach in codes of the output."""
EPS_BITS, VARIANCE_BITS = 50, 52
"""Of eps_int where it would take V of section 5 to 2^52."""


def _finest(planner: Planner, site: str, unit: float, reach: int = 1) -> float:
    """The scale of a site at which unit / scale is what its scheme encodes for integers to `reach`, with room."""
    return ROOM * unit / planner.encodable(site, reach)[1]


def _raise(planner: Planner, site: str, unit: float, reach: int = 1) -> None:
    """Let unit / scale of a site be at most what its scheme encodes for integers to `reach`."""
    least = _finest(planner, site, unit, reach)
    if planner.scale[site] < least / ROOM:
        planner.scale[site] = planner.power_of_two(least)


def _within(planner: Planner, node: Node) -> None:
    """(12b): what is added and was only 0 has no greater range than the sum."""
    settings, made = planner.plan.settings, node.inputs[1].site
    for site in (made, heads_site(made)):
        if site in planner.scale and planner.is_silent(site):
            most = math.ldexp(planner.scale[node.site], settings[node.site].bits - settings[site].bits)
            planner.scale[site] = min(planner.scale[site], planner.power_of_two(most))


def _embedding(planner: Planner, node: Node) -> None:
    coarsest = max(coarsest_rows(planner, node), coarsest_positions(planner, planner.scale[node.site]))
    if coarsest / planner.scale[node.site] > SUM_RATIO:
        planner.scale[node.site] = planner.power_of_two(ROOM * coarsest / SUM_RATIO)


def _made(planner: Planner, node: Node) -> str:
    """The site whose codes a product with weights makes: its own, or its heads'."""
    return heads_site(node.site) if heads_site(node.site) in planner.scale else node.site


def _of_products(planner: Planner, node: Node) -> tuple[float, int]:
    """The scale of a product's coarsest row, and the greatest sum of its codes."""
    assert isinstance(node.module, nn.Linear)
    weight, source = node.module.weight.detach().double(), node.inputs[0].site
    s_in = planner.scale[source]
    ideal = planner.ideal_weight(weight_site(node), weight, planner.scale[_made(planner, node)] / s_in)
    sums = (weight / ideal[:, None]).round().abs().sum(-1) * planner.reach(source)
    return s_in * ideal.max().item(), max(1, int(sums.max()))


def _of_heads(planner: Planner, node: Node) -> tuple[float, int]:
    """The scale of heads that are summed, and the greatest sum of their codes."""
    made = _made(planner, node)
    return planner.scale[made], int(node.inputs[0].dims[1]) * planner.reach(made)


def finest_output(planner: Planner, site: str) -> float:
    """The least scale that (12f) leaves the output of a product with weights; 0 for another site."""
    for node in planner.plan.graph.nodes:
        if node.site == site and isinstance(node.module, nn.Linear):
            of = _of_products if _made(planner, node) == site else _of_heads
            return _finest(planner, site, *of(planner, node))
    return 0.0


def _product(planner: Planner, node: Node) -> None:
    made = _made(planner, node)
    _raise(planner, made, *_of_products(planner, node))
    if made != node.site:
        _raise(planner, node.site, *_of_heads(planner, node))


def _sum(planner: Planner, node: Node) -> None:
    greatest = max(planner.scale[symbol.site] for symbol in node.inputs)
    reach = 2 * max(planner.reach(symbol.site) for symbol in node.inputs)
    if greatest / planner.scale[node.site] > SUM_RATIO:
        planner.scale[node.site] = planner.power_of_two(ROOM * greatest / SUM_RATIO)
    _raise(planner, node.site, greatest, reach)


def _layernorm(planner: Planner, node: Node) -> None:
    assert isinstance(node.module, nn.LayerNorm)
    site, n, eps = node.inputs[0].site, node.module.normalized_shape[0], node.module.eps
    made, quotient = f"{node.site}.output", f"{node.site}.quotient"
    gamma, fullyqt = node.module.weight.detach().abs().max().item(), quotient in planner.scale
    held = planner.plan.settings[weight_site(node)].format.max
    unit = gamma * (planner.scale[quotient] / held if fullyqt else math.sqrt(n) / NORMALISED)
    if unit / planner.scale[made] > LAYERNORM_RATIO:
        planner.scale[made] = planner.power_of_two(unit * ROOM / LAYERNORM_RATIO)
    if not fullyqt:
        return
    spread = (n * (planner.plan.settings[site].format.max - planner.plan.settings[site].format.min)) ** 2 / 4
    if spread < 2.0**EPS_BITS and eps * (n / planner.scale[site]) ** 2 >= 2.0**VARIANCE_BITS - spread:
        planner.scale[site] = planner.power_of_two(math.sqrt(eps) * n / 2.0 ** (EPS_BITS // 2))


def _scores(planner: Planner, node: Node) -> None:
    queries = node.inputs[0].site
    least, _ = planner.encodable(node.site)
    ratio = score_product(planner, node)[1] / score_scale(planner, node.site)
    if ratio < least:
        planner.scale[queries] = planner.power_of_two(planner.scale[queries] * ROOM * least / ratio)


FINEST: dict[Kind, Callable[[Planner, Node], None]] = {
    Kind.EMBED: _embedding,
    Kind.LINEAR: _product,
    Kind.LINEAR_RELU: _product,
    Kind.PROJECT_HEADS: _product,
    Kind.ADD: _sum,
    Kind.LAYERNORM: _layernorm,
    Kind.SCORES: _scores,
}
"""What raises the scales of each kind of node; the others' are known or follow."""


def raise_finest(planner: Planner) -> None:
    """(12f), in the order of the model."""
    for node in planner.plan.graph.nodes:
        if node.kind is Kind.ADD:
            _within(planner, node)
    for node in planner.plan.graph.nodes:
        if node.kind in FINEST:
            FINEST[node.kind](planner, node)
