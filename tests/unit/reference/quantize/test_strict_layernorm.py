"""Strict fake-quant of other machines' LayerNorms against docs/operators/layernorm.md, in integers and Fractions."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from hwsim.formats import IntFormat, Scaling
from reference.quantize.strict.layernorm import ibert_layernorm, inverse_sqrt, pulp_layernorm, tflite_layernorm
from tests.unit.reference.quantize.page_arithmetic import INT8, INT16, R, S, clamp, narrow, satshl, scaled, wide


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
        pulp_layernorm(wide_row, ones * 2.0**32, zeros, shift=1, **common)
    with pytest.raises(ValueError, match="2\\^50"):
        tflite_layernorm(narrow([[-(2**15) - 1] * 2]), ones, zeros, **tflite)
    with pytest.raises(ValueError, match="variance limit"):
        tflite_layernorm(wide_row, ones, zeros, **{**tflite, "variance_limit": 0})
    with pytest.raises(ValueError, match="2\\^31"):
        tflite_layernorm(wide_row, ones, zeros + 2.0**40, **{**tflite, "shift": 21})
