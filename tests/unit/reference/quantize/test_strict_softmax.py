"""Strict fake-quant of other machines' operators against docs/operators/*.md, in Python integers and Fractions."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from hwsim.formats import Accumulator, Granularity, IntFormat, Overflow, Scaling
from reference.quantize.strict.exact import requantize
from reference.quantize.strict.layernorm import ibert_layernorm, inverse_sqrt, pulp_layernorm, tflite_layernorm
from reference.quantize.strict.matmul import matmul_ordered
from reference.quantize.strict.scaling import (
    divide_by_power,
    high_multiply,
    leading_zeros,
    requantize_by,
    rescaled_add,
    saturating_shift,
    scale,
)
from reference.quantize.strict.softmax import exp_q, gemmini_softmax, gemmlowp_softmax, ibert_softmax, itamax

torch.set_num_threads(1)

INT8, INT16, UINT8 = IntFormat(bits=8), IntFormat(bits=16), IntFormat(bits=8, signed=False)
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def clamp(q: int, fmt: IntFormat) -> int:
    return min(max(q, fmt.min), fmt.max)


def half_up(v: Fraction) -> int:
    return math.floor(v + Fraction(1, 2))


def half_away(v: Fraction) -> int:
    return half_up(v) if v >= 0 else -half_up(-v)


ROUND: dict[Scaling, Callable[[Fraction], int]] = {
    Scaling.HALF_UP: half_up,
    Scaling.HALF_AWAY: half_away,
    Scaling.HALF_EVEN: round,
    Scaling.FLOOR: math.floor,
    Scaling.TOWARD_ZERO: math.trunc,
}
Q31 = (Scaling.Q31_DOUBLE, Scaling.Q31_DOUBLE_HALF_UP)
FLOATS = (Scaling.FLOAT32, Scaling.FLOAT32_INSIDE)


def S(a: int, b: int) -> int:
    return min(INT32_MAX, half_up(Fraction(a * b, 2**31)))


def R(a: int, r: int) -> int:
    return half_away(Fraction(a, 2**r))


def satshl(a: int, k: int) -> int:
    return min(max(a * 2**k, INT32_MIN), INT32_MAX)


def fl32(v: Fraction) -> Fraction:
    """The nearest binary32: 24 bits of mantissa, a tie to the even one."""
    if v == 0:
        return v
    exponent = math.floor(math.log2(abs(v))) - 25
    while abs(v) / Fraction(2) ** exponent >= 2**24:
        exponent += 1
    return round(v / Fraction(2) ** exponent) * Fraction(2) ** exponent


def scaled(x: int, scaling: Scaling, m: int, e: int, z: int = 0) -> int:
    if scaling in ROUND:
        return ROUND[scaling](Fraction(x * m, 2**e))
    if scaling in Q31:
        y, r = S(x * 2 ** max(31 - e, 0), m), max(e - 31, 0)
        return R(y, r) if scaling is Scaling.Q31_DOUBLE else half_up(Fraction(y, 2**r))
    product = fl32(fl32(Fraction(x)) * Fraction(m, 2**e))
    return round(fl32(product + z)) if scaling is Scaling.FLOAT32_INSIDE else round(product)


def wide(values: list, gradient: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=gradient)


def narrow(values: list, gradient: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=gradient)


# Requantization

NEAR_TIES = [0, 1, -1, 2, -2, 3, -3, 5, -5, 6, -6, 7, -7, 10, -10, 127, -128, 2**20, -(2**20)]


@pytest.mark.parametrize("scaling", list(ROUND))
@pytest.mark.parametrize(("m", "e"), [(1, 0), (1, 1), (1, 2), (3, 1), (5, 3), (2**31 - 1, 62), (2**30, 33), (1, 62)])
@pytest.mark.parametrize("bound", [2**20, 2**31])
def test_one_rounding_of_ties_and_their_neighbours(scaling, m, e, bound):
    want = [scaled(x, scaling, m, e) for x in NEAR_TIES]
    assert scale(wide(NEAR_TIES), scaling, m, e, bound).tolist() == want


@pytest.mark.parametrize("scaling", list(ROUND))
@given(x=st.integers(-(2**52), 2**52), m=st.integers(1, 2**31 - 1), e=st.integers(0, 62))
@example(x=1 - 2**52, m=1, e=0)
@example(x=2**22 - 1, m=2**30 + 1, e=53)
@example(x=-(2**31), m=2**31 - 1, e=61)
def test_one_rounding_is_the_fraction_with_the_least_bound_and_with_the_greatest(scaling, x, m, e):
    m = min(m, (2**63 - 2**62) // max(abs(x), 1))
    for bound in (abs(x), (2**63 - 2**62) // m):
        carrier = wide([x]) if bound <= 2**53 else torch.tensor([x])
        assert int(scale(carrier, scaling, m, e, bound)) == int(float(scaled(x, scaling, m, e)))


@pytest.mark.parametrize("scaling", Q31)
@given(x=st.integers(-(2**31) + 1, 2**31 - 1), m=st.integers(2**30, 2**31 - 1), e=st.integers(0, 62))
@example(x=3, m=2**30, e=33)
@example(x=-3, m=2**30, e=33)
@example(x=-(2**31) + 1, m=2**31 - 1, e=31)
@example(x=-5, m=2**30, e=31)
@example(x=-6, m=2**30, e=33)
def test_two_roundings_are_those_of_gemmlowp(scaling, x, m, e):
    x = int(x / 2 ** max(31 - e, 0))
    want = scaled(x, scaling, m, e)
    for bound in (abs(x), (2**31 - 1) >> max(31 - e, 0)):
        assert int(scale(wide([x]), scaling, m, e, bound)) == want


@pytest.mark.parametrize("scaling", FLOATS)
@given(
    x=st.integers(-(2**31), 2**31), m=st.integers(1, 2**24 - 1), e=st.integers(0, 62), z=st.integers(-(2**15), 2**15)
)
@example(x=2**24 + 1, m=1, e=0, z=0)
@example(x=2**25 + 3, m=1, e=20, z=1)
@example(x=5, m=1, e=1, z=1)
@example(x=-(2**31), m=2**24 - 1, e=0, z=-1)
def test_binary32_rounds_at_every_operation(scaling, x, m, e, z):
    z = z if scaling is Scaling.FLOAT32_INSIDE else 0
    assert int(scale(wide([x]), scaling, m, e, 2**31, z)) == scaled(x, scaling, m, e, z)


@pytest.mark.parametrize("scaling", list(Scaling))
def test_requantize_by_has_a_ratio_per_channel_a_zero_point_and_a_clamp(scaling):
    low, high = (2**30, 2**31) if scaling in Q31 else (1, 2**24)
    torch.manual_seed(scaling)
    acc = torch.randint(-(2**20), 2**20, (5, 7, 16))
    m, e, z = torch.randint(low, high, (16,)), torch.randint(24, 50, (16,)), -3
    inside = z if scaling is Scaling.FLOAT32_INSIDE else 0
    want = [
        clamp(scaled(x, scaling, int(m[c]), int(e[c]), inside) + z - inside, INT8)
        for row in acc.flatten(0, 1).tolist()
        for c, x in enumerate(row)
    ]
    for bound in (2**20, 2**27):  # in float64 and in int64
        got = requantize_by(acc.double(), scaling, m, e, z, INT8, bound if scaling not in Q31 else 2**20)
        assert got.dtype == torch.float32
        assert got.flatten().tolist() == want
    if scaling is Scaling.HALF_EVEN:
        assert torch.equal(got, requantize(acc.double(), m, e, z, INT8, 2**20))


def test_the_two_zero_points_of_binary32_differ():
    outside, inside = (requantize_by(wide([5]), s, 1, 1, 1, INT8, 8) for s in FLOATS)
    assert (int(outside), int(inside)) == (3, 4)  # 2.5 + 1: HALF_EVEN(2.5) + 1, and HALF_EVEN(3.5)


@pytest.mark.parametrize("scaling", list(Scaling))
def test_requantize_by_gradient_is_the_ratio_and_stops_at_the_clamp(scaling):
    acc = wide([8, -8, 4000, -4000], gradient=True)
    m, e = (2**30, 32) if scaling in Q31 else (1, 2)
    requantize_by(acc, scaling, m, e, 1, INT8, 4000).sum().backward()
    assert acc.grad.tolist() == [0.25, 0.25, 0, 0]


@pytest.mark.parametrize(
    ("scaling", "m", "e", "bound"),
    [
        (Scaling.HALF_UP, 0, 1, 4),
        (Scaling.HALF_UP, 2**31, 1, 4),
        (Scaling.FLOOR, 1, 63, 4),
        (Scaling.HALF_AWAY, 2**31 - 1, 62, 2**32),
        (Scaling.HALF_EVEN, 2**31 - 1, 62, 2**32),
        (Scaling.TOWARD_ZERO, 1, 0, 2**53 + 1),
        (Scaling.Q31_DOUBLE, 2**30 - 1, 31, 4),
        (Scaling.Q31_DOUBLE, 2**30, 31, 2**31 + 1),
        (Scaling.Q31_DOUBLE_HALF_UP, 2**30, 21, 2**21 + 1),
        (Scaling.Q31_DOUBLE, 2**30, 63, 4),
        (Scaling.FLOAT32, 2**24, 1, 4),
        (Scaling.FLOAT32_INSIDE, 1, 1, 2**31 + 1),
    ],
)
def test_what_a_scheme_does_not_take_is_refused(scaling, m, e, bound):
    for constants in ((m, e), (torch.tensor([m]), torch.tensor([e]))):
        with pytest.raises(ValueError):
            scale(wide([1]), scaling, *constants, bound)
        with pytest.raises(ValueError):
            requantize_by(wide([1]), scaling, *constants, 0, INT8, bound)


def test_only_one_scheme_has_its_zero_point_inside():
    with pytest.raises(ValueError, match="FLOAT32_INSIDE"):
        scale(wide([1]), Scaling.FLOAT32, 1, 1, 4, zero_point=1)


int32 = st.integers(INT32_MIN, INT32_MAX)


@given(a=int32, b=int32, r=st.integers(0, 40), k=st.integers(0, 31))
@example(a=INT32_MIN, b=INT32_MIN, r=31, k=1)
@example(a=-1, b=2**30, r=1, k=0)
def test_primitives_of_gemmlowp(a, b, r, k):
    t = torch.tensor([a])
    assert int(high_multiply(t, torch.tensor([b]))) == int(high_multiply(t, b)) == S(a, b)
    assert int(divide_by_power(t, r)) == int(divide_by_power(t, torch.tensor([r]))) == R(a, r)
    assert int(saturating_shift(t, k)) == satshl(a, k)
    assert int(leading_zeros(torch.tensor([abs(a)]))) == 32 - abs(a).bit_length()


# Residual sum

TFLITE_ADD = {
    "left_shift": 20,
    "scaling": Scaling.Q31_DOUBLE,
    "a_multiplier": 2**30,
    "a_shift": 31,
    "b_multiplier": 1717986918,
    "b_shift": 33,
    "output_multiplier": 1288490189,
    "output_shift": 50,
}
ITA_ADD = {
    "left_shift": 0,
    "scaling": Scaling.HALF_UP,
    "a_multiplier": 201,
    "a_shift": 8,
    "b_multiplier": 129,
    "b_shift": 9,
    "output_multiplier": None,
    "output_shift": 0,
}


@pytest.mark.parametrize(
    "constants",
    [TFLITE_ADD, ITA_ADD, {**ITA_ADD, "scaling": Scaling.FLOAT32_INSIDE}, {**ITA_ADD, "scaling": Scaling.HALF_EVEN}],
)
def test_rescaled_add_rounds_each_operand(constants):
    a, b = torch.meshgrid(torch.arange(-128, 128), torch.arange(-128, 128, 3), indexing="ij")
    got = rescaled_add(a.float(), b.float(), a_zero=3, b_zero=-7, zero_point=-2, fmt=INT8, **constants)

    def total(x: int, y: int) -> int:
        scaling, lift = constants["scaling"], 2 ** constants["left_shift"]
        acc = scaled((x - 3) * lift, scaling, constants["a_multiplier"], constants["a_shift"])
        acc += scaled((y + 7) * lift, scaling, constants["b_multiplier"], constants["b_shift"])
        if constants["output_multiplier"] is not None:
            acc = scaled(acc, scaling, constants["output_multiplier"], constants["output_shift"])
        return clamp(acc - 2, INT8)

    assert got.dtype == torch.float32
    assert got.flatten().tolist() == [
        total(*pair) for pair in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
    ]


def test_rescaled_add_gradient_is_the_product_of_the_ratios():
    a, b = narrow([10, 127], True), narrow([-20, 127], True)
    rescaled_add(a, b, a_zero=0, b_zero=0, zero_point=120, fmt=INT8, **ITA_ADD).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([201 / 2**8, 0], [129 / 2**9, 0])
    a, b = narrow([10], True), narrow([-20], True)
    rescaled_add(a, b, a_zero=0, b_zero=0, zero_point=0, fmt=INT8, **TFLITE_ADD).sum().backward()
    assert float(a.grad) == pytest.approx(2**20 * 2**30 / 2**31 * 1288490189 / 2**50)
    assert float(b.grad) == pytest.approx(2**20 * 1717986918 / 2**33 * 1288490189 / 2**50)


def test_rescaled_add_refuses_operands_of_more_than_31_bits():
    with pytest.raises(ValueError, match="2\\^31"):
        rescaled_add(narrow([4000]), narrow([1]), a_zero=0, b_zero=0, zero_point=0, fmt=INT16, **TFLITE_ADD)


# Softmax


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
    return [clamp(round(Fraction(x * fmt.max, max(1, sum(e)))), fmt) for x in e]


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
    {"ln2": 18, "b": 35, "c": 632, "fmt": INT8},
    {"ln2": 1, "b": 2, "c": 2, "fmt": INT16},
    {"ln2": 700, "b": 1300, "c": 900000, "fmt": IntFormat(bits=2)},
]
SOFTMAXES = [(f, c) for f, all_ in ((gemmlowp_softmax, GEMMLOWP), (ibert_softmax, IBERT)) for c in all_]
SOFTMAXES += [(f, c) for f, all_ in ((itamax, ITA), (gemmini_softmax, GEMMINI)) for c in all_]


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
    return py_gemmini(d, c["ln2"], c["b"], c["c"], fmt)


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
        (gemmini_softmax, {**GEMMINI[0], "b": 0}),
        (gemmini_softmax, {**GEMMINI[0], "b": 2**31}),
        (gemmini_softmax, {**GEMMINI[0], "c": 2**55}),
        (gemmini_softmax, {**GEMMINI[0], "fmt": UINT8}),
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


# LayerNorm


def tz(a: int, b: int) -> int:
    return math.trunc(Fraction(a, b))


def py_ibert_norm(x, gamma, bias, m, e, zero, t, z, fmt, centred=True):
    q = [v - zero for v in x]
    mu = round(Fraction(sum(q), len(q))) if centred else 0
    y = [v - mu for v in q]
    sigma = math.isqrt(sum((v // 2**t) ** 2 for v in y)) * 2**t
    f = 2**31 // max(1, sigma)
    o = [v * f // 2 * g + b for v, g, b in zip(y, gamma, bias, strict=True)]
    return [clamp(round(Fraction(v * mm, 2**ee)) + z, fmt) for v, mm, ee in zip(o, m, e, strict=True)]


def py_pulp_norm(x, gamma, bias, zero, shift, z, fmt, centred=True):
    q = [v - zero for v in x]
    mu = tz(sum(q), len(q)) if centred else 0
    y = [v - mu for v in q]
    sigma = math.isqrt(tz(sum(v * v for v in y), len(y)) + 1)
    return [clamp(((tz(v * w, sigma) + b) >> shift) + z, fmt) for v, w, b in zip(y, gamma, bias, strict=True)]


def py_inverse_sqrt(v: int) -> tuple[int, int]:
    if v == 1:
        return 2**31 - 1, 0
    k = 11
    while v >= 2**29:
        v, k = v // 4, k + 1
    p = (32 - v.bit_length() - 1) // 2 - 1
    k, v = k - p, v * 4**p
    half, x = R(v >> 1, 1), 2**28
    for _ in range(5):
        x3 = satshl(S(S(x, x), x), 6)
        x = satshl(S(402653184, x) - S(half, x3), 3)
    i = S(x, 1518500250)
    return (i * 2**-k, 0) if k < 0 else (i, k)


def py_tflite_norm(x, gamma, bias, zero, limit, m, e, z, fmt, centred=True):
    n, q = len(x), [v - zero for v in x]
    mean = tz(1024 * sum(q), n) if centred else 0
    var = tz(sum(v * v for v in q) * (2**20 // n) - mean**2, 2**20)
    i, k = py_inverse_sqrt(limit if var < 1 else var)
    u = [R(S(1024 * v - mean, i), k) * w + b for v, w, b in zip(q, gamma, bias, strict=True)]
    v = [tz(a + 512 * (1 if a > 0 else -1), 1024) for a in u]
    return [clamp(scaled(a, Scaling.Q31_DOUBLE, m, e) + z, fmt) for a in v]


def rows_of_codes(n: int, fmt: IntFormat) -> Tensor:
    """Rows of growing spread, constant ones, one that is constant but for one code, the ends of the format."""
    torch.manual_seed(n)
    x = (torch.randn(2, 20, n) * torch.logspace(-1, fmt.bits / 4, 20).unsqueeze(-1)).round()
    x = x.clamp(fmt.min, fmt.max)
    x[0, 0], x[0, 1] = 7, fmt.min
    x[0, 2], x[0, 2, 0] = -3, -2
    x[0, 3, ::2], x[0, 3, 1::2] = fmt.min, fmt.max
    return x


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("n", "fmt", "t", "zero"), [(16, INT8, 0, 3), (48, INT16, 3, 0), (7, INT8, 2, -128)])
def test_ibert_layernorm_rows_are_the_page(n, fmt, t, zero, centred):
    x = rows_of_codes(n, INT8 if fmt is INT8 else IntFormat(bits=15))
    gamma, bias = torch.randint(-1, 2, (n,)), torch.randint(-(2**32), 2**32, (n,))
    m, e = torch.randint(2**14, 2**16, (n,)), torch.randint(38, 41, (n,))
    if fmt is INT8:  # 8 bits: spread over the clamp
        e = e + 2
    got = ibert_layernorm(
        x, gamma.float(), bias.double(), m, e, zero=zero, variance_shift=t, zero_point=5, fmt=fmt, centred=centred
    )
    constants = (gamma.tolist(), bias.tolist(), m.tolist(), e.tolist(), zero, t, 5, fmt, centred)
    assert got.dtype == torch.float32
    assert got.flatten(0, 1).tolist() == [py_ibert_norm(r, *constants) for r in x.long().flatten(0, 1).tolist()]


def test_ibert_layernorm_halves_to_the_floor():
    row, ones = [30006, -30006, -1, 1], [1] * 4  # F = 50607 is odd: -F/2 is halfway
    got = ibert_layernorm(
        narrow([row]),
        narrow(ones),
        wide([0] * 4),
        torch.tensor(ones),
        torch.tensor([0] * 4),
        zero=0,
        variance_shift=0,
        zero_point=0,
        fmt=INT16,
    )
    assert got[0].tolist() == py_ibert_norm(row, ones, [0] * 4, ones, [0] * 4, 0, 0, 0, INT16)
    assert got[0, 2:].tolist() == [-25304, 25303]


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("n", "fmt", "zero"), [(16, INT8, 3), (48, INT16, 0), (7, INT8, -128)])
def test_pulp_layernorm_rows_are_the_page(n, fmt, zero, centred):
    x, gamma, bias = rows_of_codes(n, fmt), torch.randint(-(2**15), 2**15, (n,)), torch.randint(-(2**16), 2**16, (n,))
    got = pulp_layernorm(x, gamma.float(), bias.double(), zero=zero, shift=11, zero_point=-4, fmt=INT8, centred=centred)
    constants = (gamma.tolist(), bias.tolist(), zero, 11, -4, INT8, centred)
    assert got.dtype == torch.float32
    assert got.flatten(0, 1).tolist() == [py_pulp_norm(r, *constants) for r in x.long().flatten(0, 1).tolist()]


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("n", "bits", "zero", "limit"), [(16, 16, 3, 1), (48, 15, 0, 2**31 - 1), (7, 8, -128, 100)])
def test_tflite_layernorm_rows_are_the_page(n, bits, zero, limit, centred):
    x = rows_of_codes(n, IntFormat(bits=bits)).clamp(min=-(2 ** (bits - 1)) + 4)  # x' = -2^15 would be refused
    gamma, bias = torch.randint(-(2**15), 2**15, (n,)), torch.randint(-(2**24), 2**24, (n,))
    m, e = 1717986918, 34
    constants = {"variance_limit": limit, "multiplier": m, "shift": e, "zero_point": 2, "fmt": INT16}
    got = tflite_layernorm(x, gamma.float(), bias.double(), zero=zero, centred=centred, **constants)
    page = (gamma.tolist(), bias.tolist(), zero, limit, m, e, 2, INT16, centred)
    assert got.dtype == torch.float32
    assert got.flatten(0, 1).tolist() == [py_tflite_norm(r, *page) for r in x.long().flatten(0, 1).tolist()]


@given(st.integers(1, 2**31 - 1))
@example(1)
@example(2)
@example(2**29 - 1)
@example(2**29)
@example(2**31 - 1)
def test_inverse_sqrt_is_the_page_and_near_the_root(v):
    i, k = (int(t) for t in inverse_sqrt(torch.tensor([v])))
    assert (i, k) == py_inverse_sqrt(v)
    assert i / 2 ** (31 + k) == pytest.approx(v**-0.5, rel=1e-4)


RATIO = torch.tensor([2**15] * 4)
NORMS = [
    (ibert_layernorm, (RATIO, torch.tensor([40] * 4)), {"variance_shift": 0}, 2.0**30 / 2 * 2**-25),
    (pulp_layernorm, (), {"shift": 5}, 2.0**-5),
    (tflite_layernorm, (), {"variance_limit": 1, "multiplier": 2**30, "shift": 35}, 2.0**-5),
]


@pytest.mark.parametrize(("function", "more", "constants", "gain"), NORMS)
def test_layernorm_gradients_are_those_of_the_real_formula(function, more, constants, gain):
    codes = [1, -1, 0, 1] if function is ibert_layernorm else [100, -50, 60, 90]
    x, gamma, bias = narrow([[30, -7, 55, -90]], True), narrow(codes, True), wide([1, 2, 3, 4], True)
    fmt, weights = IntFormat(bits=16), wide([1, -2, 3, 4])
    out = function(x, gamma, bias, *more, zero=3, zero_point=0, fmt=fmt, **constants)
    (out * weights).sum().backward()
    row = x.detach().double().requires_grad_()
    y = torch.nn.functional.layer_norm(row, (4,), eps=0.0)
    (y * gamma.detach() * weights).sum().mul(gain).backward()
    torch.testing.assert_close(x.grad.double(), row.grad, rtol=2e-3, atol=1e-4)
    torch.testing.assert_close(gamma.grad.double(), (y.detach()[0] * weights * gain), rtol=2e-3, atol=1e-4)
    per_bias = {ibert_layernorm: 2.0**-25, pulp_layernorm: 2.0**-5, tflite_layernorm: 2.0**-15}[function]
    torch.testing.assert_close(bias.grad, weights * per_bias)


@pytest.mark.parametrize(("function", "more", "constants", "gain"), NORMS)
def test_a_constant_row_gives_the_bias_and_finite_gradients(function, more, constants, gain):
    x, ones, bias = narrow([[9] * 4], True), narrow([1] * 4), wide([0] * 4)
    out = function(x, ones, bias, *more, zero=0, zero_point=6, fmt=INT8, **constants)
    assert out.tolist() == [[6] * 4]
    out.square().sum().backward()
    assert torch.isfinite(x.grad).all()


def test_layernorms_refuse_what_the_page_refuses():
    ones, zeros, common = torch.ones(2), torch.zeros(2), {"zero": 0, "zero_point": 0, "fmt": INT16}
    wide_row, ratios = narrow([[-30000, 30000]]), (torch.tensor([1, 1]), torch.tensor([1, 1]))
    tflite = {"variance_limit": 1, "multiplier": 2**30, "shift": 31, **common}
    with pytest.raises(ValueError, match="2\\^32"):
        ibert_layernorm(narrow([[-(2**16), 2**16]]), ones, zeros, *ratios, variance_shift=0, **common)
    with pytest.raises(ValueError, match="gamma"):
        ibert_layernorm(wide_row, 2 * ones, zeros, *ratios, variance_shift=2, **common)
    with pytest.raises(ValueError, match="2\\^63"):
        ibert_layernorm(wide_row, ones, zeros + 2.0**60, *(r * 8 for r in ratios), variance_shift=2, **common)
    with pytest.raises(ValueError, match="shift"):
        pulp_layernorm(wide_row, ones, zeros, shift=32, **common)
    with pytest.raises(ValueError, match="gamma"):
        pulp_layernorm(wide_row, ones * 2**16, zeros, shift=1, **common)
    with pytest.raises(ValueError, match="2\\^50"):
        tflite_layernorm(narrow([[-(2**15) - 1] * 2]), ones, zeros, **tflite)
    with pytest.raises(ValueError, match="variance limit"):
        tflite_layernorm(wide_row, ones, zeros, **{**tflite, "variance_limit": 0})
    with pytest.raises(ValueError, match="2\\^31"):
        tflite_layernorm(wide_row, ones, zeros + 2.0**40, **{**tflite, "shift": 21})


# Accumulators


def py_accumulate(products: list[int], bias: int, accumulator: Accumulator) -> tuple[int, int]:
    events, k = 0, len(products)

    def fit(t: int) -> int:
        nonlocal events
        if accumulator.min <= t <= accumulator.max:
            return t
        events += 1
        if accumulator.overflow is Overflow.SATURATE:
            return min(max(t, accumulator.min), accumulator.max)
        return (t - accumulator.min) % 2**accumulator.bits + accumulator.min

    length = {Granularity.MAC: 1, Granularity.TILE: accumulator.tile, Granularity.END: max(k, 1)}
    acc = fit(bias)
    for first in range(0, k, length[accumulator.granularity]):
        acc = fit(acc + sum(products[first : first + length[accumulator.granularity]]))
    return acc, events


@pytest.mark.parametrize("granularity", list(Granularity))
@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
@pytest.mark.parametrize(("bits", "top", "tile"), [(8, 9, 1), (10, 9, 7), (16, 128, 16), (63, 2**16, 1000)])
def test_accumulators_are_brought_into_range_when_the_page_says(granularity, overflow, bits, top, tile):
    torch.manual_seed(bits)
    accumulator = Accumulator(bits=bits, overflow=overflow, granularity=granularity, tile=tile)
    a, b = torch.randint(-top + 1, top, (2, 3, 75)), torch.randint(-top + 1, top, (5, 75))
    bias = torch.tensor([0, accumulator.max, accumulator.min, accumulator.max + 2, accumulator.max // 2])
    acc, events = matmul_ordered(a.float() + 5, b.float() - 3, bias, 5, -3, accumulator)
    want = [
        py_accumulate([x * y for x, y in zip(p, q, strict=True)], int(z), accumulator)
        for p in a.flatten(0, 1).tolist()
        for q, z in zip(b.tolist(), bias, strict=True)
    ]
    assert acc.flatten().tolist() == [value for value, _ in want]
    assert events == sum(count for _, count in want) > 0


@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
def test_an_accumulator_that_only_few_sums_leave_in_the_middle(overflow):
    torch.manual_seed(4)
    accumulator = Accumulator(bits=20, overflow=overflow)
    a, b = torch.randint(-128, 128, (2, 3, 70)), torch.randint(-128, 128, (11, 70))
    a[1, 2, 30:50], b[4, 30:50], b[4, 50:] = 127, 5000, -5000
    acc, events = matmul_ordered(a.float(), b.float(), None, 0, 0, accumulator)
    want = [
        py_accumulate([x * y for x, y in zip(p, q, strict=True)], 0, accumulator)
        for p in a.flatten(0, 1).tolist()
        for q in b.tolist()
    ]
    assert acc.flatten().tolist() == [value for value, _ in want]
    assert events == sum(count for _, count in want) > 0
    assert 0 < sum(count > 0 for _, count in want) < len(want) // 4


def test_wrapping_is_the_same_for_all_granularities_and_a_tile_of_the_row_is_the_end():
    torch.manual_seed(0)
    a, b = torch.randint(-128, 128, (2, 4, 6, 50)).float(), torch.randint(-128, 128, (2, 4, 7, 50)).float()
    for overflow in (Overflow.SATURATE, Overflow.WRAP):
        every = [
            matmul_ordered(a, b, None, 0, 0, Accumulator(bits=14, overflow=overflow, granularity=g, tile=tile))
            for g, tile in ((Granularity.END, 1), (Granularity.TILE, 64), (Granularity.MAC, 1), (Granularity.TILE, 1))
        ]
        assert torch.equal(every[0][0], every[1][0]) and every[0][1] == every[1][1]
        assert torch.equal(every[2][0], every[3][0]) and every[2][1] == every[3][1]
        assert torch.equal(every[0][0], every[2][0]) == (overflow is Overflow.WRAP)
