"""Scales of residual sums: the two producers, or the sum beside an embedding, move to what the multipliers encode."""

import math
from collections.abc import Callable

from hwsim.program.targets import ResidualMethod
from reference.quantize.graph import Node
from reference.quantize.plan.constants import AddConstants, RescaledAddConstants
from reference.quantize.plan.finest import finest_output
from reference.quantize.plan.planner import Planner
from reference.quantize.plan.snap import WIDTH, Snapped, snap_around, snap_together

MOST_BITS = 16
"""Of a code."""
ROOM = 4
"""Times that what is advised is finer than the coarsest that is encoded."""
TFLITE_NARROW_SHIFT, TFLITE_WIDE_SHIFT = 20, 15
"""Bits that TFLite's ADD gains before it rescales: for results of 8 bits, and wider ones."""


def one_rounding(planner: Planner, node: Node) -> None:
    """Both operands under one shift, (7) of docs/numerics.md."""
    x, y = (symbol.site for symbol in node.inputs)
    scale = planner.scale
    ratios = [scale[site] / scale[node.site] for site in (x, y)]
    if planner.is_embedding(x):
        times = scale[y] / scale[x] / 2.0 ** (WIDTH - 2)
        multipliers, shift = snap_around(
            node.site, ratios[0], ratios[1:], planner.bits, lambda: _narrower(planner, y, times)
        )
        scale[node.site] = math.ldexp(scale[x] / multipliers[0], shift)
    else:
        multipliers, shift = snap_together(node.site, ratios, planner.bits)
        scale[x] = math.ldexp(multipliers[0], -shift) * scale[node.site]
    scale[y] = math.ldexp(multipliers[1], -shift) * scale[node.site]
    planner.plan.add[node.site] = AddConstants(multipliers=(multipliers[0], multipliers[1]), shift=shift)


def _narrower(planner: Planner, site: str, times: float) -> str:
    """What makes the scale of a site so many times finer."""
    settings = planner.plan.settings[site]
    if planner.scale[site] / times < finest_output(planner, site):
        return f"divide the weights and the bias that make {site} by {times:.1e}, or train the model again"
    bits = settings.bits + max(1, math.ceil(math.log2(times)))
    if bits <= MOST_BITS:
        return f"give {site} bits = {bits}"
    return f"give {site} range = {settings.range / times:.1e}, beyond which it saturates"


def _beside_embedding(planner: Planner, node: Node, ratio: float, reach: int, coarse: str) -> Snapped:
    """The encoding of a ratio that a site is too coarse for where it is below all."""
    least, _ = planner.encodable(node.site, reach)
    if ratio < least:
        raise ValueError(
            f"site {node.site}: the scale of {coarse} leaves its embedding a ratio of {ratio:.3g}; the least that is "
            f"encoded is {least:.3g}; {_narrower(planner, coarse, ROOM * least / ratio)}"
        )
    return planner.snap_down(node.site, ratio, reach)


def round_each(planner: Planner, node: Node) -> None:
    """(R10) without an output scheme."""
    x, y = (symbol.site for symbol in node.inputs)
    scale = planner.scale
    if planner.is_embedding(x):
        a = _beside_embedding(planner, node, scale[x] / scale[node.site], planner.reach(x), node.site)
        scale[node.site] = scale[x] / a.ratio
    else:
        a = planner.snap_up(node.site, scale[x] / scale[node.site], planner.reach(x))
        scale[x] = a.ratio * scale[node.site]
    b = planner.snap_up(node.site, scale[y] / scale[node.site], planner.reach(y))
    scale[y] = b.ratio * scale[node.site]
    planner.plan.add[node.site] = RescaledAddConstants(left_shift=0, a=a, b=b, output=None)


def clip_each(planner: Planner, node: Node) -> None:
    """(R10) by way of the greater operand's scale t, so that no operand leaves what each saturates to.

    A ratio to t is at most 1, which a multiplier encodes, so that rounding it up leaves it there.
    """
    x, y = (symbol.site for symbol in node.inputs)
    scale, held = planner.scale, planner.plan.target.operand if planner.limit("operand_bits") else None
    sums = 2 * (max(planner.reach(x), planner.reach(y)) if held is None else -held.min)
    t = max(scale[x], scale[y])
    if planner.is_embedding(x):
        a = _beside_embedding(planner, node, scale[x] / t, planner.reach(x), y)
        t = scale[x] / a.ratio
        output = _beside_embedding(planner, node, t / scale[node.site], sums, node.site)
        scale[node.site] = t / output.ratio
    else:
        output = planner.snap_up(node.site, t / scale[node.site], sums)
        t = output.ratio * scale[node.site]
        a = planner.snap_up(node.site, scale[x] / t, planner.reach(x))
        scale[x] = a.ratio * t
    b = planner.snap_up(node.site, scale[y] / t, planner.reach(y))
    scale[y] = b.ratio * t
    planner.plan.add[node.site] = RescaledAddConstants(left_shift=0, a=a, b=b, output=output, operand=held)


def tflite(planner: Planner, node: Node) -> None:
    """(R10) by way of the scale t, twice the greater operand's, less left_shift bits."""
    x, y = (symbol.site for symbol in node.inputs)
    scale = planner.scale
    widest = max(planner.plan.settings[site].bits for site in (x, y, node.site))
    left_shift = TFLITE_NARROW_SHIFT if widest <= 8 else TFLITE_WIDE_SHIFT
    t, reach = 2 * max(scale[x], scale[y]), max(planner.reach(x), planner.reach(y)) << left_shift
    if planner.is_embedding(x):
        a = _beside_embedding(planner, node, scale[x] / t, reach, y)
        t = scale[x] / a.ratio
        ratio = math.ldexp(t / scale[node.site], -left_shift)
        output = _beside_embedding(planner, node, ratio, reach, node.site)
        scale[node.site] = math.ldexp(t / output.ratio, -left_shift)
    else:
        output = planner.snap_up(node.site, math.ldexp(t / scale[node.site], -left_shift), reach)
        t = math.ldexp(output.ratio * scale[node.site], left_shift)
        a = planner.snap_up(node.site, scale[x] / t, reach)
        scale[x] = a.ratio * t
    b = planner.snap_up(node.site, scale[y] / t, reach)
    scale[y] = b.ratio * t
    planner.plan.add[node.site] = RescaledAddConstants(left_shift=left_shift, a=a, b=b, output=output)


RESIDUAL: dict[ResidualMethod, Callable[[Planner, Node], None]] = {
    "one_rounding": one_rounding,
    "round_each": round_each,
    "clip_each": clip_each,
    "tflite": tflite,
}
"""Residual sums by the name that targets have for them."""
