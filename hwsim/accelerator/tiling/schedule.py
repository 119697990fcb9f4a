"""The explicit walk of section 5 (docs/accelerator.md): every step of a product, with its transfers, for traces."""

from collections.abc import Iterator
from typing import NamedTuple

from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Options
from hwsim.accelerator.tiling.nest import walk
from hwsim.accelerator.tiling.plans import MOVES, Direction, Index, Stream, Tiling, Walk, causes, walk_of
from hwsim.accelerator.tiling.problem import problem_of
from hwsim.accelerator.tiling.traffic import changed


class Transfer(NamedTuple):
    """One DRAM transfer and the cycles that it takes."""

    stream: Stream
    direction: Direction
    bytes: int
    cycles: int


class Step(NamedTuple):
    """What happens between two handovers of tiles.

    Attributes
    ----------
    start
        First cycle.
    tile
        Indices along m, k, n of the tile that the array works on; None before the first and after the last.
    busy
        c_i: cycles of the array and its stalls.
    cycles
        Of the step, by cause; its total is the step's length.
    loads, stores
        Transfers for the next tile, and of the one before.
    room_bytes
        Of the tiles that the scratchpad holds.
    """

    start: int
    tile: Index | None
    busy: int
    cycles: Cycles
    loads: tuple[Transfer, ...]
    stores: tuple[Transfer, ...]
    room_bytes: int

    @property
    def end(self) -> int:
        return self.start + self.cycles.total


def steps(product: Product, hardware: Hardware, options: Options, tiling: Tiling) -> Iterator[Step]:
    """All steps of one product: its first loads, one for each tile, its last stores.

    Their cycles and transfers add up to those of `hwsim.accelerator.tiling.plans`, but for `vector`.
    """
    whole = walk_of(problem_of(product, hardware, options), tiling)
    idle = (0, 0, 0)
    step = _step(whole, 0, None, idle, whole.first_loads(), _room_in_use(whole, whole.nest.start))
    yield step
    for index in walk(whole.nest):
        work = whole.worked(index)[:3]
        step = _step(whole, step.end, index, work, whole.transferred(index), _room_in_use(whole, index))
        yield step
    yield _step(whole, step.end, None, idle, whole.last_stores(), _room_in_use(whole, whole.nest.end))


def _step(
    whole: Walk, start: int, tile: Index | None, work: tuple[int, int, int], sizes: tuple[int, ...], room_bytes: int
) -> Step:
    """A step that moves so many bytes, one entry for each of `MOVES`."""
    moved = [
        Transfer(stream, direction, size, whole.problem.transfer_cycles(size))
        for (stream, direction), size in zip(MOVES, sizes, strict=True)
        if size
    ]
    loads = tuple(one for one in moved if one.direction == "read")
    stores = tuple(one for one in moved if one.direction == "write")
    cycles = causes(*work, sum(one.cycles for one in loads), sum(one.cycles for one in stores))
    return Step(start, tile, sum(work), cycles, loads, stores, room_bytes)


def _room_in_use(whole: Walk, index: Index) -> int:
    """Room of the tiles at `index` and of those that are fetched meanwhile."""
    problem = whole.problem
    m, k, n = whole.nest.tile(index)
    room = problem.a_room(m, k) + problem.b_room(k, n)
    if problem.single:
        return int(room + problem.psum_bytes * m * n)
    room += problem.constants_room(n) + problem.results_room(m, n) + whole.partial_room(m, n)
    if index != whole.nest.end:
        following = whole.nest.neighbour(index, 1)
        new = changed(index, following)
        m, k, n = whole.nest.tile(following)
        room += new.a * problem.a_room(m, k) + new.b * problem.b_room(k, n) + new.constants * problem.constants_room(n)
    return int(room)
