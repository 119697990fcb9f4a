"""Tile sizes that are tried, and those that fit (docs/accelerator.md, section 4, "Candidates")."""

from collections.abc import Iterator
from functools import lru_cache
from math import isqrt, lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.accelerator.hardware import Dataflow
from hwsim.accelerator.storage import ceil_div
from hwsim.accelerator.tiling.problem import Problem

CELLS = 1 << 21
"""Tilings that are looked at together: memory, not results, depends on it."""

MOST = 1 << 22
"""Tilings of one product that are compared at all: more would take gigabytes."""

MAPPED = {Dataflow.OS: (0, 2), Dataflow.WS: (1, 2), Dataflow.IS: (1, 0)}
"""Dimensions, of (m, k, n), that lie along the array's rows and columns."""


class DoesNotFit(ValueError):
    """No tile fits: `needed` bytes for the smallest, `available` bytes in the scratchpad."""

    def __init__(self, needed: int, available: int) -> None:
        super().__init__(f"the smallest tile needs {needed} bytes of scratchpad; {available} are there")
        self.needed, self.available = needed, available


def axes(problem: Problem) -> tuple[NDArray[np.int64], ...]:
    """Sizes that are tried along m, k and n, ascending."""
    extents = (problem.m, problem.k, problem.n)
    group = 1 if problem.sparsity is None else problem.sparsity.group
    groups, heads = (1, group, 1), (problem.m, problem.a_head, problem.output_head)
    units = [1, 1, 1]
    if not problem.single:
        for dimension, unit in zip(MAPPED[problem.array.dataflow], problem.array[1:3], strict=True):
            units[dimension] = unit
    sizes = _dividing if problem.single else _covering
    return tuple(sizes(*of) for of in zip(extents, units, groups, heads, strict=True))


def _covering(extent: int, unit: int, group: int, head: int) -> NDArray[np.int64]:
    """Multiples of the array's unit in whole groups; where rows have gaps whole heads, and such parts of a head."""
    if head == extent:
        return multiples(extent, lcm(unit, group))
    parts = divisors(head)
    return np.union1d(parts[parts % lcm(unit, group) == 0], multiples(extent, lcm(head, group)))


def _dividing(extent: int, unit: int, group: int, head: int) -> NDArray[np.int64]:
    """Divisors of the extent in whole groups, which cut no head."""
    sizes = divisors(extent)
    whole = (sizes % (unit * group) == 0) | (sizes == extent)
    return sizes[whole & ((sizes % head == 0) | (head % sizes == 0))]


@lru_cache(maxsize=4096)
def multiples(extent: int, unit: int) -> NDArray[np.int64]:
    """Multiples of `unit` below `extent`, and `extent`; of those with one number of tiles the smallest."""
    most = ceil_div(extent, unit) - 1
    few = np.arange(1, isqrt(most) + 1, dtype=np.int64)
    counts = 1 + np.union1d(np.append(0, few), most // few)  # ceil((most + 1) / i) for all i
    return np.minimum(counts * unit, extent)


@lru_cache(maxsize=4096)
def divisors(extent: int) -> NDArray[np.int64]:
    """All divisors of `extent`."""
    tried = np.arange(1, isqrt(extent) + 1, dtype=np.int64)
    small = tried[extent % tried == 0]
    return np.union1d(small, extent // small)


def fitting(problem: Problem, capacity_bytes: int) -> NDArray[np.int64]:
    """Sizes (3, tilings) whose room, without partial sums in transfer, is at most the capacity.

    Raises
    ------
    DoesNotFit
        If there are none.
    ValueError
        If there are more than `MOST`.
    """
    m, k, n = axes(problem)
    needed = problem.room(int(m[0]), int(k[0]), int(n[0]))
    if needed > capacity_bytes:
        raise DoesNotFit(needed, capacity_bytes)
    # Room grows with every size: pairs that do not fit with the least m never do.
    which_k, which_n = np.nonzero(problem.room(m[0], k[:, None], n[None, :]) <= capacity_bytes)
    found, count = [], 0
    for part in _fitting(problem, capacity_bytes, m, k[which_k], n[which_n]):
        found.append(part)
        count += part.shape[1]
        if count > MOST:
            raise ValueError(
                f"a product of ({problem.m}, {problem.k}, {problem.n}) has more than {MOST} tilings that fit in"
                f" {capacity_bytes} bytes; a larger array or a smaller scratchpad has fewer"
            )
    return np.concatenate(found, axis=1)


def _fitting(
    problem: Problem, capacity_bytes: int, m: NDArray[Any], k: NDArray[Any], n: NDArray[Any]
) -> Iterator[NDArray[np.int64]]:
    pairs = max(1, CELLS // len(m))
    for first in range(0, len(k), pairs):
        some_k, some_n = k[first : first + pairs], n[first : first + pairs]
        which_m, which = np.nonzero(problem.room(m[:, None], some_k, some_n) <= capacity_bytes)
        yield np.stack((m[which_m], some_k[which], some_n[which]))
