"""The comparison itself: what it lets pass, what it does not, and what it writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conformance import ours
from tests.conformance.cases import Words, count_ties, few_bits, generator, words
from tests.conformance.comparison import Comparison, Results

ZERO, ONE = np.zeros(4, np.int64), np.ones(4, np.int64)


def test_an_unexplained_difference_fails() -> None:
    comparison = Comparison("operator", "numpy", "target")
    with pytest.raises(AssertionError, match="operator: 1, numpy has 0 at \\(0,\\); 4 of 4 differ"):
        comparison.add(ONE, ZERO)
    with pytest.raises(AssertionError):
        comparison.add(ONE, ZERO, explained=np.array([True, True, True, False]))
    with pytest.raises(AssertionError, match="shape"):
        comparison.add(ONE, ZERO[:3])
    assert comparison.record()["unexplained"] == 5


def test_a_deviation_that_is_not_there_fails() -> None:
    comparison = Comparison("operator", "numpy", "target", "a deviation")
    comparison.add(ONE, ONE)
    with pytest.raises(AssertionError, match="0 differences"):
        comparison.finish(4)
    comparison.add(ONE, ZERO, explained=ONE == 1)
    comparison.finish(8)


def test_too_few_codes_fail() -> None:
    comparison = Comparison("operator", "numpy", "target")
    comparison.add(ONE, ONE)
    with pytest.raises(AssertionError, match="4 codes compared; wanted 5"):
        comparison.finish(5)


def test_every_comparison_is_written(tmp_path: Path) -> None:
    results = Results()
    results.start("operator", "numpy", "target", "a deviation", case="int8").add(ONE, ZERO, explained=ONE == 1)
    results.write(str(tmp_path / "results.json"))
    (record,) = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["records"]
    assert record["version"] == np.__version__ and record["case"] == "int8"
    assert (record["codes"], record["different"], record["unexplained"]) == (4, 4, 0)


def test_cases_have_ties_and_keep_within_their_bounds() -> None:
    cases = words(
        generator("cases"), 30_000, multiplier=(1 << 30, (1 << 31) - 1), shift=(20, 62), span=200, headroom=31
    )
    assert min(count_ties(cases)) > 1000
    limit = np.minimum(2.0**31, np.exp2(cases.shift))
    assert ((-limit <= cases.x) & (cases.x < limit)).all()
    assert count_ties(Words(np.array([1, 3, -1, 2]), ONE, ONE)) == (2, 1)
    assert {int(m).bit_count() for m in few_bits(generator("few"), 100, 5, 1000)} == {1, 2}


@pytest.mark.parametrize("wrong", ["q31_single", "q31_double_half_up", "dyadic"])
def test_the_cases_tell_the_schemes_apart(wrong: str) -> None:
    """A kernel with another tie rule, or one rounding in place of two, would be found."""
    cases = words(generator("mutant"), 30_000, multiplier=(1 << 30, (1 << 31) - 1), shift=(33, 50), span=200)
    right = ours.requantize("q31_double", *cases, bits=8)
    assert (right != ours.requantize(wrong, *cases, bits=8)).sum() > 100
