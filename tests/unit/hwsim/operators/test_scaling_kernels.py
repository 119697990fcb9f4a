"""Requantization by scheme, shifts by any rounding and rescaled sums: kernel equals oracle, codes and events."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.formats import Counter, IntFormat, Rounding, Scaling
from hwsim.operators.requantize import requantize, shift_right
from hwsim.program.catalogue import CATALOGUE, scheme_type
from tests import oracle
from tests.oracle import Ratio
from tests.unit.hwsim.operators.kernel_checks import (
    Integers,
    assert_counted,
    assert_occurred,
    assert_same,
    half_full,
    int32,
    int64,
    matrix,
    no_events,
    tallied,
    thin,
)
from tests.unit.hwsim.operators.scheme_cases import (
    MULTIPLIERS,
    SCHEMES,
    SHIFTS,
    RescaledAdd,
    add_by,
    check_rescaled_add,
    check_scheme,
    corners,
    greatest,
    least,
    ratios_of,
    rescaled_sums,
    scaling_of,
    scalings,
)
from tests.unit.hwsim.operators.test_kernels_properties import INT8, INT16, TIES, explore


@pytest.mark.parametrize(("scheme", "rounding"), SCHEMES)
def test_requantize_by_scheme(scheme: str, rounding: str) -> None:
    seen = explore(
        check_scheme, lambda bits: scalings(scheme, rounding, bits), corners(scheme, rounding), range(2, 17, 2)
    )
    assert_occurred(seen, Counter.SATURATION, *TIES)


@pytest.mark.parametrize(("scheme", "rounding"), SCHEMES)
def test_every_accumulator_around_ties(scheme: str, rounding: str) -> None:
    """-600 to 500 (symmetry would hide signs) under simple multipliers and shifts that leave fractions to 6 bits."""
    high = 1 if scheme == "shift" else MULTIPLIERS[scheme][1]
    top = 2 ** (high.bit_length() - 1)
    seen = no_events()
    for m in {top, top | top // 2, high}:
        for fraction in thin(range(7)):
            e = (m & -m).bit_length() - 1 + fraction
            limit = min(greatest(scheme, m, e), 600)
            acc = np.arange(-limit, limit - limit // 6 + 1)[None]
            seen += check_scheme(scheme, rounding, acc, int64([m]), int64([e]), 3, INT8)
    assert_occurred(seen, Counter.SATURATION, *TIES)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_shift_right_by_every_rounding(rounding: Rounding, dtype: type[np.int64]) -> None:
    limits = np.iinfo(dtype)
    values = [*range(-70, 71), limits.min, limits.min + 1, limits.max - 1, limits.max]
    values += [odd << k for k in range(limits.bits - 3) for odd in (-3, -1, 1, 3)]
    acc, seen = np.array(values, dtype)[None], no_events()
    for shift in thin(range(63)):
        counters = half_full()
        result = shift_right(acc, shift, counters, rounding)
        assert result.dtype == dtype
        assert_same(f"{rounding} by {shift}", result, oracle.shift_right(matrix(acc), shift, rounding.value))
        ties = [oracle.scale(x, Ratio("shift", 1, shift)).tie for x in values]
        seen += assert_counted(counters, tallied(ties))
    assert_occurred(seen, *TIES)


# Rescaled sums


PAIRS = int32([[a, b] for a in (-128, -3, -1, 0, 1, 2, 127) for b in (-128, -2, -1, 0, 1, 3, 127)]).T.copy()
SUMS = [scheme for scheme in SCHEMES if scheme[0] != "float32_inside"]


@pytest.mark.parametrize(("scheme", "rounding"), SUMS)
def test_rescaled_add(scheme: str, rounding: str) -> None:
    m = 1 if scheme == "shift" else 2 ** (MULTIPLIERS[scheme][1].bit_length() - 1)
    one = m.bit_length()  # m / 2^one is one half
    plain = RescaledAdd(scheme, rounding, *PAIRS, (0, 0), 0, ((m, one), (m, one)), None, 0, INT8)
    back = plain._replace(left_shift=20, output_ratio=(m, min(one + 20, 62)))
    pinned = [plain._replace(zeros=zeros, zero=zero) for zeros in ((0, 0), (-128, 127), (127, 5)) for zero in (0, 127)]
    pinned += [back._replace(zeros=zeros, output=form) for zeros in ((0, 0), (-128, 127)) for form in (INT8, INT16)]
    pinned += [plain._replace(a=PAIRS[0][:0], b=PAIRS[1][:0]), plain._replace(ratios=((m, 62), (m, one)))]
    seen = explore(check_rescaled_add, lambda bits: rescaled_sums(scheme, rounding, bits), pinned, range(2, 17, 2))
    assert_occurred(seen, Counter.SATURATION, *TIES)


@pytest.mark.parametrize(("scheme", "left"), [("q31_double", 20), ("q31_double_half_up", 0)])
def test_rescaled_add_of_every_two_codes_of_8_bits(scheme: str, left: int) -> None:
    """As TFLite has it: ratios of 1/2 and 3/8, and back by 1 / 2^(left - 1)."""
    codes = np.array(thin(range(-128, 128)), np.int32)
    a, b = (np.ascontiguousarray(grid) for grid in np.meshgrid(codes, codes))
    ratios, last = ((2**30, 31), (3 * 2**29, 32)), (2**30, 29 + left) if left else None
    case = RescaledAdd(scheme, "half_even", a, b, (3, -5), left, ratios, last, 60, INT8)
    assert_occurred(check_rescaled_add(*case), Counter.SATURATION, *TIES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left_shift": 21}, "left_shift is 21; allowed: 0 to 20"),
        ({"left_shift": -1}, "left_shift is -1; allowed: 0 to 20"),
        ({"scheme": "float32_inside"}, "FLOAT32_INSIDE; allowed in a rescaled sum: the other rules"),
        ({"ratios": ((0, 1), (1, 1))}, "a multiplier is 0; allowed: 1 to 2147483647"),
        ({"ratios": ((1, 1), (2**31, 1))}, "b multiplier is 2147483648; allowed: 1 to 2147483647"),
        ({"ratios": ((1, 63), (1, 1))}, "a shift is 63; allowed: 0 to 62"),
        ({"output_ratio": (1, 63)}, "shift is 63; allowed: 0 to 62"),
        ({"left_shift": 20, "scheme": "q31_double", "ratios": ((2**30, 20), (2**30, 40))}, r"; allowed: .*to \d+"),
    ],
)
def test_rescaled_add_refuses(changes: dict[str, Any], message: str) -> None:
    case = RescaledAdd("dyadic", "half_even", *PAIRS, (0, 0), 0, ((1, 1), (1, 1)), None, 0, INT8)
    add_by(case, half_full())
    with pytest.raises(ValueError, match=message):
        add_by(case._replace(**changes), half_full())


# Laws and refusals


def run(scheme: str, acc: Integers, m: int, e: int, output: IntFormat = INT16) -> Integers:
    counters = half_full()
    return requantize(acc, int64([m]), int64([e]), 0, output, counters, scaling_of(scheme, "half_even"))


@given(st.data())
def test_scales_are_monotone(data: st.DataObject) -> None:
    scheme = data.draw(st.sampled_from(list(MULTIPLIERS)))
    m, e = data.draw(ratios_of(scheme))
    limit = greatest(scheme, m, e)
    start = data.draw(st.integers(-limit, max(limit - 200, -limit)))
    acc = np.arange(start, min(start + 200, limit))[None]
    assert (np.diff(run(scheme, acc, m, e, IntFormat(bits=32)).astype(np.int64)) >= 0).all()


def test_a_multiplier_of_0_leaves_the_zero_point() -> None:
    """ITA encodes it: HALF_UP(x * 0 / 2^e) = 0, no tie, and nothing of a sum but its zero point either."""
    counters, codes = no_events(), int32([[-128, -1, 0, 127]])
    assert requantize(codes, int64([0]), int64([1]), 5, INT8, counters, Scaling.HALF_UP).tolist() == [[5] * 4]
    case = RescaledAdd("narrow_after", "half_even", codes, codes, (0, 0), 0, ((128, 7), (0, 1)), (0, 1), -7, INT8)
    assert add_by(case, counters).tolist() == [[-7] * 4]
    assert add_by(case._replace(output_ratio=None), counters).tolist() == [[-128, -8, -7, 120]]
    assert counters.tolist() == [0, 1, 0, 0, 0]


def test_operands_saturate_before_they_are_added() -> None:
    """127 * 2 = 254 is held at 127, and 127 - 100 = 27; without c it is 154, which only the last clamp holds at 127."""
    counters, (a, b) = no_events(), int32([[[127]], [[-100]]])
    case = RescaledAdd("narrow_before", "half_even", a, b, (0, 0), 0, ((2, 0), (1, 0)), None, 0, INT8, INT8)
    assert add_by(case, counters).tolist() == [[27]] and counters.tolist() == [0, 1, 0, 0, 0]
    assert add_by(case._replace(operand=None), counters).tolist() == [[127]] and counters.tolist() == [0, 2, 0, 0, 0]


def test_two_roundings_are_not_one() -> None:
    """The example of docs/operators/requantization.md: 3/8 becomes 1."""
    three = int32([[3, -3]])
    assert run("q31_double", three, 2**30, 33).tolist() == [[1, 0]]
    assert run("q31_double_half_up", three, 2**30, 33).tolist() == [[1, 0]]
    assert run("q31_single", three, 2**30, 33).tolist() == [[0, 0]]


def test_the_catalogue_is_the_table_of_the_page() -> None:
    assert set(CATALOGUE) == {*MULTIPLIERS, "shift"}
    for name, limits in MULTIPLIERS.items():
        record = CATALOGUE[name].limits
        assert (record.low, record.high) == limits
        assert (record.least_shift, record.greatest_shift) == SHIFTS.get(name, (0, 62))
        for m, e in ((limits[0], record.least_shift), (limits[1], record.greatest_shift)):
            assert scheme_type(name)(multiplier=m, shift=e).multiplier == m


OUTSIDE = [(name, value, 1) for name, limits in MULTIPLIERS.items() for value in (limits[0] - 1, limits[1] + 1)]
OUTSIDE += [
    (name, limits[0], shift)
    for name, limits in MULTIPLIERS.items()
    for shift in (SHIFTS.get(name, (0, 62))[0] - 1, SHIFTS.get(name, (0, 62))[1] + 1)
]


@pytest.mark.parametrize(("scheme", "m", "e"), [*OUTSIDE, ("shift", 2, 1), ("shift", 1, 63)])
def test_a_record_refuses_what_its_hardware_does_not_encode(scheme: str, m: int, e: int) -> None:
    limits = CATALOGUE[scheme].limits
    allowed = f"{limits.least_shift} to {limits.greatest_shift}"
    if not limits.low <= m <= limits.high:
        allowed = f"{limits.low} to {limits.high}"
    with pytest.raises(ValueError, match=f"{scheme}: .*; allowed are {allowed}"):
        scheme_type(scheme)(multiplier=m, shift=e)


@pytest.mark.parametrize(
    ("scheme", "m", "e"),
    [
        ("q31_double", 2**30, 0),
        ("q31_double_half_up", 2**31 - 1, 20),
        ("q31_double", 2**30, 62),
        ("dyadic", 2**31 - 1, 62),
        ("q15", 2**15 - 1, 62),
        ("float32", 2**24 - 1, 62),
        ("float32_inside", 1, 0),
        ("shift", 1, 62),
    ],
)
def test_the_kernel_takes_the_greatest_accumulator_and_no_more(scheme: str, m: int, e: int) -> None:
    low, high = least(scheme, m, e), greatest(scheme, m, e)
    if scheme == "q15":  # what the arithmetic takes; the hardware's 48 bits are another matter
        high = (2**63 - 1 - 2**61) // m
        low = -high
    run(scheme, int64([[low, high]]), m, e)
    for beyond in (high + 1, low - 1):
        with pytest.raises(ValueError, match=rf"{beyond}.* allowed: .*(2\^31|2\^63)"):
            run(scheme, int64([[beyond]]), m, e)


@pytest.mark.parametrize(
    ("m", "e", "scaling", "message"),
    [
        (-1, 1, Scaling.HALF_UP, "an element of multiplier is -1; allowed: 0 to 2147483647"),
        (0, 1, Scaling.HALF_AWAY, "an element of multiplier is 0; allowed: 1 to 2147483647"),
        (2**31, 1, Scaling.HALF_EVEN, "multiplier is 2147483648; allowed: 1 to 2147483647"),
        (2**24, 1, Scaling.FLOAT32, "multiplier is 16777216; allowed: 1 to 16777215"),
        (2**24, 1, Scaling.FLOAT32_INSIDE, "multiplier is 16777216; allowed: 1 to 16777215"),
        (1, 63, Scaling.HALF_AWAY, "an element of shift is 63; allowed: 0 to 62"),
        (1, -1, Scaling.Q31_DOUBLE, "an element of shift is -1; allowed: 0 to 62"),
    ],
)
def test_the_kernel_refuses_other_ratios(m: int, e: int, scaling: Scaling, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        requantize(int32([[1]]), int64([m]), int64([e]), 0, INT8, half_full(), scaling)
