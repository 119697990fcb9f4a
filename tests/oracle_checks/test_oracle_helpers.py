"""The oracle's own parts: roundings, formats, overflow rules, bounds of partial sums, and what it may import."""

import ast
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.oracle import (
    half_even,
    layernorm,
    limits,
    matmul,
    partial_sum_bounds,
    product_bounds,
    relu,
    requantize,
    shift_of_head,
    shift_of_head_dropped,
    shift_right,
    softmax,
    tie_sign,
)
from tests.oracle.formats import wrap

ORACLE_FILES = sorted(Path(oracle.__file__).parent.glob("**/*.py"))
checked = settings(deadline=None, max_examples=150, database=None)
SMALL = st.integers(-200, 200)


@pytest.mark.parametrize(
    ("numerator", "expected", "sign"),
    [(-5, -2, -1), (-3, -2, -1), (-1, 0, -1), (1, 0, 1), (3, 2, 1), (5, 2, 1), (4, 2, 0), (-4, -2, 0), (0, 0, 0)],
)
def test_half_even_and_tie_sign_of_halves(numerator: int, expected: int, sign: int) -> None:
    assert half_even(Fraction(numerator, 2)) == expected
    assert tie_sign(Fraction(numerator, 2)) == sign


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("tie", [Fraction(-5, 2), Fraction(-1, 2), Fraction(1, 2), Fraction(3, 2)])
def test_half_even_beside_a_tie_goes_to_the_nearer(tie: Fraction, side: int) -> None:
    beside = tie + side * Fraction(1, 10**30)
    assert half_even(beside) == tie + side * Fraction(1, 2)
    assert tie_sign(beside) == 0


@checked
@given(st.fractions() | st.builds(Fraction, st.integers(), st.sampled_from([1, 2, 4])))
def test_half_even_is_nearest_odd_and_even_on_ties(fraction: Fraction) -> None:
    result = half_even(fraction)
    assert abs(result - fraction) <= Fraction(1, 2)
    assert half_even(-fraction) == -result
    assert (abs(result - fraction) == Fraction(1, 2)) == (tie_sign(fraction) != 0)
    assert tie_sign(fraction) == 0 or result % 2 == 0


@pytest.mark.parametrize("bits", range(2, 17))
def test_limits(bits: int) -> None:
    codes = 2**bits
    assert limits(bits, True, False) == (-codes // 2, codes // 2 - 1)
    assert limits(bits, True, True) == (1 - codes // 2, codes // 2 - 1)
    assert limits(bits, False, False) == limits(bits, False, True) == (0, codes - 1)


def test_limits_of_eight_bits() -> None:
    assert limits(8, True, False) == (-128, 127)
    assert limits(8, True, True) == (-127, 127)
    assert limits(8, False, False) == (0, 255)


@pytest.mark.parametrize(("value", "expected"), [(127, 127), (128, -128), (-129, 127), (256, 0), (-384, -128)])
def test_wrap_of_eight_bits(value: int, expected: int) -> None:
    assert wrap(value, -128, 8) == expected


def test_requantize_multiplies_by_channel_and_clamps_last() -> None:
    assert requantize([[5, 5], [-5, 400]], [1, 3], [1, 0], 1, -8, 20) == [[3, 16], [-1, 20]]
    assert requantize([[5, -3]], [1], [1], 0, -8, 7) == [[2, -2]]
    assert requantize([[-100]], [1], [0], 100, -8, 7) == [[0]]


def test_shift_and_relu() -> None:
    assert shift_right([[6, -6, 5, 10, -10]], 2) == [[2, -2, 1, 2, -2]]
    assert shift_right([[7, -7]], 0) == [[7, -7]]
    assert relu([[-3, 0, 4]]) == [[0, 0, 4]]


def test_shift_of_head() -> None:
    heads = [1, 2, 4, 8, 16, 32, 64, 48, 96, 128]
    assert [shift_of_head(d) for d in heads] == [0, 0, 1, 1, 2, 2, 3, 2, 3, 3]
    assert [shift_of_head_dropped(d) for d in heads] == [0, 0, 1, 2, 2, 2, 3, 3, 3, 4]


def test_matmul_by_hand() -> None:
    a, b = [[1, 2], [3, 4]], [[5, 6], [7, 8], [0, 1]]
    assert matmul(a, b, None, 0, 0, 32, "proven") == ([[17, 23, 2], [39, 53, 4]], 0)
    assert matmul(a, b, [10, -10, 0], 1, 5, 32, "wrap") == ([[11, -7, -4], [13, 3, -22]], 0)


@pytest.mark.parametrize(
    ("bias", "factors", "saturated", "wrapped"),
    [
        (0, [100, 100, -100], (27, 1), (100, 2)),
        (0, [-100, -100, 100], (-28, 1), (-100, 2)),
        (300, [0], (127, 1), (44, 1)),
        (300, [1, -1], (126, 2), (44, 1)),
        (-300, [0], (-128, 1), (-44, 1)),
        (127, [0, 1], (127, 1), (-128, 1)),
    ],
)
def test_overflow_rules_by_hand(
    bias: int, factors: list[int], saturated: tuple[int, int], wrapped: tuple[int, int]
) -> None:
    ones = [1] * len(factors)
    for rule, (value, events) in (("saturate", saturated), ("wrap", wrapped)):
        assert matmul([ones], [factors], [bias], 0, 0, 8, rule) == ([[value]], events)


def test_unknown_overflow_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown overflow rule"):
        matmul([[1]], [[1]], None, 0, 0, 8, "ignore")


@checked
@given(st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=6), SMALL, SMALL, SMALL, st.integers(8, 20))
def test_wrap_is_congruent_to_the_exact_sum(
    pairs: list[tuple[int, int]], a_zero: int, b_zero: int, bias: int, bits: int
) -> None:
    a, b = (list(values) for values in zip(*pairs, strict=True))
    exact, _ = matmul([a], [b], [bias], a_zero, b_zero, bits, "proven")
    wrapped, events = matmul([a], [b], [bias], a_zero, b_zero, bits, "wrap")
    saturated, saturations = matmul([a], [b], [bias], a_zero, b_zero, bits, "saturate")
    lo, hi = limits(bits, True, False)
    assert lo <= wrapped[0][0] <= hi
    assert lo <= saturated[0][0] <= hi
    assert (wrapped[0][0] - exact[0][0]) % 2**bits == 0
    assert (events == 0) == (saturations == 0)
    assert events or wrapped == saturated == exact


@checked
@given(st.data(), st.lists(SMALL, min_size=1, max_size=6), SMALL, SMALL, st.tuples(SMALL, SMALL).map(sorted))
def test_partial_sums_stay_within_their_bounds(
    data: st.DataObject, b: list[int], b_zero: int, bias: int, interval: list[int]
) -> None:
    low, high = partial_sum_bounds(b, b_zero, bias, *interval)
    a = data.draw(st.lists(st.integers(*interval), min_size=len(b), max_size=len(b)))
    terms = data.draw(st.permutations([bias, *((x * (y - b_zero)) for x, y in zip(a, b, strict=True))]))
    assert all(low <= sum(terms[:count]) <= high for count in range(len(terms) + 1))


@checked
@given(st.data(), st.tuples(SMALL, SMALL).map(sorted), st.tuples(SMALL, SMALL).map(sorted), st.integers(1, 6))
def test_sums_of_products_stay_within_their_bounds(
    data: st.DataObject, a_interval: list[int], b_interval: list[int], terms: int
) -> None:
    low, high = product_bounds(terms, *a_interval, *b_interval)
    pairs = data.draw(st.lists(st.tuples(st.integers(*a_interval), st.integers(*b_interval)), max_size=terms))
    assert low <= sum(x * y for x, y in pairs) <= high


def test_bounds_by_hand_are_reached() -> None:
    assert partial_sum_bounds([3, -2], 0, 5, -4, 10) == (-32, 43)
    assert partial_sum_bounds([3, -2], 1, -5, -4, 10) == (-43, 32)
    assert product_bounds(3, -4, 10, -7, 2) == (-210, 84)
    assert product_bounds(3, 1, 2, 5, 6) == (0, 36)


def test_softmax_by_hand_and_its_events() -> None:
    table = [15, 7, 2, 1]
    assert softmax([3, 2, 9, 0], [True, True, False, True], table, 1, 1, 15, 8, 0, 15) == (
        [15, 7, 0, 1], 12, [10, 5, 0, 1], 0, 0, 0
    )  # fmt: skip
    assert softmax([3, 3], [True, True], table, 1, 0, 15, 15, 0, 9) == ([15, 15], 15, [9, 9], 1, 0, 2)
    assert softmax([3], [True], table, 1, 4, 15, 1, 0, 15) == ([15], 1, [15], 0, 0, 0)
    assert softmax([3], [True], table, 1, 5, 15, 1, 0, 15) == ([15], 1, [15], 0, 1, 0)
    assert softmax([3, 1], [False, False], table, 1, 0, 15, 1, 0, 15) == ([0, 0], 1, [0, 0], 0, 1, 0)


def test_layernorm_by_hand_and_its_events() -> None:
    affine = ([2, 2], [1, 1], 1, 1, 3, -128, 127)
    assert layernorm([1, 5], 0, 1, 0, -8, 7, 1, 1, 15, 3, 0, -8, 7, *affine) == (
        [-4, 4], 2, [-6, 6], [-3, 9], 0, 0, 0, 0
    )  # fmt: skip
    assert layernorm([1, 9], 0, 1, 0, -8, 7, 1, 0, 3, 3, 0, -6, 6, *affine) == (
        [-8, 7], 3, [-6, 6], [-3, 9], 1, 1, 0, 2
    )  # fmt: skip
    assert layernorm([4, 4], 0, 1, 0, -8, 7, 1, 0, 3, 1, 0, -8, 7, *affine) == ([0, 0], 1, [0, 0], [3, 3], 0, 0, 1, 0)


def test_layernorm_takes_the_floor_of_the_root() -> None:
    row = layernorm([0, 1, 3], 1, 1, 0, -8, 7, 1, 0, 15, 3, 0, -8, 7, [1] * 3, [0] * 3, 1, 0, 0, -8, 7)
    assert (row.numerator, row.denominator, row.quotient) == ([-4, -1, 5], 3, [-4, -1, 5])  # V = 15, root 3.87


def foreign_imports(source: str) -> list[str]:
    """Imports of a source that are neither the standard library nor the package itself; no dynamic imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append("." * max(0, node.level - 1) + (node.module or "") if node.level != 1 else "__future__")
        elif isinstance(node, ast.Name) and node.id in ("__import__", "exec", "eval"):
            names.append("." + node.id)
    allowed = sys.stdlib_module_names - {"importlib", "runpy"}
    return [name for name in names if name.split(".")[0] not in allowed]


@pytest.mark.parametrize("path", ORACLE_FILES, ids=lambda path: str(path.name))
def test_oracle_imports_only_the_standard_library(path: Path) -> None:
    assert foreign_imports(path.read_text(encoding="utf-8")) == []


def test_oracle_files_are_found() -> None:
    assert {"__init__.py", "rounding.py", "softmax.py", "layernorm.py"} <= {path.name for path in ORACLE_FILES}


@pytest.mark.parametrize(
    "source",
    [
        "import numpy",
        "import math, numpy.linalg as n",
        "from torch import nn",
        "from hwsim.formats import IntFormat",
        "def f():\n    import hwsim",
        "from .. import something",
        "from ..oracle_checks import x",
        "import importlib",
        "__import__('numpy')",
    ],
)
def test_the_import_check_can_fail(source: str) -> None:
    assert len(foreign_imports(source)) == 1


def test_the_import_check_lets_the_standard_library_pass() -> None:
    assert foreign_imports("import math\nfrom fractions import Fraction\nfrom .rounding import half_even") == []
