"""The page of recorded results: what the records give, and how planted faults are counted."""

from analysis.pages.results import page, planted
from tests import ROOT

RESULTS = ROOT / "docs" / "results"


def test_the_page_is_what_the_generator_makes() -> None:
    assert (RESULTS / "README.md").read_text() == page(RESULTS), "run python -m analysis.pages.results"


def test_planted_faults_by_area() -> None:
    outcomes = {"b": "killed killed survived equivalent", "a": "timed_out", "c": "equivalent not_imported"}
    mutants = [
        {"area": area, "outcome": outcome.replace("_", " ")}
        for area, all_ in outcomes.items()
        for outcome in all_.split()
    ]
    assert {area: tuple(one.values()) for area, one in planted(mutants).items()} == {
        "a": (1, 1, 0, 0),
        "b": (3, 2, 1, 1),
        "c": (0, 0, 0, 1),
        "all": (4, 3, 1, 2),
    }
