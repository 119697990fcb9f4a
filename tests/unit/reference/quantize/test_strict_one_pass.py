"""Products, roundings and sums in one pass: against Python integers, and gradients against the separate stages."""

import threading

import pytest
import torch
from torch import Tensor

from hwsim.formats import IntFormat
from reference.quantize.strict import attention, blocks, bytes, dense, matmul
from reference.quantize.strict.attention import product as pair
from reference.quantize.strict.exact import relu, requantize, shift_right
from tests.unit.reference.quantize.page_arithmetic import INT8, INT16, UINT8, clamp, narrow, wide
from tests.unit.reference.quantize.test_strict_functions import INT32, half_even

torch.set_num_threads(1)


@pytest.fixture(params=[True, False], ids=["int8", "float"])
def carrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With products of int8 where this machine has them, and without."""
    if request.param and not bytes.exact_here():
        pytest.skip("this machine has no exact product of int8")
    monkeypatch.setattr(bytes, "exact_here", lambda: request.param)
    return request.param


def site(
    rows: int,
    m: int = 1,
    e: int = 0,
    a: IntFormat = INT8,
    zero: int = 0,
    to: IntFormat = INT32,
    z: int = 0,
    **more: bool,
) -> dense.Site:
    slope = torch.full((rows,), m / 2.0**e, dtype=torch.float64)
    where = {"a_format": a, "a_zero": zero, "to_format": to, "to_zero": z, "relu": False}
    return dense.Site(slope=slope, multiplier=m, **(where | more))


def made(a: Tensor, w: Tensor, bias: Tensor | None, to: dense.Site) -> Tensor:
    weight = dense.prepare(to, w, bias)
    assert weight is not None
    return dense.product(a, to, weight, None)


# Products with weights


@pytest.mark.parametrize(
    ("fmt", "zero"), [(INT8, 0), (INT8, -77), (UINT8, 0), (UINT8, 131), (IntFormat(bits=5, signed=False), 9)]
)
@pytest.mark.parametrize("with_relu", [False, True])
def test_a_layer_is_the_page_in_python_integers(carrier: bool, fmt: IntFormat, zero: int, with_relu: bool) -> None:
    torch.manual_seed(fmt.bits + zero)
    a = torch.randint(fmt.min, fmt.max + 1, (2, 9, 37)).float()
    a[0, 0], a[0, 1] = fmt.min, fmt.max  # beside w of one sign: the greatest sums
    w = torch.randint(-128, 128, (5, 37)).float()
    w[0], w[1] = 127, -128
    bias, m, e, z = torch.randint(-(2**20), 2**20, (5,)).double(), 40503, 29, 0 if with_relu else -5
    to_fmt = UINT8 if with_relu else INT8
    got = made(a, w, bias, site(5, m, e, fmt, zero, to_fmt, z, relu=with_relu))
    acc = torch.einsum("bmk,nk->bmn", a.long() - zero, w.long()) + bias.long()
    want = [clamp(half_even(max(x, 0) * m if with_relu else x * m, 2**e) + z, to_fmt) for x in acc.flatten().tolist()]
    assert got.dtype == torch.float32
    assert got.flatten().tolist() == want
    assert len(set(want)) > 5


def test_a_sum_of_one_product() -> None:
    a, w = torch.tensor([[3.0], [-7.0]]), torch.tensor([[5.0], [-128.0], [1.0]])
    assert made(a, w, None, site(3)).tolist() == [[15, -384, 3], [-35, 896, -7]]


@pytest.mark.parametrize(("last", "dtype"), [(4, torch.float32), (5, torch.float64)])
def test_float32_carries_sums_to_2_24_and_gives_way_beyond(last: int, dtype: torch.dtype) -> None:
    """Sums of |w| 512 and 513 at |a| <= 2^15; in the second, -16809979 is no float32."""
    w, a = narrow([[127, 127, 127, 127, last]]), narrow([[-(2**15)] * 4 + [-(2**15) + 1]])
    weight = dense.prepare(site(1, a=INT16), w, None)
    assert weight is not None
    assert weight.carrier.dtype == dtype
    got = dense.product(a, site(1, a=INT16), weight, None)
    assert got.dtype == torch.float64
    assert int(got) == -(508 * 2**15 + last * (2**15 - 1))


@pytest.mark.parametrize(("offset", "allowed"), [(2**37 - 129, True), (2**37 - 128, False)])
def test_what_float64_cannot_requantize_is_left_to_int64(offset: int, allowed: bool) -> None:
    """|a*w| <= 128 and a bias, times a multiplier of 2^16, must stay below 2^53."""
    to = site(1, 2**16, 20)
    weight = dense.prepare(to, narrow([[1]]), wide([offset]))
    assert (weight is not None) == allowed
    if weight is not None:
        assert int(dense.product(narrow([[127]]), to, weight, None)) == clamp(half_even(offset + 127, 2**4), INT32)


def test_a_zero_point_counts_in_that_bound() -> None:
    """A sum of at most 255*2^20, and as much again that the zero point adds, times 2^25."""
    w = torch.full((1, 2**13), 128.0)
    far = IntFormat(bits=8, signed=False)
    assert dense.prepare(site(1, 2**25, 20, far, 0), w, None) is not None
    assert dense.prepare(site(1, 2**25, 20, far, 255), w, None) is None


def test_gradients_are_those_of_the_separate_stages(carrier: bool) -> None:
    torch.manual_seed(3)
    for with_relu in (False, True):
        a = torch.randint(-128, 128, (2, 7, 11)).float().requires_grad_()
        w = torch.randint(-128, 128, (6, 11)).float().requires_grad_()
        bias = torch.randint(-(2**15), 2**15, (6,)).double().requires_grad_()
        m, e = torch.tensor([30001, 40002, 50003, 60004, 65535, 1]), torch.tensor([22, 22, 23, 24, 25, 6])
        to_fmt, z = (UINT8, 0) if with_relu else (INT8, 20)
        to = dense.Site(
            a_format=INT8, a_zero=-9, slope=m / 2.0 ** e.double(), multiplier=65535, to_format=to_fmt, to_zero=z,
            relu=with_relu,
        )  # fmt: skip
        weight = dense.prepare(to, w.detach(), bias.detach())
        grad = torch.randn(2, 7, 6)
        ours = dense.Dense.apply(a, w, bias, to, weight)
        ours.backward(grad)
        mine = [x.grad for x in (a, w, bias)]
        for x in (a, w, bias):
            x.grad = None
        acc = matmul.matmul(a, w, bias, -9, 0, 2**24)
        theirs = requantize(relu(acc) if with_relu else acc, m, e, z, to_fmt, 2**24)
        assert torch.equal(ours, theirs)
        assert 0 < int((theirs == to_fmt.max).sum()) < theirs.numel() // 2
        theirs.backward(grad)
        for one, other in zip(mine, (a.grad, w.grad, bias.grad), strict=True):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


# Products of activations


@pytest.mark.parametrize(("shift", "zeros"), [(0, (0, 0)), (2, (5, 0)), (3, (0, -7))])
def test_a_pair_is_the_separate_stages_and_has_their_gradients(shift: int, zeros: tuple[int, int]) -> None:
    torch.manual_seed(shift)
    a = torch.randint(-128, 128, (2, 3, 4, 9)).float().requires_grad_()
    b = torch.randint(-128, 128, (2, 3, 9, 5)).float().requires_grad_()
    constants = attention.Constants(
        a_zero=zeros[0], b_zero=zeros[1], shift=shift, slope=50001 / 2.0 ** (22 - shift), carrier=torch.float32,
        ends=blocks.Ends(INT8, 3, 10.0**6),
    )  # fmt: skip
    seen: list[Tensor] = []
    ours, grad = pair(a, b, constants, seen.append), torch.randn(2, 3, 4, 5)
    ours.backward(grad)
    mine = a.grad, b.grad
    a.grad = b.grad = None
    acc = shift_right(matmul.matmul(a, b.mT, None, *zeros, 2**24), shift)
    assert torch.equal(seen[0], acc.detach())
    theirs = requantize(acc, 50001, 22 - shift, 3, INT8, 2**24)
    assert torch.equal(ours, theirs)
    assert int((theirs == 127).sum()) > 0
    theirs.backward(grad)
    for one, other in zip(mine, (a.grad, b.grad), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(pair(a, b, constants), theirs)


# Memory that is kept


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, w = torch.randint(-128, 128, (50, 16)).float(), torch.randint(-128, 128, (12, 16)).float()
    to = site(12, 40001, 22, to=INT8)
    whole = made(a, w, None, to)
    monkeypatch.setattr(blocks, "BLOCK", 24)  # two rows at a time
    monkeypatch.setattr(dense, "PRODUCT_BLOCK", 84)  # seven
    assert torch.equal(made(a, w, None, to), whole)


def test_what_was_made_is_not_written_again() -> None:
    a, w = torch.randint(-128, 128, (8, 16)).float(), torch.randint(-128, 128, (12, 16)).float()
    for fmt in (INT8, INT32):
        first = made(a, w, None, site(12, to=fmt))
        before = first.clone()
        made(-a, w, None, site(12, to=fmt))
        assert torch.equal(first, before)


def test_memory_of_inference_mode_serves_outside_it() -> None:
    a, w = torch.randint(-128, 128, (3, 513)).float(), torch.randint(-128, 128, (997, 513)).float()
    with torch.inference_mode():
        inside = made(a, w, None, site(997)).tolist()
    assert made(a, w, None, site(997)).tolist() == inside


def test_threads_have_memory_of_their_own() -> None:
    operands = [torch.randint(-128, 128, (64, 64)).float() for _ in range(2)]
    w, to, wrong = torch.randint(-128, 128, (512, 64)).float(), site(512, 40001, 22, to=INT8), []
    want = [made(a, w, None, to) for a in operands]

    def work(index: int) -> None:
        wrong.extend(_ for _ in range(50) if not torch.equal(made(operands[index], w, None, to), want[index]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# torch's product of int8


@pytest.mark.parametrize("fault", ["saturates pairs", "adds to what is there"])
def test_a_product_of_int8_that_errs_is_not_used(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def multiply(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        if fault == "adds to what is there":
            return out.fill_(1).add_((a.double() @ b.double()).int())
        pairs = [(a[:, k : k + 2].double() + 128) @ b[k : k + 2].double() for k in range(0, a.shape[1], 2)]
        total = sum((p.clamp(-(2**15), 2**15 - 1) for p in pairs), torch.zeros(out.shape, dtype=torch.float64))
        return out.copy_(total - 128 * b.double().sum(0))

    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr(bytes, "multiply", multiply)
    assert bytes.exact_here.__wrapped__() is False
    monkeypatch.setattr(bytes, "multiply", lambda a, b, out: out.copy_(a.double() @ b.double()))
    assert bytes.exact_here.__wrapped__() is True
