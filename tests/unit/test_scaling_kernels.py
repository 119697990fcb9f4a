"""Requantization by scheme, shifts by any rounding and rescaled sums: kernel equals oracle, codes and events."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.formats import Counter, IntFormat, Rounding, Scaling
from hwsim.requantization import CATALOGUE, Shift, scheme_type
from hwsim.requantize import requantize, shift_right
from hwsim.residual import rescaled_add
from tests import oracle
from tests.oracle import Ratio
from tests.oracle.rounding import ROUNDINGS
from tests.unit.kernel_cases import EDGE_SHIFTS, arrays, formats, shapes, zero_points
from tests.unit.kernel_checks import (
    Events,
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
from tests.unit.test_kernels_properties import INT8, INT16, TIES, explore

Draw = Callable[..., Any]

MULTIPLIERS = {
    "q31_double": (2**30, 2**31 - 1),
    "q31_double_half_up": (2**30, 2**31 - 1),
    "q31_single": (2**30, 2**31 - 1),
    "q15": (2**14, 2**15 - 1),
    "dyadic": (1, 2**31 - 1),
    "narrow_after": (1, 2**8 - 1),
    "narrow_before": (1, 2**16 - 1),
    "nvdla": (1, 2**15 - 1),
    "float32": (1, 2**24 - 1),
    "float32_inside": (1, 2**24 - 1),
}
"""The table of docs/operators/requantization.md."""
SCHEMES = [(scheme, "half_even") for scheme in MULTIPLIERS] + [("shift", rounding) for rounding in ROUNDINGS]
DOUBLE = ("q31_double", "q31_double_half_up")


class Scaled(NamedTuple):
    """Arguments of `check_scheme`."""

    scheme: str
    rounding: str
    acc: Integers
    multiplier: Integers
    shift: Integers
    zero: int
    output: IntFormat


def greatest(scheme: str, m: int, e: int) -> int:
    """The greatest |x| of the page."""
    if scheme in DOUBLE:
        return int(2**31 // 2 ** max(31 - e, 0))
    exact = (2**63 - 1 - 2**e // 2) // m
    return min(exact, {"q31_single": 2**31, "q15": 2**47, "float32": 2**31, "float32_inside": 2**31}.get(scheme, exact))


def scaling_of(scheme: str, rounding: str) -> Scaling:
    """What a program of the scheme hands to the kernel."""
    if scheme == "shift":
        return Shift(shift=1, rounding=Rounding(rounding)).scaling
    return scheme_type(scheme)(multiplier=MULTIPLIERS[scheme][0], shift=1).scaling


def check_scheme(
    scheme: str, rounding: str, acc: Integers, multiplier: Integers, shift: Integers, zero: int, output: IntFormat
) -> Events:
    """Equation (R1) with the arithmetic of a scheme."""
    counters = half_full()
    codes = requantize(acc, multiplier, shift, zero, output, counters, scaling_of(scheme, rounding))
    ratios = [Ratio(scheme, int(m), int(e), rounding) for m, e in np.broadcast(multiplier, shift)]
    rows, ties, saturated = oracle.requantize_by(matrix(acc), ratios, zero, output.min, output.max)
    assert_same(f"{scheme} {rounding}", codes, rows)
    return assert_counted(counters, tallied(ties, saturated))


@st.composite
def ratios_of(draw: Draw, scheme: str) -> tuple[int, int]:
    """A third of the multipliers has at most 2 significant bits, and shifts after which ties are likely."""
    if scheme == "shift":
        return 1, draw(st.integers(1, 4) | st.sampled_from(EDGE_SHIFTS))
    low, high = MULTIPLIERS[scheme]
    if draw(st.integers(0, 2)):
        return draw(st.integers(low, high)), draw(st.integers(1, 62) | st.integers(28, 40))
    last = high.bit_length() - 1
    first = last if low > 1 else draw(st.integers(1, last))
    m = 2**first | draw(st.sampled_from([0, 2 ** (first - 1)]))
    return m, min((m & -m).bit_length() + draw(st.integers(0, 3)), 62)


@st.composite
def scalings(draw: Draw, scheme: str, rounding: str, bits: int) -> Scaled:
    """Accumulators as wide as the scheme takes, or near 0."""
    output, (rows, channels) = draw(formats(bits)), draw(shapes(4, 4, least=1))
    one_each = [draw(ratios_of(scheme)) for _ in range(draw(st.sampled_from([1, channels])))]
    limit = min(greatest(scheme, *ratio) for ratio in one_each)
    limit = min(limit, draw(st.sampled_from([2 ** (bits + 1), 2 ** (bits + 2), 2**31 - 1, limit])))
    dtype = draw(st.sampled_from([np.int32, np.int64])) if limit < 2**31 else np.int64
    m, e = (int64(column) for column in zip(*one_each, strict=True))
    acc = draw(arrays((rows, channels), -limit, limit, dtype))
    return Scaled(scheme, rounding, acc, m, e, draw(zero_points(output)), output)


def ends(scheme: str, m: int, e: int) -> Integers:
    limit = greatest(scheme, m, e)
    return np.array([[-limit, 1 - limit, -1, 0, 1, limit - 1, limit]]).clip(-limit, limit)


def corners(scheme: str, rounding: str) -> list[Scaled]:
    """The ends of the accumulators, of the multipliers and of the shifts."""
    multipliers = (1,) if scheme == "shift" else MULTIPLIERS[scheme]
    return [
        Scaled(scheme, rounding, ends(scheme, m, e), int64([m]), int64([e]), zero, output)
        for m in multipliers
        for e in (int(scheme == "q31_single"), 1, 30, 31, 32, 33, 61, 62)
        for zero, output in ((-128, INT8), (127, INT8), (0, IntFormat(bits=32)))
    ]


@pytest.mark.parametrize(("scheme", "rounding"), SCHEMES)
def test_requantize_by_scheme(scheme: str, rounding: str) -> None:
    seen = explore(
        check_scheme, lambda bits: scalings(scheme, rounding, bits), corners(scheme, rounding), range(2, 17, 2)
    )
    assert_occurred(seen, Counter.SATURATION, *TIES)


@pytest.mark.parametrize(("scheme", "rounding"), SCHEMES)
def test_every_accumulator_around_ties(scheme: str, rounding: str) -> None:
    """Windows of -600 to 600 under the simple multipliers and every shift that leaves a fraction of 0 to 6 bits."""
    high = 1 if scheme == "shift" else MULTIPLIERS[scheme][1]
    top = 2 ** (high.bit_length() - 1)
    seen = no_events()
    for m in {top, top | top // 2, high}:
        for fraction in thin(range(7)):
            e = (m & -m).bit_length() - 1 + fraction
            limit = min(greatest(scheme, m, e), 600)
            acc = np.arange(-limit, limit + 1)[None]
            seen += check_scheme(scheme, rounding, acc, int64([m]), int64([e]), 3, INT8)
    assert_occurred(seen, Counter.SATURATION, *TIES)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_shift_right_by_every_rounding(rounding: Rounding, dtype: type[np.int64]) -> None:
    limits = np.iinfo(dtype)
    values = [
        *range(-70, 71),
        limits.min,
        limits.min + 1,
        limits.min // 2,
        limits.max // 2 + 1,
        limits.max - 1,
        limits.max,
    ]
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


class RescaledAdd(NamedTuple):
    """Arguments of `check_rescaled_add`; a ratio is a multiplier and a shift."""

    scheme: str
    rounding: str
    a: Integers
    b: Integers
    zeros: tuple[int, int]
    left_shift: int
    ratios: tuple[tuple[int, int], tuple[int, int]]
    output_ratio: tuple[int, int] | None
    zero: int
    output: IntFormat


def check_rescaled_add(*arguments: Any) -> Events:
    """Equation (R10)."""
    case, counters = RescaledAdd(*arguments), half_full()
    of_scheme = [Ratio(case.scheme, *ratio, case.rounding) for ratio in (*case.ratios, case.output_ratio or (1, 1))]
    operands = case.a.reshape(-1).tolist(), case.b.reshape(-1).tolist()
    last = None if case.output_ratio is None else of_scheme[2]
    limits = case.output.min, case.output.max
    want, ties, saturated = oracle.rescaled_add(
        *operands, case.zeros, (of_scheme[0], of_scheme[1]), case.left_shift, last, case.zero, *limits
    )
    assert_same(f"rescaled_add {case.scheme}", add_by(case, counters), want)
    return assert_counted(counters, tallied(ties, saturated))


def add_by(case: RescaledAdd, counters: Events) -> Integers:
    (a_m, a_e), (b_m, b_e) = case.ratios
    output_m, output_e = case.output_ratio or (None, 0)
    return rescaled_add(
        *(case.a, case.b),
        **{"a_zero": case.zeros[0], "b_zero": case.zeros[1], "left_shift": case.left_shift},
        scaling=scaling_of(case.scheme, case.rounding),
        **{"a_multiplier": a_m, "a_shift": a_e, "b_multiplier": b_m, "b_shift": b_e},
        **{"output_multiplier": output_m, "output_shift": output_e, "zero_point": case.zero},
        **{"output": case.output, "counters": counters},
    )


@st.composite
def rescaled_sums(draw: Draw, scheme: str, rounding: str, bits: int) -> RescaledAdd:
    """Operands of at most 11 bits less zero point, to that many bits and, with an output ratio, back."""
    a, b, output = draw(formats(most=10)), draw(formats(most=10)), draw(formats(bits))
    shape, left, back = draw(shapes(3, 6)), draw(st.sampled_from([0, 0, 3, 15, 20])), draw(st.booleans())
    gain = left if back else 0  # bits by which the operands may grow

    def near(ratio: tuple[int, int], growth: int) -> tuple[int, int]:
        m, e = ratio
        tie = (m & -m).bit_length() + draw(st.integers(0, 2))
        least = max(m.bit_length() - growth, 11 + left if scheme in DOUBLE else 0)
        return m, min(max(least, draw(st.sampled_from([0, tie]))), 62)

    one_each = near(draw(ratios_of(scheme)), gain - left), near(draw(ratios_of(scheme)), gain - left)
    last = near(draw(ratios_of(scheme)), bits - 11 - gain) if back else None
    zeros = draw(zero_points(a)), draw(zero_points(b))
    operands = draw(arrays(shape, a.min, a.max)), draw(arrays(shape, b.min, b.max))
    return RescaledAdd(scheme, rounding, *operands, zeros, left, one_each, last, draw(zero_points(output)), output)


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


@pytest.mark.parametrize("left", [0, 15, 20])
def test_rescaled_add_of_every_two_codes_of_8_bits(left: int) -> None:
    """As TFLite has it: ratios of 1/2 and 3/8, and back by 1 / 2^(left - 1)."""
    codes = np.array(thin(range(-128, 128)), np.int32)
    a, b = (np.ascontiguousarray(grid) for grid in np.meshgrid(codes, codes))
    ratios, last = ((2**30, 31), (3 * 2**29, 32)), (2**30, 29 + left)
    for scheme in DOUBLE[: 1 + (left == 20)]:
        case = RescaledAdd(scheme, "half_even", a, b, (3, -5), left, ratios, last if left else None, 1, INT8)
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
        ({"left_shift": 20, "scheme": "q31_double", "ratios": ((2**30, 20), (2**30, 40))}, "; allowed: to 1048576"),
        ({"scheme": "dyadic", "ratios": ((1, 0), (1, 0)), "output_ratio": (2**31 - 1, 0), "left_shift": 20}, None),
    ],
)
def test_rescaled_add_refuses(changes: dict[str, Any], message: str | None) -> None:
    case = RescaledAdd("dyadic", "half_even", *PAIRS, (0, 0), 0, ((1, 1), (1, 1)), None, 0, INT8)._replace(**changes)
    if message is None:
        add_by(case, half_full())
        return
    with pytest.raises(ValueError, match=message):
        add_by(case, half_full())


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
        assert (record.least_shift, record.greatest_shift) == (int(name == "q31_single"), 62)


OUTSIDE = [(name, value, 1) for name, limits in MULTIPLIERS.items() for value in (limits[0] - 1, limits[1] + 1)]
OUTSIDE += [(name, limits[0], shift) for name, limits in MULTIPLIERS.items() for shift in (-1, 63)]


@pytest.mark.parametrize(("scheme", "m", "e"), [*OUTSIDE, ("q31_single", 2**30, 0), ("shift", 2, 1), ("shift", 1, 63)])
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
    limit = greatest(scheme, m, e) if scheme != "q15" else (2**63 - 1 - 2**61) // m
    run(scheme, int64([[limit, -limit]]), m, e)
    for beyond in (limit + 1, -limit - 1):
        with pytest.raises(ValueError, match=rf"{beyond}.* allowed: .*(2\^31|2\^63)"):
            run(scheme, int64([[beyond]]), m, e)


@pytest.mark.parametrize(
    ("m", "e", "scaling", "message"),
    [
        (0, 1, Scaling.HALF_UP, "an element of multiplier is 0; allowed: 1 to 2147483647"),
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
