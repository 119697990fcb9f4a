"""The strict fake-quant functions against the equations of docs/numerics.md, in Fractions."""

from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from hwsim.formats import Accumulator, IntFormat, Overflow
from reference.quantize.strict.exact import (
    embed,
    relu,
    requantize,
    round_half_even_scaled,
    scaled_int64,
    shift_right,
)
from reference.quantize.strict.matmul import matmul, matmul_ordered
from reference.quantize.strict.parameters import quantize_bias, quantize_parameter
from reference.quantize.strict.residual import add
from tests.unit.reference.quantize.page_arithmetic import clamp, narrow, wide

torch.set_num_threads(1)

INT8, INT32 = IntFormat(bits=8), IntFormat(bits=32)
multipliers, shifts = st.integers(1, 2**16 - 1), st.integers(0, 62)


def half_even(numerator: int, denominator: int = 1) -> int:
    return round(Fraction(numerator, denominator))  # Python rounds a Fraction half to even


# Section 1: requantize


def test_ties_of_both_signs_go_to_even():
    acc = wide([-7, -5, -3, -1, 1, 3, 5, 7])
    assert round_half_even_scaled(acc, 1, 1, 7).tolist() == [-4, -2, -2, 0, 0, 2, 2, 4]
    assert scaled_int64(acc, 1, 1, 7).tolist() == [-4, -2, -2, 0, 0, 2, 2, 4]


@given(acc=st.integers(-(2**37), 2**37), m=multipliers, e=shifts)
@example(acc=-1, m=1, e=62)
@example(acc=3, m=1, e=0)
@example(acc=-(2**37), m=2**15, e=53)
def test_both_ways_of_rounding_are_the_fraction(acc, m, e):
    want = half_even(acc * m, 2**e)
    assert int(round_half_even_scaled(wide([acc]), m, e, 2**37)) == want
    assert int(scaled_int64(wide([acc]), m, e, 2**37)) == want


@given(acc=st.integers(-(2**46), 2**46), m=multipliers, e=st.integers(17, 62))
@example(acc=2**45 + 1, m=2**15 + 1, e=46)  # a float64 product would lose the last bit
def test_products_beyond_float64_are_rounded_exactly(acc, m, e):
    assert int(round_half_even_scaled(wide([acc]), m, e, 2**46)) == half_even(acc * m, 2**e)


def test_requantize_per_channel_zero_point_and_clamp():
    acc = [[-1000, 17, 5], [2500, -17, 7]]
    m, e, z = [3, 40000, 1], [4, 13, 1], -3
    got = requantize(wide(acc), torch.tensor(m), torch.tensor(e), z, INT8, 2500)
    assert got.dtype == torch.float32
    assert got.tolist() == [[clamp(half_even(row[j] * m[j], 2 ** e[j]) + z, INT8) for j in range(3)] for row in acc]


def test_logits_of_32_bits_are_float64_and_saturate():
    got = requantize(wide([2**40, -(2**40), 2**24 + 1]), 1, 0, 0, INT32, 2**40)
    assert got.dtype == torch.float64
    assert got.tolist() == [2**31 - 1, -(2**31), 2**24 + 1]


def test_an_integer_accumulator_of_more_than_53_bits():
    acc = torch.tensor([2**55 + 2**20, -(2**55) - 3 * 2**20])
    got = requantize(acc, 3, 54, 5, INT8, 2**56)
    assert got.tolist() == [half_even(int(a) * 3, 2**54) + 5 for a in acc]


@pytest.mark.parametrize(
    ("m", "e", "bound"), [(1, 0, 2**53 + 1), (2**16 - 1, 4, 2**48), (0, 1, 4), (2**16, 1, 4), (1, 63, 4), (1, -1, 4)]
)
def test_what_cannot_be_exact_is_refused(m, e, bound):
    with pytest.raises(ValueError):
        round_half_even_scaled(wide([1]), m, e, bound)
    with pytest.raises(ValueError):
        round_half_even_scaled(wide([1]), torch.tensor([m]), torch.tensor([e]), bound)


@pytest.mark.parametrize("pass_clamped", [False, True])
def test_requantize_gradient_is_the_ratio_and_stops_at_the_clamp(pass_clamped):
    acc = narrow([255, 254, -256, -259, 1], gradient=True)  # /2: 127.5 -> 128 clamped, 127, -128, -129.5 clamped
    q = requantize(acc, 1, 1, 0, INT8, 300, pass_clamped=pass_clamped)
    assert q.tolist() == [127, 127, -128, -128, 0]
    (q * narrow([1, 2, 3, 4, 5])).sum().backward()
    assert acc.grad is not None
    assert acc.grad.tolist() == ([0.5, 1, 1.5, 2, 2.5] if pass_clamped else [0, 1, 1.5, 0, 2.5])


def test_parameters_round_half_even_clamp_and_pass_gradients():
    w = narrow([[0.25, 0.75, -0.25], [100, -100, 1.25]], gradient=True)
    q = quantize_parameter(w, wide([[0.5], [0.25]]), IntFormat(bits=8, narrow=True))
    assert q.tolist() == [[0, 2, 0], [127, -127, 5]]
    q.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [[2, 2, 2], [0, 0, 4]]
    b = narrow([1.5, 2.0**40, -0.375], gradient=True)
    codes = quantize_bias(b, 0.25)
    assert codes.dtype == torch.float64
    assert codes.tolist() == [6, 2**31 - 1, -2]
    codes.sum().backward()
    assert b.grad is not None
    assert b.grad.tolist() == [4, 0, 4]


# Section 2: matrix product


@pytest.mark.parametrize(("bound", "dtype"), [(2**24, torch.float32), (2**24 + 1, torch.float64)])
def test_matmul_is_exact_and_has_the_gradient_of_the_real_product(bound, dtype):
    torch.manual_seed(0)
    a = torch.randint(0, 256, (2, 3, 5)).float().requires_grad_()
    b = torch.randint(-128, 128, (4, 5)).float().requires_grad_()
    bias = torch.randint(-1000, 1000, (4,)).double().requires_grad_()
    acc = matmul(a, b, bias, 7, -2, bound)
    assert acc.dtype == dtype
    want = torch.einsum("tmk,nk->tmn", a.long() - 7, b.long() + 2) + bias.long()
    assert torch.equal(acc.long(), want)
    grad = torch.randint(-3, 4, acc.shape).to(dtype)
    acc.backward(grad)
    for x, g in (
        (a, torch.einsum("tmn,nk->tmk", grad.double(), b.double() + 2)),
        (b, torch.einsum("tmn,tmk->nk", grad.double(), a.double() - 7)),
        (bias, grad.double().sum((0, 1))),
    ):
        torch.testing.assert_close(x.grad, g.to(x.dtype))


def test_matmul_of_activations_broadcasts_its_batch():
    a, b = torch.arange(24.0).view(2, 3, 4).requires_grad_(), torch.arange(8.0).view(1, 2, 4).requires_grad_()
    acc = matmul(a, b, None, 0, 0, 2**20)
    assert torch.equal(acc, a @ b.mT)
    acc.sum().backward()
    assert torch.equal(a.grad, (b.detach().sum(1, keepdim=True)).expand(2, 3, 4))
    assert torch.equal(b.grad, a.detach().sum((0, 1)).expand(1, 2, 4))


def test_matmul_of_wide_codes_keeps_the_last_bit():
    a, b = narrow([[2**16 - 1, 2**16 - 1, 1]]), narrow([[2**16 - 1, 2**16 - 3, 1]])
    assert int(matmul(a, b, None, 0, 0, 2**33)) == (2**16 - 1) * (2**17 - 4) + 1
    with pytest.raises(ValueError, match="2\\^53"):
        matmul(a, b, None, 0, 0, 2**53 + 1)


def ordered(a: list[int], b: list[int], bias: int, accumulator: Accumulator) -> tuple[int, int]:
    """Eq (2), one output."""
    lo, hi, events, acc = accumulator.min, accumulator.max, 0, 0
    for i, t in enumerate([bias, *(x * y for x, y in zip(a, b, strict=True))]):
        acc = t if i == 0 else acc + t
        if not lo <= acc <= hi:
            events += 1
            saturates = accumulator.overflow is Overflow.SATURATE
            acc = min(max(acc, lo), hi) if saturates else (acc - lo) % 2**accumulator.bits + lo
    return acc, events


@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
@pytest.mark.parametrize(("bits", "top"), [(8, 2**16), (20, 2**9), (54, 2**15), (63, 2**16)])
def test_ordered_matmul_is_the_loop_of_eq_2(overflow, bits, top):
    torch.manual_seed(bits)
    accumulator = Accumulator(bits=bits, overflow=overflow)
    a, b = (torch.randint(-top + 1, top, (rows, 9)).float() for rows in (3, 4))
    bias = torch.tensor([0, accumulator.max, accumulator.min, accumulator.max + 2])
    acc, events = matmul_ordered(a + 5, b - 3, bias if bits > 53 else bias.double(), 5, -3, accumulator)
    want = [
        [ordered(x, y, z, accumulator) for y, z in zip(b.long().tolist(), bias.tolist(), strict=True)]
        for x in a.long().tolist()
    ]
    assert acc.long().tolist() == [[value for value, _ in row] for row in want]
    assert events == sum(count for row in want for _, count in row)
    assert events > 0


def test_ordered_matmul_passes_the_gradient_of_the_product_and_needs_an_order():
    a, b, bias = narrow([[100, 100]], True), narrow([[1, 1], [0, 2]], True), wide([0, 0], True)
    acc, events = matmul_ordered(a, b, bias, 0, 0, Accumulator(bits=8, overflow=Overflow.SATURATE))
    assert (acc.tolist(), events) == ([[127, 127]], 2)
    acc.sum().backward()
    assert [x.grad.tolist() for x in (a, b, bias)] == [[[1, 3]], [[100, 100], [100, 100]], [1, 1]]
    with pytest.raises(ValueError, match="proven"):
        matmul_ordered(a, b, None, 0, 0, Accumulator())


# Sections 3, 6, 7, 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_shift_right_is_half_even_in_its_own_dtype(dtype):
    acc = torch.arange(-40, 41).to(dtype)
    for k in range(4):
        got = shift_right(acc, k)
        assert got.dtype == dtype
        assert got.tolist() == [half_even(int(a), 2**k) for a in acc]


def test_gradients_of_shift_and_relu():
    acc = narrow([-3, 5, 6], gradient=True)
    shift_right(relu(acc), 2).sum().backward()
    assert acc.grad is not None
    assert acc.grad.tolist() == [0, 0.25, 0.25]


@given(st.integers(-128, 127), st.integers(0, 255), multipliers, multipliers, st.integers(8, 24))
@example(1, 0, 1, 1, 1)
def test_add_rounds_once(a, b, a_multiplier, b_multiplier, e):
    got = add(narrow([a]), narrow([b]), 3, 128, a_multiplier, b_multiplier, e, -4, INT8)
    assert int(got) == clamp(half_even((a - 3) * a_multiplier + (b - 128) * b_multiplier, 2**e) - 4, INT8)


def test_add_gradient_is_each_ratio():
    a, b = narrow([10, 120], gradient=True), narrow([20, 120], gradient=True)
    add(a, b, 0, 0, 3, 5, 2, 0, INT8).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([0.75, 0], [1.25, 0])


def test_embedding_takes_rows_positions_and_gradients():
    table, positions = narrow([[1, -2], [3, 4], [-5, 127]], True), narrow([[9, 9], [1, 2], [-3, 5], [7, 0]])
    ids, m, m_p, e = torch.tensor([[2, 1, 2]]), torch.tensor([1, 3, 6]), 5, 2
    q = embed(ids, 1, table, m, positions, m_p, e, 1, INT8)
    rows = [(ids[0, i].item(), i + 1) for i in range(3)]
    want = [[int(table[r, c]) * int(m[r]) + int(positions[p, c]) * m_p for c in range(2)] for r, p in rows]
    assert q[0].tolist() == [[clamp(half_even(x, 2**e) + 1, INT8) for x in row] for row in want]
    q.sum().backward()
    assert table.grad.tolist() == [[0, 0], [0.75, 0.75], [3, 0]]  # 127*6/4 was clamped, twice
    assert torch.equal(
        embed(ids, torch.tensor(1), table, 3, positions, m_p, e, 1, INT8)[:, :2].detach(),
        embed(ids[:, :2], 1, table, torch.tensor([3, 3, 3]), positions, m_p, e, 1, INT8).detach(),
    )
