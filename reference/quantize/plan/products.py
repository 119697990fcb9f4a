"""Constants of matrix products: layers with weights, attention's scores (with sqrt(d_head)) and context."""

import math

import torch
from torch import nn

from reference.quantize.graph import Node
from reference.quantize.plan.constants import LinearConstants, ScoresConstants, WeightQuantizer
from reference.quantize.plan.planner import Planner
from reference.quantize.plan.softmax import itamax_scale
from reference.quantize.sites import weight_site


def dropped_shift(d_head: int) -> int:
    """The k of mode `dropped`, HALF_EVEN(log2(sqrt(d_head))): log2 of 2 is exact, that of its root is not."""
    return round(math.log2(d_head) / 2)


def dropped_factor(d_head: int) -> float:
    """What `sqrt_mode = "dropped"` makes of scores: sqrt(d_head) over the nearest power of two that divides instead."""
    return math.ldexp(math.sqrt(d_head), -dropped_shift(d_head))


def linear(planner: Planner, node: Node) -> None:
    """(2), (1): a multiplier and a shift a row; the scales of the weight follow them."""
    assert isinstance(node.module, nn.Linear)
    site, s_in, s_out = weight_site(node), planner.scale[node.inputs[0].site], planner.scale[node.site]
    ideal = planner.ideal_weight(site, node.module.weight)
    snapped = [planner.snap_up(node.site, ratio) for ratio in (ideal * s_in / s_out).tolist()]
    scale = torch.tensor([s.ratio for s in snapped], dtype=torch.float64) * (s_out / s_in)
    planner.plan.weights[site] = WeightQuantizer(format=planner.plan.settings[site].format, scale=scale)
    planner.plan.linear[node.site] = LinearConstants(
        bias_scale=scale * s_in,
        multipliers=torch.tensor([s.multiplier for s in snapped]),
        shifts=torch.tensor([s.shift for s in snapped]),
    )


def scores(planner: Planner, node: Node) -> None:
    """(2), (3), (1): the shift for sqrt(d_head) by its mode; the scale of the scores takes up the rest."""
    queries, keys = (symbol.site for symbol in node.inputs)
    d_head = int(node.inputs[0].dims[-1])
    root = math.sqrt(d_head)
    mode = planner.plan.scheme.sqrt_mode
    shift = dropped_shift(d_head) if mode == "dropped" else math.floor(math.log2(root))
    product = planner.scale[queries] * planner.scale[keys]
    if mode == "shift":
        product *= 2**shift / root
    elif mode == "merged":
        product /= root
    if planner.plan.target.softmax == "itamax":  # its exponential has base 2
        planner.scale[node.site] = itamax_scale(planner.scale[node.site])
    snapped = planner.snap_down(node.site, product / planner.scale[node.site])
    planner.scale[node.site] = product / snapped.ratio
    planner.plan.scores[node.site] = ScoresConstants(shift=None if mode == "merged" else shift, requantization=snapped)


def context(planner: Planner, node: Node) -> None:
    """(2), (1): the scale of the context follows the multiplier."""
    product = math.prod(planner.scale[symbol.site] for symbol in node.inputs)
    planner.plan.context[node.site] = planner.snap_down(node.site, product / planner.scale[node.site])
    planner.scale[node.site] = product / planner.plan.context[node.site].ratio
