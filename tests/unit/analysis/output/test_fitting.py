"""Tables of sites as they are printed: whole names where they fit, else under their beginnings; what widths mean."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console, RenderableType

from analysis.accuracy.accumulators import FirstOverflow, Overflowing, Width, overflow_table, width_table
from analysis.output.fitting import Fitting, Row


def printed(table: RenderableType, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def table(rows: Sequence[Row]) -> Fitting:
    return Fitting("Sites", ("site",), ("bits",), rows)


ROWS = [
    Row("encode"),
    Row("encoder.0.self_attention.scores.shifted", ("8",)),
    Row("encoder.0.self_attention.context", ("16",)),
    Row("encoder.0.feed_forward.hidden", ("4",)),
    Row("encoder.embedding", ("7",)),
    Row("encoder.0.sum", ("3",)),
    Row("decode_step"),
    Row("encoder.0.feed_forward.hidden", ("5",)),
]
WHOLE = [
    "Sites",
    " site                                     bits",
    " ─────────────────────────────────────────────",
    " encode",
    " encoder.0.self_attention.scores.shifted     8",
    " encoder.0.self_attention.context           16",
    " encoder.0.feed_forward.hidden               4",
    " encoder.embedding                           7",
    " encoder.0.sum                               3",
    " decode_step",
    " encoder.0.feed_forward.hidden               5",
]
GROUPED = [
    "Sites",
    " site                      bits",
    " ──────────────────────────────",
    " encode",
    " encoder.0.self_attention",
    "   scores.shifted             8",
    "   context                   16",
    " encoder.0.feed_forward",
    "   hidden                     4",
    " encoder.embedding            7",
    " encoder.0.sum                3",
    " decode_step",
    " encoder.0.feed_forward",
    "   hidden                     5",
]


def test_names_are_whole_where_they_fit() -> None:
    """To the column: of 47 all are needed."""
    assert [line for line in printed(table(ROWS), 47) if line] == WHOLE
    assert [line for line in printed(table(ROWS), 120) if line] == WHOLE


def test_names_are_grouped_where_they_do_not() -> None:
    """A heading is said again after another function, and a short name has none."""
    assert [line for line in printed(table(ROWS), 46) if line] == GROUPED


def test_a_terminal_of_72_columns_folds_other_columns_first() -> None:
    """Below that even names fold: of 50 letters beside 40 digits the letters."""
    letters, digits = "abcdefghij" * 5, "0123456789" * 4
    wide, narrow = (printed(table([Row(f"encoder.0.x.{letters}", (digits,))]), width) for width in (72, 71))
    assert any(letters in line for line in wide) and not any(digits in line for line in wide)
    assert not any(letters in line for line in narrow)


# --- accumulators -----------------------------------------------------------------------------------------------------


def width(name: str, function: str = "encode", **fields: object) -> Width:
    usual: dict[str, object] = {
        "terms": 24,
        "proven": (-100, 90),
        "proven_bits": 8,
        "a2q_bits": None,
        "a2q_unknown": None,
    }
    return Width(function=function, operation=f"{name}.accumulator", **(usual | fields))  # type: ignore[arg-type]


WIDTHS = [
    width("a.query", a2q_bits=12),
    width("a.scores", a2q_unknown="both factors are activations", terms=3, proven_bits=17),
    width("b.query", "decode_step", a2q_unknown="the input has a zero point (-3)", proven_bits=9),
]
PROOF = "proof: every input, bias included; A2Q: every input, by the L1 norm of the weights, without bias."


def test_widths_as_they_are_printed() -> None:
    lines = [line for line in printed(width_table(WIDTHS), 120) if line]
    assert lines[0] == "Minimum safe accumulators, bits (3)"
    assert lines[1].split() == ["product", "terms", "proof", "A2Q", "observed", "running", "sums"]
    assert [line.split() for line in lines[3:8]] == [
        ["encode"],
        ["a.query", "24", "8", "12", "-"],
        ["a.scores", "3", "17", "-", "-"],
        ["decode_step"],
        ["b.query", "24", "9", "-", "-"],
    ]
    assert lines[8:] == [
        PROOF,
        "A2Q says nothing (-) where both factors are activations or the input has a zero point.",
        "observed: give --text or --sentences.",
    ]


def test_widths_of_a_text() -> None:
    lines = [
        line
        for line in printed(width_table([width("a.query", a2q_bits=12, observed=(-7, 300), observed_bits=10)]), 120)
        if line
    ]
    assert lines[4].split() == ["a.query", "24", "8", "12", "10", "-7", "..", "300"]
    assert lines[5:] == [PROOF, "observed: enough for this text."]


FIRST = FirstOverflow(sentence=3, call="decode step 2", batch=[0, 5], row=1, column=4, k=17)


@pytest.mark.parametrize(
    ("batch", "k", "said"),
    [
        ([0, 5], 17, "sentence 3, decode step 2, head 5, row 1, column 4, k 17"),
        ([0], 0, "sentence 3, decode step 2, row 1, column 4, k 0"),
        ([], -1, "sentence 3, decode step 2, row 1, column 4, bias"),
        ([2, 0], -1, "sentence 3, decode step 2, head 0, row 1, column 4, bias"),
    ],
)
def test_where_an_operation_overflows_first(batch: list[int], k: int, said: str) -> None:
    found = FirstOverflow(sentence=3, call="decode step 2", batch=batch, row=1, column=4, k=k)
    assert str(found) == said


def test_only_the_worst_operations_are_printed() -> None:
    """The first five, as they come: most events first."""
    found = [
        Overflowing(operation=f"p{i}.accumulator", function="encode", events=7000 - i, first=FIRST if i else None)
        for i in range(6)
    ]
    lines = [line for line in printed(overflow_table(found), 120) if line]
    assert lines[0] == "Overflow events by operation: the worst 5 of 6"
    assert [line.split()[0] for line in lines[3:]] == ["p0", "p1", "p2", "p3", "p4"]
    assert lines[3].split() == ["p0", "7,000"]
    assert " ".join(lines[4].split()) == "p1 sentence 3, decode step 2, head 5, row 1, column 4, k 17 6,999"
    assert printed(overflow_table(found[:2]), 120)[0] == "Overflow events by operation: the worst 2 of 2"
