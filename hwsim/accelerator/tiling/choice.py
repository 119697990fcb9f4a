"""The best tiling of a product by equation (8) (docs/accelerator.md, section 4)."""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Objective, Options
from hwsim.accelerator.storage import greater
from hwsim.accelerator.tiling.candidates import DoesNotFit, fitting
from hwsim.accelerator.tiling.nest import DEPTHS, ORDERS, Nest, nest_of
from hwsim.accelerator.tiling.plans import Plan, TilePrices, Tiling, plan_of
from hwsim.accelerator.tiling.problem import Problem, problem_of
from hwsim.accelerator.tiling.time import edges, evaluate, unhidden
from hwsim.accelerator.tiling.traffic import dram_bytes, refetch

FIRST_CHUNK = 64
"""Tilings that are evaluated first, by their lower bounds; each further chunk is twice as many."""

BELOW = 1 - 1e-9
"""Keeps a bound in floating point below the exact figure."""

_DEPTHS = np.array(DEPTHS, dtype=np.int64)


def _distinct_orders() -> NDArray[np.bool_]:
    """[order, loops of several trips as a bit mask]: no order of lower number walks the tiles in the same way."""
    table = np.zeros((len(ORDERS), 8), dtype=np.bool_)
    for mask in range(8):
        seen = set()
        for number, order in enumerate(ORDERS):
            loops = tuple(loop for loop in order if mask >> "mkn".index(loop) & 1)
            table[number, mask] = loops not in seen
            seen.add(loops)
    return table


_DISTINCT = _distinct_orders()


class _Candidates(NamedTuple):
    """Tilings that fit: their nests, orders, and DRAM bytes, one entry each; and their sizes without the order.

    Attributes
    ----------
    sizes
        Nests of all sizes, depths unset: what does not depend on the order is computed once for each.
    which
        The entry of `sizes` that a tiling has.
    """

    sizes: Nest
    which: NDArray[np.intp]
    order: NDArray[np.intp]
    dram_bytes: NDArray[Any]

    def at(self, chosen: NDArray[Any]) -> "_Candidates":
        return _Candidates(self.sizes, self.which[chosen], self.order[chosen], self.dram_bytes[chosen])

    @property
    def nest(self) -> Nest:
        return self.sizes.at(self.which)._replace(depth=tuple(_DEPTHS[self.order].T))


def search(
    product: Product,
    hardware: Hardware,
    options: Options,
    prices: TilePrices,
    capacity_bytes: int,
    vector_cycles: int = 0,
) -> Plan:
    """The tiling that is best for the objective among all candidates, and what it costs.

    Parameters
    ----------
    prices
        Used by the objective `energy`, and for `Plan.energy_aj`.
    capacity_bytes
        Of the scratchpad, for tiles.
    vector_cycles
        Of the epilogue of one product: what its array does not hide is part of its time.

    Returns
    -------
    Plan
        Of one of the `count` products. Ties are broken by equation (8): the result is unique.

    Raises
    ------
    DoesNotFit
        If no candidate has room.
    ValueError
        If the array does not support the widths, or a count has more than 63 bits.
    """
    problem = problem_of(product, hardware, options, vector_cycles)
    return _search(problem, options.objective, prices, capacity_bytes)


@lru_cache(maxsize=1 << 16)
def _search(problem: Problem, objective: Objective, prices: TilePrices, capacity_bytes: int) -> Plan:
    tried = _candidates(problem, capacity_bytes)
    if objective is Objective.DRAM:
        tried = tried.at(tried.dram_bytes == tried.dram_bytes.min())
    return _checked(problem, min(_contenders(problem, tried, objective, prices)), objective, prices)


def _contenders(
    problem: Problem, tried: _Candidates, objective: Objective, prices: TilePrices
) -> Iterator[tuple[int, ...]]:
    """The best key of each chunk of tilings, by ascending bounds, until no bound is as good as the best key."""
    if len(tried.order) <= FIRST_CHUNK:
        yield min(_keys(problem, tried, objective, prices))
        return
    bounds = _bounds(problem, tried, prices if objective is Objective.ENERGY else None)
    by_bound = np.argsort(bounds, kind="stable")
    # All have the same DRAM bytes, if these come first: the next figure decides.
    bounded = 1 if objective is Objective.DRAM else 0
    first, size, best = 0, FIRST_CHUNK, math.inf
    while first < len(by_bound) and bounds[by_bound[first]] <= best:
        chunk = min(_keys(problem, tried.at(by_bound[first : first + size]), objective, prices))
        yield chunk
        best = min(best, chunk[bounded])
        first, size = first + size, size * 2


def _candidates(problem: Problem, capacity_bytes: int) -> _Candidates:
    """All tilings that fit, in all orders that differ."""
    _check_transfers(problem, capacity_bytes)
    nest = nest_of((problem.m, problem.k, problem.n), tuple(fitting(problem, capacity_bytes)))
    times = refetch(np.stack(nest.trips))
    m, k, n = nest.size
    room = problem.room(m, k, n) + (times.output > 1) * problem.partial_room(m, n)
    several = sum((trips > 1) << loop for loop, trips in enumerate(nest.trips))
    allowed = _DISTINCT[:, several] & (room <= capacity_bytes)
    if problem.output_on_chip:  # its partial sums have nowhere to go
        allowed &= times.output == 1
        if not allowed.any():
            raise DoesNotFit(int(room[_DISTINCT[:, several] & (times.output == 1)].min()), capacity_bytes)
    order, which = np.nonzero(allowed)
    return _Candidates(nest, which, order, dram_bytes(problem, nest, times)[order, which])


def _check_transfers(problem: Problem, capacity_bytes: int) -> None:
    """Equation (9) multiplies bytes by the clock: other figures that leave 63 bits are seen by their result."""
    m, k, n = problem.m, problem.k, problem.n
    widest = max(8, problem.residual_row_bits // 8 + 1, problem.column_bytes)  # no code or sum has more bytes
    largest = widest * min(max(m * k, k * n, m * n), capacity_bytes)
    if (largest + problem.burst) * problem.clock >= 1 << 63:
        raise ValueError(
            f"transfers of up to {largest} bytes at {problem.clock} cycles for {problem.bandwidth} bytes"
            " do not fit in 63 bits"
        )


def _bounds(problem: Problem, tried: _Candidates, prices: TilePrices | None) -> NDArray[np.float64]:
    """Lower bounds of cycles, or of energy if there are prices, in floating point."""
    used, which = np.unique(tried.which, return_inverse=True)
    sizes = tried.sizes.at(used)
    into, out = edges(problem, sizes)
    busy, words = unhidden(problem, sizes)
    computing = (into.cycles + out.cycles + greater(busy, problem.vector)).astype(np.float64)[which]
    cycles = np.maximum(computing, tried.dram_bytes * (problem.clock / problem.bandwidth))
    if prices is None:
        return cycles * BELOW
    transfer = prices.dram_byte_aj + min(prices[:2]) / problem.word
    energy = words.read * float(prices.sram_read_word_aj) + words.write * float(prices.sram_write_word_aj)
    return (energy[which] + tried.dram_bytes * transfer + cycles * float(prices.leakage_cycle_aj)) * BELOW


def _keys(problem: Problem, tried: _Candidates, objective: Objective, prices: TilePrices) -> list[tuple[int, ...]]:
    """Equation (8): what tilings are compared by, ending in their sizes and order. Energies are Python's integers."""
    costs = evaluate(problem, tried.nest)
    cycles, read, written = (column.tolist() for column in costs)
    moved = tried.dram_bytes.tolist()
    words = [one + other for one, other in zip(read, written, strict=True)]
    tiling = [column.tolist() for column in (*tried.nest.size, tried.order)]
    energy = [0] * len(moved)
    if objective is Objective.ENERGY:
        counts = zip(read, written, moved, cycles, strict=True)
        energy = [sum(count * price for count, price in zip(row, prices, strict=True)) for row in counts]
    figures = zip(energy, moved, cycles, words, strict=True)
    return [(*objective.key(*row), *sizes) for row, sizes in zip(figures, zip(*tiling, strict=True), strict=True)]


def _checked(problem: Problem, best: tuple[int, ...], objective: Objective, prices: TilePrices) -> Plan:
    """The plan of a key.

    Plans are Python's integers, keys 64 bits: a count that has left them would have won, and differs here.
    """
    *figures, tm, tk, tn, order = best
    plan = plan_of(problem, Tiling(tm=tm, tk=tk, tn=tn, order=ORDERS[order]), prices)
    exact = objective.key(plan.energy_aj, plan.dram_bytes, plan.cycles.total, plan.sram_words)
    if tuple(figures) != exact:
        raise ValueError(f"a product of ({problem.m}, {problem.k}, {problem.n}): its counts do not fit in 63 bits")
    return plan
