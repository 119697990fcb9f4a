"""Strict requantization by every scheme against docs/operators/requantization.md, in integers and Fractions."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from hwsim.formats import Scaling
from reference.quantize.strict.exact import requantize
from reference.quantize.strict.scaling import (
    divide_by_power,
    high_multiply,
    leading_zeros,
    requantize_by,
    saturating_shift,
    scale,
)
from tests.unit.reference.quantize.page_arithmetic import (
    FLOATS,
    INT8,
    INT32_MAX,
    INT32_MIN,
    Q31,
    ROUND,
    R,
    S,
    clamp,
    satshl,
    scaled,
    wide,
)

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
        (Scaling.HALF_AWAY, 0, 1, 4),
        (Scaling.HALF_EVEN, 0, 1, 4),
        (Scaling.FLOAT32, 0, 1, 4),
        (Scaling.HALF_UP, -1, 1, 4),
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


@pytest.mark.parametrize("e", [0, 34, 62])  # in float64, and beyond
def test_a_multiplier_of_0_that_rounds_half_up_gives_the_zero_point(e):
    acc = wide([5, -(2**25)], gradient=True)
    codes = requantize_by(acc, Scaling.HALF_UP, 0, e, -7, INT8, 2**25)
    codes.sum().backward()
    assert (codes.tolist(), acc.grad.tolist()) == ([-7, -7], [0, 0])
    channels = requantize_by(acc, Scaling.HALF_UP, torch.tensor([3, 0]), torch.tensor([1, e]), 0, INT8, 2**25)
    assert channels.tolist() == [8, 0]  # 7.5


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
