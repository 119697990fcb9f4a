"""The loop nest of tiles: indices along m, k, n, their order, and a step's neighbours (docs/accelerator.md, section 5).

Like all formulas here for ints and arrays: triples are always (m, k, n).
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim.accelerator.storage import Ints, ceil_div

Triple: TypeAlias = tuple[Ints, ...]
"""One entry each for m, k, n."""

ORDERS = ("mkn", "mnk", "kmn", "knm", "nmk", "nkm")
"""By number; outermost first."""
DEPTHS = tuple(tuple(order.index(name) for name in "mkn") for order in ORDERS)
"""How deep the loops over m, k and n are, for each order."""


class Nest(NamedTuple):
    """Tiles of a product: sizes, sizes of the last ones, trips, and how deep the loops are."""

    size: Triple
    rest: Triple
    trips: Triple
    depth: Triple

    def at(self, chosen: NDArray[np.intp]) -> "Nest":
        """Those entries of a nest of arrays."""
        return Nest(*(tuple(column if isinstance(column, int) else column[chosen] for column in part) for part in self))

    def tile(self, index: Triple) -> Triple:
        """Sizes of the tile at an index; the last along a dimension is what is left."""
        return tuple(
            size - (at == trips - 1) * (size - rest)
            for size, rest, trips, at in zip(self.size, self.rest, self.trips, index, strict=True)
        )

    @property
    def start(self) -> Triple:
        return tuple(0 * trips for trips in self.trips)

    @property
    def end(self) -> Triple:
        return tuple(trips - 1 for trips in self.trips)

    def neighbour(self, index: Triple, step: int) -> Triple:
        """Index of the next step (`step` 1) or of the one before (-1), in a circle."""
        edge = [at == (trips - 1 if step > 0 else 0) for at, trips in zip(index, self.trips, strict=True)]
        moved = []
        for own in range(3):
            one, two = (other for other in range(3) if other != own)
            depth = self.depth[own]
            # A loop moves when every loop inside it is at its edge.
            moves = (edge[one] | (self.depth[one] < depth)) & (edge[two] | (self.depth[two] < depth))
            moved.append(index[own] + step * moves * (1 - edge[own] * self.trips[own]))
        return tuple(moved)


def nest_of(extents: tuple[int, int, int], size: Triple, depth: Triple = (0, 0, 0)) -> Nest:
    """The nest of tiles of a size."""
    trips = tuple(ceil_div(extent, one) for extent, one in zip(extents, size, strict=True))
    rest = tuple(extent - (count - 1) * one for extent, count, one in zip(extents, trips, size, strict=True))
    return Nest(size, rest, trips, depth)


def walk(nest: Nest) -> Iterator[tuple[int, int, int]]:
    """Indices of all steps in order, of a nest of ints."""
    loops = sorted(range(3), key=lambda dimension: nest.depth[dimension])
    outer, middle, inner = (nest.trips[dimension] for dimension in loops)
    place = [loops.index(dimension) for dimension in range(3)]
    for first in range(outer):
        for second in range(middle):
            for third in range(inner):
                at = (first, second, third)
                yield at[place[0]], at[place[1]], at[place[2]]


def classes(trips: int) -> list[tuple[int, int]]:
    """Indices of one loop, one of each kind, and how many of the kind there are.

    First, last, last but one (the next tile is ragged), and all between, whose neighbours are whole tiles like them.
    """
    if trips < 4:
        return [(at, 1) for at in range(trips)]
    return [(0, 1), (1, trips - 3), (trips - 2, 1), (trips - 1, 1)]
