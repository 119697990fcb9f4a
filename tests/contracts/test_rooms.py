"""The drawings of docs/architecture.md are what the files import, and no file stands in a circle."""

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

from tests import ROOT

Arrow = tuple[str, str]
WINGS = ("hwsim", "reference", "analysis")
PAGE = (ROOT / "docs" / "architecture.md").read_text()


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*WINGS, cache_dir=None)


def drawn(page: str, wing: str) -> tuple[set[str], set[Arrow]]:
    """Rooms and arrows of the drawing under the wing's name."""
    section = page.split(f"\n**{wing}**:", 1)[1]
    lines = section.split("```mermaid\nflowchart TD\n", 1)[1].split("```", 1)[0].split("\n")
    parts = [[side.split(" & ") for side in line.strip().split(" --> ")] for line in lines if line.strip()]
    arrows = {(one, other) for part in parts if len(part) == 2 for one in part[0] for other in part[1]}
    return {room for part in parts for side in part for room in side}, arrows


def rooms(graph: grimp.ImportGraph, wing: str) -> tuple[set[str], set[Arrow]]:
    """Files and folders at the root of a wing, and every import between two of them."""
    arrows = set()
    inside = {name.split(".")[1] for name in graph.modules if name.startswith(f"{wing}.")}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            ours, theirs = (name.split(".")[1:2] for name in (module, imported))
            if module.startswith(f"{wing}.") and imported.startswith(f"{wing}.") and ours != theirs:
                arrows.add((ours[0], theirs[0]))
    return inside, arrows


def without_those_that_follow(arrows: Iterable[Arrow]) -> set[Arrow]:
    """The arrows that no way along others replaces."""
    below: dict[str, set[str]] = {}
    for one, other in arrows:
        below.setdefault(one, set()).add(other)
        below.setdefault(other, set())
    reached: dict[str, set[str]] = {}
    for room in TopologicalSorter(below).static_order():
        reached[room] = below[room].union(*(reached[other] for other in below[room]))
    return {
        (one, other)
        for one, others in below.items()
        for other in others
        if not any(other in reached[between] for between in others - {other})
    }


@pytest.mark.parametrize("wing", WINGS)
def test_the_drawing_is_what_the_files_import(imports: grimp.ImportGraph, wing: str) -> None:
    names, arrows = rooms(imports, wing)
    drawn_names, drawn_arrows = drawn(PAGE, wing)
    assert drawn_names == names
    assert drawn_arrows == without_those_that_follow(arrows)


def test_arrows_that_follow_are_left_out_and_no_others() -> None:
    arrows = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d"), ("c", "e"), ("a", "e")}
    assert without_those_that_follow(arrows) == {("a", "b"), ("b", "c"), ("a", "d"), ("c", "e")}
    with pytest.raises(CycleError):
        without_those_that_follow({("a", "b"), ("b", "a")})


def test_a_drawing_is_read_as_it_is_drawn() -> None:
    page = "\n**a**: x\n```mermaid\nflowchart TD\n    one --> two & four\n    three\n```\n**b**:\n"
    assert drawn(page, "a") == ({"one", "two", "three", "four"}, {("one", "two"), ("one", "four")})


def circle(graph: grimp.ImportGraph) -> list[str]:
    """Files that import each other in a circle; empty where there is none."""
    sorter = TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules})
    try:
        sorter.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_between_files(imports: grimp.ImportGraph) -> None:
    assert circle(imports) == []


def test_a_circle_between_files_is_found() -> None:
    graph = grimp.build_graph(*WINGS, cache_dir=None)
    graph.add_import(importer="reference.quantize.plan.planner", imported="reference.quantize.plan.make")
    assert {"reference.quantize.plan.planner", "reference.quantize.plan.make"} <= set(circle(graph))
