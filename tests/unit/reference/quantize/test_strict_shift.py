"""A shift of its own stage, by every rounding and with a clamp: (R13) of docs/operators/requantization.md."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from hwsim.formats import IntFormat, Rounding, Scaling
from reference.quantize.strict.exact import shift_right
from tests.unit.reference.quantize.page_arithmetic import INT8, UINT8, narrow, scaled, wide

INT32 = IntFormat(bits=32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("rounding", list(Rounding))
def test_every_rounding_of_ties_and_their_neighbours_in_its_own_dtype(rounding, dtype):
    acc = torch.arange(-40, 41).to(dtype)
    for k in (0, 1, 2, 3, 62):
        got = shift_right(acc, k, rounding)
        assert got.dtype == dtype
        assert got.tolist() == [scaled(int(a), Scaling[rounding.name], 1, k) for a in acc]


@pytest.mark.parametrize("rounding", list(Rounding))
@given(acc=st.integers(-(2**53), 2**53), k=st.integers(0, 62))
@example(acc=2**53, k=1)
@example(acc=2**53 - 1, k=1)
@example(acc=1 - 2**53, k=52)
@example(acc=-(2**52) - 1, k=53)
def test_float64_carries_every_accumulator_of_54_bits(rounding, acc, k):
    want = scaled(acc, Scaling[rounding.name], 1, k)
    assert int(shift_right(wide([acc]), k, rounding)) == int(shift_right(torch.tensor([acc]), k, rounding)) == want


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("acc", [2**24 - 1, 1 - 2**24, 2**24])
def test_float32_carries_every_accumulator_of_24_bits(rounding, acc):
    for k in (1, 23, 24, 25):
        assert int(shift_right(narrow([acc]), k, rounding)) == scaled(acc, Scaling[rounding.name], 1, k)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_the_clamp_follows_the_rounding(dtype):
    acc = torch.tensor([2**33 - 3, 2**33 - 2, 2**33, -(2**33) - 2, -(2**33) - 4, 5]).to(dtype)  # NVDLA's CACC
    got = shift_right(acc, 2, Rounding.HALF_AWAY, INT32)
    assert got.dtype == dtype
    assert got.tolist() == [2**31 - 1, 2**31 - 1, 2**31 - 1, -(2**31), -(2**31), 1]
    assert shift_right(acc[:1], 2, Rounding.FLOOR, IntFormat(bits=33)).tolist() == [2**31 - 1]
    assert shift_right(acc[:1], 2, Rounding.HALF_UP, IntFormat(bits=33)).tolist() == [2**31 - 1]
    assert shift_right(acc[1:2], 2, Rounding.HALF_UP, IntFormat(bits=33)).tolist() == [2**31]


def test_a_shift_by_0_saturates_too():
    assert shift_right(wide([200, -129, 127]), 0, fmt=INT8).tolist() == [127, -128, 127]


def test_an_accumulator_of_63_bits_saturates_in_int64():
    acc = torch.tensor([2**61 + 1, -(2**61) - 2, 2**60])
    assert shift_right(acc, 1, Rounding.HALF_AWAY, IntFormat(bits=61)).tolist() == [2**60 - 1, -(2**60), 2**59]


@pytest.mark.parametrize("rounding", list(Rounding))
def test_the_gradient_is_the_slope_and_stops_at_the_clamp(rounding):
    acc = wide([7, -7, 508, -512, 512, -520], gradient=True)
    shift_right(acc, 2, rounding, INT8).sum().backward()
    assert acc.grad.tolist() == [0.25, 0.25, 0.25, 0.25, 0, 0]
    acc = narrow([7, -7, 512], gradient=True)
    shift_right(acc, 2, rounding).sum().backward()
    assert acc.grad.tolist() == [0.25] * 3


def test_the_gradient_of_a_shift_by_0_stops_at_the_clamp():
    acc = wide([127, 128], gradient=True)
    shift_right(acc, 0, fmt=INT8).sum().backward()
    assert acc.grad.tolist() == [1, 0]


@pytest.mark.parametrize("k", [-1, 63])
def test_shifts_have_a_range(k):
    with pytest.raises(ValueError, match=f"shift {k}; allowed are 0 to 62"):
        shift_right(wide([1]), k, Rounding.FLOOR)


def test_the_clamp_is_signed():
    with pytest.raises(ValueError, match="a shift to uint8; allowed are signed formats"):
        shift_right(wide([1]), 1, fmt=UINT8)
