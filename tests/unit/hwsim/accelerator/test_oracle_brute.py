"""The choice of tiles by trying all of them: what is tried, by hand, and the laws of docs/accelerator.md, section 4."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.accelerator.array_walk import Array
from tests.oracle.accelerator.brute import Prices, Refusal, candidates, search
from tests.oracle.accelerator.tile_loop import ORDERS, Product, Run
from tests.unit.hwsim.accelerator.test_oracle_tile_loop import OS, PLAIN, WS, machines

PRICES = Prices(read_word=3, write_word=4, dram_byte=100, leakage_cycle=1)


def bytes_of(what: Product, array: Array, smallest: bool, capacity: int) -> int | None:
    choice = search(what, array, PLAIN, capacity, "array", "dram", PRICES, smallest)
    return None if isinstance(choice, Refusal) else choice.cost.dram_bytes


@settings(deadline=None, max_examples=15)
@given(st.tuples(*[st.integers(1, 6)] * 3), machines(), st.integers(20, 150))
def test_the_smallest_of_the_sizes_with_one_number_of_trips_is_enough(sizes, machine, capacity) -> None:
    what = Product(*sizes, column_bytes=3)
    assert bytes_of(what, machine[0], True, capacity) == bytes_of(what, machine[0], False, capacity)


def test_but_not_where_a_row_does_not_fill_its_bytes() -> None:
    """10 results of 4 bits in two tiles: 5 and 5 take 3 bytes each, 6 and 4 take 3 and 2; a is fetched for each."""
    what, one = Product(1, 16, 10, output_bits=4), Array(rows=1, cols=1, dataflow="os")
    capacity = 2 * (1 + 6) + 4 * 6 + 3
    assert bytes_of(what, one, True, capacity) == 2 * 16 + 160 + 3 + 3
    assert bytes_of(what, one, False, capacity) == 2 * 16 + 160 + 3 + 2


def test_candidates_by_hand() -> None:
    what = Product(5, 6, 4)
    assert {tiling[:3] for tiling in candidates(what, WS._replace(rows=4, cols=3), PLAIN, "array")} == {
        (m, k, n) for m in range(1, 6) for k in (4, 6) for n in (3, 4)
    }
    assert {tiling[:3] for tiling in candidates(what, WS, PLAIN, "divisors")} == {
        (m, k, n) for m in (1, 5) for k in (1, 2, 3, 6) for n in (1, 2, 4)
    }
    smallest = 2 * (1 * 2 + 2 * 2) + 4 * 1 * 2 + 1 * 2
    assert search(what, WS, PLAIN, 1, "array", "dram", PRICES) == Refusal(smallest)


def costs(what: Product, objective: str, capacity: int) -> Run:
    choice = search(what, OS, PLAIN, capacity, "array", objective, PRICES)
    assert not isinstance(choice, Refusal)
    return choice.cost


def test_an_output_on_chip_is_never_spilled() -> None:
    """Where k is tiled, only orders whose k is inside of all other loops with more than one trip."""
    what = Product(2, 4, 2, output_on_chip=True)
    orders = {tiling.order for tiling in candidates(what, WS, PLAIN, "divisors") if tiling[:3] == (1, 2, 1)}
    assert orders == {ORDERS.index("mnk"), ORDERS.index("nmk")}
    orders = {tiling.order for tiling in candidates(what, WS, PLAIN, "divisors") if tiling[:3] == (1, 2, 2)}
    assert orders == {ORDERS.index(order) for order in ("mkn", "mnk", "nmk")}
    assert len(candidates(what._replace(output_on_chip=False), WS, PLAIN, "divisors")) == 2 * 3 * 2 * 6


def test_each_objective_is_best_at_its_own_and_never_worse_with_more_room() -> None:
    what = Product(6, 7, 5, column_bytes=7, residual_bits=8)
    seen = {name: [costs(what, name, capacity) for capacity in (64, 90, 200)] for name in ("dram", "latency")}
    for runs, field in ((seen["dram"], "dram_bytes"), (seen["latency"], "total_cycles")):
        figures = [getattr(cost, field) for cost in runs]
        assert figures == sorted(figures, reverse=True)
        assert figures[0] > figures[-1]
    for dram, latency in zip(seen["dram"], seen["latency"], strict=True):
        assert dram.dram_bytes <= latency.dram_bytes
        assert latency.total_cycles <= dram.total_cycles
