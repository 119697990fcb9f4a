"""Gemmini's constants against a table of its C library: softmax.md, section 7, and activation.md, section 6."""

import struct

import pytest

from reference.quantize.plan.binary32 import gemmini_exponential, gemmini_gelu

EXPONENTIAL = [  # binary32 pattern of the scale, ln2, b, c
    (1009089144, 68, 133, 9406),
    (981668463, 693, 1353, 959553),
    (975278163, 1124, 2195, 2526162),
    (969424497, 1814, 3542, 6577948),
    (982020280, 665, 1299, 885530),
    (974016585, 1276, 2492, 3255788),
]
GELU = [  # binary32 pattern of the scale, q1, qb, qc
    (1028443341, -2770, -50, -2770),
    (983636061, -4584453, -2035, -4584453),
    (983410529, -4786782, -2079, -4786781),
    (982551045, -5694842, -2268, -5694842),
]
"""Of ucb-bar/gemmini-rocc-tests 180c468, include/gemmini.h, compiled and run."""


def binary32(pattern: int) -> float:
    return struct.unpack("<f", struct.pack("<I", pattern))[0]


@pytest.mark.parametrize(("pattern", "ln2", "b", "c"), EXPONENTIAL)
def test_exponential_constants_are_those_of_the_c_library(pattern, ln2, b, c):
    assert gemmini_exponential(binary32(pattern)) == (ln2, b, c)


@pytest.mark.parametrize(("pattern", "q1", "qb", "qc"), GELU)
def test_gelu_constants_are_those_of_the_c_library(pattern, q1, qb, qc):
    assert gemmini_gelu(binary32(pattern)) == (q1, qb, qc)


def test_a_scale_is_rounded_to_binary32_first():
    pattern = EXPONENTIAL[0][0]
    nearly = binary32(pattern) * (1 + 2.0**-26)
    assert gemmini_exponential(nearly) == gemmini_exponential(binary32(pattern))
    assert gemmini_gelu(nearly) == gemmini_gelu(binary32(pattern))


@pytest.mark.parametrize("function", [gemmini_exponential, gemmini_gelu])
@pytest.mark.parametrize("scale", [0.0, -0.1, 2.0**-41, 2.0**41, float("nan"), float("inf")])
def test_scales_have_a_range(function, scale):
    with pytest.raises(ValueError, match="allowed are 2\\^-40 to 2\\^40"):
        function(scale)


def test_quotients_that_binary32_would_round_up_to_an_integer_are_in_float64():
    # 0.693147 / s = 9064.9999 and -1.769 / u = -23963.9991
    assert gemmini_exponential(binary32(950033241))[0] == 9064
    assert gemmini_gelu(binary32(953872162))[1] == -23963
