"""Constants of each LayerNorm, and the scale of its gamma and beta (docs/numerics.md, docs/operators/layernorm.md)."""

import math
from collections.abc import Callable

import torch
from torch import nn

from hwsim.program.catalogue import Float32
from hwsim.program.targets import LayerNormMethod
from reference.quantize.graph import Node
from reference.quantize.plan.bias import Rows, beside_bias, coarser_codes
from reference.quantize.plan.constants import (
    GemminiLayerNormConstants,
    IBertLayerNormConstants,
    LayerNormConstants,
    PulpLayerNormConstants,
    Rescale,
    TfliteLayerNormConstants,
    WeightQuantizer,
)
from reference.quantize.plan.planner import LEAST, Planner, magnitude
from reference.quantize.plan.snap import snap_down, snap_up
from reference.quantize.sites import weight_site

MAX_PULP_SHIFT = 31
PULP_GAMMA_BITS = 23
"""That the planner uses of an int32 gamma: beta, at the same scale, then fits its own int32."""
INT32_END = (1 << 31) - 1
IBERT_BETA = 1 << 46
"""The greatest beta of (L5) times a multiplier of 16 bits is at most 2^62."""
GEMMINI_UNIT_BITS = 7
"""Of the normalised values of (L16)."""
LEAST_Q31 = 2.0**-32
"""A multiplier of 31 bits and a shift of 62."""
IBERT_MULTIPLIER_BITS = 16
"""So that (L5), whose values have up to 46 bits, stays in 64."""


def _norm(node: Node) -> nn.LayerNorm:
    assert isinstance(node.module, nn.LayerNorm)
    return node.module


def fullyqt(planner: Planner, node: Node) -> None:
    """(5a) to (5f)."""
    norm = _norm(node)
    n, s_x = norm.normalized_shape[0], planner.scale[node.inputs[0].site]
    part = {p: f"{node.site}.{p}" for p in ("numerator", "denominator", "quotient", "output")}
    scale, bits = planner.scale, planner.bits
    numerator = snap_down(part["numerator"], s_x / (n * scale[part["numerator"]]), bits)
    denominator = snap_down(part["denominator"], s_x / (n * scale[part["denominator"]]), bits)
    s_n, s_d = s_x / (n * numerator.ratio), s_x / (n * denominator.ratio)
    quotient = snap_down(part["quotient"], s_n / (s_d * scale[part["quotient"]]), bits)
    s_q, s_out = s_n / (s_d * quotient.ratio), scale[part["output"]]
    reach = magnitude(planner.plan.settings[part["quotient"]].format)
    gamma = _gamma_scale(planner, node, s_q, s_out, reach, INT32_END)
    output = snap_up(part["output"], s_q * gamma / s_out, bits)
    _set_gamma(planner, node, torch.tensor([output.ratio * s_out / s_q], dtype=torch.float64))
    planner.scale |= {part["numerator"]: s_n, part["denominator"]: s_d, part["quotient"]: s_q}
    rescales = {"numerator": numerator, "denominator": denominator, "quotient": quotient, "output": output}
    planner.plan.layernorm[node.site] = LayerNormConstants(
        eps=round(norm.eps * n * n / s_x**2),
        **{
            name: Rescale(multiplier=s.multiplier, shift=s.shift, fmt=planner.plan.settings[part[name]].format)
            for name, s in rescales.items()
        },
    )


def _gamma_scale(planner: Planner, node: Node, s_in: float, s_out: float, reach: int, held: int) -> float:
    """The scale of gamma, beside its beta; `s_in` is that of the codes to `reach` that gamma multiplies."""
    norm, site, made = _norm(node), weight_site(node), f"{node.site}.output"
    rows = Rows(
        weight=norm.weight.detach().double()[:, None],
        bias=norm.bias.detach().double(),
        ideal=planner.ideal_weight(site, norm.weight, s_out / s_in).max()[None],
        s_in=s_in,
        s_out=s_out,
        reach=reach,
        held=held,
    )
    settings = planner.plan.settings[made]
    return beside_bias(site, rows, lambda _rows, _refused, lost: coarser_codes(made, settings, lost)).item()


def _set_gamma(planner: Planner, node: Node, scale: torch.Tensor) -> None:
    site = weight_site(node)
    planner.plan.weights[site] = WeightQuantizer(format=planner.plan.settings[site].format, scale=scale)


def _reach(planner: Planner, node: Node) -> int:
    """The greatest difference of two codes of the input: what a centred code can be at most."""
    fmt = planner.plan.settings[node.inputs[0].site].format
    return fmt.max - fmt.min


def ibert(planner: Planner, node: Node) -> None:
    """The magnitude of gamma goes into the multipliers; a gamma of 0 keeps the greatest one, and code 0."""
    norm = _norm(node)
    n, s_out = norm.normalized_shape[0], planner.scale[f"{node.site}.output"]
    unit = math.ldexp(math.sqrt(n), -30)
    gamma = norm.weight.detach().double().abs()
    least = norm.bias.detach().double().abs() / (unit * IBERT_BETA)
    heard = gamma >= LEAST
    gamma = torch.where(heard, gamma, gamma.max() if bool(heard.any()) else s_out / unit).maximum(least)
    bits = min(planner.bits, IBERT_MULTIPLIER_BITS)
    snapped = [snap_up(f"{node.site}.output", ratio, bits) for ratio in (gamma * unit / s_out).tolist()]
    beta_scale = torch.tensor([s.ratio for s in snapped], dtype=torch.float64) * s_out
    _set_gamma(planner, node, beta_scale / unit)
    squares = n * _reach(planner, node) ** 2
    planner.plan.layernorm[node.site] = IBertLayerNormConstants(
        variance_shift=max(0, -(-(squares.bit_length() - 32) // 2)),
        multipliers=torch.tensor([s.multiplier for s in snapped]),
        shifts=torch.tensor([s.shift for s in snapped]),
        beta_scale=beta_scale,
    )


def pulp(planner: Planner, node: Node) -> None:
    """gamma and beta at the scale of the output, `shift` bits finer."""
    fmt, s_out = planner.plan.settings[weight_site(node)].format, planner.scale[f"{node.site}.output"]
    widest = min(fmt.max, (1 << PULP_GAMMA_BITS - 1) - 1)
    greatest = _norm(node).weight.detach().abs().max().item()
    shift = max(0, min(MAX_PULP_SHIFT, math.floor(math.log2(widest * s_out / greatest)))) if greatest >= LEAST else 0
    beta = _norm(node).bias.detach().abs().max().item() / s_out + 0.5
    shift = max(0, min(shift, math.floor(math.log2((INT32_END - 1) / beta))))
    scale = torch.tensor([math.ldexp(s_out, -shift)], dtype=torch.float64)
    _set_gamma(planner, node, scale)
    planner.plan.layernorm[node.site] = PulpLayerNormConstants(
        shift=shift, half=1 << shift >> 1, beta_scale=scale, overflow=planner.plan.target.layernorm_overflow
    )


def gemmini(planner: Planner, node: Node) -> None:
    """(L17): a binary32 ratio; the scale of gamma takes up what it does not encode."""
    s_out, width = planner.scale[f"{node.site}.output"], Float32.record().limits.multiplier_bits
    gamma = _gamma_scale(planner, node, 1.0, s_out, 1 << GEMMINI_UNIT_BITS, INT32_END)
    snapped = snap_up(f"{node.site}.output", gamma / s_out, min(planner.bits, width), width)
    scale = torch.tensor([snapped.ratio * s_out], dtype=torch.float64)
    _set_gamma(planner, node, scale)
    planner.plan.layernorm[node.site] = GemminiLayerNormConstants(requantization=snapped, beta_scale=scale)


def tflite(planner: Planner, node: Node) -> None:
    n, s_out = _norm(node).normalized_shape[0], planner.scale[f"{node.site}.output"]
    gamma = _gamma_scale(planner, node, 1.0, s_out, math.isqrt(n) + 1, INT32_END)
    snapped = snap_up(f"{node.site}.output", max(gamma / s_out, LEAST_Q31), planner.bits, 31)
    scale = torch.tensor([snapped.ratio * s_out], dtype=torch.float64)
    _set_gamma(planner, node, scale)
    planner.plan.layernorm[node.site] = TfliteLayerNormConstants(
        variance_limit=1, requantization=snapped, beta_scale=scale / 1024
    )


LAYERNORM: dict[LayerNormMethod, Callable[[Planner, Node], None]] = {
    "fullyqt": fullyqt,
    "ibert": ibert,
    "pulp": pulp,
    "tflite": tflite,
    "gemmini": gemmini,
}
"""LayerNorms by the name that targets have for them."""
