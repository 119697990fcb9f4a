"""PULP's LayerNorm with wide gammas, with codes that wrap, and in 32 bits: docs/operators/layernorm.md, section 3."""

import math
from fractions import Fraction

import pytest
import torch

from hwsim.formats import IntFormat, Overflow
from reference.quantize.strict.layernorm import pulp_layernorm
from tests.unit.reference.quantize.page_arithmetic import INT8, UINT8, narrow, wide

COMMON = {"zero": 0, "zero_point": 0, "fmt": INT8}


def codes(row, weight, bias, shift, **changes):
    given = wide(weight), wide(bias if bias is not None else [0] * len(row))
    return pulp_layernorm(narrow([row]), *given, shift=shift, **{**COMMON, **changes})[0].tolist()


def wrapped(value: int, fmt: IntFormat) -> int:
    return (value - fmt.min) % 2**fmt.bits + fmt.min


def page(row, weight, bias, zero, shift, z):
    """(L6) to (L8) before clamp or wrap."""
    q = [v - zero for v in row]
    y = [v - math.trunc(Fraction(sum(q), len(q))) for v in q]
    sigma = math.isqrt(sum(v * v for v in y) // len(y) + 1)
    quotients = [math.trunc(Fraction(v * w, sigma)) for v, w in zip(y, weight, strict=True)]
    return [((q + b) >> shift) + z for q, b in zip(quotients, bias, strict=True)]


def test_codes_are_those_of_the_authors_kernels():
    """pulp-platform/Deeploy bf64cfa, Layernorm_s8.c, whose result is cast, and iRMSNorm_s8.c; compiled and run."""
    wrap = {"overflow": Overflow.WRAP}
    # y = -5, 5 and sigma = isqrt(26) = 5; -300 >> 1 and 300 >> 1
    assert codes([0, 10], [300, 300], [0, 0], 1, **wrap) == [106, -106]
    assert codes([0, 10], [300, 300], [0, 0], 1) == [-128, 127]
    weight, bias = [8388608, -8388608, 8388607, 231997], [0, 524288, -524288, 1]
    assert codes([1, -1, 3, 7], weight, bias, 18, **wrap) == [-11, 34, 8, 1]
    rms = {"centred": False, "product_bits": 32}
    assert codes([127, -128, 1, 0], [3957066, 8388608, -8388608, 7], None, 18, **rms) == [21, -46, -1, 0]
    assert codes([127, -128], [2**24, 2**24], None, 20, **rms) == [16, -17]


@pytest.mark.parametrize("fmt", [INT8, UINT8, IntFormat(bits=5), IntFormat(bits=24)])
def test_rows_that_wrap_are_the_page(fmt):
    torch.manual_seed(fmt.bits)
    rows = torch.randint(-128, 128, (30, 9))
    weight, bias = torch.randint(-(2**31), 2**31, (9,)), torch.randint(-(2**31), 2**31, (9,))
    weight[0], weight[1] = -(2**31), 2**31 - 1
    got = pulp_layernorm(
        rows.float(),
        weight.double(),
        bias.double(),
        zero=-7,
        shift=13,
        zero_point=-3,
        fmt=fmt,
        overflow=Overflow.WRAP,
    )
    want = [page(row, weight.tolist(), bias.tolist(), -7, 13, -3) for row in rows.tolist()]
    assert got.dtype == torch.float32
    assert got.tolist() == [[wrapped(v, fmt) for v in row] for row in want]
    outside = sum(wrapped(v, fmt) != v for row in want for v in row)
    assert (outside > 100) is (fmt.bits <= 8)


def test_a_code_beyond_2_to_the_53_wraps_exactly():
    assert codes([0], [1], [2**53], 0, overflow=Overflow.WRAP) == [0]
    bias = torch.tensor([2**60 + 5])
    got = pulp_layernorm(narrow([[0]]), wide([1]), bias, shift=0, overflow=Overflow.WRAP, **COMMON)
    assert got.item() == 5


@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
def test_gradients_stop_where_the_code_changed(overflow):
    x, gamma, bias = narrow([[0, 10]]), wide([200, 300], True), wide([0, 0], True)
    pulp_layernorm(x, gamma, bias, shift=1, overflow=overflow, **COMMON).sum().backward()
    # -200 >> 1 fits, 300 >> 1 does not; d/dgamma = y/(sigma*2) with the real sigma, sqrt(26).
    assert bias.grad.tolist() == [0.5, 0]
    assert gamma.grad.tolist() == [pytest.approx(-2.5 / math.sqrt(26)), 0]


def test_a_wrapped_row_has_the_gradients_of_a_clamped_one_inside_the_format():
    grads = []
    for overflow in (Overflow.SATURATE, Overflow.WRAP):
        x = narrow([[3, -20, 60, 8]], True)
        out = pulp_layernorm(x, wide([50, 60, 70, 80]), wide([1, 2, 3, 4]), shift=1, overflow=overflow, **COMMON)
        (out * wide([1, -2, 3, 4])).sum().backward()
        grads.append(x.grad)
    assert torch.equal(*grads) and bool((grads[0] != 0).all())


def test_products_have_their_width():
    inside = [2**24 - 1, 1]
    assert codes([-128, 0], inside, None, 31, centred=False, product_bits=32) == [-1, 0]
    words = "pulp_layernorm product -2147483776; allowed are -2147483648 to 2147483647"
    with pytest.raises(ValueError, match=words):
        codes([-128, 0], [2**24 + 1, 1], None, 31, centred=False, product_bits=32)
    codes([-128, 0], [2**24 + 1, 1], None, 31, centred=False)
    with pytest.raises(ValueError, match="product 2147483648; allowed"):
        codes([128, 0], [2**24, 1], None, 31, centred=False, product_bits=32)


@pytest.mark.parametrize("bits", [1, 64])
def test_widths_of_products_have_a_range(bits):
    with pytest.raises(ValueError, match=f"pulp_layernorm product bits {bits}; allowed are 2 to 63"):
        codes([1, 2], [1, 1], None, 1, product_bits=bits)


def test_what_overflows_wraps_or_saturates():
    with pytest.raises(ValueError, match="pulp_layernorm overflow proven; allowed are saturate and wrap"):
        codes([1, 2], [1, 1], None, 1, overflow=Overflow.PROVEN)
    for fmt in (IntFormat(bits=8, narrow=True), IntFormat(bits=25)):
        with pytest.raises(ValueError, match=f"codes that wrap to {fmt}; allowed are formats of 2 to 24 bits"):
            codes([1, 2], [1, 1], None, 1, overflow=Overflow.WRAP, fmt=fmt)


@pytest.mark.parametrize("weight", [2**31 + 1, -(2**31) - 1])
def test_gamma_has_32_bits(weight):
    with pytest.raises(ValueError, match=f"pulp_layernorm gamma {weight}; allowed are -2147483648 to 2147483647"):
        codes([1, 2], [weight, 1], None, 1)
