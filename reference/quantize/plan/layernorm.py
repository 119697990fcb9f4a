"""Constants of each LayerNorm, and the scale of its gamma and beta (docs/numerics.md, docs/operators/layernorm.md)."""

import math
from collections.abc import Callable

import torch
from torch import nn

from hwsim.program.catalogue import Float32
from hwsim.program.targets import LayerNormMethod
from reference.quantize.graph import Node
from reference.quantize.plan.constants import (
    GemminiLayerNormConstants,
    IBertLayerNormConstants,
    LayerNormConstants,
    PulpLayerNormConstants,
    Rescale,
    TfliteLayerNormConstants,
    WeightQuantizer,
)
from reference.quantize.plan.planner import Planner
from reference.quantize.plan.snap import snap_down, snap_up
from reference.quantize.sites import weight_site

MAX_PULP_SHIFT = 31
PULP_GAMMA_BITS = 23
"""That the planner uses of an int32 gamma: beta, at the same scale, then fits its own int32."""
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
    output = snap_up(part["output"], s_q * _ideal_gamma(planner, node) / s_out, bits)
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


def _ideal_gamma(planner: Planner, node: Node) -> float:
    return planner.ideal_weight(weight_site(node), _norm(node).weight).max().item()


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
    magnitude = norm.weight.detach().double().abs()
    if not bool((magnitude > 0).any()):
        raise ValueError(f"site {weight_site(node)}: all weights are 0")
    magnitude = torch.where(magnitude > 0, magnitude, magnitude.max())
    bits = min(planner.bits, IBERT_MULTIPLIER_BITS)
    snapped = [snap_up(f"{node.site}.output", ratio, bits) for ratio in (magnitude * unit / s_out).tolist()]
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
    if not greatest > 0:
        raise ValueError(f"site {weight_site(node)}: all weights are 0")
    shift = max(0, min(MAX_PULP_SHIFT, math.floor(math.log2(widest * s_out / greatest))))
    scale = torch.tensor([math.ldexp(s_out, -shift)], dtype=torch.float64)
    _set_gamma(planner, node, scale)
    planner.plan.layernorm[node.site] = PulpLayerNormConstants(
        shift=shift, half=1 << shift >> 1, beta_scale=scale, overflow=planner.plan.target.layernorm_overflow
    )


def gemmini(planner: Planner, node: Node) -> None:
    """(L17): a binary32 ratio; the scale of gamma takes up what it does not encode."""
    s_out, width = planner.scale[f"{node.site}.output"], Float32.record().limits.multiplier_bits
    snapped = snap_up(f"{node.site}.output", _ideal_gamma(planner, node) / s_out, min(planner.bits, width), width)
    scale = torch.tensor([snapped.ratio * s_out], dtype=torch.float64)
    _set_gamma(planner, node, scale)
    planner.plan.layernorm[node.site] = GemminiLayerNormConstants(requantization=snapped, beta_scale=scale)


def tflite(planner: Planner, node: Node) -> None:
    s_out = planner.scale[f"{node.site}.output"]
    snapped = snap_up(f"{node.site}.output", _ideal_gamma(planner, node) / s_out, planner.bits, 31)
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
