"""Ranges of activation sites, observed while the float model reads text."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from reference.floating import FloatArithmetic
from reference.models.translation import Transformer
from reference.padding import full_sequence
from reference.quantize.scheme import Estimator
from reference.tokenizer import PAD
from reference.train import Batch, teacher_forced

MOMENTUM = 0.9
"""Of the exponential moving average (FullyQT, section 3.1)."""
ARITHMETIC = 1
"""Counted up when `calibrate` changes what it gives for the same inputs: kept ranges of before are then not found."""


@dataclass
class Range:
    """What one site took: the average over batches of their extremes, and the extremes of all."""

    average: tuple[float, float]
    extremes: tuple[float, float]

    def update(self, low: float, high: float) -> None:
        self.average = (
            MOMENTUM * self.average[0] + (1 - MOMENTUM) * low,
            MOMENTUM * self.average[1] + (1 - MOMENTUM) * high,
        )
        self.extremes = (min(self.extremes[0], low), max(self.extremes[1], high))

    def estimate(self, estimator: Estimator) -> tuple[float, float]:
        return self.average if estimator == "ema" else self.extremes


@torch.no_grad()
def calibrate(model: Transformer, batches: Iterable[Batch]) -> dict[str, Range]:
    """Observe every site over the batches, teacher-forced, padding and masked scores ignored.

    Raises
    ------
    ValueError
        If there is no batch, or a site takes a value that is not finite.
    """
    ranges: dict[str, Range] = {}
    for batch in batches:
        visible = full_sequence(batch.source, batch.target, PAD)

        def observe(site: str, x: Tensor, visible=visible) -> None:  # type: ignore[no-untyped-def]
            low, high = (bound.item() for bound in torch.aminmax(visible.select(site, x)))
            for bound in (low, high):
                if not math.isfinite(bound):
                    raise ValueError(f"site {site} takes the value {bound} in calibration")
            if site in ranges:
                ranges[site].update(low, high)
            else:
                ranges[site] = Range((low, high), (low, high))

        teacher_forced(model, FloatArithmetic(observe), batch)
    if not ranges:
        raise ValueError("calibration text is empty")
    return ranges
