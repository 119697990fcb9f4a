"""Constants of one softmax or LayerNorm, by the planner's own functions, without a model around it."""

from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn

from hwsim.formats import IntFormat
from hwsim.program.targets import TARGETS, LayerNormMethod, SoftmaxMethod
from reference.quantize.graph import Kind, Node, Symbol
from reference.quantize.plan.constants import AnyLayerNormConstants, AnySoftmaxConstants
from reference.quantize.plan.layernorm import LAYERNORM
from reference.quantize.plan.planner import Planner
from reference.quantize.plan.softmax import SOFTMAX

SITE = "operator.layernorm"
"""A name of which the planner knows that its weight is a gamma."""
KEYS = 64
"""The longest row."""
PARTS = ("numerator", "denominator", "quotient", "output")


def _planner(scales: dict[str, float], formats: dict[str, IntFormat], bits: int, **plan: Any) -> Planner:
    """A planner that knows the input, the parts of one operator and its weight."""
    site = SimpleNamespace
    settings = {f"{SITE}.{part}": site(format=fmt, bits=fmt.bits) for part, fmt in formats.items()}
    namespace = site(
        bits=bits,
        width=bits,
        scale={f"{SITE}.{part}": scale for part, scale in scales.items()},
        plan=site(settings=settings, softmax={}, layernorm={}, weights={}, target=TARGETS["ita"], **plan),
        model=site(config=site(max_positions=KEYS)),
        ideal_weight=lambda _, weight, __: weight.detach().double().abs().max().reshape(1) / formats["gamma"].max,
    )
    return cast(Planner, namespace)


def _node(kind: Kind, module: nn.Module | None = None) -> Node:
    dims: tuple[str, ...] = ("batch",)
    given, made = (Symbol(name=name, site=name, dims=dims) for name in (f"{SITE}.input", f"{SITE}.output"))
    return Node(kind=kind, site=SITE, function="encode", inputs=(given,), output=made, module=module)


def softmax(
    method: SoftmaxMethod, scales: dict[str, float], formats: dict[str, IntFormat]
) -> tuple[AnySoftmaxConstants, float]:
    """Constants of a softmax, and the scale of its output; `scales` has `input` and calibrated parts."""
    planner = _planner(scales, formats, 16)
    SOFTMAX[method](planner, _node(Kind.SOFTMAX))
    return planner.plan.softmax[SITE], planner.scale[f"{SITE}.output"]


def layernorm(
    method: LayerNormMethod, gamma: torch.Tensor, scales: dict[str, float], formats: dict[str, IntFormat], bits: int
) -> tuple[AnyLayerNormConstants, torch.Tensor]:
    """Constants of a LayerNorm without epsilon, and the scale of its gamma, (1,) or (n,); settles `scales`."""
    norm = nn.LayerNorm(len(gamma), eps=0.0)
    norm.weight = nn.Parameter(gamma)
    planner = _planner(scales, formats, bits)
    LAYERNORM[method](planner, _node(Kind.LAYERNORM, norm))
    scales |= {name.removeprefix(f"{SITE}."): scale for name, scale in planner.scale.items()}
    (weight,) = planner.plan.weights.values()
    return planner.plan.layernorm[SITE], weight.scale
