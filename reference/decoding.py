"""Greedy and beam search over any step function: float model, fake-quant model or integer machine."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reference.tokenizer import BOS, EOS

IntArray = NDArray[np.int64]


class Stepper(Protocol):
    """One decoding step for a set of rows, each with its own cache.

    `logit_scale` turns the returned logits (float, or INT32 codes) into real ones.
    """

    logit_scale: float

    def step(self, tokens: IntArray, parents: IntArray) -> NDArray[Any]:
        """Logits (rows, vocabulary) after `tokens` (rows,).

        Row i continues row `parents[i]` of the previous step (of the encoded batch, at the first step), so parents
        drop, reorder and repeat rows.
        """


def length_limit(source_length: int, max_positions: int) -> int:
    """Most tokens that a translation may have: twice the source and ten more, within the position table."""
    return min(max_positions, 2 * source_length + 10)


def greedy(stepper: Stepper, limits: Sequence[int]) -> list[list[int]]:
    """The most likely token at each step, ties to the lowest id; a row leaves the batch at EOS or its limit."""
    outputs: list[list[int]] = [[] for _ in limits]
    active = np.arange(len(limits))
    parents, tokens = active, np.full(len(limits), BOS)
    while active.size:
        best = stepper.step(tokens, parents).argmax(-1).astype(np.int64)
        for row, token in zip(active, best, strict=True):
            outputs[row].append(int(token))
        keep = np.array([outputs[r][-1] != EOS and len(outputs[r]) < limits[r] for r in active.tolist()])
        parents, tokens, active = np.flatnonzero(keep), best[keep], active[keep]
    return outputs


def log_softmax(logits: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Log probabilities (rows, vocabulary) in float64: the one place where search reads logits as real numbers."""
    real = logits.astype(np.float64) * scale
    real -= real.max(-1, keepdims=True)
    return np.asarray(real - np.log(np.exp(real).sum(-1, keepdims=True)))


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6) ** alpha (Wu et al., 2016, equation 14)."""
    return float(((5 + length) / 6) ** alpha)


def beam(stepper: Stepper, limits: Sequence[int], *, width: int = 4, alpha: float = 0.6) -> list[list[int]]:
    """Beam search, one source sentence after another sharing every step.

    A sentence ends when `width` hypotheses are finished and no live one can still overtake the best of them, or at its
    limit. Equal scores keep the earlier beam and the lower id (stable sort).
    """
    if width < 1:
        raise ValueError(f"beam width is {width}; it must be at least 1")
    live = [[(0.0, [BOS], row)] for row in range(len(limits))]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in limits]
    while any(live):
        rows = [hypothesis for sentence in live for hypothesis in sentence]
        tokens = np.array([hypothesis[1][-1] for hypothesis in rows])
        parents = np.array([hypothesis[2] for hypothesis in rows])
        scores = log_softmax(stepper.step(tokens, parents), stepper.logit_scale)
        first = 0
        for sentence, hypotheses in enumerate(live):
            count = len(hypotheses)
            if count:
                live[sentence] = _advance(
                    hypotheses, scores[first : first + count], first, finished[sentence], limits[sentence], width, alpha
                )
            first += count
    return [max(done, key=lambda item: item[0])[1] for done in finished]


def _advance(
    hypotheses: list[tuple[float, list[int], int]],
    scores: NDArray[np.float64],
    first_row: int,
    finished: list[tuple[float, list[int]]],
    limit: int,
    width: int,
    alpha: float,
) -> list[tuple[float, list[int], int]]:
    """One step of one sentence: the hypotheses that live on; those that end join `finished`."""
    total = np.array([score for score, _, _ in hypotheses])[:, None] + scores
    order = np.argsort(-total, axis=None, kind="stable")[: 2 * width]
    survivors: list[tuple[float, list[int], int]] = []
    for index in order:
        row, token = divmod(int(index), scores.shape[1])
        output = [*hypotheses[row][1], token]
        length = len(output) - 1
        if token == EOS or length >= limit:
            finished.append((float(total[row, token]) / length_penalty(length, alpha), output[1:]))
        elif len(survivors) < width:
            survivors.append((float(total[row, token]), output, first_row + row))
    if len(finished) >= width and survivors:
        # A log probability only falls, and the penalty is largest at the limit: this is the best that can still come.
        bound = survivors[0][0] / length_penalty(limit, alpha)
        if max(score for score, _ in finished) >= bound:
            return []
    return survivors
