"""Teacher-forced accuracy against the float model: loss, and error of every site."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reference.floating import FloatArithmetic
from reference.model import Transformer
from reference.padding import full_sequence
from reference.quantize.plan import Plan
from reference.quantize.strict import StrictArithmetic
from reference.tokenizer import PAD
from reference.train import Batch, loss_per_token, teacher_forced


def decibel(signal: float, noise: float) -> float:
    """Signal-to-noise ratio in dB; infinite without noise."""
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


@dataclass(kw_only=True)
class SiteError:
    """Running sums that compare one site with its float value."""

    count: int = 0
    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    quantized: float = 0.0
    max_error: float = 0.0

    def add(self, real: Tensor, quantized: Tensor) -> None:
        error = quantized - real
        self.count += real.numel()
        self.signal += float(real.square().sum())
        self.noise += float(error.square().sum())
        self.product += float((real * quantized).sum())
        self.quantized += float(quantized.square().sum())
        self.max_error = max(self.max_error, float(error.abs().max()))

    @property
    def sqnr_db(self) -> float:
        return decibel(self.signal, self.noise)

    @property
    def cosine(self) -> float:
        norm = math.sqrt(self.signal * self.quantized)
        return self.product / norm if norm else math.nan


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Losses in nat per token, and errors by site (only the logits' unless all were asked for)."""

    loss_float: float
    loss_quantized: float
    sites: dict[str, SiteError]

    @property
    def loss_increase(self) -> float:
        return self.loss_quantized - self.loss_float


@dataclass(frozen=True, kw_only=True)
class FloatPass:
    """One batch through the float model: logits, loss summed over tokens, and sites if wanted."""

    batch: Batch
    logits: Tensor
    loss: float
    sites: dict[str, Tensor]


def float_passes(model: Transformer, batches: Iterable[Batch], *, keep_sites: bool = False) -> Iterator[FloatPass]:
    """Run the float model batch by batch. All sites of a long text would not fit in memory, so they stream."""
    for batch in batches:
        sites: dict[str, Tensor] = {}
        ops = FloatArithmetic(sites.__setitem__ if keep_sites else None)
        with torch.inference_mode():
            logits = teacher_forced(model, ops, batch)
            loss = loss_per_token(logits, batch.labels, reduction="sum").item()
        yield FloatPass(batch=batch, logits=logits, loss=loss, sites=sites)


@torch.inference_mode()
def measure(
    model: Transformer, plan: Plan, passes: Iterable[FloatPass], advance: Callable[[], None] = lambda: None
) -> Accuracy:
    """Strict fake-quant against the float model, teacher-forced on the reference target.

    By the equality that `analysis.equality` proves, this is the integer machine's accuracy too.
    """
    sites: dict[str, SiteError] = {}
    quantized_loss, float_loss, tokens = 0.0, 0.0, 0
    codes: dict[str, Tensor] = {}
    strict = StrictArithmetic(model, plan, codes.__setitem__)
    for one in passes:
        codes.clear()
        visible = full_sequence(one.batch.source, one.batch.target, PAD)
        logits = visible.select(plan.graph.logits.site, teacher_forced(model, strict, one.batch).codes)
        labels = one.batch.labels[one.batch.labels != PAD]
        quantized_loss += loss_per_token(logits * plan.logit_scale, labels, reduction="sum").item()
        float_loss += one.loss
        tokens += len(labels)
        for site, real in (one.sites or {plan.graph.logits.site: one.logits}).items():
            quantizer = plan.quantizers[site]
            value = (visible.select(site, codes[site]).double() - quantizer.zero_point) * quantizer.scale
            error = sites.setdefault(site, SiteError())
            error.add(visible.select(site, real).double(), value)
        advance()
    return Accuracy(loss_float=float_loss / tokens, loss_quantized=quantized_loss / tokens, sites=sites)
