"""The walk over tiles: one by hand, step by step, and what holds of every step."""

import pytest

from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.events import Operand
from hwsim.accelerator.options import Options
from hwsim.accelerator.tiling import Step, Tiling, plan, steps
from tests.unit.hwsim.accelerator.machine import array, gemm, machine

# os on one element: a tile of (m, k, n) takes m*k*n cycles, serial and without fill. 2 bytes a cycle, bursts of 4.
ONE = array(1, 1, "os", "serial")
SLOW = machine(ONE, bandwidth=2, burst=4, latency=1)
OPTIONS = Options(psum_bits=16)


def transfers(step: Step) -> list[tuple[str, str, int, int]]:
    return [tuple(one) for one in (*step.loads, *step.stores)]


def test_a_walk_by_hand() -> None:
    """(2, 3, 3) in tiles of (2, 2, 2), k outermost: 4 tiles, the last of each dimension ragged, sums go and come."""
    walk = list(steps(gemm(2, 3, 3), SLOW, OPTIONS, Tiling(tm=2, tk=2, tn=2, order="kmn")))
    assert [step.tile for step in walk] == [None, (0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), None]
    assert [step.busy for step in walk] == [0, 8, 4, 4, 2, 0]
    # A transfer takes 1 cycle, and 2 for each 4 bytes that are begun.
    assert [transfers(step) for step in walk] == [
        [("a", "read", 4, 3), ("b", "read", 4, 3)],
        [("b", "read", 2, 3)],
        [("a", "read", 2, 3), ("b", "read", 2, 3), ("partial", "read", 8, 5), ("partial", "write", 8, 5)],
        [("b", "read", 1, 3), ("partial", "read", 4, 3), ("partial", "write", 4, 3)],
        [("output", "write", 4, 3)],
        [("output", "write", 2, 3)],
    ]
    assert [step.cycles for step in walk] == [
        Cycles(dma_in=6),
        Cycles(compute=8),
        Cycles(compute=4, dma_in=11, dma_out=1),
        Cycles(compute=4, dma_in=5),
        Cycles(compute=2, dma_out=1),
        Cycles(dma_out=3),
    ]
    assert [step.start for step in walk] == [0, 6, 14, 30, 39, 42]
    assert walk[-1].end == 45 == plan(gemm(2, 3, 3), SLOW, OPTIONS, Tiling(tm=2, tk=2, tn=2, order="kmn")).cycles.total


def test_rooms_by_hand() -> None:
    """Those of the tiles at work and of what is fetched meanwhile; sums twice, as they are transferred."""
    walk = list(steps(gemm(2, 3, 3), SLOW, OPTIONS, Tiling(tm=2, tk=2, tn=2, order="kmn")))
    # a + b + next a + next b + 2 * sums + results
    assert [step.room_bytes for step in walk[1:-1]] == [
        4 + 4 + 0 + 2 + 2 * 8 + 4,
        4 + 2 + 2 + 2 + 2 * 4 + 2,
        2 + 2 + 0 + 1 + 2 * 8 + 4,
        2 + 1 + 0 + 0 + 2 * 4 + 2,
    ]


def test_one_tile_is_in_work_out() -> None:
    walk = list(
        steps(gemm(2, 3, 3, column_bytes=3, residual_bits=8), SLOW, OPTIONS, Tiling(tm=9, tk=9, tn=9, order="mkn"))
    )
    assert [[one.stream for one in (*step.loads, *step.stores)] for step in walk] == [
        ["a", "b", "constants", "residual"],
        [],
        ["output"],
    ]
    assert [step.cycles.total for step in walk] == [5 + 7 + 7 + 5, 18, 5]


def test_residuals_come_with_the_last_k() -> None:
    walk = list(steps(gemm(2, 3, 2, residual_bits=8), SLOW, OPTIONS, Tiling(tm=1, tk=1, tn=2, order="mkn")))
    fetched = [next((one.bytes for one in step.loads if one.stream == "residual"), 0) for step in walk]
    # For steps 3 and 6, while 2 and 5 work.
    assert fetched == [0, 0, 2, 0, 0, 2, 0, 0]


def test_ragged_tiles_and_fresh_columns_end_a_loop() -> None:
    """The last column of 5 is fresh: the third tile of each round of b has nothing to fetch."""
    product = gemm(1, 2, 5, b=Operand.KV_CACHE, fresh=1)
    walk = list(steps(product, SLOW, OPTIONS, Tiling(tm=1, tk=1, tn=2, order="mkn")))
    fetched = [sum(one.bytes for one in step.loads if one.stream == "b") for step in walk]
    assert fetched == [2, 2, 0, 2, 2, 0, 0, 0]


@pytest.mark.parametrize("bandwidth", [1, 3, 1000])
def test_no_faster_than_the_array_and_than_memory(bandwidth: int) -> None:
    hardware = machine(array(32, 32), bandwidth=bandwidth)
    result = plan(gemm(64, 512, 512), hardware, Options(), Tiling(tm=64, tk=512, tn=512, order="mkn"))
    busy = result.cycles.compute + result.cycles.fill_drain
    assert busy == 16509
    # One tile overlaps nothing.
    loaded, stored = 64 * 512 + 512 * 512, 64 * 512
    ends = [-(-size // bandwidth) for size in (64 * 512, 512 * 512, stored)]
    assert result.dram_bytes == loaded + stored
    assert result.cycles.total == busy + sum(ends) >= result.dram_bytes / bandwidth
