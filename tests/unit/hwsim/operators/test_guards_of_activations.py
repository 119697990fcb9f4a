"""Guards of GELU and of tables at their edges: products of exactly 2^63 are refused, and those below are right."""

import numpy as np
import pytest

from hwsim.operators.activation import ibert_gelu, ita_gelu, relu, table_interpolate, table_lookup
from tests.unit.hwsim.operators.edges import BELOW, Edge, both_ends, check_edge, int32, zero_points

REACH = f"could reach {2**63}{BELOW}"


def ibert(x: int = 0, zero: int = 0, b: int = 1, c: int = -1, offset: int = -1) -> list[int]:
    return [int(value) for value in ibert_gelu(int32([x]), zero=zero, b=b, c=c, offset=offset)]


def ita(x: int = 0, zero: int = 0, b: int = 1, c: int = -1) -> list[int]:
    return [int(value) for value in ita_gelu(int32([x]), zero=zero, b=b, c=c)]


ROOT = 3037000499
"""The greatest integer whose square is below 2^63."""

BOTH: list[Edge] = [
    ({"b": 1}, {"b": 0}, f"b is 0; allowed: 1 to {2**63 - 1}"),
    ({"c": -1}, {"c": 0}, f"c is 0; allowed: {1 - 2**63} to -1"),
    ({"c": 2 - 2**63}, {"c": 1 - 2**63}, f"b^2 - c {REACH}"),
    ({"c": 2 - 2**63}, {"c": -(2**63)}, f"c is {-(2**63)}; allowed: {1 - 2**63} to -1"),
    ({"b": ROOT}, {"b": ROOT + 1}, f"b^2 - c could reach {(ROOT + 1) ** 2 + 1}{BELOW}"),
    ({"b": ROOT}, {"b": 2**63 - 1}, f"b^2 - c could reach {(2**63 - 1) ** 2 + 1}{BELOW}"),
    ({"b": ROOT}, {"b": 2**63}, f"b is {2**63}; allowed: 1 to {2**63 - 1}"),
    ({"b": 2**31, "c": 1 - 2**62}, {"b": 2**31, "c": -(2**62)}, f"b^2 - c could reach {2**63}{BELOW}"),
    *both_ends("x", "an element of x", -(2**15), 2**16 - 1),
    *zero_points("zero"),
]
"""Of constants that let x = 0 through: the last product is then 0."""


@pytest.mark.parametrize("edge", BOTH, ids=str)
@pytest.mark.parametrize("run", [ibert, ita])
def test_guards_of_both(run: object, edge: Edge) -> None:
    check_edge(run, edge)  # type: ignore[arg-type]


PRODUCT = "x' * (L + c)"
ITA: list[Edge] = [
    ({"x": 7, "b": 2**30}, {"x": 8, "b": 2**30}, f"{PRODUCT} {REACH}"),
    ({"x": -7, "b": 2**30}, {"x": -8, "b": 2**30}, f"{PRODUCT} {REACH}"),
    ({"x": 7, "b": 2**30}, {"x": 2**15, "b": 2**30}, f"{PRODUCT} could reach {2**75}{BELOW}"),
    ({"x": 0, "b": 2**31}, {"x": -(2**15), "b": 2**31}, f"{PRODUCT} could reach {127 * 2**62}{BELOW}"),
    ({"x": 3, "c": -(2**60)}, {"x": 4, "c": -(2**60)}, f"{PRODUCT} {REACH}"),
    ({"x": 1, "c": 1 - 2**62}, {"x": 1, "c": -(2**62)}, f"{PRODUCT} {REACH}"),
    (
        {"x": 10, "zero": 9, "c": 1 - 2**62},
        {"x": 11, "zero": 9, "c": 1 - 2**62},
        f"{PRODUCT} could reach {2**64 - 4}{BELOW}",
    ),
]


@pytest.mark.parametrize("edge", ITA, ids=str)
def test_guards_of_ita(edge: Edge) -> None:
    check_edge(ita, edge)


def test_ita_just_below_its_guard_does_not_wrap() -> None:
    """(G3) and (G4) by hand."""
    square = (2**30 - 7) ** 2
    assert ita(7, b=2**30) == [-7 * (square - 1 - 1)]
    assert ita(-7, b=2**30) == [7 * -(square - 1 + 1)]
    assert ita(3, c=-(2**60)) == [3 * 2**61]
    assert ita(1, c=1 - 2**62) == [2**63 - 2]


SHIFTED = "x' * (floor(L / 2^14) + offset)"
IBERT: list[Edge] = [
    ({"offset": -1}, {"offset": 0}, f"offset is 0; allowed: {1 - 2**63} to -1"),
    ({"offset": 1 - 2**63}, {"offset": -(2**63)}, f"offset is {-(2**63)}; allowed: {1 - 2**63} to -1"),
    ({"x": 1, "offset": 2 - 2**63}, {"x": 1, "offset": 1 - 2**63}, f"{SHIFTED} {REACH}"),
    ({"x": 32767, "b": 2**31}, {"x": 32768, "b": 2**31}, f"{SHIFTED} could reach {2**63 + 2**15}{BELOW}"),
    ({"x": -32767, "b": 2**31}, {"x": -32768, "b": 2**31}, f"{SHIFTED} could reach {2**63 + 2**15}{BELOW}"),
    ({"x": 2**14 - 1, "c": 2 - 2**63}, {"x": 2**14, "c": 2 - 2**63}, f"{SHIFTED} could reach {2**63 + 2**14}{BELOW}"),
]


@pytest.mark.parametrize("edge", IBERT, ids=str)
def test_guards_of_ibert(edge: Edge) -> None:
    check_edge(ibert, edge)


def test_ibert_just_below_its_guard_does_not_wrap() -> None:
    """(G1) and (G2) by hand; L is -1 at x = 1, and its 14 bits lost leave -1."""
    assert ibert(1, offset=2 - 2**63) == [2**63 - 1]
    lost = (2**31 - 32768) // 2**14 * (2**31 - 32766)  # a^2 - 1 = (a - 1) * (a + 1), and 2^14 divides it
    assert ibert(32767, b=2**31) == [-32767 * (lost - 1)]
    assert ibert(-32767, b=2**31) == [32767 * (-lost - 1)]


# Tables


def lookup(x: int = 0, table: object = (5, 6, 7), lowest: int = 0) -> list[int]:
    return [int(code) for code in table_lookup(int32([x]), int32(table), lowest)]


FIVES = [5] * 4096
LOOKUP: list[Edge] = [
    *both_ends("x", "an element of x", 0, 2),
    ({"x": -3, "lowest": -3}, {"x": -4, "lowest": -3}, "an element of x is -4; allowed: -3 to -1"),
    ({"x": -1, "lowest": -3}, {"x": 0, "lowest": -3}, "an element of x is 0; allowed: -3 to -1"),
    ({"table": FIVES}, {"table": [*FIVES, 5]}, "the number of entries of table is 4097; allowed: 1 to 4096"),
    ({"table": [5]}, {"table": []}, "the number of entries of table is 0; allowed: 1 to 4096"),
    ({"table": [2**16 - 1]}, {"table": [2**16]}, "an element of table is 65536; allowed: -32768 to 65535"),
    ({"table": [-(2**15)]}, {"table": [-(2**15) - 1]}, "an element of table is -32769; allowed: -32768 to 65535"),
    (
        {"x": -(2**15), "lowest": -(2**15)},
        {"x": -(2**15), "lowest": -(2**15) - 1},
        "lowest is -32769; allowed: -32768 to 65535",
    ),
    ({"x": 2**16, "lowest": 2**16 - 1}, {"lowest": 2**16}, "lowest is 65536; allowed: -32768 to 65535"),
]


@pytest.mark.parametrize("edge", LOOKUP, ids=lambda edge: edge[-1])
def test_guards_of_a_table(edge: Edge) -> None:
    check_edge(lookup, edge)


def test_ends_of_a_table() -> None:
    assert [*lookup(-3, lowest=-3), *lookup(-1, lowest=-3), *lookup(2)] == [5, 7, 7]


def interpolated(x: int = 0, entry: int = 0, entries: int = 513) -> list[int]:
    return [int(code) for code in table_interpolate(int32([x]), np.full(entries, entry, np.int32))]


INTERPOLATED: list[Edge] = [
    *both_ends("x", "an element of x", -(2**15), 2**15 - 1),
    *both_ends("entry", "an element of table", -(2**15), 2**15 - 1),
    ({"entries": 513}, {"entries": 512}, "table has shape (512,); allowed: (513,)"),
    ({"entries": 513}, {"entries": 514}, "table has shape (514,); allowed: (513,)"),
]


@pytest.mark.parametrize("edge", INTERPOLATED, ids=lambda edge: edge[-1])
def test_guards_of_an_interpolated_table(edge: Edge) -> None:
    check_edge(interpolated, edge)


def test_relu_takes_both_widths() -> None:
    assert relu(np.array([-(2**63), 2**63 - 1])).tolist() == [0, 2**63 - 1]
    with pytest.raises(ValueError, match=r"^acc is of int16; allowed: int32 or int64$"):
        relu(np.array([1], np.int16))  # type: ignore[arg-type]
