"""Whole converters, (R11) to (R13): kernel equals oracle, codes and events; results by hand; guards at their edges."""

from typing import Any

import numpy as np
import pytest

from hwsim.formats import Counter, IntFormat, Rounding
from hwsim.operators.converters import nvdla_convert, requant_shift
from hwsim.operators.requantize import add_bias, shift_right
from tests import oracle
from tests.oracle.scaling import Converted
from tests.unit.hwsim.operators.edges import INT8, INT16, UINT8, Edge, both_ends, check_edge, tally
from tests.unit.hwsim.operators.kernel_checks import (
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
)

INT32, INT33 = IntFormat(bits=32), IntFormat(bits=33)
LEAST, MOST = -(2**31), 2**31 - 1
TIES = (Counter.POSITIVE_TIE, Counter.NEGATIVE_TIE)
ENDS = [LEAST, LEAST + 1, -5, -1, 0, 1, 3, MOST - 1, MOST]
ROUNDINGS = [Rounding.HALF_UP, Rounding.FLOOR]


def checked(name: str, got: Integers, want: Converted, counters: Events) -> Events:
    assert got.dtype == np.int32
    assert_same(name, got, want.codes)
    return assert_counted(counters, tallied(want.ties, want.saturated, want.overflows))


def check_shift(
    acc: Integers, m: list[int], add: list[int], shift: int, rounding: Rounding, output: IntFormat
) -> Events:
    """(R11)."""
    counters = half_full()
    got = requant_shift(acc, int64(m), int64(add), shift, rounding=rounding, output=output, counters=counters)
    want = oracle.requant_shift(matrix(acc), m, add, shift, rounding.value, output.min, output.max)
    return checked(f"{m} {add} >> {shift}", got, want, counters)


def check_convert(x: Integers, offset: int, m: list[int], shift: int, output: IntFormat) -> Events:
    """(R12)."""
    counters = half_full()
    got = nvdla_convert(x, offset=offset, multiplier=int64(m), shift=shift, output=output, counters=counters)
    want = oracle.nvdla_convert(matrix(x), offset, m, shift, output.min, output.max)
    return checked(f"{offset} {m} >> {shift}", got, want, counters)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_requant_shift(rounding: Rounding, dtype: type[np.int32]) -> None:
    """Small numbers under every shift that leaves fractions, and the ends of all of them, which wrap."""
    seen, small = no_events(), np.arange(-40, 42).reshape(41, 2).astype(dtype)
    for shift in (0, 1, 2, 5):
        for m, add in (([1], [0]), ([3, -5], [1]), ([-1], [2, -3]), ([0, 7], [9, 0])):
            seen += check_shift(small, m, add, shift, rounding, INT8)
    ends = np.array([ENDS, ENDS], dtype).T.copy()
    for shift in (0, 1, 8, 30, 31):
        for m, add in (([MOST, LEAST], [MOST, LEAST]), ([1, -1], [MOST, LEAST]), ([1], [0]), ([2], [1])):
            for output in (INT8, UINT8, INT32, IntFormat(bits=31, signed=False)):
                seen += check_shift(ends, m, add, shift, rounding, output)
    assert_occurred(seen, Counter.OVERFLOW, Counter.SATURATION, *TIES)


def test_nvdla_convert() -> None:
    seen, small = no_events(), int32(np.arange(-40, 42)).reshape(41, 2)
    for shift in (0, 1, 2, 5):
        for m, offset in (([1], 0), ([3, -5], 7), ([-(2**15)], -9), ([0, 2**15 - 1], 1)):
            seen += check_convert(small, offset, m, shift, INT8)
    ends = np.array([ENDS, ENDS]).T.copy()
    for shift in (0, 15, 31, 46, 47, 49, 50, 51, 62, 63):
        for m, offset in (([-(2**15), 2**15 - 1], LEAST), ([-(2**15), 2**14], MOST), ([1], 0)):
            for output in (INT8, INT16, IntFormat(bits=17), INT32):
                seen += check_convert(ends, offset, m, shift, output)
    assert_occurred(seen, Counter.SATURATION, *TIES)


def test_converters_by_hand() -> None:
    """Ties are -3.5 and 3.5, by one rule each; the zero point of PULP's is within what it adds."""
    acc, seven = int32([[7, -7]]), {"multiplier": int64([1]), "shift": 1, "output": INT8, "counters": no_events()}
    for rounding, codes in ((Rounding.HALF_UP, [4, -3]), (Rounding.FLOOR, [3, -4])):
        assert requant_shift(acc, add=int64([0]), rounding=rounding, **seven).tolist() == [codes]  # type: ignore[arg-type]
        moved = requant_shift(acc, add=int64([10, 4]), rounding=rounding, **seven)  # type: ignore[arg-type]
        assert moved.tolist() == [[codes[0] + 5, codes[1] + 2]]
    assert nvdla_convert(acc, offset=0, **seven).tolist() == [[4, -4]]  # type: ignore[arg-type]
    assert nvdla_convert(acc, offset=2, **seven).tolist() == [[3, -5]]  # type: ignore[arg-type]


# (R13) and the sum after it


@pytest.mark.parametrize("rounding", list(Rounding))
def test_a_shift_that_saturates(rounding: Rounding) -> None:
    seen = no_events()
    limits = np.iinfo(np.int64)
    values = [
        *range(-300, 301),
        limits.min,
        limits.min + 1,
        limits.max,
        *(s * 2**k - s for k in range(31, 63) for s in (1, -1)),
    ]
    for acc in (int64([values]), int32([[x for x in values if LEAST <= x <= MOST]])):
        for shift, bits in ((0, 8), (1, 8), (2, 7), (16, 32), (31, 33), (1, 63), (62, 2)):
            counters, output = half_full(), IntFormat(bits=bits)
            got = shift_right(acc, shift, counters, rounding, output)
            want = oracle.shift_right_saturating(matrix(acc), shift, rounding.value, output.min, output.max)
            assert got.dtype == (np.int32 if bits <= 32 else np.int64)
            assert_same(f"{rounding} by {shift} to {bits}", got, want.codes)
            seen += assert_counted(counters, tallied(want.ties, want.saturated))
    assert_occurred(seen, Counter.SATURATION, *TIES)


def test_a_bias_is_added_and_saturates() -> None:
    """100 + 50 is held at 127, -100 - 29 at -128; -128 itself and 127 are not counted."""
    for dtype in (np.int32, np.int64):
        counters = half_full()
        acc = np.array([[100, -100, 100], [77, -99, 0]], dtype)
        got = add_bias(acc, int64([50, -29, 27]), INT8, counters)
        assert got.dtype == dtype and got.tolist() == [[127, -128, 127], [127, -128, 27]]
        assert_counted(counters, tallied((), 2))
    wide = add_bias(int64([2**62 - 1, -(2**62)]), int64([2**62 - 1, -(2**62)]), IntFormat(bits=63), no_events())
    assert wide.tolist() == [2**62 - 1, -(2**62)]


# Guards


def shifted(acc: int = 1, m: Any = 1, add: Any = 0, shift: int = 0, **changes: Any) -> object:
    usual = {"rounding": Rounding.HALF_UP, "output": INT8, "counters": tally()}
    return requant_shift(int64([acc]), int64(m).reshape(-1), int64(add).reshape(-1), shift, **(usual | changes))


def converted(x: int = 1, m: Any = 1, **changes: Any) -> object:
    usual = {"offset": 0, "shift": 0, "output": INT8, "counters": tally()}
    return nvdla_convert(int64([x]), multiplier=int64(m).reshape(-1), **(usual | changes))


WIDTHS = "signed to 32 bits, unsigned to 31"
TOO_WIDE: list[Edge] = [
    ({"output": INT32}, {"output": INT33}, f"output has format int33; allowed: {WIDTHS}"),
    ({"counters": tally()}, {"counters": int64([0])}, "counters has shape (1,); allowed: (5,)"),
]
SHIFTED: list[Edge] = [
    *both_ends("acc", "an element of acc", LEAST, MOST),
    *both_ends("m", "an element of multiplier", LEAST, MOST),
    *both_ends("add", "an element of add", LEAST, MOST),
    *both_ends("shift", "shift", 0, 31),
    *TOO_WIDE,
    (
        {"output": IntFormat(bits=31, signed=False)},
        {"output": IntFormat(bits=32, signed=False)},
        f"output has format uint32; allowed: {WIDTHS}",
    ),
    ({"m": [1]}, {"m": [1, 1]}, "multiplier has 2 elements; allowed: 1 or 1"),
    ({"add": [1]}, {"add": [1, 1]}, "add has 2 elements; allowed: 1 or 1"),
    *[
        ({"rounding": good}, {"rounding": bad}, f"rounding is {bad.name}; allowed: HALF_UP, FLOOR")
        for good, bad in zip(ROUNDINGS, (Rounding.HALF_AWAY, Rounding.TOWARD_ZERO), strict=True)
    ],
]
CONVERTED: list[Edge] = [
    *both_ends("x", "an element of acc", LEAST, MOST),
    *both_ends("offset", "offset", LEAST, MOST),
    *both_ends("m", "an element of multiplier", -(2**15), 2**15 - 1),
    *both_ends("shift", "shift", 0, 63),
    *TOO_WIDE,
    ({"output": INT8}, {"output": UINT8}, "output has format uint8; allowed: signed formats"),
    ({"m": [1]}, {"m": [1, 1]}, "multiplier has 2 elements; allowed: 1 or 1"),
]


@pytest.mark.parametrize("number", range(len(SHIFTED)))
def test_guards_of_requant_shift(number: int) -> None:
    check_edge(shifted, SHIFTED[number])


@pytest.mark.parametrize("number", range(len(CONVERTED)))
def test_guards_of_nvdla_convert(number: int) -> None:
    check_edge(converted, CONVERTED[number])


def saturated(shift: int = 0, output: IntFormat | None = INT8, counters: Events | None = None) -> object:
    return shift_right(int64([1]), shift, tally() if counters is None else counters, output=output)


def biased(acc: int = 0, bias: Any = 0, output: IntFormat = INT8) -> object:
    return add_bias(int64([acc]), int64(bias).reshape(-1), output, tally())


SUMMED: list[Edge] = [
    *both_ends("acc", "an element of acc", -(2**62), 2**62 - 1),
    *both_ends("bias", "an element of bias", -(2**62), 2**62 - 1),
    ({"bias": [1]}, {"bias": [1, 1]}, "bias has shape (2,); allowed: (1,)"),
    ({"output": INT8}, {"output": UINT8}, "output has format uint8; allowed: signed formats"),
]


@pytest.mark.parametrize("number", range(len(SUMMED)))
def test_guards_of_a_bias(number: int) -> None:
    check_edge(biased, SUMMED[number])


def test_guards_of_a_shift_that_saturates() -> None:
    for edge in both_ends("shift", "shift", 0, 62):
        check_edge(saturated, edge)
    check_edge(saturated, ({"output": None}, {"output": UINT8}, "output has format uint8; allowed: signed formats"))
    check_edge(saturated, TOO_WIDE[1])


def test_other_dtypes_are_refused() -> None:
    acc: Any = np.array([1], np.int16)
    one, usual = int64([1]), {"output": INT8, "counters": tally()}
    for run in (
        lambda: requant_shift(acc, one, one, 0, rounding=Rounding.FLOOR, **usual),
        lambda: nvdla_convert(acc, offset=0, multiplier=one, shift=0, **usual),
        lambda: add_bias(acc, one, INT8, tally()),
        lambda: shift_right(acc, 0, tally(), output=INT8),
    ):
        with pytest.raises(ValueError, match=r"^acc is of int16; allowed: int32 or int64$"):
            run()
