"""Tilings in chunks: the candidates and the choice do not depend on how many are looked at together."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Objective, Options, Tiles
from hwsim.accelerator.tiling import DoesNotFit, Plan, TilePrices, candidates, choice
from hwsim.accelerator.tiling.problem import problem_of
from tests.oracle.accelerator import array_walk, brute, tile_loop
from tests.unit.hwsim.accelerator.machine import array, gemm, machine

PRICES = TilePrices(sram_read_word_aj=7, sram_write_word_aj=11, dram_byte_aj=150, leakage_cycle_aj=3)
ONE = machine(array(1, 1, "os"), bandwidth=2)
MEMORY = tile_loop.Memory(word=1, ports=1 << 20, burst=1, latency=0, bandwidth=2, padded=False)
ALL = 1 << 40
PRODUCT = gemm(6, 4, 6)
Search = Callable[[int, int], Plan]


def rooms(m: int, k: int, n: int) -> int:
    """What tiles of a product of 8-bit codes need, by the oracle; order 1 has k inside, so that no sum is spilled."""
    return tile_loop.rooms(tile_loop.Product(6, 4, 6, 8, 8, 8, 4), MEMORY, tile_loop.Tiling(m, k, n, 1))[0]


def fitting_by_brute_force(capacity: int) -> set[tuple[int, ...]]:
    """Sizes of each number of tiles the smallest: 6 in 1, 2, 3, 6 tiles, 4 in 1, 2, 4; outputs are not spilled."""
    return {size for size in product((1, 2, 3, 6), (1, 2, 4), (1, 2, 3, 6)) if rooms(*size) <= capacity}


def parts_of(monkeypatch: pytest.MonkeyPatch, capacity: int, pairs: int) -> list[set[tuple[int, ...]]]:
    """Sizes of each chunk, of so many pairs of k and n each; m has four sizes."""
    found = []
    walked = candidates._fitting

    def recorded(*arguments: Any) -> Any:
        for part in walked(*arguments):
            found.append({tuple(int(one) for one in column) for column in part.T})
            yield part

    monkeypatch.setattr(candidates, "CELLS", 4 * pairs)
    monkeypatch.setattr(candidates, "_fitting", recorded)
    whole = candidates.fitting(problem_of(PRODUCT, ONE, Options(), 0), capacity)
    assert {tuple(int(one) for one in column) for column in whole.T} == set[tuple[int, ...]]().union(*found)
    assert whole.shape[1] == sum(map(len, found))  # none twice
    return found


@pytest.mark.parametrize("capacity", [60, 100, 1000])
@pytest.mark.parametrize(("pairs", "chunks"), [(1, 12), (2, 6), (7, 2), (12, 1)])
def test_sizes_that_fit_are_those_of_brute_force(
    monkeypatch: pytest.MonkeyPatch, capacity: int, pairs: int, chunks: int
) -> None:
    parts = parts_of(monkeypatch, capacity, pairs)
    assert set[tuple[int, ...]]().union(*parts) == fitting_by_brute_force(capacity)
    if capacity == 1000:  # all fit: 4 sizes of m for each of 12 pairs
        assert [len(part) for part in parts][:-1] == [4 * pairs] * (chunks - 1)
        assert len(parts) == chunks


def test_a_chunk_has_a_pair_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [len(part) for part in parts_of(monkeypatch, 1000, 0)] == [4] * 12


@pytest.mark.parametrize("pairs", [1, 7, 12])
def test_too_many_are_refused_over_all_chunks(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    """48 fit: 48 are allowed, 47 are not, whether they are counted at once or chunk by chunk."""
    monkeypatch.setattr(candidates, "CELLS", 4 * pairs)
    problem = problem_of(PRODUCT, ONE, Options(), 0)
    monkeypatch.setattr(candidates, "MOST", 48)
    assert candidates.fitting(problem, 1000).shape == (3, 48)
    monkeypatch.setattr(candidates, "MOST", 47)
    with pytest.raises(ValueError, match=r"^a product of \(6, 4, 6\) has more than 47 tilings that fit in 1000 bytes;"):
        candidates.fitting(problem, 1000)


# --- the choice -------------------------------------------------------------------------------------------------------


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Plan, int]]:
    """The plan and how many chunks were evaluated, for pairs a chunk of candidates and tilings in the first chunk."""

    def call(made: Product, hardware: Hardware, options: Options, capacity: int, pairs: int, first: int) -> Any:
        problem = problem_of(made, hardware, options, 0)
        monkeypatch.setattr(candidates, "CELLS", pairs * len(candidates.axes(problem)[0]))
        monkeypatch.setattr(choice, "FIRST_CHUNK", first)
        evaluated = []
        keys = choice._keys

        def counted(*arguments: Any) -> Any:
            evaluated.append(len(arguments[1].order))
            return keys(*arguments)

        monkeypatch.setattr(choice, "_keys", counted)
        plan = choice._search.__wrapped__(problem, options.objective, PRICES, capacity)
        monkeypatch.setattr(choice, "_keys", keys)
        return plan, evaluated

    return call


def best(sizes: tuple[int, int, int], objective: Objective, tiles: Tiles, capacity: int) -> tuple[int, ...]:
    """Sizes and order by brute force."""
    found = brute.search(
        tile_loop.Product(*sizes, 8, 8, 8, 4), array_walk.Array(1, 1, "os", 1, "systolic", False), MEMORY, capacity,
        tiles.value, objective.value, brute.Prices(*PRICES), smallest=tiles is Tiles.ARRAY,
    )  # fmt: skip
    assert isinstance(found, brute.Choice)
    return tuple(found.tiling)


def tiling_of(plan: Plan) -> tuple[int, ...]:
    one = plan.tiling
    return one.tm, one.tk, one.tn, tile_loop.ORDERS.index(one.order)


@pytest.mark.parametrize("tiles", Tiles)
@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize(("sizes", "capacity"), [((6, 4, 6), 70), ((6, 4, 6), 120), ((4, 6, 8), 90), ((1, 8, 8), 60)])
def test_the_choice_is_brute_forces_for_every_chunk(
    chosen: Callable[..., Any], sizes: tuple[int, int, int], capacity: int, objective: Objective, tiles: Tiles
) -> None:
    want = best(sizes, objective, tiles, capacity)
    options = Options(objective=objective, tiles=tiles)
    for pairs, first in product((1, 2, 7, ALL), (1, 2, 7, ALL)):
        plan, _ = chosen(gemm(*sizes), ONE, options, capacity, pairs, first)
        assert tiling_of(plan) == want, (pairs, first)


def test_the_best_may_lie_in_a_later_chunk(chosen: Callable[..., Any]) -> None:
    """Bounds rank it behind others: the first chunk of one has another tiling, so that the search must go on."""
    plan, evaluated = chosen(gemm(6, 4, 6), ONE, Options(objective=Objective.LATENCY), 70, 1, 1)
    assert len(evaluated) > 1
    assert evaluated[:3] == [1, 2, 4]  # each chunk is twice the one before
    assert tiling_of(plan) == best((6, 4, 6), Objective.LATENCY, Tiles.ARRAY, 70)


@pytest.mark.parametrize("first", [1, 2, 7, ALL])
def test_equal_tilings_are_ranked_by_their_sizes_in_every_chunk(chosen: Callable[..., Any], first: int) -> None:
    """Square, with equal widths: (m, n) and (n, m) tie but for the order of their sizes."""
    for capacity in range(30, 130, 10):
        want = best((4, 1, 4), Objective.DRAM, Tiles.DIVISORS, capacity)
        plan, _ = chosen(gemm(4, 1, 4), ONE, Options(tiles=Tiles.DIVISORS), capacity, 1, first)
        assert tiling_of(plan) == want


def test_what_fits_nowhere_says_so_in_every_chunk(chosen: Callable[..., Any]) -> None:
    for pairs in (1, ALL):
        with pytest.raises(DoesNotFit) as caught:
            chosen(gemm(6, 4, 6), ONE, Options(), 5, pairs, 1)
        assert caught.value.available == 5
        assert caught.value.needed == rooms(1, 1, 1)


def test_a_chunk_of_millions_is_reached_in_earnest(monkeypatch: pytest.MonkeyPatch) -> None:
    """6144^3 on one element in 32 MiB: more than CELLS tilings are looked at, so in several chunks; too many fit."""
    sizes = []
    walked = candidates._fitting

    def recorded(*arguments: Any) -> Any:
        for part in walked(*arguments):
            sizes.append(part.shape[1])
            yield part

    monkeypatch.setattr(candidates, "_fitting", recorded)
    monkeypatch.setattr(candidates, "MOST", 1 << 40)
    problem = problem_of(gemm(6144, 6144, 6144), ONE, Options(), 0)
    whole = candidates.fitting(problem, 1 << 25)
    assert len(sizes) > 1
    assert sum(sizes) == whole.shape[1] == len(np.unique(whole, axis=1).T)
