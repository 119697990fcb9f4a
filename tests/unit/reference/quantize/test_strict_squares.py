"""Gemmini's and PULP's softmax by hand, and where their 32-bit words end: docs/operators/softmax.md, 6 and 6a."""

import pytest
import torch

from hwsim.formats import IntFormat
from reference.quantize.strict.softmax import gemmini_softmax, pulp_softmax
from tests.unit.reference.quantize.page_arithmetic import INT8, UINT8, narrow

INT16 = IntFormat(bits=16)
UINT2 = IntFormat(bits=2, signed=False)


def codes(function, row, fmt, ln2, b, c, allowed=None):
    scores = narrow([row])
    return function(scores, allowed, ln2=ln2, b=b, c=c, fmt=fmt, slope=0.1)[0].tolist()


@pytest.mark.parametrize(
    ("b", "c", "half"),
    [(133, 9406, 63), (3, 6, 63), (3, 38, 64)],  # E = 27095, 15, 47: the exact quotient of each is 63.5
)
def test_gemmini_divides_once_in_binary32(b, c, half):
    """127/(2E) rounds down, down, up; by way of the reciprocal of 2E the last two would round the other way."""
    assert codes(gemmini_softmax, [5, 5], INT8, 68, b, c) == [half, half]


def test_gemmini_rounds_the_sum_and_the_exponential_to_24_bits():
    # E = 5793^2 + 5 = 33558854 is even but not a multiple of 4 above 2^25: binary32 takes 33558856.
    assert codes(gemmini_softmax, [0] * 3, INT16, 4095, 5793, 5) == [10922] * 3
    # E = 18335527 and 2E = 36671054 are not in binary32; with the sum unrounded the product is just above 63.5.
    assert codes(gemmini_softmax, [0, 0], INT8, 4095, 4282, 3) == [63, 63]


def test_pulp_by_hand():
    # d = 0, 15, 31: z = 0, 1, 2, p = 0, -2, -5, E = 1112, 1008 >> 1 = 504, 867 >> 2 = 216; sum 1832.
    assert codes(pulp_softmax, [40, 25, 9], UINT8, 13, 27, 383) == [154, 70, 30]
    # 255/2 and 255/3: a floor
    assert codes(pulp_softmax, [7, 7], UINT8, 13, 27, 383) == [127, 127]


def test_pulp_stops_at_31_halvings():
    assert codes(pulp_softmax, [128, 0], UINT8, 1, 2, 2) == [255, 0]


@pytest.mark.parametrize("function", [gemmini_softmax, pulp_softmax])
def test_masked_keys_and_rows_get_0(function):
    fmt = INT8 if function is gemmini_softmax else UINT8
    allowed = torch.tensor([[True, False, True]])
    free = codes(function, [3, 5], fmt, 20, 40, 800)
    assert codes(function, [3, 100, 5], fmt, 20, 40, 800, allowed) == [free[0], 0, free[1]]
    assert codes(function, [3, 100, 5], fmt, 20, 40, 800, torch.tensor([[False] * 3])) == [0, 0, 0]


def test_gemmini_counts_31_halvings_and_no_more():
    # ln2 = 6: 65536 // 6 = 10922, and 192 * 10922 = 2097024 lies below 32 * 65536 = 2097152; 193 * 10922 does not.
    assert codes(gemmini_softmax, [192, 0], INT8, 6, 13, 95) == [127, 0]
    with pytest.raises(ValueError, match="gemmini_softmax distance of two scores 193; allowed are 0 to 192"):
        codes(gemmini_softmax, [193, 0], INT8, 6, 13, 95)
    assert codes(pulp_softmax, [193, 0], UINT8, 6, 13, 95) == [255, 0]


@pytest.mark.parametrize(("function", "fmt"), [(gemmini_softmax, INT8), (pulp_softmax, UINT2)])
def test_a_square_ends_below_2_to_the_31(function, fmt):
    beyond = 2**31 - 20000**2
    with pytest.raises(ValueError, match=f"{function.__name__}: b\\^2 \\+ c is 2147483648; it must be below 2\\^31"):
        codes(function, [0], fmt, 10000, 20000, beyond)
    assert codes(gemmini_softmax, [0], INT8, 10000, 20000, beyond - 1) == [127]


def test_a_square_of_a_far_key_ends_there_too():
    # 65536 // 240 = 273; d = 4080 has z = 4080 * 273 >> 16 = 16 and (16 * 240 - 4080 + 1)^2 = 57121, d = 240 as much.
    beyond = 2**31 - 57121
    assert codes(gemmini_softmax, [4080, 0], INT8, 240, 1, beyond - 1) == [127, 0]
    with pytest.raises(ValueError, match="gemmini_softmax distance of two scores 4080; allowed are 0 to 239"):
        codes(gemmini_softmax, [4080, 0], INT8, 240, 1, beyond)


def test_a_sum_ends_at_the_word():
    square = 2**30 - 1  # 32767^2 + 65534
    assert codes(gemmini_softmax, [0, 0], INT8, 9999, 32767, 65534) == [64, 64]
    with pytest.raises(ValueError, match=f"gemmini_softmax sum {3 * square}; allowed are 1 to 2147483647"):
        codes(gemmini_softmax, [0, 0, 0], INT8, 9999, 32767, 65534)
    assert codes(pulp_softmax, [0] * 4, UINT2, 9999, 32767, 65534) == [0] * 4
    with pytest.raises(ValueError, match=f"pulp_softmax sum {5 * square}; allowed are 1 to 4294967295"):
        codes(pulp_softmax, [0] * 5, UINT2, 9999, 32767, 65534)


def test_a_numerator_of_pulp_ends_at_the_word():
    # 255 * 16843009 = 2^32 - 1
    c = 16843009 - 4000**2
    assert codes(pulp_softmax, [0], UINT8, 2000, 4000, c) == [255]
    with pytest.raises(ValueError, match="pulp_softmax numerator 4294967550; allowed are 0 to 4294967295"):
        codes(pulp_softmax, [0], UINT8, 2000, 4000, c + 1)


@pytest.mark.parametrize("function", [gemmini_softmax, pulp_softmax])
@pytest.mark.parametrize("part", ["ln2", "b", "c"])
def test_constants_are_positive_int32(function, part):
    fmt, good = (INT8 if function is gemmini_softmax else UINT8), {"ln2": 20, "b": 40, "c": 800}
    for value in (0, 2**31):
        with pytest.raises(ValueError, match=f"{function.__name__} {part} {value}; allowed are 1 to 2147483647"):
            codes(function, [1, 2], fmt, **{**good, part: value})


def test_outputs_have_their_sign_and_width():
    for fmt in (UINT8, IntFormat(bits=8, narrow=True)):
        with pytest.raises(ValueError, match=f"gemmini_softmax to {fmt}; allowed are int2 to int16"):
            codes(gemmini_softmax, [1, 2], fmt, 20, 40, 800)
    for fmt in (INT8, IntFormat(bits=9, signed=False)):
        with pytest.raises(ValueError, match=f"pulp_softmax to {fmt}; allowed are uint2 to uint8"):
            codes(pulp_softmax, [1, 2], fmt, 20, 40, 800)
