"""Teacher-forced accuracy against the float model: loss, and error of every site."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.accuracy.bootstrap import Interval, interval_of_mean
from reference.floating import FloatArithmetic
from reference.models.translation import Transformer
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


def _sum(x: Tensor) -> float:
    """A sum in the order of NumPy's; torch's depends on how many threads share it, in the last digit."""
    return float(x.numpy().sum())


@dataclass(kw_only=True)
class SiteError:
    """Running sums that compare one site with its float value, the same for any number of threads."""

    count: int = 0
    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    quantized: float = 0.0
    max_error: float = 0.0

    def add(self, real: Tensor, quantized: Tensor) -> None:
        error = quantized - real
        self.count += real.numel()
        self.signal += _sum(real.square())
        self.noise += _sum(error.square())
        self.product += _sum(real * quantized)
        self.quantized += _sum(quantized.square())
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
    """Losses in nat per token, and errors by site (only the logits' unless all were asked for).

    `interval` is the 95% interval of the increase by paired bootstrap over sentences; None of a single one.
    """

    loss_float: float
    loss_quantized: float
    sites: dict[str, SiteError]
    interval: Interval | None = None

    @property
    def loss_increase(self) -> float:
        return self.loss_quantized - self.loss_float


@dataclass(frozen=True, kw_only=True)
class FloatPass:
    """One batch through the float model: logits, losses summed over the tokens of each sentence, sites if wanted."""

    batch: Batch
    logits: Tensor
    losses: Tensor
    sites: dict[str, Tensor]


def float_passes(model: Transformer, batches: Iterable[Batch], *, keep_sites: bool = False) -> Iterator[FloatPass]:
    """Run the float model batch by batch. All sites of a long text would not fit in memory, so they stream."""
    for batch in batches:
        sites: dict[str, Tensor] = {}
        ops = FloatArithmetic(sites.__setitem__ if keep_sites else None)
        with torch.inference_mode():
            logits = teacher_forced(model, ops, batch)
            losses = _losses(logits[batch.labels != PAD], batch.labels)
        yield FloatPass(batch=batch, logits=logits, losses=losses, sites=sites)


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of every sentence, float64, summed over its tokens: logits (tokens, v) of labels (sentences, n)."""
    real = labels != PAD
    found = loss_per_token(logits, labels[real], reduction="none")
    sentence = torch.arange(len(labels))[:, None].expand_as(labels)[real]
    return torch.zeros(len(labels), dtype=torch.float64).index_add(0, sentence, found.double())


def measure(model: Transformer, plan: Plan, passes: Iterable[FloatPass]) -> Accuracy:
    """`measure_all` of one plan."""
    return measure_all(model, [plan], passes)[0]


@torch.inference_mode()
def measure_all(model: Transformer, plans: Sequence[Plan], passes: Iterable[FloatPass]) -> list[Accuracy]:
    """Strict fake-quant under each plan against one float model, teacher-forced on the reference target.

    By the equality that `analysis.proof.equality` proves, this is the integer machine's accuracy too. Each batch of the
    float model meets all plans before the next, so that it is run once and never kept.
    """
    meters = [_Meter(model, plan) for plan in plans]
    for one in passes:
        for meter in meters:
            meter.add(one)
        del one  # the sites of the next batch are made before it would be forgotten
    return [meter.result() for meter in meters]


class _Meter:
    """Running sums of one plan."""

    def __init__(self, model: Transformer, plan: Plan) -> None:
        self._model, self._plan = model, plan
        self._strict = StrictArithmetic(model, plan)
        self._sites: dict[str, SiteError] = {}
        self._float: list[Tensor] = []
        self._quantized: list[Tensor] = []
        self._tokens: list[Tensor] = []

    def add(self, one: FloatPass) -> None:
        """Take in a batch; sites of the float model that the plan does not quantize are passed over.

        A site is compared when it is made: the codes of all of them are as much memory as the float sites.
        """
        visible, logits_site = full_sequence(one.batch.source, one.batch.target, PAD), self._plan.graph.logits.site
        wanted = one.sites or {logits_site: one.logits}

        def compare(site: str, codes: Tensor) -> None:
            quantizer = self._plan.quantizers.get(site)
            if quantizer is not None and site in wanted:
                value = (visible.select(site, codes).double() - quantizer.zero_point) * quantizer.scale
                self._sites.setdefault(site, SiteError()).add(visible.select(site, wanted[site]).double(), value)

        self._strict.observe = compare
        logits = visible.select(logits_site, teacher_forced(self._model, self._strict, one.batch).codes)
        self._strict.observe = None  # it holds the batch
        self._quantized.append(_losses(logits * self._plan.logit_scale, one.batch.labels))
        self._float.append(one.losses)
        self._tokens.append((one.batch.labels != PAD).sum(1))

    def result(self) -> Accuracy:
        real, quantized, tokens = map(_array, (self._float, self._quantized, self._tokens))
        return Accuracy(
            loss_float=float(real.sum() / tokens.sum()),
            loss_quantized=float(quantized.sum() / tokens.sum()),
            sites=self._sites,
            interval=interval_of_mean(quantized - real, tokens),
        )


def _array(parts: Sequence[Tensor]) -> NDArray[np.float64]:
    """One figure a sentence, of all batches."""
    return torch.cat(list(parts)).double().numpy()
