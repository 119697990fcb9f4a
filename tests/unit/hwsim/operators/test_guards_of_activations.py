"""Guards of GELU, means and tables at their edges: what is just beyond an accumulator is refused, the rest is right."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.operators.activation import (
    gemmini_gelu,
    ibert_gelu,
    ita_gelu,
    pulp_gelu,
    relu,
    table_interpolate,
    table_lookup,
)
from hwsim.operators.mean import pulp_mean
from tests.unit.hwsim.operators.edges import BELOW, Edge, both_ends, check_edge, int32, tally, zero_points

Runner = Callable[..., object]

REACH = f"could reach {2**63}{BELOW}"


def ibert(x: int = 0, zero: int = 0, b: int = 1, c: int = -1, offset: int = -1) -> list[int]:
    return [int(value) for value in ibert_gelu(int32([x]), zero=zero, b=b, c=c, offset=offset)]


def ita(x: int = 0, zero: int = 0, b: int = -1, c: int = -1) -> list[int]:
    return [int(value) for value in ita_gelu(int32([x]), zero=zero, b=b, c=c)]


ROOT = 3037000499
"""The greatest integer whose square is below 2^63."""

CODES: list[Edge] = [
    *both_ends("x", "an element of x", -(2**15), 2**16 - 1),
    *zero_points("zero"),
]


@pytest.mark.parametrize("edge", CODES, ids=str)
@pytest.mark.parametrize("run", [ibert, ita])
def test_guards_of_both(run: Runner, edge: Edge) -> None:
    check_edge(run, edge)


ACC = "an element of the accumulator is"
IN_26 = f"; allowed: {-(2**25)} to {2**25 - 1}"
FLOOR = {"c": -(2**15)}
"""Beyond the bend of b = -1 each x counts for 2c = -2^16."""
ITA: list[Edge] = [
    *both_ends("b", "b", -(2**15), -1),
    *both_ends("c", "c", -(2**15), -1),
    ({"x": 512, **FLOOR}, {"x": 513, **FLOOR}, f"{ACC} {-(2**25) - 2**16}{IN_26}"),
    ({"x": 500, "zero": -12, **FLOOR}, {"x": 500, "zero": -13, **FLOOR}, f"{ACC} {-(2**25) - 2**16}{IN_26}"),
    ({"x": -128, **FLOOR}, {"x": 2**15 - 1, **FLOOR}, f"{ACC} {-(2**15 - 1) * 2**16}{IN_26}"),
    (  # 5793^2 - 2 * 2209 = 2^25 - 1
        {"x": 1, "b": -5794, "c": -2209},
        {"x": 1, "b": -5794, "c": -2208},
        f"{ACC} {2**25 + 1}{IN_26}",
    ),
    (  # below 0 the two c cancel: the square is left
        {"x": -1, "b": -5793, "c": -2209},
        {"x": -1, "b": -5794, "c": -2209},
        f"{ACC} {5793**2}{IN_26}",
    ),
]


@pytest.mark.parametrize("edge", ITA, ids=str)
def test_guards_of_ita(edge: Edge) -> None:
    check_edge(ita, edge)


def test_ita_at_the_ends_of_its_accumulator() -> None:
    """(G3) and (G4) by hand."""
    assert ita(512, c=-(2**15)) == [-(2**25)]
    assert ita(1, b=-5794, c=-2209) == [2**25 - 1]
    assert ita(-1, b=-5793, c=-2209) == [5792**2]
    assert ita(-128, c=-(2**15)) == [0]


def pulp(x: int = 0, zero: int = 0, b: int = -1, one: int = 0) -> list[int]:
    return [int(value) for value in pulp_gelu(int32([x]), zero=zero, b=b, one=one)]


INT16 = f"; allowed: {-(2**15)} to {2**15 - 1}"
PULP: list[Edge] = [
    *both_ends("b", "b", -128, -1),
    *both_ends("one", "one", -(2**15), 2**15 - 1),
    ({"x": -(2**15)}, {"x": -(2**15) - 1}, f"an element of x is {-(2**15) - 1}; allowed: -32768 to 65535"),
    (
        {"x": 2**16 - 1, "zero": 2**15},
        {"x": 2**16, "zero": 2**15},
        "an element of x is 65536; allowed: -32768 to 65535",
    ),
    ({"x": 2**15 - 1, "zero": 2**16 - 1}, {"zero": 2**16}, "zero is 65536; allowed: -32768 to 65535"),
    ({"x": -1, "zero": -(2**15)}, {"zero": -(2**15) - 1}, "zero is -32769; allowed: -32768 to 65535"),
    ({"x": -1, "zero": -(2**15)}, {"zero": -(2**15)}, f"an element of x - zero is {2**15}{INT16}"),
    ({"x": -1, "zero": 2**15 - 1}, {"x": -2, "zero": 2**15 - 1}, f"an element of x - zero is {-(2**15) - 1}{INT16}"),
]


@pytest.mark.parametrize("edge", PULP, ids=str)
def test_guards_of_pulp(edge: Edge) -> None:
    check_edge(pulp, edge)


def test_pulp_at_the_ends_of_its_codes() -> None:
    """Beyond b = -1, (one + one) >> 1 above 0 and nothing below; before it 127^2 is taken from one, and halved."""
    assert pulp(2**15 - 1, one=2**15 - 1) == [(2**15 - 1) ** 2]
    assert pulp(2**15 - 1, one=-(2**15)) == [-(2**30) + 2**15]
    assert pulp(-(2**15), one=-(2**15)) == [0]
    assert pulp(1, b=-128, one=-(2**15)) == [(-(2**16) - 127**2 - 1) // 2]


def gemmini(x: int = 0, q1: int = -1, qb: int = -1, qc: int = -1) -> list[int]:
    return [int(value) for value in gemmini_gelu(int32([x]), q1=q1, qb=qb, qc=qc)]


IN_32 = f"; allowed: {-(2**31)} to {2**31 - 1}"
FAR = {"x": 2**31 - 1, "qb": -(2**31)}
"""One before the bend: L = 1 + qc."""
GEMMINI: list[Edge] = [
    *both_ends("q1", "q1", -(2**31), -1),
    *both_ends("qb", "qb", -(2**31), -1),
    *both_ends("qc", "qc", -(2**31), -1),
    ({"x": 1 - 2**31}, {"x": -(2**31)}, f"an element of x is {-(2**31)}; allowed: {1 - 2**31} to {2**31 - 1}"),
    (FAR, {**FAR, "q1": -2}, f"{ACC} {2 - 2**32}{IN_32}"),
    (
        {"x": 2**16, "q1": -(2**14), "qc": -(2**14)},
        {"x": 2**16, "q1": -(2**14) - 1, "qc": -(2**14)},
        f"{ACC} {-(2**31) - 2**16}{IN_32}",
    ),
    (  # 46341^2 - 4633 - 1 = 2^31 - 1
        {"x": 1, "qb": -46342, "qc": -4633},
        {"x": 1, "qb": -46342, "qc": -4632},
        f"{ACC} {2**31}{IN_32}",
    ),
    ({"qb": -(2**31)}, {"x": 3, "qb": -(2**31)}, f"x * (L + q1) could reach {3 * (2**31 - 3) ** 2}{BELOW}"),
]


@pytest.mark.parametrize("edge", GEMMINI, ids=str)
def test_guards_of_gemmini(edge: Edge) -> None:
    check_edge(gemmini, edge)


def test_gemmini_at_the_ends_of_its_accumulator() -> None:
    """(G9) by hand; below 0 the sign of L turns, and q1 cancels it."""
    assert gemmini(**FAR) == [1 - 2**31] and gemmini(1 - 2**31) == [0]
    assert gemmini(2**16, q1=-(2**14), qc=-(2**14)) == [-(2**31)]
    assert gemmini(1, qb=-46342, qc=-4633) == [2**31 - 1]


def mean(x: list[int] | NDArray[np.int32] = [0], zero: int = 0) -> int:  # noqa: B006
    return int(pulp_mean(int32(x), zero=zero, counters=tally()))


MEAN: list[Edge] = [
    ({"x": np.zeros(1)}, {"x": np.zeros(0)}, "n is 0; allowed: 1 to 32768"),
    ({"x": np.zeros(2**15)}, {"x": np.zeros(2**15 + 1)}, "n is 32769; allowed: 1 to 32768"),
    ({"x": [-(2**15)]}, {"x": [-(2**15) - 1]}, "an element of x is -32769; allowed: -32768 to 65535"),
    ({"x": [2**16 - 1]}, {"x": [2**16]}, "an element of x is 65536; allowed: -32768 to 65535"),
    *zero_points("zero"),
]


@pytest.mark.parametrize("number", range(len(MEAN)))
def test_guards_of_a_mean(number: int) -> None:
    check_edge(mean, MEAN[number])


def test_a_mean_at_its_ends() -> None:
    """The greatest sum, and the two dtypes that it takes."""
    assert mean(np.full(2**15, 2**16 - 1), -(2**15)) == 2**16 - 1 + 2**15
    with pytest.raises(ValueError, match=r"^x is of int64; allowed: int32$"):
        pulp_mean(np.zeros(3, np.int64), zero=0, counters=tally())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^counters has shape \(1,\); allowed: \(5,\)$"):
        pulp_mean(int32([1]), zero=0, counters=np.zeros(1, np.int64))


SHIFTED = "x' * (floor(L / 2^14) + offset)"
IBERT: list[Edge] = [
    ({"b": 1}, {"b": 0}, f"b is 0; allowed: 1 to {2**63 - 1}"),
    ({"c": -1}, {"c": 0}, f"c is 0; allowed: {1 - 2**63} to -1"),
    ({"c": 2 - 2**63}, {"c": 1 - 2**63}, f"b^2 - c {REACH}"),
    ({"c": 2 - 2**63}, {"c": -(2**63)}, f"c is {-(2**63)}; allowed: {1 - 2**63} to -1"),
    ({"b": ROOT}, {"b": ROOT + 1}, f"b^2 - c could reach {(ROOT + 1) ** 2 + 1}{BELOW}"),
    ({"b": ROOT}, {"b": 2**63 - 1}, f"b^2 - c could reach {(2**63 - 1) ** 2 + 1}{BELOW}"),
    ({"b": ROOT}, {"b": 2**63}, f"b is {2**63}; allowed: 1 to {2**63 - 1}"),
    ({"b": 2**31, "c": 1 - 2**62}, {"b": 2**31, "c": -(2**62)}, f"b^2 - c could reach {2**63}{BELOW}"),
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
