"""How far a mean over sentences is to be trusted: percentile bootstrap (Efron, 1979)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 12345
"""Of every interval: figures of the same text are resampled alike, so that they pair up."""

Interval = tuple[float, float]


def interval_of_mean(sums: NDArray[Any], counts: NDArray[Any], seed: int = SEED) -> Interval | None:
    """95% interval of sum(sums) / sum(counts) over sentences drawn with replacement.

    Parameters
    ----------
    sums, counts
        One entry a sentence: of a loss in nat, and the tokens that it is of.

    Returns
    -------
    tuple or None
        Both ends; None of less than two sentences, which say nothing of what others would give.
    """
    if len(sums) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):  # one draw at a time: memory does not grow with their number
        drawn = rng.integers(0, len(sums), len(sums))
        means[i] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
