"""GELU by polynomial and functions by table: kernel equals oracle for every code of 8 bits and for wide ones."""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st

from hwsim.formats import IntFormat
from hwsim.operators.activation import (
    gemmini_gelu,
    ibert_gelu,
    ita_gelu,
    pulp_gelu,
    table_interpolate,
    table_lookup,
)
from hwsim.operators.mean import pulp_mean
from tests import oracle
from tests.unit.hwsim.operators.kernel_cases import arrays, codes, formats, shapes, zero_points
from tests.unit.hwsim.operators.kernel_checks import (
    Events,
    Integers,
    assert_counted,
    assert_occurred,
    assert_same,
    half_full,
    int32,
    matrix,
    no_events,
    tallied,
    thin,
)
from tests.unit.hwsim.operators.test_kernels_properties import TIES, explore

Draw = Callable[..., Any]
SCALES = (1e-4, 0.001, 0.01, 0.03, 0.05, 0.1, 0.7)
BYTE = np.arange(-128, 256, dtype=np.int32)
"""Every code of 8 bits, signed or not."""
ENDS = int32([-(2**15), -(2**15) + 1, -128, -127, -126, -1, 0, 1, 127, 2**15 - 1, 2**15, 2**16 - 1])


KERNELS: dict[str, tuple[Callable[..., Integers], Callable[..., list[int]]]] = {
    "ibert": (ibert_gelu, lambda x, zero, b, c, offset: oracle.ibert_gelu(x, zero, b, c, offset)),
    "ita": (ita_gelu, lambda x, zero, b, c: oracle.ita_gelu(x, zero, b, c)),
    "pulp": (pulp_gelu, lambda x, zero, b, one: oracle.pulp_gelu(x, zero, b, one)),
    "gemmini": (gemmini_gelu, lambda x, q1, qb, qc: oracle.gemmini_gelu(x, q1, qb, qc)),
}
"""Kernel, and the oracle with the same names."""
SOME: dict[str, dict[str, int]] = {
    "ibert": {"b": 5, "c": -(2**42), "offset": -1},
    "ita": {"b": -71, "c": -2770},
    "pulp": {"b": -35, "one": 1225},
    "gemmini": {"q1": -2770, "qb": -50, "qc": -2770},
}
"""Constants that are right."""


class Gelu(NamedTuple):
    """Arguments of `check_gelu`; Gemmini's has no zero point."""

    name: str
    x: Integers
    zero: int
    numbers: dict[str, int]


def run(case: Gelu) -> Integers:
    zero = {} if case.name == "gemmini" else {"zero": case.zero}
    return KERNELS[case.name][0](case.x, **zero, **case.numbers)


def is_refused(case: Gelu) -> bool:
    try:
        run(case)
    except ValueError:
        return True
    return False


def check_gelu(*arguments: Any) -> Events:
    """(G1) to (G4), (G7) and (G9), which have no events; what the oracle's accumulator does not hold is refused."""
    case = Gelu(*arguments)
    zero = {} if case.name == "gemmini" else {"zero": case.zero}
    want: list[int] = []
    kept: list[int] = []
    for x in case.x.reshape(-1).tolist():
        try:
            want += KERNELS[case.name][1]([x], **zero, **case.numbers)
            kept.append(x)
        except ValueError:
            assert is_refused(case._replace(x=int32([x]))), (x, case)
    got = run(case._replace(x=int32(kept))) if len(want) < case.x.size else run(case)
    assert got.dtype == np.int64 and (len(want) < case.x.size or got.shape == case.x.shape)
    assert_same(f"gelu {case[2:]}", got, want)
    return no_events()


def of_scale(name: str, scale: float) -> dict[str, int]:
    """The constants of a scale."""
    if name == "pulp":  # one = 1 / (0.2888 (s / sqrt 2)^2), b = -1.769 sqrt(2) / s
        return {"b": max(round(-2.5017 / scale), -128), "one": min(round(6.9252 / scale**2), 2**15 - 1)}
    of = {"ibert": oracle.ibert_gelu_constants, "ita": oracle.ita_gelu_constants}
    numbers = (of | {"gemmini": oracle.gemmini_gelu_constants})[name](scale)
    return dict(zip(SOME[name], numbers, strict=True))


RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "ibert": ((1, 2**20), (-(2**40), -1), (-(2**40), -1)),
    "ita": ((-(2**15), -1), (-(2**15), -1)),
    "pulp": ((-128, -1), (-(2**15), 2**15 - 1)),
    "gemmini": ((-(2**20), -1), (-(2**9), -1), (-(2**20), -1)),
}
"""Of constants as SOME has them: I-BERT's products stay below 2^63, and the others' are those that the page allows."""


@st.composite
def gelus(draw: Draw, name: str, bits: int) -> Gelu:
    """Constants of a scale, or any."""
    form = draw(formats(min(bits, 10) if name == "pulp" else bits))
    x = draw(codes(draw(shapes(3, 6, least=1)), form))
    numbers = of_scale(name, 10 ** draw(st.floats(-4, 0)))
    if draw(st.booleans()):
        numbers = {key: draw(st.integers(*ends)) for key, ends in zip(SOME[name], RANGES[name], strict=True)}
    return Gelu(name, x, draw(zero_points(form)), numbers)


def constants(name: str) -> list[dict[str, int]]:
    """Of scales, and every end of every range."""
    ends = [dict(zip(SOME[name], numbers, strict=True)) for numbers in product(*RANGES[name])]
    return [of_scale(name, scale) for scale in SCALES] + ends


@pytest.mark.parametrize("name", KERNELS)
def test_gelu(name: str) -> None:
    ends = ENDS[(ENDS > -(2**15) + 128) & (ENDS < 2**15 - 128)] if name == "pulp" else ENDS
    zeros = (0,) if name == "gemmini" else (0, -128, 127)
    pinned = [
        Gelu(name, x, zero, numbers) for numbers in constants(name) for x in (BYTE, ends, ends[:0]) for zero in zeros
    ]
    explore(check_gelu, lambda bits: gelus(name, bits), pinned)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("scale", [0.0005, 0.004, 0.04])
def test_gelu_near_its_bend(name: str, scale: float) -> None:
    """Codes around b, where the polynomial ends, and where floor(L / 2^14) steps."""
    numbers = of_scale(name, scale)
    bend = abs(numbers["qb" if name == "gemmini" else "b"])
    near = np.arange(bend - 40, bend + 40)
    check_gelu(name, np.concatenate([near, -near]).clip(-(2**15), 2**15 - 1).astype(np.int32), 0, numbers)


def test_gelu_by_hand() -> None:
    """Around 0 and beyond the bend; ITA's and Gemmini's constants are the same but for the second summand."""
    x = int32([7, 2, 0, -2, -7])
    # L: -12, 9 - 12, 0, 3, 12
    assert ita_gelu(x, zero=0, b=-5, c=-12).tolist() == [7 * -24, 2 * -15, 0, -2 * -9, 0]
    assert gemmini_gelu(x, q1=-10, qb=-5, qc=-12).tolist() == [7 * -22, 2 * -13, 0, -2 * -7, -7 * 2]
    # Deeploy's example, whose square of 35 is cancelled by one: 1, 4 and 9 are left of one, and halved down
    codes_ = int32([34, 0, -32, -33, -34, -35, -128])
    assert pulp_gelu(codes_, zero=0, b=-35, one=1225).tolist() == [34 * 1224, 0, -32 * 4, -33 * 2, 0, 0, 0]
    assert pulp_gelu(codes_ + 3, zero=3, b=-35, one=1225)[0] == 34 * 1224
    assert pulp_gelu(int32([1]), zero=0, b=-2, one=-3).tolist() == [-4]  # (-3 - 4) >> 1


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("ibert", {"b": 0}, "^b is 0; allowed: 1 to"),
    ("ibert", {"c": 0}, f"^c is 0; allowed: -{2**63 - 1} to -1"),
    ("ibert", {"b": 2**32}, r"could reach .* allowed: below 2\^63"),
    ("ibert", {"offset": -(2**50)}, r"could reach .* allowed: below 2\^63"),
    ("ibert", {"offset": 0}, "^offset is 0; allowed: .* to -1"),
    ("ita", {"b": 1}, "^b is 1; allowed: -32768 to -1"),
    ("ita", {"c": 0}, "^c is 0; allowed: -32768 to -1"),
    ("pulp", {"b": 0}, "^b is 0; allowed: -128 to -1"),
    ("pulp", {"one": 2**15}, "^one is 32768; allowed: -32768 to 32767"),
    ("gemmini", {"q1": 0}, f"^q1 is 0; allowed: -{2**31} to -1"),
    ("gemmini", {"qb": 0}, f"^qb is 0; allowed: -{2**31} to -1"),
    ("gemmini", {"qc": 0}, f"^qc is 0; allowed: -{2**31} to -1"),
]


@pytest.mark.parametrize(("name", "changes", "message"), WRONG)
def test_gelu_refuses(name: str, changes: dict[str, Any], message: str) -> None:
    case = Gelu(name, BYTE, 0, SOME[name])
    run(case)
    with pytest.raises(ValueError, match=message):
        run(case._replace(numbers=SOME[name] | changes, x=ENDS if name == "ibert" else BYTE))


@pytest.mark.parametrize("name", KERNELS)
def test_gelu_refuses_codes(name: str) -> None:
    case = Gelu(name, BYTE, 0, SOME[name])
    with pytest.raises(ValueError, match=r"^x is of float64; allowed: int32$"):
        run(case._replace(x=np.zeros(3)))
    for changes, message in (({"zero": 2**16}, "zero is 65536"), ({"x": int32([2**16])}, "an element of x is 65536")):
        if name != "gemmini":
            with pytest.raises(ValueError, match=f"^{message}; allowed: -32768 to 65535$"):
                run(case._replace(**changes))


# The mean


def test_mean_by_hand() -> None:
    """A half goes up where n is a power of two, else away from 0; thirds and quarters go to the nearest."""
    rows = {(3, 3, 0, 0): 2, (-3, -3, 0, 0): -1, (9, 0, 0, 0, 0, 0): 2, (-9, 0, 0, 0, 0, 0): -2, (2, 2, 0): 1}
    rows |= {(-2, -2, 0): -1, (5, 0, 0): 2, (-5, 0, 0): -2, (7, 0, 0, 0): 2, (-7, 0, 0, 0): -2, (5,): 5, (1, 0): 1}
    for row, mean in rows.items():
        assert pulp_mean(int32(row), zero=0, counters=no_events()) == mean, row
        assert pulp_mean(int32(row) + 9, zero=9, counters=no_events()) == mean, row


def check_mean(x: Integers, zero: int) -> Events:
    """(G8)."""
    counters = half_full()
    got = pulp_mean(x, zero=zero, counters=counters)
    want, ties = oracle.pulp_mean(matrix(x), zero)
    assert got.shape == x.shape[:-1] and got.dtype == np.int32
    assert_same("pulp_mean", got, want)
    return assert_counted(counters, tallied(ties))


@st.composite
def mean_cases(draw: Draw, bits: int) -> tuple[Integers, int]:
    form = draw(formats(bits))
    return draw(codes((draw(st.integers(0, 5)), draw(st.integers(1, 9))), form)), draw(zero_points(form))


def test_mean() -> None:
    wide = np.resize(int32([-(2**15), 2**16 - 1, 3]), (2, 2**15))
    grid = int32([[a, b, c] for a in range(-3, 4) for b in range(-3, 4) for c in (0, 1)])
    pinned = [(wide, 0), (wide, -(2**15)), (grid, 0), (grid[None, :0], 0), (grid[:, :2].copy(), 1)]
    assert_occurred(explore(check_mean, mean_cases, pinned), *TIES)


# Tables


@pytest.mark.parametrize("bits", thin(range(2, 13)))
@pytest.mark.parametrize("signed", [True, False])
def test_every_code_of_a_direct_table(bits: int, signed: bool) -> None:
    form = IntFormat(bits=bits, signed=signed)
    table = np.random.default_rng(bits).integers(-(2**15), 2**16, 2**bits).astype(np.int32)
    x = np.arange(form.min, form.max + 1, dtype=np.int32)[None]
    got = table_lookup(x, table, form.min)
    assert got.shape == x.shape
    assert_same("table_lookup", got, [oracle.table_lookup(x[0].tolist(), table.tolist(), form.min)])


@pytest.mark.parametrize("function", ["gelu", "silu", "tanh", "sigmoid"])
def test_every_code_of_a_function(function: str) -> None:
    table = oracle.code_table(function, 0.04, 5, (-128, 127), 0.02, -100, (-128, 127))
    x = np.arange(-128, 128, dtype=np.int32)
    assert table_lookup(x, int32(table), -128).tolist() == table
    assert table_lookup(x[:0], int32(table), -128).shape == (0,)


INT16 = np.arange(-(2**15), 2**15, dtype=np.int32)
STEEP = int32([(-1) ** i * (2**15 - i % 2) for i in range(513)]).clip(-(2**15), 2**15 - 1)


@pytest.mark.parametrize(
    "table", [int32(oracle.softmax_tables()[0]), STEEP, -STEEP - 1, np.full(513, 2**15 - 1, np.int32)]
)
def test_every_code_of_an_interpolated_table(table: Integers) -> None:
    x = INT16.reshape(16, 4096)
    got = table_interpolate(x, table)
    assert_same("table_interpolate", got, [oracle.table_interpolate(row, table.tolist()) for row in matrix(x)])


def test_interpolated_tables() -> None:
    def check(x: Integers, table: Integers) -> Events:
        got = table_interpolate(x, table)
        assert_same("table_interpolate", got, [oracle.table_interpolate(r, table.tolist()) for r in matrix(x)])
        return no_events()

    def cases(bits: int) -> st.SearchStrategy[tuple[Integers, Integers]]:
        end = 2 ** (bits - 1)
        return st.tuples(arrays((2, 9), -(2**15), 2**15 - 1), arrays((513,), -end, end - 1))

    explore(check, cases, [(int32([[-(2**15), 2**15 - 1]]), STEEP), (INT16[:0][None], STEEP)])


def test_tables_refuse() -> None:
    small, x = int32([1, 2, 3, 4]), int32([-2, 1])
    assert table_lookup(x, small, -2).tolist() == [1, 4]
    for codes_, table, lowest, message in (
        (int32([2]), small, -2, "x is 2; allowed: -2 to 1"),
        (int32([-3]), small, -2, "x is -3; allowed: -2 to 1"),
        (x, np.zeros(4097, np.int32), -2, "table.* is 4097; allowed: 1 to 4096"),
        (x, int32([2**16] * 4), -2, "table is 65536; allowed: -32768 to 65535"),
        (x, small, 2**16, "lowest is 65536; allowed: -32768 to 65535"),
    ):
        with pytest.raises(ValueError, match=message):
            table_lookup(codes_, table, lowest)
    for codes_, table, message in (
        (x, small, r"table has shape \(4,\); allowed: \(513,\)"),
        (x, STEEP * 2, "table is -65534; allowed: -32768 to 32767"),
        (int32([2**15]), STEEP, "x is 32768; allowed: -32768 to 32767"),
    ):
        with pytest.raises(ValueError, match=message):
            table_interpolate(codes_, table)
