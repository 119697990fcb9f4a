"""Constants of matrix products: layers with weights, attention's scores (with sqrt(d_head)) and context."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from hwsim.formats import Overflow
from hwsim.program.catalogue import Nvdla, scheme_type
from hwsim.program.targets import Heads
from reference.quantize.graph import Kind, Node
from reference.quantize.plan.bias import Rows, beside_bias, coarser_codes
from reference.quantize.plan.constants import (
    ContextConstants,
    HeadsConstants,
    LinearConstants,
    ScoresConstants,
    WeightQuantizer,
)
from reference.quantize.plan.planner import Planner
from reference.quantize.plan.snap import Snapped
from reference.quantize.plan.softmax import score_scale
from reference.quantize.sites import heads_site, weight_site

MOST_HELD_BITS = 52
"""Of integers that float64 carries, less their sign."""
TRUNCATED_BITS = 32
"""Of an accumulator as NVDLA's CACC hands it on."""


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
    rows = _rows(planner, node, s_in, s_out)
    silent = rows.silent() if node.kind is Kind.LINEAR_RELU else torch.zeros(len(rows.bias), dtype=torch.bool)
    ideal = beside_bias(site, rows.without_bias(silent), _advice(planner, node, node.site))
    reaches = _reaches(rows, ideal, silent)
    truncate = _truncate(planner, node, max(reaches))
    factor = s_in / s_out * 2 ** (truncate or 0)
    snapped = _snap_rows(planner, node, (ideal * factor).tolist(), [reach >> (truncate or 0) for reach in reaches])
    scale = torch.tensor([s.ratio for s in snapped], dtype=torch.float64) / factor
    bias_scale = scale * s_in * 2 ** (truncate or 0)
    if bool(silent.any()):
        bias_scale = torch.where(silent, rows.bias.abs() / (rows.held // 2), bias_scale)
    bits, shift = _bias_width(planner, node.module.bias, bias_scale)
    planner.plan.weights[site] = WeightQuantizer(format=planner.plan.settings[site].format, scale=scale)
    planner.plan.linear[node.site] = LinearConstants(
        bias_scale=bias_scale,
        multipliers=torch.tensor([s.multiplier for s in snapped]),
        shifts=torch.tensor([s.shift for s in snapped]),
        bias_bits=bits,
        bias_shift=shift,
        truncate=truncate,
    )


def _rows(planner: Planner, node: Node, s_in: float, s_out: float) -> Rows:
    """The rows of a layer beside their bias."""
    assert isinstance(node.module, nn.Linear)
    weight = node.module.weight.detach().double()
    return Rows(
        weight=weight,
        bias=node.module.bias.detach().double(),
        ideal=planner.ideal_weight(weight_site(node), weight, s_out / s_in),
        s_in=s_in,
        s_out=s_out,
        reach=planner.reach(node.inputs[0].site),
        held=(1 << _held_bits(planner) - 1) - 1,
    )


def _held_bits(planner: Planner) -> int:
    """Bits of the greatest integer that a bias and its accumulator hold, L of (12d)."""
    bits, own, accumulator = planner.plan.scheme.bias_bits, planner.limit("bias_bits"), planner.plan.scheme.accumulator
    if own is not None and not planner.plan.target.limits.bias_shift:
        bits = min(bits, own)
    return min(bits, accumulator.bits) if accumulator.overflow is Overflow.PROVEN else bits


def _advice(planner: Planner, node: Node, made: str) -> Callable[[Rows, Tensor, float], str]:
    """What makes room for a bias that (12d) leaves none; `made` is the site of the product's codes."""

    def advice(rows: Rows, refused: Tensor, lost: float) -> str:
        site = weight_site(node)
        if len(rows.ideal) > 1 and not bool(replace(rows, ideal=rows.ideal.max()[None]).crowded().any()):
            return f'give {site} granularity = "per_tensor"'
        needed = (rows.bias.abs() / (rows.s_in * rows.ideal) + rows.sums())[refused].max().item()
        bits = math.ceil(math.log2(needed)) + 2
        if bits - 1 > _most_held_bits(planner, node):
            return coarser_codes(made, planner.plan.settings[made], lost)
        own = None if planner.plan.target.limits.bias_shift else planner.limit("bias_bits")
        beyond = " and name `bias_bits` under `beyond`" if own is not None and own < bits else ""
        return f"use accumulators of {bits} bits{beyond}"

    return advice


def _most_held_bits(planner: Planner, node: Node) -> int:
    """Of the greatest magnitude that an accumulator hands on, whatever its width."""
    scheme = scheme_type(planner.plan.settings[node.site].requantization)
    return MOST_HELD_BITS if scheme is Nvdla else min(scheme.record().limits.input_bits, MOST_HELD_BITS)


def _reaches(rows: Rows, scale: Tensor, silent: Tensor) -> list[int]:
    """A bound of each row's |accumulator|, or one for all, at a scale of the weights and at every coarser one."""
    sums = (rows.weight / scale[:, None]).round().abs().sum(-1) * rows.reach
    bias = torch.where(silent, rows.held // 2, (rows.bias / (scale * rows.s_in)).round().abs())
    reaches = [int(x) for x in sums + bias]
    return reaches if len(scale) > 1 else [max(reaches)]


def _snap_rows(planner: Planner, node: Node, ratios: list[float], reaches: list[int]) -> list[Snapped]:
    """A multiplier and a shift a row; one shift for all where the hardware has one register."""
    if planner.limit("shifts") is None or len(ratios) == 1:
        return [planner.snap_up(node.site, *pair) for pair in zip(ratios, reaches, strict=True)]
    multipliers, shift = planner.snap_up_together(node.site, ratios, reaches)
    return [Snapped(multiplier, shift) for multiplier in multipliers]


def _truncate(planner: Planner, node: Node, reach: int) -> int | None:
    """The shift that brings an accumulator into the 32 bits of NVDLA's SDP, if it leaves them."""
    if scheme_type(planner.plan.settings[node.site].requantization) is not Nvdla or reach < 1 << TRUNCATED_BITS - 1:
        return None
    return reach.bit_length() - (TRUNCATED_BITS - 1)


def _bias_width(planner: Planner, bias: Tensor | None, scale: Tensor) -> tuple[int, int]:
    """Bits of a layer's bias, and its shift to the left where it may have one."""
    bits, own = planner.plan.scheme.bias_bits, planner.limit("bias_bits")
    if own is None or bias is None:
        return bits, 0
    if not planner.plan.target.limits.bias_shift:
        return min(bits, own), 0
    codes = (bias.detach().double() / scale).abs()
    shift = max(0, int(codes.round().max()).bit_length() - (own - 1))
    rounds_over = int((codes / 2**shift).round().max()) >= 1 << own - 1
    return own, shift + int(rounds_over)


def projected_heads(planner: Planner, node: Node) -> None:
    """(R14): the scale of the heads' codes follows the total's multiplier, the weight's scale the heads'."""
    assert isinstance(node.module, nn.Linear)
    site, heads, s_in = weight_site(node), heads_site(node.site), planner.scale[node.inputs[0].site]
    count = int(node.inputs[0].dims[1])
    ratio = planner.scale[heads] / planner.scale[node.site]
    output = planner.snap_up(node.site, ratio, count * planner.reach(heads))
    planner.scale[heads] = output.ratio * planner.scale[node.site]
    rows = _rows(planner, node, s_in, planner.scale[heads])
    ideal = beside_bias(site, rows, _advice(planner, node, heads))
    (reach,) = _reaches(rows, ideal, torch.zeros(len(rows.bias), dtype=torch.bool))
    snapped = planner.snap_up(heads, ideal.item() * s_in / planner.scale[heads], reach)
    scale = torch.tensor([snapped.ratio * planner.scale[heads] / s_in], dtype=torch.float64)
    bits, shift = _bias_width(planner, node.module.bias, scale * s_in)
    planner.plan.weights[site] = WeightQuantizer(format=planner.plan.settings[site].format, scale=scale)
    planner.plan.heads[node.site] = HeadsConstants(
        bias_scale=scale * s_in,
        multipliers=torch.tensor([snapped.multiplier] * count),
        shifts=torch.tensor([snapped.shift] * count),
        output=output,
        bias_bits=bits,
        bias_shift=shift,
    )


HEADS: dict[Heads, Callable[[Planner, Node], None]] = {"merged": linear, "projected": projected_heads}
"""An attention's output by what targets do with its heads."""


def score_product(planner: Planner, node: Node) -> tuple[int | None, float]:
    """The shift of the scores (None: no stage of its own), and the scale of what is left to requantize."""
    queries, keys = (symbol.site for symbol in node.inputs)
    d_head, product = int(node.inputs[0].dims[-1]), planner.scale[queries] * planner.scale[keys]
    root = math.sqrt(d_head)
    match planner.plan.scheme.sqrt_mode:
        case "shift":
            shift = math.floor(math.log2(root))
            return shift, product * (2**shift / root)
        case "merged":
            return None, product / root
        case "dropped":
            return dropped_shift(d_head), product


def scores(planner: Planner, node: Node) -> None:
    """(2), (3), (1): the shift for sqrt(d_head) by its mode; the scale of the scores takes up the rest."""
    queries, keys = (symbol.site for symbol in node.inputs)
    shift, product = score_product(planner, node)
    planner.scale[node.site] = score_scale(planner, node.site)
    reach = int(node.inputs[0].dims[-1]) * planner.reach(queries) * planner.reach(keys)
    truncate = _truncate(planner, node, reach)
    product *= 2 ** (truncate or 0)
    reach >>= truncate or 0
    snapped = planner.snap_down(node.site, product / planner.scale[node.site], reach)
    planner.scale[node.site] = product / snapped.ratio
    planner.plan.scores[node.site] = ScoresConstants(shift=shift, requantization=snapped, truncate=truncate)


def context(planner: Planner, node: Node) -> None:
    """(2), (1): the scale of the context follows the multiplier."""
    probabilities, values = (symbol.site for symbol in node.inputs)
    product = planner.scale[probabilities] * planner.scale[values]
    reach = planner.model.config.max_positions * planner.reach(probabilities) * planner.reach(values)
    truncate = _truncate(planner, node, reach)
    product *= 2 ** (truncate or 0)
    snapped = planner.snap_down(node.site, product / planner.scale[node.site], reach >> (truncate or 0))
    planner.plan.context[node.site] = ContextConstants(requantization=snapped, truncate=truncate)
    planner.scale[node.site] = product / snapped.ratio
