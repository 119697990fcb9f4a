"""BLEU with its signature and bootstrap intervals (sacrebleu)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from analysis.accuracy.bootstrap import RESAMPLES, SEED


@dataclass(frozen=True, kw_only=True)
class Bleu:
    """Corpus BLEU, its 95% bootstrap interval, and the signature that makes it comparable."""

    score: float
    low: float
    high: float
    signature: str


def bleu(hypotheses: Sequence[str], references: Sequence[str], seed: int = SEED) -> Bleu:
    """Corpus BLEU of translations against one reference each."""
    metric = BLEU()
    score = metric.corpus_score(list(hypotheses), [list(references)]).score
    samples = _resampled(hypotheses, references, seed)
    low, high = np.percentile(samples, (2.5, 97.5))
    return Bleu(score=score, low=float(low), high=float(high), signature=str(metric.get_signature()))


def paired_difference(
    ours: Sequence[str], baseline: Sequence[str], references: Sequence[str], seed: int = SEED
) -> tuple[float, float]:
    """95% interval of BLEU(ours) - BLEU(baseline) by paired bootstrap (Koehn, 2004): the same resamples for both."""
    difference = _resampled(ours, references, seed) - _resampled(baseline, references, seed)
    low, high = np.percentile(difference, (2.5, 97.5))
    return float(low), float(high)


def _resampled(
    hypotheses: Sequence[str], references: Sequence[str], seed: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """BLEU of `RESAMPLES` draws of sentences with replacement, from per-sentence statistics."""
    metric = BLEU()
    statistics = np.array(metric._extract_corpus_statistics(list(hypotheses), [list(references)]))
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(hypotheses), (RESAMPLES, len(hypotheses)))
    return np.array([metric._compute_score_from_stats(statistics[row].sum(0).tolist()).score for row in rows])
