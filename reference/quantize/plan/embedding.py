"""Constants of embeddings and of the generator, which may share a table: docs/numerics.md, sections 8, 9 and 12."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from hwsim.formats import IntFormat
from reference.quantize.graph import Kind, Node
from reference.quantize.plan.constants import EmbedConstants, LogitsConstants, Quantizer, WeightQuantizer
from reference.quantize.plan.planner import Planner
from reference.quantize.plan.snap import snap_around, snap_together
from reference.quantize.sites import POSITIONS_WEIGHT, weight_site

LOGIT_BITS = 32
POSITION_RATIO = 2.0**14
"""Of rows to positions, under one shift: a multiplier of 16 bits, less two for scales to grow when they are snapped."""


def tie_embeddings(planner: Planner) -> None:
    """Embedding sums that share codes differ by a power of two, so that one multiplier a row serves both."""
    first, second = (node for node in planner.plan.graph.nodes if node.kind is Kind.EMBED)
    if planner.owner(second) is second:
        return
    power = round(math.log2(planner.scale[second.site] / planner.scale[first.site]))
    base = max(planner.scale[first.site], math.ldexp(planner.scale[second.site], -power))
    planner.scale[first.site], planner.scale[second.site] = base, math.ldexp(base, power)


def embed(planner: Planner, node: Node) -> None:
    """(8): multipliers of the rows and of the positions, under one shift; the scale of the sum may move."""
    assert isinstance(node.module, nn.Embedding)
    owner, s_sum = planner.owner(node), planner.scale[node.site]
    if owner is not node:
        constants = planner.plan.embed[owner.site]
        power = round(math.log2(s_sum / planner.scale[owner.site]))
        planner.plan.embed[node.site] = replace(constants, shift=constants.shift + power)
        return
    site, root = weight_site(node), math.sqrt(node.module.embedding_dim)
    rows = _rows(planner, node)
    s_sum, multipliers, shift = _snap_embedding(planner, node, rows)
    planner.plan.embed[node.site] = EmbedConstants(
        table=site,
        multipliers=torch.tensor(multipliers[:-1]),
        position_multiplier=multipliers[-1],
        shift=shift,
    )
    planner.plan.weights[site] = WeightQuantizer(
        format=planner.plan.settings[site].format,
        scale=torch.tensor(multipliers[:-1], dtype=torch.float64) * (math.ldexp(s_sum, -shift) / root),
    )
    if POSITIONS_WEIGHT not in planner.plan.weights:
        scale = torch.tensor([math.ldexp(multipliers[-1], -shift) * s_sum], dtype=torch.float64)
        fmt = planner.plan.settings[POSITIONS_WEIGHT].format
        planner.plan.weights[POSITIONS_WEIGHT] = WeightQuantizer(format=fmt, scale=scale)


def _rows(planner: Planner, node: Node) -> Tensor:
    """The real scale of each row of a table in its sum, (rows,)."""
    assert isinstance(node.module, nn.Embedding)
    root = math.sqrt(node.module.embedding_dim)
    return planner.ideal_weight(weight_site(node), node.module.weight, planner.scale[node.site] / root) * root


def coarsest_rows(planner: Planner, node: Node) -> float:
    """The greatest scale of a table's rows."""
    return float(_rows(planner, node).max())


def coarsest_positions(planner: Planner, s_sum: float) -> float:
    """The scale of the positions, which no table's rows are too coarse for: (12f)."""
    tables = [coarsest_rows(planner, node) for node in planner.plan.graph.nodes if node.kind is Kind.EMBED]
    ideal = planner.ideal_weight(POSITIONS_WEIGHT, planner.model.positions, s_sum).max().item()
    return max(ideal, max(tables) / POSITION_RATIO)


def _snap_embedding(planner: Planner, node: Node, rows: Tensor) -> tuple[float, list[int], int]:
    """Scale of the sum, and multipliers of the rows (whose real scales are given) and, last, of the positions.

    The first embedding settles the scale of the positions; the sum of another one moves to fit it.
    """
    site, s_sum, known = weight_site(node), planner.scale[node.site], planner.plan.weights.get(POSITIONS_WEIGHT)
    if known is None:
        s_positions = coarsest_positions(planner, s_sum)
        return s_sum, *snap_together(site, [*(rows / s_sum).tolist(), s_positions / s_sum], planner.bits)
    ratios = (rows / s_sum).tolist()
    (positions, *multipliers), shift = snap_around(site, known.scale.item() / s_sum, ratios, planner.bits)
    planner.scale[node.site] = math.ldexp(known.scale.item() / positions, shift)
    return planner.scale[node.site], [*multipliers, positions], shift


def logits(planner: Planner, node: Node) -> None:
    """(9): a multiplier a row, the table's own if it is shared; one scale for all logits."""
    assert isinstance(node.module, nn.Embedding)
    owner, s_in = planner.owner(node), planner.scale[node.inputs[0].site]
    reach = _logit_reach(planner, node)
    if owner is node:
        site = weight_site(node)
        ideal = planner.ideal_weight(site, node.module.weight, 1 / planner.plan.settings[site].format.max)
        gain = min(2.0 ** (LOGIT_BITS - 2) / reach, 2.0**14)  # of the largest row, within what a multiplier encodes
        s_logits = planner.power_of_two(s_in * ideal.max().item() / gain)
        multipliers, shift = snap_together(node.site, (ideal * (s_in / s_logits)).tolist(), planner.bits)
        scale = torch.tensor(multipliers, dtype=torch.float64) * (math.ldexp(s_logits, -shift) / s_in)
        planner.plan.weights[site] = WeightQuantizer(format=planner.plan.settings[site].format, scale=scale)
        constants = LogitsConstants(table=site, multipliers=torch.tensor(multipliers), shift=shift)
    else:
        lookup = planner.plan.embed[owner.site]
        worst = reach * int(lookup.multipliers.max())
        shift = max(0, worst.bit_length() - (LOGIT_BITS - 1))
        s_logits = s_in * math.ldexp(planner.scale[owner.site], shift - lookup.shift)
        s_logits /= math.sqrt(node.module.embedding_dim)
        constants = LogitsConstants(table=lookup.table, multipliers=lookup.multipliers, shift=shift)
    planner.plan.logits[node.site] = constants
    planner.plan.quantizers[node.site] = Quantizer(format=IntFormat(bits=LOGIT_BITS), scale=s_logits)


def _logit_reach(planner: Planner, node: Node) -> int:
    """A bound of the generator's accumulator from formats alone."""
    fmt, site = planner.plan.settings[weight_site(node)].format, node.inputs[0].site
    codes = planner.plan.settings[site].format
    d_model = int(node.inputs[0].dims[-1])
    return d_model * -fmt.min * (codes.max - codes.min)
