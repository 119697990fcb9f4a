"""The choice of tiles by trying all of them (docs/accelerator.md, section 4)."""

from itertools import product
from typing import NamedTuple

from .array_walk import Array
from .tile_loop import ORDERS, Memory, Product, Run, Tiling, gaps, rooms, run, spills


class Prices(NamedTuple):
    """Attojoules of a word of the scratchpad, a byte of DRAM, a cycle of leakage."""

    read_word: int
    write_word: int
    dram_byte: int
    leakage_cycle: int


class Choice(NamedTuple):
    """A tiling and what it costs."""

    tiling: Tiling
    cost: Run


class Refusal(NamedTuple):
    """Nothing fits; the room of the smallest candidate."""

    room: int


def divisors(size: int) -> list[int]:
    return [part for part in range(1, size + 1) if size % part == 0]


def heads_of(what: Product, memory: Memory) -> dict[str, int | None]:
    """Codes of a head, along the dimensions whose rows have gaps."""
    a = gaps(what.k, what.a_heads, what.a_bits, memory)
    return {"m": None, "k": a, "n": gaps(what.n, what.output_heads, what.output_bits, memory)}


def array_sizes(what: Product, array: Array, memory: Memory) -> dict[str, list[int]]:
    """`array` mode: multiples of rows or columns, or the whole; along the third dimension any size.

    Where rows have gaps whole heads count instead, and those multiples that divide a head.
    """
    of_rows, of_cols = {"os": "mn", "ws": "kn", "is": "km"}[array.dataflow]
    sizes = {}
    for dim, size in zip("mkn", what[:3], strict=True):
        step, head = {of_rows: array.rows, of_cols: array.cols}.get(dim, 1), heads_of(what, memory)[dim]
        if head is None:
            sizes[dim] = [part for part in range(1, size + 1) if part % step == 0 or part == size]
        else:
            whole = [part for part in range(1, size + 1) if part % head == 0]
            sizes[dim] = sorted({*whole, *(part for part in divisors(head) if part % step == 0)})
    return sizes


def divisor_sizes(what: Product, memory: Memory) -> dict[str, list[int]]:
    """`divisors` mode: those that cut no head in unequal parts where rows have gaps."""
    sizes = {}
    for dim, size in zip("mkn", what[:3], strict=True):
        head = heads_of(what, memory)[dim]
        sizes[dim] = [x for x in divisors(size) if head is None or x % head == 0 or head % x == 0]
    return sizes


def whole_groups(what: Product, sizes: list[int]) -> list[int]:
    """Sizes along k that cut no group of N:M sparsity."""
    group = 1 if what.sparsity is None else what.sparsity[1]
    return [size for size in sizes if size % group == 0 or size == what.k]


def smallest_per_trips(size: int, parts: list[int]) -> list[int]:
    """Of the sizes with one number of trips the smallest."""
    least: dict[int, int] = {}
    for part in parts:
        trips = len(range(0, size, part))
        least[trips] = min(part, least.get(trips, part))
    return sorted(least.values())


def candidates(what: Product, array: Array, memory: Memory, mode: str, smallest: bool = False) -> list[Tiling]:
    """Every tiling that a mode allows, none that spills into what is on chip; `smallest`: sizes that count."""
    sizes = divisor_sizes(what, memory) if mode == "divisors" else array_sizes(what, array, memory)
    sizes["k"] = whole_groups(what, sizes["k"])
    if smallest:
        sizes = {dim: smallest_per_trips(size, sizes[dim]) for dim, size in zip("mkn", what[:3], strict=True)}
    tried = (Tiling(*tile) for tile in product(sizes["m"], sizes["k"], sizes["n"], range(len(ORDERS))))
    return [tiling for tiling in tried if not (what.output_on_chip and spills(what, tiling))]


def key(cost: Run, objective: str, memory: Memory, prices: Prices) -> tuple[int, ...]:
    """(8), but for its last part, the tiling."""
    sram = cost.sram_read_bytes + cost.sram_write_bytes
    energy = (
        cost.sram_read_bytes // memory.word * prices.read_word
        + cost.sram_write_bytes // memory.word * prices.write_word
        + cost.dram_bytes * prices.dram_byte
        + cost.total_cycles * prices.leakage_cycle
    )
    return {
        "dram": (cost.dram_bytes, cost.total_cycles, sram),
        "latency": (cost.total_cycles, cost.dram_bytes, sram),
        "energy": (energy, cost.dram_bytes, cost.total_cycles, sram),
    }[objective]


def search(
    what: Product, array: Array, memory: Memory, capacity: int, mode: str, objective: str, prices: Prices,
    smallest: bool = False, vector_cycles: int = 0,
) -> Choice | Refusal:  # fmt: skip
    """The best tiling that fits, if any does; an epilogue of so many cycles is part of the time."""
    room = {
        tiling: rooms(what, memory, tiling)[mode == "divisors"]
        for tiling in candidates(what, array, memory, mode, smallest)
    }
    fit = [tiling for tiling in room if room[tiling] <= capacity]
    choices = [Choice(tiling, run(what, array, memory, tiling, vector_cycles)) for tiling in fit]
    if not choices:
        return Refusal(min(room.values()))
    return min(choices, key=lambda c: (*key(c.cost, objective, memory, prices), *c.tiling))
