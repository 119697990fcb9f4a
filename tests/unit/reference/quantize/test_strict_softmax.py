"""Strict fake-quant of other machines' softmaxes against docs/operators/softmax.md, in integers and Fractions."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from hwsim.formats import IntFormat
from reference.quantize.strict.scaling import exp_q
from reference.quantize.strict.softmax import gemmini_softmax, gemmlowp_softmax, ibert_softmax, itamax, pulp_softmax
from tests.unit.reference.quantize.page_arithmetic import (
    INT8,
    INT16,
    INT32_MIN,
    UINT8,
    R,
    S,
    clamp,
    fl32,
    narrow,
    satshl,
    wide,
)


def py_exp_q(a: int) -> int:
    if a == 0:
        return 2**31 - 1
    f = a % 2**24 - 2**24
    x = satshl(f, 5) + 2**28
    x2 = S(x, x)
    x3, x4 = S(x2, x), S(x2, x2)
    y = R(S(R(x4, 2) + x3, 715827883) + x2, 1)
    r = 1895147668 + S(1895147668, x + y)
    for bit, c in enumerate((1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)):
        if (f - a) >> (24 + bit) & 1:
            r = S(r, c)
    return r


def py_gemmlowp(d: list[int | None], multiplier: int, left_shift: int, bits: int) -> list[int]:
    lo, diff_min = -(2 ** (bits - 1)), 31 * 2**26 // 2**left_shift
    e = [0 if x is None or x > diff_min else py_exp_q(S(-x * 2**left_shift, multiplier)) for x in d]
    total = sum(R(x, 12) for x in e)
    if total == 0:
        return [lo] * len(d)
    h = 32 - total.bit_length()
    v = total * 2**h - 2**31
    half = math.trunc(Fraction(v + 2**31, 2))
    x = 1515870810 + S(half, -1010580540)
    for _ in range(3):
        x = x + satshl(S(x, 2**29 - S(half, x)), 2)
    reciprocal = satshl(x, 1)
    return [min(max(R(S(reciprocal, y), 12 - h + 31 - bits) + lo, lo), -lo - 1) for y in e]


def py_ibert(d: list[int | None], ln2: int, b: int, c: int, m: int, e: int, bits: int) -> list[int]:
    def exponential(x: int | None) -> int:
        if x is None:
            return 0
        y = max(-x, -30 * ln2)
        z = math.floor(Fraction(-y, ln2))
        r = y + ln2 * z
        return min(2**16 - 1, round(Fraction(max(0, ((r + b) * r + c) * 2 ** (30 - z)) * m, 2**e)))

    e16 = [exponential(x) for x in d]
    f = 2**32 // max(1, sum(e16))
    return [min(2**bits - 1, (x * f) >> (32 - bits)) for x in e16]


def py_itamax(q: list[int], ok: list[bool], b: int, group: int, bits: int) -> list[int]:
    def sh(d: int) -> int:
        return d if b == 0 else (d + 2 ** (b - 1)) >> b

    greatest, total, size = None, 0, group or len(q)
    for first in range(0, len(q), size):
        keys = [x for x, allowed in list(zip(q, ok, strict=True))[first : first + size] if allowed]
        if not keys:
            continue
        if greatest is None:
            greatest = max(keys)
        elif max(keys) > greatest:
            total >>= sh(max(keys) - greatest)
            greatest = max(keys)
        total += sum(256 >> sh(greatest - x) for x in keys)
    inverse = (2**bits - 1) * 256 // max(1, total)
    return [min(2**bits - 1, inverse >> sh(greatest - x)) if allowed else 0 for x, allowed in zip(q, ok, strict=True)]


def py_gemmini(d: list[int | None], ln2: int, b: int, c: int, fmt: IntFormat) -> list[int]:
    z = [0 if x is None else (x * (65536 // ln2)) >> 16 for x in d]
    e = [0 if x is None else ((-x + k * ln2 + b) ** 2 + c) >> k for x, k in zip(d, z, strict=True)]
    factor = fl32(fmt.max / fl32(Fraction(max(1, sum(e)))))
    return [clamp(round(fl32(fl32(Fraction(x)) * factor)), fmt) for x in e]


def py_pulp(d: list[int | None], ln2: int, b: int, c: int, fmt: IntFormat) -> list[int]:
    z = [0 if x is None else min(x // ln2, 31) for x in d]
    e = [0 if x is None else ((k * ln2 - x + b) ** 2 + c) >> k for x, k in zip(d, z, strict=True)]
    return [math.floor(Fraction(fmt.max * x, max(1, sum(e)))) for x in e]


GEMMLOWP = [  # the multiplier and left shift of a scale (section 7), the bits
    {"multiplier": 1288490189, "left_shift": 22, "fmt": INT8},
    {"multiplier": 1717986918, "left_shift": 28, "fmt": INT8},
    {"multiplier": 2**30, "left_shift": 0, "fmt": INT16},
    {"multiplier": 2**31 - 1, "left_shift": 31, "fmt": IntFormat(bits=2)},
]
IBERT = [
    {"ln2": 18, "b": 69, "c": 1937, "multiplier": 33000, "shift": 56, "fmt": UINT8},
    {"ln2": 1, "b": 2, "c": 2, "multiplier": 40000, "shift": 40, "fmt": IntFormat(bits=16, signed=False)},
    {"ln2": 500, "b": 1900, "c": 1400000, "multiplier": 3, "shift": 55, "fmt": IntFormat(bits=2, signed=False)},
]
ITA = [
    {"shift": 5, "group": 16, "fmt": UINT8},
    {"shift": 0, "group": 3, "fmt": UINT8},
    {"shift": 8, "group": 1, "fmt": IntFormat(bits=5, signed=False)},
    {"shift": 5, "group": 0, "fmt": UINT8},
]
GEMMINI = [
    {"ln2": 138, "b": 270, "c": 38000, "fmt": INT8},
    {"ln2": 1386, "b": 2706, "c": 3838214, "fmt": INT16},  # E and sums beyond 24 bits
    {"ln2": 700, "b": 1300, "c": 900000, "fmt": IntFormat(bits=2)},
]
PULP = [
    {"ln2": 13, "b": 27, "c": 383, "fmt": UINT8},
    {"ln2": 1, "b": 2, "c": 2, "fmt": UINT8},
    {"ln2": 861, "b": 1681, "c": 1482621, "fmt": IntFormat(bits=2, signed=False)},
]
SOFTMAXES = [(f, c) for f, all_ in ((gemmlowp_softmax, GEMMLOWP), (ibert_softmax, IBERT)) for c in all_]
SOFTMAXES += [(f, c) for f, all_ in ((itamax, ITA), (gemmini_softmax, GEMMINI), (pulp_softmax, PULP)) for c in all_]


def py_softmax(function: Callable[..., Tensor], c: dict, q: list[int], ok: list[bool]) -> list[int]:
    fmt = c["fmt"]
    if not any(ok):
        return [fmt.min if function is gemmlowp_softmax else 0] * len(q)
    if function is itamax:
        return py_itamax(q, ok, c["shift"], c["group"], fmt.bits)
    top = max(x for x, allowed in zip(q, ok, strict=True) if allowed)
    d = [top - x if allowed else None for x, allowed in zip(q, ok, strict=True)]
    if function is gemmlowp_softmax:
        return py_gemmlowp(d, c["multiplier"], c["left_shift"], fmt.bits)
    if function is ibert_softmax:
        return py_ibert(d, c["ln2"], c["b"], c["c"], c["multiplier"], c["shift"], fmt.bits)
    page = py_gemmini if function is gemmini_softmax else py_pulp
    return page(d, c["ln2"], c["b"], c["c"], fmt)


def rows_of_scores() -> tuple[Tensor, Tensor]:
    """Narrow and wide rows; an empty one, one key, one column allowed, equal codes, the two ends of 12 bits."""
    torch.manual_seed(3)
    spread = torch.logspace(0, 3, 40).unsqueeze(-1)
    scores = (torch.randn(2, 40, 37) * spread).round().clamp(-2048, 2047)
    allowed = torch.rand(1, 40, 37) < 0.7
    allowed[0, 0] = False
    allowed[0, 1] = torch.arange(37) == 20
    allowed[0, 2:5] = True
    scores[0, 2], scores[0, 3, :2] = 5, torch.tensor([-2048.0, 2047.0])
    return scores, allowed


@pytest.mark.parametrize(("function", "constants"), SOFTMAXES)
def test_softmax_rows_are_the_page(function, constants):
    scores, allowed = rows_of_scores()
    got = function(scores, allowed, slope=0.1, **constants)
    want = [
        py_softmax(function, constants, q, ok)
        for part in scores.long().tolist()
        for q, ok in zip(part, allowed[0].tolist(), strict=True)
    ]
    assert got.dtype == torch.float32
    assert got.flatten(0, 1).tolist() == want
    free = function(scores, None, slope=0.1, **constants)
    assert torch.equal(free, function(scores, torch.ones(37, dtype=torch.bool), slope=0.1, **constants))
    one = function(scores[..., :1], None, slope=0.1, **constants)
    first = scores[..., 0].long().flatten().tolist()
    assert one.flatten().tolist() == [py_softmax(function, constants, [q], [True])[0] for q in first]


@given(a=st.integers(INT32_MIN, 0))
@example(a=0)
@example(a=-1)
@example(a=INT32_MIN)
@example(a=-(2**24))
@example(a=-(2**24) - 1)
def test_exp_q_is_the_page_and_near_exp(a):
    assert int(exp_q(torch.tensor([a]))) == py_exp_q(a)
    assert py_exp_q(a) / 2**31 == pytest.approx(math.exp(a / 2**26), abs=2**-22)


@pytest.mark.parametrize(
    ("function", "constants", "unit"),
    [
        (gemmlowp_softmax, GEMMLOWP[0], 2**8),
        (ibert_softmax, IBERT[0], 2**8),
        (itamax, ITA[0], 255),
        (gemmini_softmax, GEMMINI[0], 127),
        (pulp_softmax, PULP[0], 255),
    ],
)
def test_softmax_gradient_is_the_jacobian_in_units_of_the_output(function, constants, unit):
    scores, slope = narrow([[3, -20, 0, 100], [1, 2, 3, 4]], gradient=True), 0.04
    allowed = torch.tensor([[True, True, True, False], [False] * 4])
    weights = wide([1, -2, 5, 7])
    (function(scores, allowed, slope=slope, **constants) * weights).sum().backward()
    p = torch.softmax(scores.detach()[0, :3].double() * slope, -1)
    want = unit * slope * p * (weights[:3] - (weights[:3] * p).sum())
    torch.testing.assert_close(scores.grad[0, :3].double(), want, rtol=1e-4, atol=1e-5)
    assert scores.grad[0, 3] == 0 and torch.equal(scores.grad[1], torch.zeros(4))
    one = narrow([[3, -20, 0]], gradient=True)
    function(one, None, slope=slope, **constants)[0, 0].backward()
    assert one.grad[0, 0] > 0 > one.grad[0, 1:].max()


@pytest.mark.parametrize(
    ("function", "constants"),
    [
        (gemmlowp_softmax, {**GEMMLOWP[0], "fmt": UINT8}),
        (gemmlowp_softmax, {**GEMMLOWP[0], "fmt": IntFormat(bits=8, narrow=True)}),
        (gemmlowp_softmax, {**GEMMLOWP[0], "multiplier": 2**30 - 1}),
        (gemmlowp_softmax, {**GEMMLOWP[0], "left_shift": 32}),
        (ibert_softmax, {**IBERT[0], "fmt": INT8}),
        (ibert_softmax, {**IBERT[0], "ln2": 0}),
        (ibert_softmax, {**IBERT[0], "c": 2**32}),
        (ibert_softmax, {**IBERT[0], "multiplier": 2**31 - 1}),
        (itamax, {**ITA[0], "fmt": IntFormat(bits=9, signed=False)}),
        (itamax, {**ITA[0], "shift": 9}),
        (itamax, {**ITA[0], "group": -1}),
    ],
)
def test_softmax_constants_that_the_page_does_not_allow_are_refused(function, constants):
    with pytest.raises(ValueError):
        function(narrow([[1, 2]]), None, slope=0.1, **constants)


def test_scores_of_13_bits_and_4096_keys_are_refused():
    for function, constants in (SOFTMAXES[0], SOFTMAXES[4], SOFTMAXES[-1]):
        with pytest.raises(ValueError, match="4096"):
            function(narrow([[0, 4096]]), None, slope=0.1, **constants)
    with pytest.raises(ValueError, match="4095"):
        gemmlowp_softmax(torch.zeros(1, 4096), None, slope=0.1, **GEMMLOWP[0])
