"""Equation (10) for many tilings at once: arrays of classes of like steps (docs/accelerator.md, section 5)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.accelerator.storage import Ints, greater, positive
from hwsim.accelerator.tiling.nest import Nest, Triple
from hwsim.accelerator.tiling.problem import Accesses, Problem
from hwsim.accelerator.tiling.traffic import ALL_CHANGED, changed, loads, stores


class Costs(NamedTuple):
    """Of each tiling: cycles, and scratchpad words of both sides."""

    cycles: NDArray[Any]
    read_words: NDArray[Any]
    written_words: NDArray[Any]


class _Transfers(NamedTuple):
    """Cycles and scratchpad words of some transfers, one entry a step."""

    cycles: Ints
    words: Ints


def evaluate(problem: Problem, nest: Nest) -> Costs:
    """Cycles and words of each tiling of a nest of arrays."""
    tiling, index, times = _cells(nest)
    cells = nest.at(tiling)
    starts = np.flatnonzero(np.diff(tiling, prepend=-1))

    first = [at == 0 for at in index]
    last = [at == trips - 1 for at, trips in zip(index, cells.trips, strict=True)]
    begins, ends = first[0] & first[1] & first[2], last[0] & last[1] & last[2]
    busy, words = _worked(problem, cells.tile(index), begins, ends, first[1], last[1])

    following, before = cells.neighbour(index, 1), cells.neighbour(index, -1)
    loaded = _transfers(problem, loads(problem, cells, following, changed(index, following)), ~ends)
    stored = _transfers(problem, stores(problem, cells, before, changed(before, index)), ~begins)

    def total(values: Ints) -> NDArray[Any]:
        return np.add.reduceat(times * values, starts)

    into, out = edges(problem, nest)
    exposed = positive(problem.vector - total(busy))
    return Costs(
        total(greater(busy, loaded.cycles + stored.cycles)) + into.cycles + out.cycles + exposed,
        total(words.read + stored.words) + out.words,
        total(words.write + loaded.words) + into.words,
    )


def edges(problem: Problem, nest: Nest) -> tuple[_Transfers, _Transfers]:
    """in(1) and out(S) of each tiling."""
    into = _transfers(problem, loads(problem, nest, nest.start, ALL_CHANGED))
    return into, _transfers(problem, stores(problem, nest, nest.end, ALL_CHANGED))


def unhidden(problem: Problem, nest: Nest) -> tuple[Ints, Accesses]:
    """Sum of c_i of each tiling, and words at the array's side: they do not depend on the order of loops."""
    trips = nest.trips
    one = (trips[0] == 1) & (trips[1] == 1) & (trips[2] == 1)
    # The first tile fills the array: all are summed without that, which is added for this one.
    several = trips[1] > 1
    with_start, _ = _worked(problem, nest.size, True, one, True, ~several)
    without, _ = _worked(problem, nest.size, False, one, True, ~several)
    cycles: Ints = with_start - without
    words = Accesses(0, 0, 0, 0, 0, 0)
    for times, tile, final, first, last in _tiles(nest):
        busy, own = _worked(problem, tile, False, final, first, last)
        cycles = cycles + times * busy
        words = Accesses(*(total + times * count for total, count in zip(words, own, strict=True)))
    return cycles, words


def _worked(problem: Problem, tile: Triple, begins: Ints, ends: Ints, first: Ints, last: Ints) -> tuple[Ints, Accesses]:
    """c_i and the words of a tile, by whether it begins or ends the product, and is the first or last along k."""
    m, k, n = tile
    array = sum(problem.cycles(m, k, n, begins, ends))
    words = problem.accesses(m, k, n, first, last)
    return array + problem.stall(words.read + words.write, array), words


def _tiles(nest: Nest) -> Iterator[tuple[Ints, Triple, bool, Ints, bool]]:
    """Tiles of one size: how many, the size, whether they end the product, are the first and the last along k."""
    trips = nest.trips
    along_k = (
        (1 * (trips[1] > 1), nest.size[1], True, False),
        (positive(trips[1] - 2), nest.size[1], False, False),
        (1, nest.rest[1], trips[1] == 1, True),
    )
    for m_last, n_last in ((False, False), (False, True), (True, False), (True, True)):
        m_times, m = (1, nest.rest[0]) if m_last else (trips[0] - 1, nest.size[0])
        n_times, n = (1, nest.rest[2]) if n_last else (trips[2] - 1, nest.size[2])
        for k_times, k, first, last in along_k:
            yield m_times * k_times * n_times, (m, k, n), m_last and n_last and last, first, last


def _transfers(problem: Problem, sizes: tuple[Ints, ...], where: Ints = True) -> _Transfers:
    """Of the transfers of so many bytes each, where there are any."""
    cycles: Ints = 0
    words: Ints = 0
    for size in sizes:
        if not isinstance(size, int):  # an int is a 0 for a stream that there is not
            cycles = cycles + problem.transfer_cycles(size)
            words = words + problem.words(size)
    return _Transfers(cycles * where, words * where)


def _cells(nest: Nest) -> tuple[NDArray[np.intp], Triple, NDArray[np.int64]]:
    """Classes of steps of every tiling: which tiling, an index of the class, and how many steps it has.

    A loop has up to four classes of indices, as `hwsim.accelerator.tiling.nest.classes` says.
    """
    trips = np.stack(nest.trips)
    zero, one = np.zeros_like(trips), np.ones_like(trips)
    indices = np.stack((zero, one, trips - 2, trips - 1))
    counts = np.stack((one, np.maximum(trips - 3, 0), trips > 2, trips > 1))
    m, k, n = (counts[:, loop].T for loop in range(3))
    times = m[:, :, None, None] * k[:, None, :, None] * n[:, None, None, :]
    tiling, *kinds = np.nonzero(times)
    index = tuple(indices[kind, loop, tiling] for loop, kind in enumerate(kinds))
    return tiling, index, times[tiling, *kinds]
