"""What is counted of one site, and the codes of it that causes are tried on."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.proof.divergence import Index
from analysis.proof.explain.records import Histogram
from hwsim.program.operations import Operation

Array = NDArray[Any]
SAMPLE = 20_000
"""Differing codes of a site that causes are tried on, and equal ones: so many at most, half of what is left a call."""
FULL = 64
"""Room for fewer codes is no room: tensors of later calls are then not kept."""
HISTOGRAM_REACH = 16
_ODD = 7919
"""A stride through codes that follows no dimension of a tensor."""


class Sample(NamedTuple):
    """Some codes of one call: where, A's inputs of the operation, A's and B's codes on them."""

    indices: NDArray[np.int64]
    values: Mapping[str, Array]
    a: Array
    b: Array

    @property
    def at(self) -> list[Index]:
        return [tuple(row) for row in self.indices.tolist()]

    def of(self, whole: Array) -> NDArray[np.int64]:
        """The sampled elements of a whole array."""
        return np.asarray(whole[tuple(self.indices.T)], np.int64)

    def codes(self, whole: Array) -> list[int]:
        """The same as Python integers."""
        return [int(code) for code in self.of(whole)]

    def thinned(self, most: int) -> "Sample":
        """At most so many differing codes and as many equal ones."""
        unequal = self.of(self.a) != self.of(self.b)
        kept = [np.flatnonzero(unequal)[:most], np.flatnonzero(~unequal)[:most]]
        return self._replace(indices=self.indices[np.concatenate(kept)])


class Tally:
    """One site over all calls."""

    def __init__(self, function: str, operation: Operation) -> None:
        self.function, self.operation = function, operation
        self.compared = self.different = self.on_equal_inputs = self.max_lsb = 0
        self.follows_from: dict[str, None] = {}
        self.assumed: dict[str, None] = {}
        self.samples: list[Sample] = []
        self.lsb: Counter[int] = Counter()
        self.lsb_on_equal_inputs: Counter[int] = Counter()
        self._left = [SAMPLE, SAMPLE]

    def count(self, a: Array, b: Array) -> int:
        """Compare two arrays of codes; returns how many differ."""
        lsb = differences(a, b)
        self.lsb += lsb
        self.compared += a.size
        self.different += (different := a.size - lsb[0])
        self.max_lsb = max([self.max_lsb, *map(abs, lsb)])
        return different

    def count_equal_inputs(self, inputs: Mapping[str, Array], a: Array, b: Array, where: NDArray[np.bool_]) -> int:
        """Compare codes made of the same inputs; keeps some of both kinds, as long as there is room."""
        unequal = (a != b) & where
        different = int(unequal.sum())
        self.on_equal_inputs += different
        self.lsb_on_equal_inputs += differences(a[where], b[where])
        chosen = [*self._choose(np.flatnonzero(unequal), 0), *self._choose(np.flatnonzero((a == b) & where), 1)]
        if chosen:
            indices = np.stack(np.unravel_index(np.array(chosen), a.shape), axis=-1)
            self.samples.append(Sample(indices, inputs, a, b))
        return different

    def _choose(self, flat: NDArray[np.int64], which: int) -> Iterator[int]:
        room = min(self._left[which] // 2, flat.size) if self._left[which] >= FULL else 0
        self._left[which] -= room
        if room < flat.size:
            flat = flat[np.unique(np.arange(room) * _ODD % flat.size)]
        yield from flat.tolist()


def differences(a: Array, b: Array) -> Counter[int]:
    """B - A in LSB -> codes."""
    lsb, counts = np.unique(b.astype(np.int64) - a, return_counts=True)
    return Counter(dict(zip(lsb.tolist(), counts.tolist(), strict=True)))


def histogram(lsb: Counter[int]) -> Histogram:
    """Differences of many LSB counted together."""
    near = {difference: count for difference, count in sorted(lsb.items()) if abs(difference) <= HISTOGRAM_REACH}
    return Histogram(
        codes=near,
        below=sum(count for difference, count in lsb.items() if difference < -HISTOGRAM_REACH),
        above=sum(count for difference, count in lsb.items() if difference > HISTOGRAM_REACH),
    )
