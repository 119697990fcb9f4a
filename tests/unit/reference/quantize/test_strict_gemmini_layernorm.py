"""Gemmini's LayerNorm against docs/operators/layernorm.md, section 5, in integers and Fractions."""

import math
from fractions import Fraction

import pytest
import torch

from hwsim.formats import IntFormat, Scaling
from reference.quantize.strict.layernorm import gemmini_layernorm
from tests.unit.reference.quantize.page_arithmetic import INT8, INT16, clamp, narrow, scaled, wide


def page(row, weight, bias, zero, m, e, z, fmt):
    q = [v - zero for v in row]
    y = [v - math.trunc(Fraction(sum(q), len(q))) for v in q]
    sigma = math.isqrt(sum(v * v for v in y) // len(y)) or 1
    u = [clamp(round(Fraction(v, sigma)), INT8) for v in y]
    return [clamp(scaled(a * w + b, Scaling.FLOAT32, m, e) + z, fmt) for a, w, b in zip(u, weight, bias, strict=True)]


def norm(rows, weight, bias, m=1, e=0, zero=0, zero_point=0, fmt=INT8):
    return gemmini_layernorm(rows, weight, bias, zero=zero, multiplier=m, shift=e, zero_point=zero_point, fmt=fmt)


def codes(row, m=1, e=0, weight=None, bias=None, **more):
    weight, bias = wide(weight or [1] * len(row)), wide(bias or [0] * len(row))
    return norm(wide([row]), weight, bias, m, e, **more)[0].tolist()


@pytest.mark.parametrize(
    ("row", "scale", "want"),
    [
        ([5, 5, 5], 30, [0, 0, 0]),
        ([7], 30, [0]),
        ([1, 0], 120, [120, 0]),
        ([-1, 0, 0, 0], 30, [-30, 0, 0, 0]),
        ([1, 2, 3, 4, -5], 30, [0, 0, 30, 30, -60]),
    ],
)
def test_codes_are_those_of_the_c_library(row, scale, want):
    """ucb-bar/gemmini-rocc-tests 180c468, matmul_cpu with LAYERNORM, compiled and run."""
    assert codes(row, scale) == want


def test_deviations_round_to_even_and_the_mean_toward_zero():
    # V = 20/4 = 5 and sigma = 2: 1/2, -1/2, 3/2, -3/2
    assert codes([1, -1, 3, -3]) == [0, 0, 2, -2]
    # mean -7/2, toward zero -3: y = -1, 0 and V = 0
    assert codes([-4, -3]) == [-1, 0]
    # V = 18/6 = 3: sigma = 1
    assert codes([3, -3, 0, 0, 0, 0]) == [3, -3, 0, 0, 0, 0]


def test_a_deviation_has_8_bits():
    row = [0] * 20000
    row[0], row[1] = 1000, -1000  # V = 100, sigma = 10
    assert codes([2 * v for v in row], fmt=INT16)[:3] == [100, -100, 0]
    row[1] = 0  # V = 50, sigma = 7; 1000/7 is 143
    assert codes(row, fmt=INT16)[:2] == [127, 0]
    assert codes([-v for v in row], fmt=INT16)[:2] == [-128, 0]


def test_gamma_bias_ratio_and_zero_point():
    # u = 1, -1; 5 + 4 and -3 - 4 over 2: 4.5 and -3.5, to even
    assert codes([9, -9], 1, 1, [5, 3], [4, -4], zero_point=10) == [14, 6]
    assert codes([9, -9], 1, 1, [-128, 127], [0, 0], zero_point=-100) == [-128, -128]
    assert codes([12, -6], zero=3) == [1, -1]
    # binary32 does not have 2^24 + 1
    assert codes([9, -9], 1, 0, [1, 1], [2**24, 2], fmt=IntFormat(bits=32)) == [2**24, 1]


@pytest.mark.parametrize(("n", "spread", "zero"), [(16, 40, 3), (48, 5000, 0), (7, 1, -128)])
def test_rows_are_the_page(n, spread, zero):
    torch.manual_seed(n)
    rows = (torch.randn(2, 20, n) * spread).round() + zero
    weight, bias = torch.randint(-128, 128, (n,)), torch.randint(-(2**10), 2**10, (n,))
    m, e = 12345679, 26
    got = norm(rows, weight.float(), bias.double(), m, e, zero, -4)
    assert got.dtype == torch.float32
    page_rows = rows.long().flatten(0, 1).tolist()
    assert got.flatten(0, 1).tolist() == [
        page(row, weight.tolist(), bias.tolist(), zero, m, e, -4, INT8) for row in page_rows
    ]


def test_gradients_pass_the_roundings_and_gamma_sees_the_code():
    x, gamma, bias = narrow([[30, -7, 55, -90]], True), narrow([100, -50, 60, 90], True), wide([1, 2, 3, 4], True)
    weights, ratio = wide([1, -2, 3, 4]), 3 / 8
    (norm(x, gamma, bias, 3, 3, fmt=INT16) * weights).sum().backward()
    row = x.detach().double().requires_grad_()
    y = torch.nn.functional.layer_norm(row, (4,), eps=0.0)
    (y * gamma.detach() * weights).sum().mul(ratio).backward()
    torch.testing.assert_close(x.grad.double(), row.grad, rtol=1e-5, atol=1e-7)
    # mean -3, y = 33, -4, 58, -87, V = 3009, sigma = 54: u = 1, 0, 1, -2
    assert gamma.grad.tolist() == [ratio * 1, 0, ratio * 3, -ratio * 2 * 4]
    assert bias.grad.tolist() == (weights * ratio).tolist()


def test_no_gradient_where_the_code_or_the_deviation_was_clamped():
    x, bias = narrow([[9, -9]], True), wide([0, 120], True)
    out = norm(x, wide([127, 10]), bias, 2, 0)  # 254 and 220
    assert out.tolist() == [[127, 127]]
    out.sum().backward()
    assert (x.grad.tolist(), bias.grad.tolist()) == ([[0, 0]], [0, 0])
    row = torch.zeros(1, 20000)
    row[0, 0] = 1000
    x = row.requires_grad_()
    norm(x, torch.ones(20000), torch.zeros(20000), fmt=INT16)[0, 0].backward()
    assert not bool(x.grad.any())


def test_a_constant_row_gives_the_bias_and_finite_gradients():
    x = narrow([[9] * 4], True)
    out = norm(x, wide([1] * 4), wide([0, 1, 2, 3]), zero_point=6)
    assert out.tolist() == [[6, 7, 8, 9]]
    out.square().sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_sums_have_32_bits():
    assert codes([2**31 - 1]) == codes([-(2**31)]) == [0]
    with pytest.raises(ValueError, match="gemmini_layernorm sum 2147483648; allowed are -2147483648 to 2147483647"):
        codes([2**31 - 1, 1])
    with pytest.raises(ValueError, match="gemmini_layernorm sum -2147483649; allowed"):
        codes([-(2**31), -1])
    assert codes([2**31], zero=1) == [0]
    with pytest.raises(ValueError, match="gemmini_layernorm sum 2147483648; allowed"):
        codes([2**31 - 1], zero=-1)


def test_sums_of_squares_have_32_bits():
    assert codes([32767, -32767]) == [1, -1]  # 2 * 32767^2 = 2^31 - 131070
    with pytest.raises(ValueError, match="gemmini_layernorm sum of squares 2147483648; allowed are 0 to 2147483647"):
        codes([32768, -32768])
    with pytest.raises(ValueError, match="gemmini_layernorm deviation -2000000000; allowed are -46340 to 46340"):
        codes([2 * 10**9, -(2 * 10**9)])


def test_constants_have_a_range():
    with pytest.raises(ValueError, match="gemmini_layernorm gamma 128; allowed are -128 to 127"):
        codes([1, 2], weight=[128, 1])
    with pytest.raises(ValueError, match="the binary32 schemes take at most 2\\^31"):
        codes([1, 2], bias=[2**31 + 1, 1])
    with pytest.raises(ValueError, match="binary32 multiplier 16777216; allowed are 1 to 16777215"):
        codes([1, 2], 2**24)
