"""The models whose plans are tested, those plans, and how well a plan computes."""

import functools
import math
from dataclasses import replace

import torch

from reference.floating import FloatArithmetic
from reference.models.translation import Transformer
from reference.quantize.calibrate import Range
from reference.quantize.graph import Kind, Node
from reference.quantize.plan import Plan, make_plan
from reference.quantize.scheme import Scheme, preset
from reference.quantize.strict import StrictArithmetic
from reference.train import teacher_forced
from tests.small.models import ODD, TWO_LAYERS, small_model
from tests.small.programs import planned, seen_by
from tests.small.sentences import random_batch

VOCABULARY = 50
ONE = replace(ODD, vocabulary_size=VOCABULARY, d_ff=20)
"""One layer each."""
TWO = replace(ODD, vocabulary_size=VOCABULARY, d_model=24, n_heads=3, d_head=10, d_ff=40, **TWO_LAYERS)
"""Two layers each, and wider."""


@functools.cache
def calibrated() -> tuple[Transformer, dict[str, Range]]:
    """The smaller model, and what its sites take on a random batch."""
    model = small_model(ONE)
    return model, seen_by(model)


@functools.cache
def plan_of(target: str, name: str = "native") -> Plan:
    """The smaller model's plan under a preset of a target."""
    model, seen = calibrated()
    return make_plan(model, preset(name, target), seen)


def nodes(plan: Plan, kind: Kind) -> list[Node]:
    """The nodes of one kind, in order."""
    return [node for node in plan.graph.nodes if node.kind is kind]


def signal_to_noise(model: Transformer, scheme: Scheme) -> float:
    """Decibels of the logits on the text of calibration."""
    plan, batch = planned(model, scheme), random_batch(VOCABULARY)
    with torch.no_grad():
        real = teacher_forced(model, FloatArithmetic(), batch).double()
        strict = teacher_forced(model, StrictArithmetic(model, plan), batch).codes * plan.logit_scale
    return 10 * math.log10(float(real.square().sum() / (real - strict).square().sum()))
