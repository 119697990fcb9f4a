"""What a kernel or the oracle makes of rows of a table."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.golden.tables import Table

INT8, INT16, INT32 = 8, 16, 32

Ratios = list[tuple[int, int]]
"""(m, e), one of each row."""


class Outcome(NamedTuple):
    """The codes, and the events of all rows together."""

    codes: list[Any]
    overflows: int = 0
    saturations: int = 0


def assert_equal(table: Table, got: Sequence[Any], column: str = "out", row_codes: bool = False) -> None:
    """Every code of every row, none of them missing; `row_codes`: a cell holds a row."""
    want = table.rows_of(column) if row_codes else [[code] for code in table[column]]
    made = list(got) if row_codes else [[code] for code in got]
    assert len(made) == len(table) > 0
    wrong = [(i, a, b) for i, (a, b) in enumerate(zip(made, want, strict=True)) if a != b]
    assert not wrong, f"{table.name}, {column}: {len(wrong)} of {len(table)} rows differ; (row, got, want): {wrong[:3]}"
    assert sum(map(len, made)) == sum(map(len, want)) >= len(table)


def binary32(pattern: int) -> tuple[int, int]:
    """(m, e) with m / 2^e the positive normal binary32 of this bit pattern, m of 24 bits at most."""
    exponent = pattern >> 23
    assert 0 < exponent < 255
    return pattern & 0x7FFFFF | 0x800000, 150 - exponent


def ratios(patterns: Sequence[int]) -> Ratios:
    return [binary32(pattern) for pattern in patterns]


def clamp(value: int, bits: int) -> int:
    return min(max(value, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)


def low_bits(value: int, bits: int) -> int:
    """What a cast to a signed integer keeps."""
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def assert_refused(table: Table, call: Callable[[int], Any]) -> None:
    """`call(i)` raises a ValueError for every row i."""
    taken = []
    for i in range(len(table)):
        try:
            call(i)
        except ValueError:
            continue
        taken.append(i)
    assert not taken, f"{table.name}: {len(taken)} of {len(table)} rows are taken, such as {taken[:5]}"
