"""The oracle's whole converters, clamps of operands, sum of heads, means and wraps, on a few numbers by hand."""

import pytest

from tests import oracle
from tests.oracle import Ratio, Result

INT8 = (-128, 127)


def test_requant_shift_adds_before_it_shifts() -> None:
    """5 * 3 + 1 = 16, over 4; 5 * -3 + 1 = -14 is -3.5, which half up makes -3 and floor -4."""
    up = oracle.requant_shift([[5, 5]], [3, -3], [1], 2, "half_up", *INT8)
    assert up == ([[4, -3]], [-1], 0, 0)
    assert oracle.requant_shift([[5, 5]], [3, -3], [1], 2, "floor", *INT8) == ([[4, -4]], [-1], 0, 0)
    assert oracle.requant_shift([[7]], [1], [0], 0, "half_up", *INT8).codes == [[7]]


def test_requant_shift_wraps_in_32_bits() -> None:
    """2^31 - 1 + 1 is -2^31; the rounding constant alone can do it. Both saturate the code downward."""
    assert oracle.requant_shift([[2**30]], [2], [0], 8, "floor", *INT8) == ([[-128]], [], 1, 1)
    assert oracle.requant_shift([[2**31 - 1]], [1], [0], 8, "half_up", *INT8) == ([[-128]], [], 1, 1)
    assert oracle.requant_shift([[2**31 - 1]], [1], [0], 8, "floor", *INT8) == ([[127]], [], 1, 0)


def test_nvdla_convert_takes_the_offset_off_first() -> None:
    """(5 - 10) * 3 / 2 = -7.5 and, with -3, 7.5: both away from zero; 1000 * 1 / 2 is clamped."""
    made = oracle.nvdla_convert([[5, 5, 1010]], 10, [3, -3, 1], 1, *INT8)
    assert made == ([[-8, 8, 127]], [-1, 1], 1, 0)


def test_a_saturating_shift() -> None:
    assert oracle.shift_right_saturating([[-5, 5, 4000]], 1, "half_away", *INT8) == ([[-3, 3, 127]], [-1, 1], 1, 0)
    assert oracle.shift_right_saturating([[-5, 5]], 1, "half_even", *INT8) == ([[-2, 2]], [-1, 1], 0, 0)


def test_operands_are_clamped_before_the_sum() -> None:
    """2 * 100 is 127 and 2 * -100 is -128: the sum of 100 and -20 is 87, not 160; three clamps change something."""
    twice, half, one = Ratio("narrow_before", 2, 0), Ratio("narrow_before", 1, 1), Ratio("narrow_before", 1, 0)
    numbers = (0, 0), (twice, twice), 0, one, 0, *INT8
    assert oracle.rescaled_add([100, 100], [-20, 90], *numbers, operand=INT8) == ([87, 127], [], 4)
    assert oracle.rescaled_add([100], [-20], *numbers) == ([127], [], 1)
    halved = (0, 0), (twice, twice), 0, half, 0, *INT8
    assert oracle.rescaled_add([100], [90], *halved, operand=INT8) == ([127], [], 2)


def test_heads_are_requantized_before_they_are_added() -> None:
    """Two heads of 1 at 1/2 make 1 each; with a bias of 1 the first makes 1 of 2, too."""
    half, one = Ratio("narrow_after", 1, 1), Ratio("narrow_after", 1, 0)
    contexts, weights = [[[1, 0]], [[0, 1]]], [[[1, 5], [3, 5]], [[7, 1], [7, 1]]]
    made = oracle.sum_of_heads(contexts, weights, [0, 1], [half, half], one, 0, *INT8)
    assert made == ([[2, 3]], [1, 1, 1], 0)  # (1 + 1, 2 + 1): head 0 has (1, 3 + 1), head 1 (1, 1)
    far = oracle.sum_of_heads([[[100]], [[100]]], [[[100]], [[-1]]], [0], [one, one], one, 5, *INT8)
    assert far == ([[127 - 100 + 5]], [], 1)


def test_means_round_ties_by_the_length_of_the_row() -> None:
    """-1/2 up to 0 for two codes, -3/6 away to -1 for six."""
    assert oracle.pulp_mean([[-1, 0], [1, 2]], 0) == ([0, 2], [-1, 1])
    assert oracle.pulp_mean([[-3, 0, 0, 0, 0, 0]], 0) == ([-1], [-1])
    assert oracle.pulp_mean([[4, 4, 3]], 3) == ([1], [])  # 2/3
    assert oracle.pulp_mean([[-7]], 1) == ([-8], [])


def test_gelus_at_single_codes() -> None:
    """PULP: (34 - 35)^2 = 1 cancels nothing of 1225 for x > 0. ITA and Gemmini: L = (3 - 4)^2 - 20 = -19."""
    assert oracle.pulp_gelu([-34, 34, 0, -36], 0, -35, 1225) == [0, 34 * 1224, 0, 0]
    assert oracle.pulp_gelu([-33], 1, -35, 1225) == [0]
    assert oracle.pulp_gelu([-128], 0, -127, 0) == [0]  # L = -(0 - (127 - 127)^2)
    assert oracle.ita_gelu([3, -3, 0], 0, -4, -20) == [3 * -39, -3 * -1, 0]
    assert oracle.gemmini_gelu([3, -3, 0], -21, -4, -20) == [3 * -40, -3 * -2, 0]


def test_gelus_refuse_what_does_not_fit() -> None:
    assert oracle.ita_gelu([-2048], 0, -1, 2**13) == [0]  # L = -2^13
    with pytest.raises(ValueError, match="33554432 has more than 26 bits"):
        oracle.ita_gelu([2048], 0, -1, 2**13)
    with pytest.raises(ValueError, match="2147483648 has more than 32 bits"):
        oracle.gemmini_gelu([-(2**31)], 0, 0, 0)
    with pytest.raises(ValueError, match="2147483648 has more than 32 bits"):
        oracle.gemmini_gelu([2**16], 2**15, 0, 0)


def test_layernorm_casts_or_clamps() -> None:
    """The mean is 5, isqrt(25 + 1) = 5: -5 * 300 / 5 = -300, wrapped twice: -44."""
    numbers = [0, 10], 0, True, [300, 300], [0, 0], 0
    assert oracle.pulp_layernorm(*numbers, Result(0, *INT8), "wrap") == ([-44, 44], 0, [], 0, 2)
    assert oracle.pulp_layernorm(*numbers, Result(0, *INT8)) == ([-128, 127], 2, [], 0, 0)
    assert oracle.pulp_layernorm(*numbers, Result(3, *INT8), "wrap") == ([-41, 47], 0, [], 0, 2)


def test_layernorm_refuses_wide_products() -> None:
    """-128 * 2^24 is the least int32, 128 * 2^24 none."""
    result = Result(0, *INT8)
    assert oracle.pulp_layernorm([-128], 0, False, [2**24], [0], 24, result, product_bits=32).output == [-1]
    with pytest.raises(ValueError, match="of more than 32 bits"):
        oracle.pulp_layernorm([-128], 0, False, [-(2**24)], [0], 24, result, product_bits=32)


def test_layernorm_of_gemmini() -> None:
    """[0, 10]: mean 5, sigma 5, u = (-1, 1); [-1, 0]: the mean -1/2 is cut to 0, V = 1/2 to 0, sigma is 1."""
    double = (2, 0)
    assert oracle.gemmini_layernorm([0, 10], 0, [3, 3], [1, 0], double, Result(1, *INT8)).output == [-3, 7]
    assert oracle.gemmini_layernorm([-1, 0], 0, [100, 1], [0, 0], double, Result(0, *INT8)) == ([-128, 0], 1, [], 0, 0)
    halves = oracle.gemmini_layernorm([0, 10], 0, [1, 3], [0, 0], (1, 1), Result(0, *INT8))
    assert halves == ([0, 2], 0, [-1, 1], 0, 0)


@pytest.mark.parametrize(("x", "message"), [([2**31], "a sum of 2147483648"), ([0, 2**17], "a sum of squares of 8589")])
def test_layernorm_of_gemmini_refuses_sums_beyond_int32(x: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        oracle.gemmini_layernorm(x, 0, [1] * len(x), [0] * len(x), (1, 0), Result(0, *INT8))


def test_softmax_of_gemmini_multiplies_by_a_rounded_reciprocal() -> None:
    """Two equal keys: 127 * E / (2 * E) is 63.5, the product with fl32(127 / sum) less than that."""
    assert oracle.gemmini_softmax([7, 7], [True, True], oracle.Polynomial(68, 133, 9406), 8).output == [63, 63]
    assert oracle.gemmini_softmax([7, 7], [True, True], oracle.Polynomial(11, 21, 247), 8).output == [64, 64]


def test_softmax_of_pulp() -> None:
    """ln2 = 10, b = 3, c = 7, d = 12: z = 1, p = -2, E = (1 + 7) >> 1 = 4, beside E(0) = 16: 4/5 and 1/5 of 255."""
    polynomial = oracle.Polynomial(10, 3, 7)
    assert oracle.pulp_softmax([0, -12, 99], [True, True, False], polynomial, 8) == ([204, 51, 0], 0, 0)
    assert oracle.pulp_softmax([0, -12], [False, False], polynomial, 8) == ([0, 0], 0, 0)
    far = oracle.pulp_softmax([0, -40], [True, True], oracle.Polynomial(1, 3, 7), 8)  # z = 31: (31 - 40 + 3)^2 + 7 = 43
    assert far.output == [255, 0]
