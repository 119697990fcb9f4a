"""The comparison of closed forms and loops can fail: errors put into either are seen."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase, given, settings

from hwsim.accelerator import array, storage
from hwsim.accelerator.options import Tiles
from hwsim.accelerator.tiling import nest, traffic
from tests.oracle.accelerator import brute, tile_loop
from tests.unit.accelerator.test_oracle_against_tiling import check, pinned, tiled


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


ONCE = settings(deadline=None, max_examples=100, database=None, phases=[Phase.generate], report_multiple_bugs=False)


def differs() -> bool:
    """Whether any of a hundred plans differs."""
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
