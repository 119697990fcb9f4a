"""Hypothesis strategies for whole models: configurations, schemes, weights and sentences, small and awkward."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import nn

from hwsim.formats import Accumulator, Granularity, Overflow
from hwsim.program.targets import TARGETS
from reference.models.translation import Transformer, TransformerConfig
from reference.quantize.scheme import Rule, Scheme, scheme_for
from reference.quantize.sites import Role, Site
from reference.tokenizer import EOS, PAD
from reference.train import Batch, make_batch
from tests.small.models import sites_of

Draw = Callable[..., Any]
Pair = tuple[list[int], list[int]]

for _name, _examples in {"ci": 200, "long": 5000}.items():
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=_name == "ci",
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
EFFORT = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
"""How hard tests of whole models try: the environment's HYPOTHESIS_PROFILE, `ci` or `long`."""

MAX_POSITIONS = 10
MAX_QUOTIENT = 15
"""bits(denominator) + bits(result) - bits(numerator) of a division, beyond which 16-bit multipliers do not reach."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A range of widths, for codes of weights and activations alike."""

    name: str
    lowest: int
    highest: int
    highest_scores: int
    safe_accumulators: tuple[int, ...]
    narrow_accumulators: tuple[int, int]


A = Profile(
    name="A", lowest=2, highest=8, highest_scores=8, safe_accumulators=(32, 32, 32, 40), narrow_accumulators=(12, 20)
)
B = Profile(
    name="B", lowest=9, highest=16, highest_scores=10, safe_accumulators=(48, 48, 56), narrow_accumulators=(20, 32)
)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How the parameters of a model are drawn: normal, of one magnitude a tensor, some rows exactly 0.

    `constant_layernorm` makes the inputs of the second LayerNorm of every layer (nearly) constant.
    """

    seed: int
    magnitudes: tuple[float, ...]
    zero_rows: float
    constant_layernorm: bool
    eps: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, a scheme, and sentences of unequal length (ids, ended by EOS)."""

    config: TransformerConfig
    weights: Weights
    scheme: Scheme
    pairs: tuple[Pair, ...]
    calibration: int
    """How many of the sentences calibration sees."""
    blind: bool = False
    """Whether one more target has a source of nothing but padding, so that its every key is masked."""

    def model(self) -> Transformer:
        return build_model(self.config, self.weights)

    def batch(self) -> Batch:
        last = self.pairs[-1][1]
        return make_batch([*self.pairs, ([PAD], last)] if self.blind else list(self.pairs))

    def calibration_batches(self) -> list[Batch]:
        return [make_batch(list(self.pairs[: self.calibration]))]


@torch.no_grad()
def build_model(config: TransformerConfig, weights: Weights) -> Transformer:
    """A model whose every parameter is drawn by the recipe."""
    generator = torch.Generator().manual_seed(weights.seed)
    model = Transformer(config).eval()
    for index, parameter in enumerate(model.parameters()):
        magnitude = weights.magnitudes[index % len(weights.magnitudes)]
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * magnitude)
        if parameter.dim() == 2:
            zero = torch.rand(len(parameter), generator=generator) < weights.zero_rows
            zero[index % len(parameter)] = False
            parameter[zero] = 0.0
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = weights.eps
    if weights.constant_layernorm:
        for layer in [*model.encoder, *model.decoder]:
            _make_constant(layer)
    return model


def _make_constant(layer: Any) -> None:
    """Let the LayerNorm ahead of the feed-forward block give a constant, and that block next to nothing."""
    norm = getattr(layer, "cross_attention_residual", None) or layer.attention_residual
    norm.norm.weight.zero_()
    norm.norm.weight[0] = 1e-3
    norm.norm.bias.fill_(0.75)
    for parameter in (layer.feed_forward.contract.weight, layer.feed_forward.contract.bias):
        parameter.mul_(1e-5)


@st.composite
def configurations(draw: Draw) -> TransformerConfig:
    """One or two layers; widths that are seldom powers of two; d_head apart from d_model / n_heads."""
    return TransformerConfig(
        vocabulary_size=draw(st.integers(20, 60)),
        d_model=2 * draw(st.one_of(st.sampled_from([8, 16, 32]), st.integers(8, 48))),
        n_heads=draw(st.integers(1, 4)),
        d_head=draw(st.one_of(st.sampled_from([4, 8, 16, 64]), st.integers(4, 24))),
        d_ff=draw(st.integers(3, 48)),
        encoder_layers=1 + (draw(st.integers(0, 9)) == 9),
        decoder_layers=1 + (draw(st.integers(0, 9)) == 9),
        max_positions=MAX_POSITIONS,
        tied=draw(st.booleans()),
    )


def recipes() -> st.SearchStrategy[Weights]:
    """Magnitudes from almost nothing to far too large, side by side in one model."""
    magnitude = st.sampled_from([0.02, 0.1, 0.1, 0.3, 0.3, 1.0, 5.0])
    return st.builds(
        Weights,
        seed=st.integers(0, 2**32 - 1),
        magnitudes=st.lists(magnitude, min_size=1, max_size=5).map(tuple),
        zero_rows=st.sampled_from([0.0, 0.0, 0.2, 0.9]),
        constant_layernorm=st.sampled_from([False, False, False, True]),
        eps=st.sampled_from([1e-5, 1e-5, 1e-6, 1e-12]),
    )


@st.composite
def sentences(draw: Draw, vocabulary_size: int, longest: int = 5) -> tuple[Pair, ...]:
    """Two or three pairs of at most `longest` words and EOS each."""
    words = st.lists(st.integers(EOS + 1, vocabulary_size - 1), max_size=longest)
    count = draw(st.integers(2, 3))
    return tuple(([*draw(words), EOS], [*draw(words), EOS]) for _ in range(count))


@st.composite
def accumulators(draw: Draw, profile: Profile) -> Accumulator:
    """Mostly one that is wide enough, else one that saturates or wraps."""
    if draw(st.integers(0, 3)):
        return Accumulator(bits=draw(st.sampled_from(profile.safe_accumulators)))
    return draw(narrow_accumulators(profile))


@st.composite
def narrow_accumulators(draw: Draw, profile: Profile) -> Accumulator:
    """One that is likely to overflow."""
    return Accumulator(
        bits=draw(st.integers(*profile.narrow_accumulators)),
        overflow=draw(st.sampled_from([Overflow.SATURATE, Overflow.WRAP])),
        granularity=draw(st.sampled_from(Granularity)),
        tile=draw(st.integers(1, 20)),
    )


@st.composite
def schemes(draw: Draw, profile: Profile, sites: dict[str, Site]) -> Scheme:
    """Any scheme of a profile; half of them settle every site by a rule of its own."""
    width = st.integers(profile.lowest, profile.highest)
    mixed = draw(st.booleans())
    rules = [draw(_rule(profile, site)) for site in sites.values() if site.role is not Role.LOGITS] if mixed else []
    few = draw(st.integers(0, 2)) == 0
    return Scheme(
        name=f"drawn {profile.name}",
        weight_bits=draw(width),
        activation_bits=draw(width),
        residual_bits=draw(st.one_of(width, st.just(16))),
        accumulator=draw(accumulators(profile)),
        sqrt_mode=draw(st.sampled_from(["shift", "shift", "merged", "dropped"])),
        multiplier_bits=draw(st.integers(1, 2) if few else st.sampled_from([16, 16, 16, 7, 3])),
        power_of_two=draw(st.integers(0, 9)) == 9,
        rules=[*rules, *_within_reach(draw, profile, sites, mixed)],
    )


@st.composite
def target_schemes(draw: Draw, target: str) -> Scheme:
    """A scheme of one target, 3 to 8 bits wide, the hardware's own accumulator or a narrow one."""
    widths = st.one_of(st.just(8), st.integers(3, 8))
    native = TARGETS[target].accumulator
    narrow = draw(st.integers(0, 3)) == 3
    return scheme_for(
        target,
        name=f"drawn {target}",
        weight_bits=draw(widths),
        activation_bits=draw(widths),
        residual_bits=draw(st.sampled_from([8, 12, 16])),
        accumulator=draw(narrow_accumulators(A)) if narrow else native,
        sqrt_mode=draw(st.sampled_from(["shift", "merged"])),
        power_of_two=draw(st.integers(0, 3)) == 3,
    )


@st.composite
def target_cases(draw: Draw, target: str) -> Case:
    """A whole example of one target."""
    config = draw(configurations())
    pairs = draw(sentences(config.vocabulary_size))
    return Case(
        config=config,
        weights=draw(recipes()),
        scheme=draw(target_schemes(target)),
        pairs=pairs,
        calibration=draw(st.integers(1, len(pairs))),
        blind=draw(st.integers(0, 4)) == 4,
    )


@st.composite
def _rule(draw: Draw, profile: Profile, site: Site) -> Rule:
    """Settings that a site may have; None leaves the default."""
    bits = draw(st.integers(profile.lowest, profile.highest))
    free, weight = site.role is Role.FREE, site.role is Role.WEIGHT
    symmetric = draw(st.booleans()) if free else None
    rows = weight and not site.name.endswith((".gamma", "positions.weight"))
    return Rule(
        pattern=site.name,
        bits=min(bits, profile.highest_scores) if site.name.endswith(".scores") else bits,
        signed=draw(st.booleans()) if symmetric is False else None,
        narrow=draw(st.booleans()),
        symmetric=symmetric,
        granularity=draw(st.sampled_from(["per_tensor", "per_channel"])) if rows else None,
        estimator=draw(st.sampled_from(["ema", "min_max"])),
    )


def _within_reach(draw: Draw, profile: Profile, sites: dict[str, Site], mixed: bool) -> list[Rule]:
    """Rules that keep scores within their table, and divisions within what a multiplier encodes."""
    rules = []
    if profile.highest > profile.highest_scores and not mixed:
        bits = st.integers(profile.lowest, profile.highest_scores)
        rules.append(Rule(pattern="*.scores", bits=draw(bits)))
    if 2 * profile.highest - profile.lowest <= MAX_QUOTIENT:
        return rules
    for name in (name for name in sites if name.endswith(".numerator")):
        stem = name.removesuffix(".numerator")
        result = f"{stem}.output" if ".softmax" in stem else f"{stem}.quotient"
        bits = [draw(st.integers(profile.lowest, profile.highest)) for _ in range(3)]
        while bits[1] + bits[2] - bits[0] > MAX_QUOTIENT:
            bits = [min(bits[0] + 1, profile.highest), bits[1] - 1, bits[2]]
        rules += [
            Rule(pattern=pattern, bits=b)
            for pattern, b in zip((name, f"{stem}.denominator", result), bits, strict=True)
        ]
    return rules


@st.composite
def cases(draw: Draw, profile: Profile) -> Case:
    """A whole example of a profile."""
    config = draw(configurations())
    pairs = draw(sentences(config.vocabulary_size))
    return Case(
        config=config,
        weights=draw(recipes()),
        scheme=draw(schemes(profile, sites_of(config.encoder_layers, config.decoder_layers))),
        pairs=pairs,
        calibration=draw(st.integers(1, len(pairs))),
        blind=draw(st.integers(0, 4)) == 4,
    )
