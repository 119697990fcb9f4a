"""Strict fake-quant quotients, softmax and LayerNorm against the equations of docs/numerics.md, in Fractions."""

import math
from fractions import Fraction

import mpmath
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsim.formats import IntFormat
from reference.quantize.plan.constants import LayerNormConstants, Rescale
from reference.quantize.strict.exact import quotient_int64, rounded_quotient
from reference.quantize.strict.fullyqt import exp_table, softmax
from reference.quantize.strict.fullyqt_layernorm import isqrt, layernorm
from tests.unit.reference.quantize.page_arithmetic import clamp, narrow, wide

torch.set_num_threads(1)

INT8, UINT8 = IntFormat(bits=8), IntFormat(bits=8, signed=False)


def half_even(numerator: int, denominator: int = 1) -> int:
    return round(Fraction(numerator, denominator))  # Python rounds a Fraction half to even


# Quotients


@given(a=st.integers(-(2**16), 2**16), m=st.integers(1, 2**16 - 1), d=st.integers(1, 2**16 - 1), e=st.integers(0, 40))
@example(a=3, m=1, d=1, e=1)
@example(a=-3, m=5, d=3, e=1)
@example(a=-1, m=1, d=2, e=0)
def test_both_ways_of_dividing_are_the_fraction(a, m, d, e):
    want = half_even(a * m, d << e)
    assert int(rounded_quotient(narrow([a]), narrow([d]), m, e, 2**16)) == want
    assert int(quotient_int64(torch.tensor([a * m]), torch.tensor([d << e]))) == want
    forced = rounded_quotient(wide([a]), wide([d]), m, e, 2**46)  # a bound that float64 cannot prove
    assert int(forced) == want


def test_a_denominator_of_78_bits_is_exact_and_a_wider_quotient_is_refused():
    d = narrow([2**16 - 1])
    assert int(rounded_quotient(narrow([2**16]), d, 2**16 - 1, 62, 2**16)) == 0
    with pytest.raises(ValueError, match="2\\^63"):
        rounded_quotient(wide([1]), d, 2**10, 62, 2**45)
    with pytest.raises(ValueError, match="2\\^63"):
        rounded_quotient(wide([1]), d, 2**11, 0, 2**52)


# Section 4: softmax


@pytest.mark.parametrize(
    ("scale", "bits", "top_bits"), [(0.05, 8, 8), (2.0**-9 / 3, 12, 16), (1e-300, 4, 5), (80.0, 8, 16)]
)
def test_exp_table_is_correctly_rounded(scale, bits, top_bits):
    table = exp_table(scale, bits, top_bits)
    assert table.dtype == torch.int64
    with mpmath.workdps(60):
        want = [int(mpmath.nint(mpmath.exp(-mpmath.mpf(scale) * d) * (2**top_bits - 1))) for d in range(2**bits)]
    assert table.tolist() == want


@pytest.mark.parametrize(("scale", "bits", "top"), [(0.0, 8, 8), (math.nan, 8, 8), (1.0, 13, 8), (1.0, 8, 17)])
def test_exp_table_limits(scale, bits, top):
    with pytest.raises(ValueError):
        exp_table(scale, bits, top)


SOFTMAX = {
    "denominator_multiplier": 45000,
    "denominator_shift": 18,
    "denominator_fmt": UINT8,
    "output_multiplier": 41000,
    "output_shift": 10,
    "output_fmt": UINT8,
}


def softmax_row(q: list[int], allowed: list[bool], table: list[int]) -> tuple[list[int], int, list[int], int]:
    top = max((x for x, ok in zip(q, allowed, strict=True) if ok), default=0)
    num = [table[top - x] if ok else 0 for x, ok in zip(q, allowed, strict=True)]
    sat = clamp(half_even(sum(num) * 45000, 2**18), UINT8)
    den = max(1, sat)
    return num, den, [clamp(half_even(x * 41000, den << 10), UINT8) for x in num], int(sat < 1)


def test_softmax_rows_are_eq_4():
    torch.manual_seed(1)
    table = exp_table(0.04, 8, 8)
    scores, allowed = torch.randint(-128, 128, (2, 50, 11)).float(), torch.rand(1, 50, 11) < 0.6
    allowed[0, 0] = False  # a row in which nothing is allowed
    got = softmax(scores, allowed, table, 0.04, **SOFTMAX)
    want = [
        softmax_row(q, ok, table.tolist())
        for part in scores.long().tolist()
        for q, ok in zip(part, allowed[0].tolist(), strict=True)
    ]
    for field, expected in zip(got[:3], zip(*want, strict=True), strict=False):
        assert field.dtype == torch.float32
        assert field.flatten(0, 1).squeeze(-1).tolist() == list(expected)
    assert got.denominator_clamps == sum(row[3] for row in want) == 2
    everything = softmax(scores, torch.ones(11, dtype=torch.bool), table, 0.04, **SOFTMAX)
    assert all(map(torch.equal, everything[:3], softmax(scores, None, table, 0.04, **SOFTMAX)[:3]))


def test_softmax_gradient_is_that_of_the_real_stages():
    scores, allowed = narrow([[3, -20, 0, 100]], gradient=True), torch.tensor([True, True, True, False])
    got = softmax(scores, allowed, exp_table(0.04, 8, 8), 0.04, **SOFTMAX)
    weights = wide([1, -2, 5, 7])
    (got.output * weights).sum().backward()
    num, den = got.numerator.detach().double()[0], float(got.denominator.detach())
    rate, slope = 41000 / 2**10, 45000 / 2**18
    direct = weights * rate / den
    through = -(weights * num).sum() * rate / den**2 * slope
    torch.testing.assert_close(scores.grad[0].double(), 0.04 * num * (direct + through), rtol=1e-5, atol=1e-6)
    assert float(scores.grad[0, 3]) == 0


# Section 5: LayerNorm


@given(st.integers(0, 2**52 - 1), st.integers(0, 2**26 - 1))
@settings(max_examples=200)
def test_isqrt_is_the_floor(v, root):
    near = [v, root * root, max(root * root - 1, 0), (root + 1) ** 2 - 1]
    assert isqrt(torch.tensor(near)).tolist() == [math.isqrt(x) for x in near]


NORM = LayerNormConstants(
    eps=11,
    numerator=Rescale(multiplier=50001, shift=20, fmt=IntFormat(bits=10)),
    denominator=Rescale(multiplier=40003, shift=18, fmt=UINT8),
    quotient=Rescale(multiplier=60001, shift=11, fmt=INT8),
    output=Rescale(multiplier=33333, shift=21, fmt=UINT8, zero_point=120),
)


def rescaled(acc: int, to: Rescale, divisor: int = 1) -> int:
    return clamp(half_even(acc * to.multiplier, divisor << to.shift) + to.zero_point, to.fmt)


def layernorm_row(x: list[int], gamma: list[int], beta: list[int]) -> tuple[list[int], int, list[int], list[int], int]:
    n = len(x)
    num = [rescaled(n * q - sum(x), NORM.numerator) for q in x]
    variance = n * sum(q * q for q in x) - sum(x) ** 2 + NORM.eps
    sat = rescaled(math.isqrt(variance), NORM.denominator)
    quotients = [rescaled(q, NORM.quotient, max(1, sat)) for q in num]
    out = [rescaled(q * g + b, NORM.output) for q, g, b in zip(quotients, gamma, beta, strict=True)]
    return num, max(1, sat), quotients, out, int(sat < 1)


def test_layernorm_rows_are_eq_5():
    torch.manual_seed(2)
    x = (torch.randn(2, 20, 16) * torch.logspace(-1, 1.5, 20).unsqueeze(-1)).round().clamp(-128, 127)
    x[1, 3] = 77  # a constant row
    gamma, beta = torch.randint(-128, 128, (16,)), torch.randint(-(2**20), 2**20, (16,))
    got = layernorm(x, gamma.float(), beta.double(), NORM)
    want = [layernorm_row(row, gamma.tolist(), beta.tolist()) for row in x.long().flatten(0, 1).tolist()]
    for field, expected in zip(got[:4], zip(*want, strict=True), strict=False):
        assert field.dtype == torch.float32
        assert field.flatten(0, 1).squeeze(-1).tolist() == list(expected)
    assert got.denominator_clamps == sum(row[4] for row in want) > 0
    shifted = layernorm(x + 2**15, gamma.float(), beta.double(), NORM)  # a zero point cancels
    assert all(map(torch.equal, got[:4], shifted[:4]))


@pytest.mark.parametrize(("bits", "shift", "clamps"), [(8, 18, 0), (3, 18, 0), (8, 30, 1)])
def test_layernorm_gradients_are_those_of_the_real_stages(bits, shift, clamps):
    """The denominator is free, saturated, and raised to 1: its gradient passes all the same."""
    constants = LayerNormConstants(
        eps=3,
        numerator=Rescale(multiplier=40000, shift=18, fmt=IntFormat(bits=10)),
        denominator=Rescale(multiplier=40000, shift=shift, fmt=IntFormat(bits=bits, signed=False)),
        quotient=Rescale(multiplier=50000, shift=13, fmt=IntFormat(bits=12)),
        output=Rescale(multiplier=40000, shift=24, fmt=IntFormat(bits=12)),
    )
    x, gamma, beta = narrow([[30, -7, 55, -90]], True), narrow([100, -50, 60, 90], True), wide([1, 2, 3, 4], True)
    got = layernorm(x, gamma, beta, constants)
    weights = wide([1, -2, 3, 4])
    (got.output * weights).sum().backward()
    row, num, den, n = x.detach().double()[0], got.numerator.detach().double()[0], float(got.denominator.detach()), 4
    assert got.denominator_clamps == clamps
    centred = n * row - row.sum()
    root = math.sqrt(float(n * (row**2).sum() - row.sum() ** 2) + 3)
    r_n, r_d, r_q, r_o = 40000 / 2**18, 40000 / 2**shift, 50000 / 2**13, 40000 / 2**24
    d_quotient = weights * r_o * gamma.detach().double()
    d_centred = d_quotient * r_q / den * r_n
    d_root = -(d_quotient * num).sum() * r_q / den**2 * r_d
    want = n * d_centred - d_centred.sum() + d_root * centred / root
    torch.testing.assert_close(x.grad[0].double(), want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        gamma.grad.double(), weights * r_o * got.quotient.detach()[0].double(), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(beta.grad, weights * r_o, rtol=1e-6, atol=0)


def test_layernorm_of_a_constant_row_without_eps_has_a_finite_gradient():
    constants = LayerNormConstants(
        eps=0, **{k: getattr(NORM, k) for k in ("numerator", "denominator", "quotient", "output")}
    )
    x = narrow([[5, 5, 5]], gradient=True)
    got = layernorm(x, narrow([1, 1, 1]), wide([0, 0, 0]), constants)
    assert (got.denominator.tolist(), got.denominator_clamps) == ([[1]], 1)
    got.output.sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("n", [724, 725, 2210])
def test_layernorm_of_long_rows_of_16_bits_keeps_the_last_bit_of_the_variance(n):
    """2*n^2*2^32 passes 2^53 beyond n = 724: the variance leaves float64 for int64."""
    torch.manual_seed(n)
    x = torch.randint(2**15, 2**15 + 2**14, (3, n)).float()
    x[1] = 2**16 - 1
    x[1, 0] = 2**16 - 2  # V is n - 1, the square of an integer for the greatest n
    constants = LayerNormConstants(
        eps=0,
        numerator=Rescale(multiplier=50001, shift=16, fmt=IntFormat(bits=16)),
        denominator=Rescale(multiplier=1, shift=0, fmt=IntFormat(bits=26, signed=False)),
        quotient=Rescale(multiplier=60001, shift=4, fmt=IntFormat(bits=16)),
        output=Rescale(multiplier=33333, shift=15, fmt=IntFormat(bits=16)),
    )
    got = layernorm(x, torch.ones(n), torch.zeros(n), constants)
    for row, denominator, quotients in zip(x.long().tolist(), got.denominator, got.quotient.tolist(), strict=True):
        root = math.isqrt(n * sum(q * q for q in row) - sum(row) ** 2)
        assert int(denominator) == max(root, 1)
        num = [clamp(half_even((n * q - sum(row)) * 50001, 2**16), IntFormat(bits=16)) for q in row]
        assert quotients == [clamp(half_even(q * 60001, root << 4), IntFormat(bits=16)) for q in num]


def test_layernorm_refuses_a_variance_of_52_bits():
    x = torch.tensor([0.0, 2.0**16]).repeat(1, 1024)  # n^2*2^32/4 = 2^52
    with pytest.raises(ValueError, match="2\\^52"):
        layernorm(x, torch.ones(2048), torch.zeros(2048), NORM)
