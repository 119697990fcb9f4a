"""DRAM traffic: what each step transfers, and how many bytes a tiling moves in all (docs/accelerator.md, section 4)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.accelerator.storage import Ints
from hwsim.accelerator.tiling.nest import DEPTHS, Nest, Triple
from hwsim.accelerator.tiling.problem import Problem

LOADS = ("a", "b", "constants", "partial", "residual")
"""Streams read from DRAM, in the order of `loads`."""
STORES = ("partial", "output")
"""Streams written to DRAM, in the order of `stores`."""

_DEPTHS = np.array(DEPTHS, dtype=np.int64)
_INSIDE = _DEPTHS[:, :, None] < _DEPTHS[:, None, :]
"""[order, x, y]: the loop over y runs inside the loop over x."""


class Changed(NamedTuple):
    """Whether a step's tile of each operand is another than its neighbour's."""

    a: Ints
    b: Ints
    constants: Ints
    output: Ints


ALL_CHANGED = Changed(True, True, True, True)


def changed(here: Triple, there: Triple) -> Changed:
    """Which operands' tiles differ between two indices."""
    m, k, n = (one != other for one, other in zip(here, there, strict=True))
    return Changed(m | k, k | n, n, m | n)


def loads(problem: Problem, nest: Nest, index: Triple, new: Changed) -> tuple[Ints, ...]:
    """Bytes that are fetched for the step at `index`, one entry for each of `LOADS`."""
    m, k, n = nest.tile(index)
    return (
        0 if problem.a_on_chip else new.a * m * problem.a_row(k),
        0 if problem.b_on_chip else new.b * _fetched_b(problem, nest, index, k, n),
        new.constants * n * problem.column_bytes,
        0 if problem.output_on_chip else new.output * (index[1] != 0) * m * n * problem.psum_bytes,
        (index[1] == nest.trips[1] - 1) * m * problem.residual_row(n) if problem.residual_row_bits else 0,
    )


def stores(problem: Problem, nest: Nest, index: Triple, new: Changed) -> tuple[Ints, ...]:
    """Bytes that are stored after the step at `index`, one entry for each of `STORES`."""
    if problem.output_on_chip:
        return 0, 0
    m, _, n = nest.tile(index)
    done = index[1] == nest.trips[1] - 1
    return new.output * (1 - done * 1) * m * n * problem.psum_bytes, new.output * done * m * problem.output_row(n)


def _fetched_b(problem: Problem, nest: Nest, index: Triple, k: Ints, n: Ints) -> Ints:
    """Bytes of a tile of b without what is fresh of the last one."""
    if problem.fresh_k:
        k = k - (index[1] == nest.trips[1] - 1) * problem.fresh_k
    if problem.fresh_n:
        n = n - (index[2] == nest.trips[2] - 1) * problem.fresh_n
    return problem.b_bytes(k, n)


class Refetch(NamedTuple):
    """How often each operand is fetched, for each order and each tiling: arrays (6, tilings)."""

    a: NDArray[Any]
    b: NDArray[Any]
    constants: NDArray[Any]
    output: NDArray[Any]


def refetch(trips: NDArray[Any]) -> Refetch:
    """Factors of the six orders for `trips` (3, tilings), section 4, "Refetch"."""
    many = trips > 1

    def factor(irrelevant: int, relevant: tuple[int, ...]) -> NDArray[Any]:
        """Trips of one irrelevant loop, if it has a relevant one of several trips inside, else 1."""
        outside: Any = False
        for loop in relevant:
            outside = outside | (_INSIDE[:, irrelevant, loop, None] & many[loop])
        return np.where(outside, trips[irrelevant], 1)

    m, k, n = range(3)
    return Refetch(factor(n, (m, k)), factor(m, (k, n)), factor(m, (n,)) * factor(k, (n,)), factor(k, (m, n)))


def dram_bytes(problem: Problem, nest: Nest, times: Refetch) -> NDArray[Any]:
    """D of equation (6), for each order and each tiling of a nest of arrays: (6, tilings)."""
    m, n, p = problem.m, problem.n, problem
    a = 0 if p.a_on_chip else m * _rows(nest, 1, p.a_row)
    b = 0 if p.b_on_chip else _b_bytes(p, nest)
    total = times.a * a + times.b * b + times.constants * (n * p.column_bytes)
    if not p.output_on_chip:
        total = total + (times.output - 1) * (2 * m * n * p.psum_bytes) + m * _rows(nest, 2, p.output_row)
    if p.residual_row_bits:
        total = total + m * _rows(nest, 2, p.residual_row)
    return total


def _b_bytes(problem: Problem, nest: Nest) -> Ints:
    """All of b once; what is fresh shortens the last tile alone."""
    rest_m, rest_k, rest_n = nest.rest
    fetched = nest._replace(rest=(rest_m, rest_k - problem.fresh_k, rest_n - problem.fresh_n))
    if problem.b_along_n:
        return (problem.k - problem.fresh_k) * _rows(fetched, 2, lambda n: problem.b_bytes(1, n))
    return (problem.n - problem.fresh_n) * _rows(fetched, 1, lambda k: problem.b_bytes(k, 1))


def _rows(nest: Nest, dimension: int, row: Any) -> Ints:
    """Bytes of one row cut into its tiles."""
    return (nest.trips[dimension] - 1) * row(nest.size[dimension]) + row(nest.rest[dimension])
