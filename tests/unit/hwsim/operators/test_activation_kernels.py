"""GELU by polynomial and functions by table: kernel equals oracle for every code of 8 bits and for wide ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st

from hwsim.formats import IntFormat
from hwsim.operators.activation import ibert_gelu, ita_gelu, table_interpolate, table_lookup
from tests import oracle
from tests.unit.hwsim.operators.kernel_cases import arrays, codes, formats, shapes, zero_points
from tests.unit.hwsim.operators.kernel_checks import Events, Integers, assert_same, int32, matrix, no_events, thin
from tests.unit.hwsim.operators.test_kernels_properties import explore

Draw = Callable[..., Any]
SCALES = (1e-4, 0.001, 0.01, 0.03, 0.05, 0.1, 0.7)
BYTE = np.arange(-128, 256, dtype=np.int32)
"""Every code of 8 bits, signed or not."""
ENDS = int32([-(2**15), -(2**15) + 1, -128, -127, -126, -1, 0, 1, 127, 2**15 - 1, 2**15, 2**16 - 1])


class Gelu(NamedTuple):
    """Arguments of `check_gelu`; `offset` is I-BERT's sh, None for ITA."""

    x: Integers
    zero: int
    b: int
    c: int
    offset: int | None


def run(case: Gelu) -> Integers:
    x, zero, b, c, offset = case
    if offset is None:
        return ita_gelu(x, zero=zero, b=b, c=c)
    return ibert_gelu(x, zero=zero, b=b, c=c, offset=offset)


def check_gelu(*arguments: Any) -> Events:
    """(G1) and (G2), or (G3) and (G4), which have no events."""
    case = Gelu(*arguments)
    x, zero, b, c, offset = case
    rows, got = matrix(x), run(case)
    want = [
        oracle.ita_gelu(r, zero, b, c) if offset is None else oracle.ibert_gelu(r, zero, b, c, offset) for r in rows
    ]
    assert got.dtype == np.int64
    assert_same(f"gelu {case[1:]}", got, want)
    return no_events()


@st.composite
def gelus(draw: Draw, bits: int) -> Gelu:
    """Constants of a scale, or any whose products stay below 2^63."""
    form = draw(formats(bits))
    x = draw(codes(draw(shapes(3, 6, least=1)), form))
    scale = 10 ** draw(st.floats(-4, 0))
    (b, c, offset), (ita_b, ita_c) = oracle.ibert_gelu_constants(scale), oracle.ita_gelu_constants(scale)
    if draw(st.booleans()):
        b, c, offset = draw(st.integers(1, 2**20)), -draw(st.integers(1, 2**40)), -draw(st.integers(1, 2**40))
        ita_b, ita_c = b, c
    which = st.sampled_from([(b, c, offset), (ita_b, ita_c, None)])
    return Gelu(x, draw(zero_points(form)), *draw(which))


def constants() -> list[tuple[int, int, int | None]]:
    of_scales: list[tuple[int, int, int | None]] = [oracle.ibert_gelu_constants(scale) for scale in SCALES]
    of_scales += [(*oracle.ita_gelu_constants(scale), None) for scale in SCALES]
    return [*of_scales, (1, -1, -1), (1, -1, None), (2**20, -1, -(2**40)), (2**20, -(2**40), None)]


def test_gelu() -> None:
    pinned = [
        Gelu(x, zero, *numbers) for numbers in constants() for x in (BYTE, ENDS, ENDS[:0]) for zero in (0, -128, 127)
    ]
    explore(check_gelu, gelus, pinned)


@pytest.mark.parametrize("scale", [0.0005, 0.004, 0.04])
def test_gelu_near_its_bend(scale: float) -> None:
    """Codes around b, where the polynomial ends, and where floor(L / 2^14) steps."""
    for numbers in (oracle.ibert_gelu_constants(scale), (*oracle.ita_gelu_constants(scale), None)):
        near = np.arange(numbers[0] - 40, numbers[0] + 40)
        x = np.concatenate([near, -near]).clip(-(2**15), 2**15).astype(np.int32)
        check_gelu(x, 0, *numbers)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"b": 0}, "b is 0; allowed: 1 to"),
    ({"c": 0}, f"c is 0; allowed: -{2**63 - 1} to -1"),
    ({"b": 2**32}, r"could reach .* allowed: below 2\^63"),
    ({"c": -(2**62)}, r"could reach .* allowed: below 2\^63"),
    ({"zero": 2**16}, "zero is 65536; allowed: -32768 to 65535"),
    ({"x": int32([2**16])}, "x is 65536; allowed: -32768 to 65535"),
    ({"x": np.zeros(3)}, "x is of float64; allowed: int32"),
]


@pytest.mark.parametrize("offset", [-1, None])
@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_gelu_refuses(changes: dict[str, Any], message: str, offset: int | None) -> None:
    case = Gelu(ENDS, 0, 5, -(2**62) // 2**20, offset)
    run(case)
    if offset == -1 and changes == {"c": -(2**62)}:  # the 14 bits that it loses make room
        changes = {"offset": -(2**50)}
    with pytest.raises(ValueError, match=message):
        run(case._replace(**changes))


def test_ibert_gelu_refuses_a_constant_above_zero() -> None:
    with pytest.raises(ValueError, match=r"offset is 0; allowed: .* to -1"):
        run(Gelu(ENDS, 0, 5, -7, 0))


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
