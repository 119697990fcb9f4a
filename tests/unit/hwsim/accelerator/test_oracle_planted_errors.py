"""The comparison of closed forms and loops can fail: errors put into either are seen."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hwsim.accelerator import array, storage, tiling
from hwsim.accelerator.cost import attention, products, vectors
from hwsim.accelerator.events import Operand
from hwsim.accelerator.options import Attention, Tiles
from hwsim.accelerator.tiling import nest, plans, problem, traffic
from tests.oracle.accelerator import brute, tile_loop
from tests.property import test_accelerator_objectives
from tests.unit.hwsim.accelerator import test_attention, test_oracle_against_tiling, test_products, test_vectors
from tests.unit.hwsim.accelerator.test_oracle_against_tiling import EPILOGUES, check, pinned, tiled


@pytest.fixture(autouse=True)
def no_caches() -> Iterator[None]:
    """What was found before an error is not found again, nor what was found with it later."""
    cached = [
        function
        for name, module in list(sys.modules.items())
        if name.startswith(("hwsim.accelerator", "tests.oracle.accelerator"))
        for function in vars(module).values()
        if hasattr(function, "cache_clear")
    ]
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def plant(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, wrong: Any) -> None:
    """Put `wrong(the right one)` in its place, wherever it was imported."""
    right = getattr(module, name)
    package = module.__name__.rpartition(".")[0]
    for other in [other for key, other in sys.modules.items() if key.startswith(package)]:
        if getattr(other, name, None) is right:
            monkeypatch.setattr(other, name, wrong(right))


ONCE = settings(
    deadline=None,
    max_examples=300,
    database=None,
    derandomize=True,  # whether a fault is seen must not depend on the day
    phases=[Phase.generate],
    report_multiple_bugs=False,
)


def differs() -> bool:
    """Whether any of three hundred plans differs."""
    try:
        ONCE(given(tiled())(lambda case: check(*case)))()
    except AssertionError:
        return True
    return False


def swapped(right: Any) -> Any:
    """Of (a, b) the wrong one."""
    return lambda *arguments: tuple(reversed(right(*arguments)))


WRONG = {
    "constants are fetched again for every tile of rows": (
        tile_loop.Place, "index",
        lambda right: lambda place, name: (*right(place, name), place.m.start if name == "constants" else 0),
    ),
    "the last tile is not ragged": (
        tile_loop, "ranges", lambda _: lambda size, step: [range(at, at + step) for at in range(0, size, step)],
    ),
    "one tile too few": (tile_loop, "ranges", lambda right: lambda size, step: right(size, step)[-2:]),
    "a has the codes of b": (
        tile_loop, "bytes_of",
        lambda right: lambda name, place, what, memory: right(name, place, what._replace(a_bits=what.b_bits), memory),
    ),
    "values lie like scores": (
        tile_loop, "b_rows", lambda right: lambda k, n, what: right(k, n, what._replace(b_along_n=False)),
    ),
    "a residual has no room": (
        tile_loop, "rooms",
        lambda right: lambda what, *rest: right(what._replace(residual_bits=0), *rest),
    ),
    "a result is written twice": (
        tile_loop, "array_side", lambda right: lambda *rest: (right(*rest)[0], 2 * right(*rest)[1]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("error", WRONG)
def test_an_error_in_the_loops_is_seen(error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, wrong = WRONG[error]
    monkeypatch.setattr(place, name, wrong(getattr(place, name)))
    assert differs()


def test_without_an_error_nothing_is_seen() -> None:
    assert not differs()


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        (array, "operand_passes", swapped),
        (traffic, "changed", lambda right: lambda here, there: right(here, there)._replace(a=True)),
        (nest, "classes", lambda right: lambda trips: [(i, n + (i == 0 and trips > 2)) for i, n in right(trips)]),
        (storage, "row_bytes", lambda right: lambda codes, bits, *rest: right(codes, bits, *rest) + (bits > 8)),
    ],
)
def test_an_error_in_the_closed_form_is_seen(module: Any, name: str, wrong: Any, monkeypatch) -> None:
    plant(monkeypatch, module, name, wrong)
    assert differs()


def test_a_result_on_chip_that_spills_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brute, "spills", lambda *_: False)
    with pytest.raises(AssertionError):
        pinned(Tiles.ARRAY, smallest=True, output_on_chip=True)


def test_a_wrong_refetch_factor_chooses_other_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(
        monkeypatch, traffic, "refetch", lambda right: lambda trips: type(right(trips))(*(f**0 for f in right(trips)))
    )
    with pytest.raises((AssertionError, ValueError)):  # the search sees by itself that its figures differ
        pinned(Tiles.DIVISORS, smallest=False)


# --- epilogues and blocks of rows: what the model did before, and was wrong -----------------------------------------


def fails(test: Any, *drawn: st.SearchStrategy[Any], cases: int = 100) -> bool:
    """Whether a property fails in so many cases."""
    try:
        settings(ONCE, max_examples=cases)(given(st.tuples(*drawn))(lambda case: test.hypothesis.inner_test(*case)))()
    except AssertionError:
        return True
    return False


def test_an_epilogue_left_out_of_the_choice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles are chosen as if there were none, and what is exposed is added."""
    right, choice = tiling.search, test_oracle_against_tiling.test_an_epilogue_makes_other_tiles_the_best

    def wrong(product: Any, hardware: Any, options: Any, prices: Any, capacity: int, vector_cycles: int = 0) -> Any:
        tile = right(product, hardware, options, prices, capacity).tiling
        return plans.plan_of(problem.problem_of(product, hardware, options, vector_cycles), tile, prices)

    for one in EPILOGUES:
        choice(*one)
    monkeypatch.setattr(tiling, "search", wrong)
    for one in EPILOGUES:
        with pytest.raises(AssertionError):
            choice(*one)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda work, unit: 3 * vectors.vector_cycles(work, unit),  # of all `count` products
        lambda work, unit: vectors.vector_cycles(work, unit) - work.passes * unit.latency_cycles,
    ],
)
def test_a_wrong_epilogue_is_seen(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    test = test_products.test_memories_and_cycles_are_those_of_loops_that_are_walked
    case = test, test_oracle_against_tiling.drawn(most=4), st.integers(0, 5), st.just(Operand.ACTIVATION)
    assert not fails(*case)
    monkeypatch.setattr(products, "vector_cycles", wrong)
    assert fails(*case)


def test_an_epilogue_left_out_of_the_key_of_a_fused_attention_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of queries are compared by cycles without those of the vector unit."""
    case, right = test_attention.with_long_passes(), attention._key

    def without(run: Any) -> Any:
        return run._replace(cycles=run.cycles._replace(vector=0))

    def wrong(fused: Any, onto: Any) -> Any:
        return right(fused._replace(scores=without(fused.scores), context=without(fused.context)), onto)

    test_attention.check_block(*case)
    monkeypatch.setattr(attention, "_key", wrong)
    with pytest.raises(AssertionError):
        test_attention.check_block(*case)


@pytest.mark.parametrize(
    "shares",
    [
        lambda total: [max(total // 2, 1), 1],  # blocks that leave out most numbers
        lambda total: range(total, 0, -1),  # any size, not cd(rows, b)
    ],
)
def test_other_blocks_of_rows_are_seen(shares: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "shares", shares)
    assert fails(test_vectors.test_every_figure_is_the_interpreters, test_vectors.row_layers(), cases=1000)


def test_the_smallest_of_equally_fast_blocks_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "shares", lambda total: reversed(list(storage.shares(total))))
    with pytest.raises(AssertionError):
        test_vectors.test_what_is_on_chip_has_no_room()


def test_the_largest_blocks_of_rows_break_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """With them more scratchpad makes softmaxes slower: fewer transfers overlap."""
    law = test_accelerator_objectives.test_models_are_never_slower_with_more
    case = ("mobilebert", Attention.UNFUSED, 16)
    law(*case)
    monkeypatch.setattr(vectors, "min", lambda *given, key=None: next(given[0]) if key else min(given), raising=False)
    with pytest.raises(AssertionError, match="softmax"):
        law(*case)
