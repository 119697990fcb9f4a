"""What `hwsim explain` prints: every line of explanations and comparisons of schemes that were made by hand."""

import io
from typing import Any

import pytest
from rich.console import Console

from analysis.proof.explain import render
from analysis.proof.explain.records import Cause, Events, Explanation, FirstDivergence, Histogram, SiteReport
from analysis.proof.explain.schemes import Encoded, SchemeComparison, SchemeSite
from analysis.proof.explain.show import lsb
from tests.unit.analysis.estimates.estimates_by_hand import cells, heads

NONE = Histogram(codes={0: 100}, below=0, above=0)
OFF = Histogram(codes={0: 1900, 1: 60, -2: 1034}, below=3, above=4)


def events(**counts: int) -> Events:
    fields = {"overflows": 0, "saturations": 0, "positive_ties": 0, "negative_ties": 0, "denominator_clamps": 0}
    return Events(**(fields | counts))


def cause(text: str, reproduced: int = 3000, checked: int = 3000, declared: bool = False) -> Cause:
    return Cause(kind="rounding", text=text, declared=declared, checked=checked, reproduced=reproduced)


def report(site: str, status: Any = "origin", **changes: Any) -> SiteReport:
    fields = {
        "function": "encode", "operation": "matmul", "compared": 3001, "different": 1101,
        "different_on_equal_inputs": 1094, "max_lsb": 17, "histogram": NONE, "histogram_on_equal_inputs": OFF,
        "events_a": events(positive_ties=1, negative_ties=1, saturations=1),
        "events_b": events(positive_ties=1, overflows=2000), "follows_from": [], "causes": [], "observations": [],
    }  # fmt: skip
    return SiteReport(site=site, status=status, **(fields | changes))


def explanation(*sites: SiteReport, **changes: Any) -> Explanation:
    fields = {"a": "tflm", "b": "tosa", "sentences": 2, "calls": 3, "sites_compared": 1234, "sites_made": 5678}
    fields |= {"equal": not sites, "first": None, "sites": list(sites), "not_compared": {}}
    return Explanation(**(fields | changes))


def lines(found: Explanation) -> list[str]:
    """Without what is only space; words of a line one space apart."""
    console = Console(width=160, file=io.StringIO(), color_system=None)
    console.print(*render(found), sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [" ".join(line.split()) for line in text.splitlines() if line.strip(" \N{BOX DRAWINGS LIGHT HORIZONTAL}")]


def test_no_difference() -> None:
    same = report("x", "equal", different=0, compared=7654)
    assert lines(explanation(same, equal=True)) == [
        "A = tflm, B = tosa: 2 sentences, 3 calls", "no difference: 1,234 of 5,678 sites compared, 7,654 codes"
    ]  # fmt: skip
    (verdict,) = render(explanation(same, equal=True))
    assert str(verdict.style) == "bold yellow"  # type: ignore[union-attr]
    (verdict,) = render(explanation(same, equal=True, sites_made=1234))
    assert str(verdict.style) == "bold green"  # type: ignore[union-attr]


FIRST = {
    "call": "decode step 1", "site": "x", "sentence": 2, "index": (0, 3), "a": 5, "b": 3, "accumulator": 12_345,
    "before_rounding": 4.5, "before_rounding_exact": "9/2", "tie_distance": 0.0,
    "cause": "half up instead of half even",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, ["accumulator 12,345", "before rounding 4.500000, a tie"]),
        (
            {"before_rounding": 4.25, "tie_distance": 0.25},
            ["accumulator 12,345", "before rounding 4.250000, 0.250000 LSB from a tie"],
        ),
        ({"accumulator": None, "before_rounding": None, "tie_distance": None}, []),
    ],
)
def test_the_first_divergence(changes: dict[str, Any], shown: list[str]) -> None:
    first = FirstDivergence(**(FIRST | changes))
    printed = lines(explanation(report("x"), first=first))
    assert printed[:2] == [
        "A = tflm, B = tosa: 2 sentences, 3 calls",
        "1,101 of 3,001 codes differ, 1,234 of 5,678 sites compared; sites that differ on equal inputs: 1,"
        " unexplained: 1",
    ]
    end = printed.index("Sites that differ on equal inputs")
    assert printed[2:end] == [
        "First divergence", "site x, index [0, 3]", "where sentence 2, decode step 1", "codes A 5, B 3 (-2 LSB)",
        *shown, "cause half up instead of half even",
    ]  # fmt: skip


def paragraph(site: SiteReport) -> list[str]:
    """What is said of a site, behind the title of the causes."""
    printed = lines(explanation(site))
    return printed[printed.index("Why: what makes B's codes of A's inputs") + 1 :]


COUNTED = "A: 2 ties, 1 saturation, 0 overflows; B: 1 tie, 0 saturations, 2,000 overflows"
HEAD = "x B - A in LSB: -2: 1,034, +1: 60, others: 7"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ["unexplained", COUNTED]),
        ({"causes": [cause("one", 2999)]}, ["unexplained", "only partly: one (2,999 of 3,000 codes)", COUNTED]),
        ({"causes": [cause("one")]}, ["one (3,000 of 3,000 codes)", COUNTED]),
        (
            {"causes": [cause("one"), cause("two", 5), cause("three")]},
            ["one (3,000 of 3,000 codes)", "or: three (3,000 of 3,000 codes)", COUNTED],
        ),
        (
            {"causes": [cause(str(i)) for i in range(5)]},
            ["0 (3,000 of 3,000 codes)", "or: 1 (3,000 of 3,000 codes)", "or: 2 (3,000 of 3,000 codes)",
             "or 2 more that these codes do not tell apart", COUNTED],
        ),
        (
            {"causes": [cause("said", declared=True), *(cause(str(i)) for i in range(4))]},
            ["said (3,000 of 3,000 codes)", "or: 0 (3,000 of 3,000 codes)", COUNTED],
        ),
        ({"observations": ["all differ by one"]}, ["unexplained", "all differ by one", COUNTED]),
        (
            {"events_b": None},
            ["unexplained", "A: 2 ties, 1 saturation, 0 overflows; B: not counted"],
        ),
    ],
)  # fmt: skip
def test_what_is_said_of_a_site(changes: dict[str, Any], said: list[str]) -> None:
    assert paragraph(report("x", **changes)) == [HEAD, *said]


def test_sites_that_differ() -> None:
    printed = lines(explanation(report("x"), report("y", different=2, different_on_equal_inputs=1, max_lsb=9)))
    at = printed.index("Sites that differ on equal inputs")
    assert printed[at + 1 : at + 5] == [
        "on equal max", "site codes differ inputs LSB", "x 3,001 1,101 1,094 17", "y 3,001 2 1 9"
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "more"), [(20, []), (21, ["... and 1 more"]), (25, ["... and 5 more"])])
def test_only_so_many_sites_are_explained(count: int, more: list[str]) -> None:
    printed = lines(explanation(*(report(f"s{i}") for i in range(count))))
    assert sum(line.startswith("s") and line.endswith("3,001 1,101 1,094 17") for line in printed) == 20
    assert [line for line in printed if "more" in line] == more


def test_sites_that_follow() -> None:
    one = report("x", "follows", different=5, follows_from=["a"])
    two = report("y", "follows", different=1234, follows_from=["a", "b", "c"])
    printed = lines(explanation(one, two))
    assert printed[2:] == [
        "Sites that differ because an input does", "(2)", "site follows from different compared", "x a 5 3,001",
        "y a and 2 more 1,234 3,001",
    ]  # fmt: skip
    many = lines(explanation(*(report(f"s{i}", "follows", follows_from=["a"]) for i in range(13))))
    assert many[2] == "Sites that differ because an input does (13)"
    assert many[-1] == "... and 1 more"
    assert sum(line.endswith("1,101 3,001") for line in many) == 12


def test_sites_that_were_not_compared() -> None:
    printed = lines(explanation(report("x"), not_compared={"q": "other shape", "r": "not there"}))
    assert printed[-1] == "not compared: 2 sites, for example q (other shape)"


@pytest.mark.parametrize(
    ("codes", "below", "shown"),
    [
        ({0: 9}, 0, ""),
        ({0: 9, 1: 1}, 0, "+1: 1"),
        ({-1: 2000, 3: 1}, 0, "-1: 2,000\n+3: 1"),
        ({i: 10 - i for i in range(1, 9)}, 5, "+1: 9\n+2: 8\n+3: 7\n+4: 6\n+5: 5\n+6: 4\nothers: 10"),
    ],
)
def test_differences(codes: dict[int, int], below: int, shown: str) -> None:
    assert lsb(Histogram(codes=codes, below=below, above=0)) == shown


def test_two_schemes() -> None:
    sides = [
        Encoded(ratio_error=0.000123, ties=1000, saturations=2),
        Encoded(ratio_error=0.0, ties=3, saturations=4000),
    ]
    site = SchemeSite(
        site="x", codes=12_345, different=1_097, max_lsb=2, histogram=OFF, one=sides[0], other=sides[1]
    )  # fmt: skip
    found = SchemeComparison(one="half_even", other="tosa", sites=[site])
    table = found.table()
    assert table.title == "one = half_even, other = tosa, on the same accumulators (one / other)"
    assert heads(table) == [
        "site", "codes", "different", "ties", "saturations", "ratio error", "other - one\nin LSB: codes"
    ]  # fmt: skip
    assert cells(table) == [
        ["x", "12,345", "1,097", "1,000 / 3", "2 / 4,000", "1.2e-04 / 0.0e+00", "-2: 1,034\n+1: 60\nothers: 7"]
    ]
    assert found.exit_code == 1
