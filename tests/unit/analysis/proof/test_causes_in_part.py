"""A cause that explains a part of the codes says of how many, and is never exact: tables, products and ReLU."""

from typing import Any

import numpy as np
import pytest

from analysis.proof.divergence import Stage
from analysis.proof.explain.causes import find_causes
from analysis.proof.explain.products import explain_product, explain_through_product
from analysis.proof.explain.records import UNEXPLAINED, Cause, Histogram, SiteReport
from analysis.proof.explain.rules import Rounded
from analysis.proof.explain.show import _lines
from analysis.proof.explain.tables import describe_entries, explain_swap, explain_table
from analysis.proof.explain.tally import Sample, Tally
from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine, operation_of
from hwsim.program import Program
from hwsim.program.catalogue import Dyadic
from hwsim.program.operations import MatMul, Relu, Requantize, Softmax
from tests.small.programs import with_constant
from tests.small.sentences import sentences
from tests.unit.analysis.proof.stage_cases import INT8, UINT8, WIDE, program_of

Told = list[tuple[str, int, int, bool]]


def told(causes: list[Cause]) -> Told:
    """Text, how many codes it makes, of how many, and whether it claims all."""
    return [(cause.text, cause.reproduced, cause.checked, cause.exact) for cause in causes]


def sample(values: dict[str, Any], a: Any, b: Any) -> Sample:
    """All elements of one call."""
    arrays = {name: np.array(x, np.int32) for name, x in values.items()}
    mine, theirs = np.array(a, np.int32), np.array(b, np.int32)
    return Sample(np.argwhere(np.ones(mine.shape)), arrays, mine, theirs)


def test_what_is_inferred_is_not_declared() -> None:
    """Of a table's entries and of a rounding, read off the codes alone."""
    values = {"x": SCORES}
    program = program_of(SOFTMAX, values, {"num": UINT8, "den": UINT8, "y": UINT8}, t=[9, 6, 2])
    (cause,) = explain_table(program, SOFTMAX, [sample(values, A, [[9, 7, 2, 9], [9, 7, 7, 7]])])
    assert (cause.declared, cause.exact) == (False, True)


def test_exact_is_all_of_some() -> None:
    counts = {(8, 8): True, (1, 1): True, (8, 7): False, (8, 0): False, (0, 0): False}
    for (checked, reproduced), exact in counts.items():
        assert Cause(kind="k", text="t", checked=checked, reproduced=reproduced).exact is exact


# --- tables -----------------------------------------------------------------------------------------------------------

SOFTMAX = Softmax(
    numerator="num",
    denominator="den",
    output="y",
    input="x",
    table="t",
    denominator_requantization=Dyadic(multiplier=1, shift=0),
    output_requantization=Dyadic(multiplier=1, shift=0),
)
SCORES = [[5, 4, 3, 5], [5, 4, 4, 4]]
A = [[9, 6, 2, 9], [9, 6, 6, 6]]
"""Of the table 9, 6, 2: a key at distance 1 has 6."""
ENTRY = "table entry 1 holds 7 in B, 6 in A"


def by_table(*of_b: Any, mask: Any = None) -> Told:
    values = {"x": SCORES} | ({} if mask is None else {"mask": mask})
    operation = (
        SOFTMAX
        if mask is None
        else Softmax(**{f: getattr(SOFTMAX, f) for f in SOFTMAX.__struct_fields__} | {"mask": "mask"})
    )
    program = program_of(operation, values, {"num": UINT8, "den": UINT8, "y": UINT8}, t=[9, 6, 2])
    return told(explain_table(program, operation, [sample(values, A, b) for b in of_b]))


def test_a_table_that_makes_all_codes() -> None:
    assert by_table([[9, 7, 2, 9], [9, 7, 7, 7]]) == [(ENTRY, 8, 8, True)]


def test_a_table_that_makes_a_part() -> None:
    """One of the four keys at distance 1 has A's code, or a third one; then two of them."""
    assert by_table([[9, 7, 2, 9], [9, 7, 6, 7]]) == [(ENTRY, 7, 8, False)]
    assert by_table([[9, 7, 2, 9], [9, 7, 8, 7]]) == [(ENTRY, 7, 8, False)]
    assert by_table([[9, 7, 2, 8], [9, 7, 8, 7]]) == [(ENTRY, 6, 8, False)]


def test_no_table_makes_the_codes() -> None:
    """Most keys have A's entry, so that no entry is another."""
    assert by_table([[9, 6, 2, 9], [9, 6, 6, 7]]) == []
    assert by_table([[9, 6, 2, 9], [9, 6, 0, 7]]) == []


def test_calls_that_have_different_tables() -> None:
    """Four of 7 in the first call, four of 8 in the second: one entry makes one half of the keys at distance 1."""
    assert by_table([[9, 7, 2, 9], [9, 7, 7, 7]], [[9, 8, 2, 9], [9, 8, 8, 7]]) == [(ENTRY, 13, 16, False)]


def test_masked_keys_are_made_only_if_they_are_zero() -> None:
    """The first row lets its last two keys go, so that the greatest is still 5."""
    mask = [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert by_table([[9, 7, 0, 0], [9, 7, 7, 7]], mask=mask) == [(ENTRY, 8, 8, True)]
    assert by_table([[9, 7, 2, 0], [9, 7, 7, 7]], mask=mask) == [(ENTRY, 7, 8, False)]


def test_entries_in_words() -> None:
    table = [9, 6, 2, 1, 0, 0, 0, 0, 5]
    assert describe_entries(table, {1: 2, 2: 6}) == (
        "swapped table entries: 1 holds 2 and 2 holds 6 in B, 6 and 2 in A"
    )
    assert describe_entries(table, {1: 2, 2: 7}) == "table entries 1 holds 2 in B, 6 in A, 2 holds 7 in B, 2 in A"
    assert describe_entries(table, {8: 1}) == "table entry 8 holds 1 in B, 5 in A, the value of A's entry 3"
    assert describe_entries(table, {8: 4}) == "table entry 8 holds 4 in B, 5 in A"
    many = describe_entries(table, dict.fromkeys(range(8), 7))
    assert many.startswith("table entries 0 holds 7 in B, 9 in A, 1 holds") and many.endswith(
        "5 holds 7 in B, 0 in A, and 2 more"
    )
    assert "more" not in describe_entries(table, dict.fromkeys(range(6), 7))


OUTPUT = "encoder.0.self_attention.softmax.output"


def test_a_swap_that_makes_a_part(tiny_int8: Program) -> None:
    """Of outputs alone: all of them; all but equal ones that are changed; none, where a differing one is changed."""
    name = "encoder.0.self_attention.softmax.table"
    table = tiny_int8.constants[name]
    other = with_constant(tiny_int8, name, {7: int(table[8]), 8: int(table[7])})
    ours, theirs = ({} for _ in range(2))
    for program, values in ((tiny_int8, ours), (other, theirs)):
        MachineStepper(Machine(program), sentences(4), values.__setitem__)
    a, b = ours[OUTPUT], theirs[OUTPUT].copy()
    operation = operation_of(tiny_int8, OUTPUT)
    assert isinstance(operation, Softmax) and 0 < (a != b).sum() < a.size - 2

    def swaps(codes: np.ndarray) -> Told:
        call = Sample(np.argwhere(np.ones(a.shape)), ours, a, codes)
        untouched = Sample(call.indices, ours, a, b)
        return told(explain_swap(tiny_int8, operation, OUTPUT, [untouched, call]))

    text = f"swapped table entries: 7 holds {table[8]} and 8 holds {table[7]} in B, {table[7]} and {table[8]} in A"
    assert swaps(b) == [(text, 2 * a.size, 2 * a.size, True)]
    changed = b.copy()
    changed[tuple(np.argwhere(a == b)[0])] += 1
    changed[tuple(np.argwhere(a != b)[0])] += 1
    assert swaps(changed) == [(text, 2 * a.size - 2, 2 * a.size, False)]
    alone = Sample(np.argwhere(np.ones(a.shape)), ours, a, changed)
    assert explain_swap(tiny_int8, operation, OUTPUT, [alone]) == []


# --- products ---------------------------------------------------------------------------------------------------------

PRODUCT = MatMul(output="acc", a="x", b="w", bias="bias")
ROWS = [[1, 1, 1], [2, 0, -1]]
"""Less the zero point 1: zeros, and 1, -1, -2."""
WEIGHTS, BIAS = [[1, 2, 3], [4, -5, 6]], [10, -20]
SUMS = [[10, -20], [3, -23]]


def product(b: Any, a: Any = SUMS, rows: Any = ROWS, weights: Any = WEIGHTS, bias: Any = BIAS, zero: int = 1) -> Told:
    constants = {"w": weights, "bias": bias, "zeros": {"x": zero}}
    program = program_of(PRODUCT, {"x": rows}, {"acc": WIDE}, **constants)
    return told(explain_product(program, PRODUCT, [sample({"x": rows}, a, b)]))


def test_a_bias_that_makes_all_or_a_part() -> None:
    assert product([[10, -15], [3, -18]]) == [("the bias differs in channel 1 by +5", 4, 4, True)]
    (best, *_) = product([[10, -15], [3, -19]])
    assert best == ("the bias differs in channel 1 by +4", 3, 4, False)


def test_a_bias_that_is_left_out_of_all_or_a_part() -> None:
    text = "B does not add the bias"
    channels = "the bias differs in channel 0 by -10, 1 by +20"
    assert product([[0, 0], [-7, -3]]) == [(text, 4, 4, True), (channels, 4, 4, True)]
    part = product([[0, 0], [-7, -2]])
    assert (text, 3, 4, False) in part and not any(exact for *_, exact in part)


def test_a_zero_point_that_is_left_out_of_all_or_a_part() -> None:
    """1+2+3 + 10, 4-5+6 - 20, 2-3 + 10 and 8-6 - 20."""
    text = "B does not subtract the first operand's zero point"
    assert product([[16, -15], [9, -18]])[0] == (text, 4, 4, True)
    part = product([[16, -15], [9, -23]])
    assert (text, 3, 4, False) in part and not any(exact for *_, exact in part)


LARGE = {"rows": [[100, 100, -90], [1, 2, 3]], "weights": [[1, 1, 1], [0, 0, 1]], "bias": [0, 0], "zero": 0}
LARGE_SUMS = [[110, -90], [6, 3]]
TWICE = {"rows": [[100, 100, 30], [1, 2, 3]], "weights": [[1, 1, 1], [0, 0, 1]], "bias": [0, 0], "zero": 0}
TWICE_SUMS = [[230, 30], [6, 3]]


@pytest.mark.parametrize(
    ("words", "numbers", "ours", "theirs"),
    [
        ("saturates after every product", LARGE, LARGE_SUMS, [[37, -90], [6, 3]]),
        ("wraps", TWICE, TWICE_SUMS, [[-26, 30], [6, 3]]),
        ("saturates after the last product", TWICE, TWICE_SUMS, [[127, 30], [6, 3]]),
    ],
)
def test_an_accumulator_of_8_bits(words: str, numbers: dict[str, Any], ours: Any, theirs: Any) -> None:
    text = f"the accumulator {words} at 8 bits in B"
    assert (text, 4, 4, True) in product(theirs, ours, **numbers)
    changed = [theirs[0], [theirs[1][0] + 1, theirs[1][1]]]
    part = product(changed, ours, **numbers)
    assert (text, 3, 4, False) in part and not any(exact for *_, exact in part)
    unrelated = [[theirs[0][0] - 1, theirs[0][1]], theirs[1]]
    assert product(unrelated, ours, **numbers) == []  # what makes equal codes only is not told


def through(b: list[int]) -> Told:
    """Codes of one channel, halved: accumulators 10, 3, 20 and 6, with a bias of 4 in them."""
    rows, sums = [[6], [-1], [16], [2]], [[10], [3], [20], [6]]
    program = program_of(PRODUCT, {"x": rows}, {"acc": WIDE}, w=[[1]], bias=[4])
    made = [Stage(x, 1, 1, "half_even", 0, INT8) for (x,) in sums]
    rounded = [Rounded(stage, stage.code, code) for stage, code in zip(made, b, strict=True)]
    call = sample({"x": rows, "acc": sums}, [[one.a] for one in rounded], [[one.b] for one in rounded])
    return told(explain_through_product(program, PRODUCT, [call], rounded))


def test_a_product_behind_a_rounding() -> None:
    """A has 5, 2, 10, 3; without the bias 3, 0, 8, 1."""
    text = "B does not add the bias"
    assert through([3, 0, 8, 1]) == [(text, 4, 4, True)]
    assert through([5, 2, 10, 3]) != [(text, 4, 4, True)]
    assert (text, 3, 4, False) not in through([3, 0, 8, 2])  # of those that differ it must make all
    assert not any(cause == text for cause, *_ in through([3, 0, 8, 2]))


# --- ReLU, and what is said -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("b", "made"), [([-3, 0, 4, -1], 4), ([-3, 0, 4, 0], 3), ([9, 9, 9, 9], 0), ([-3, 9, 9, 9], 1)]
)
def test_a_relu_that_is_left_out_of_all_or_a_part(b: list[int], made: int) -> None:
    operation = Relu(output="y", input="x")
    values = {"x": [[-3, 0, 4, -1]]}
    program = program_of(operation, values, {"y": WIDE})
    tally = Tally("encode", operation)
    tally.samples = [sample(values, [[0, 0, 4, 0]], [b])]
    causes, _ = find_causes(program, None, "y", tally, lambda site: True)
    assert told(causes) == [("B leaves ReLU out", made, 4, made == 4)]


def report(causes: list[Cause]) -> SiteReport:
    none = Histogram(codes={}, below=0, above=0)
    return SiteReport(
        site="y",
        function="encode",
        operation="relu",
        status="origin",
        compared=1000,
        different=1,
        different_on_equal_inputs=1,
        max_lsb=1,
        histogram=none,
        histogram_on_equal_inputs=none,
        events_a=None,
        events_b=None,
        follows_from=[],
        causes=causes,
        observations=[],
    )


def test_a_part_is_said_to_be_one() -> None:
    part = Cause(kind="table", text="an entry", checked=2000, reproduced=1999)
    some = report([part])
    assert some.cause == UNEXPLAINED == "unexplained"
    assert list(_lines(some))[:2] == ["unexplained", "only partly: an entry (1,999 of 2,000 codes)"]
    whole = Cause(kind="table", text="another", checked=2000, reproduced=2000)
    both = report([part, whole])
    assert both.cause == "another"
    assert list(_lines(both))[:1] == ["another (2,000 of 2,000 codes)"]
    assert not any("an entry" in line or "partly" in line for line in _lines(both))
    assert next(iter(_lines(report([])))) == "unexplained"


def test_a_requantization_in_part_by_find_causes() -> None:
    """B rounds up: of eight codes 2 are ties that go up, and one more is changed to what no rule makes."""
    operation = Requantize(output="y", input="x", requantization=Dyadic(multiplier=1, shift=2))
    x = [2, 10, 3, 4, 5, 8, 12, 16]  # 0.5, 2.5, 0.75, 1, 1.25, 2, 3, 4
    program = program_of(operation, {"x": [x]}, {"y": INT8})
    tally = Tally("encode", operation)
    up, changed = [1, 3, 1, 1, 1, 2, 3, 4], [1, 3, 1, 1, 1, 2, 3, 40]
    tally.samples = [sample({"x": [x]}, [[0, 2, 1, 1, 1, 2, 3, 4]], [up])]
    causes, observations = find_causes(program, None, "y", tally, lambda site: True)
    assert ("ties: B rounds half_up, A half_even; the codes differ only where the value is a tie", 8, 8, True) in told(
        causes
    )
    assert observations == ["differing codes that are ties, off by 1 LSB: 2 of 2; equal ones: 0"]
    tally.samples = [sample({"x": [x]}, [[0, 2, 1, 1, 1, 2, 3, 4]], [changed])]
    causes, _ = find_causes(program, None, "y", tally, lambda site: True)
    assert told(causes)[0] == ("B rounds half_up, A half_even", 7, 8, False)
    assert not any(cause.exact for cause in causes)
