"""LayerNorm of a row: the equations in wide registers, and what narrower ones make of them."""

import random

import pytest

from tests.oracle import layernorms as oracle
from tests.oracle.layernorm import layernorm
from tests.replay.context import Result
from tests.replay.layernorms import (
    Affine,
    PartsConstants,
    PulpConstants,
    four_parts,
    gemmini_layernorm,
    ibert_layernorm,
    pulp_layernorm,
    tflite_layernorm,
)
from tests.replay.scaling import Ratio, requantizer
from tests.replay.widths import ROWS, LayerNorm
from tests.unit.replay import wide

INT8, INT16, UINT8 = Result(0, -128, 127), Result(0, -32768, 32767), Result(0, 0, 255)
SHIFTED = Result(-5, -128, 127)
Case = tuple[list[int], int, Affine]


def cases(gammas: range, betas: range) -> list[Case]:
    """Rows of 1 to 20 codes, their zero points, and an affine part; one row is constant."""
    rng = random.Random(3)
    drawn: list[Case] = []
    for _ in range(80):
        n, spread = rng.randrange(1, 20), 1 << rng.randrange(2, 12)
        x = [rng.randrange(-spread, spread) for _ in range(n)]
        affine = Affine([rng.choice(gammas) for _ in x], [rng.choice(betas) for _ in x])
        drawn.append((x, rng.randrange(-9, 9), affine))
    return [*drawn, ([6] * 4, 0, Affine([1] * 4, [40, -3, 0, 2]))]


def rows_of(tag: str) -> LayerNorm:
    held = ROWS[tag]
    assert isinstance(held, LayerNorm)
    return held


@pytest.mark.parametrize("held", [wide.LAYERNORM, rows_of("layernorm")], ids=["wide", "64 bits"])
def test_four_parts(held: LayerNorm) -> None:
    for x, _, affine in cases(range(-90, 90), range(-5000, 5000)):
        code = requantizer(Ratio("dyadic", 41000, 22), held.converter, *SHIFTED)
        ratios = Ratio("dyadic", 37001, 17), Ratio("dyadic", 50001, 19), Ratio("dyadic", 33001, 10)
        constants = PartsConstants((ratios[0], INT16), (ratios[1], UINT8), (ratios[2], INT16), code, 5000)
        expected = layernorm(
            *(x, 5000, 37001, 17, -32768, 32767, 50001, 19, 255, 33001, 10, -32768, 32767),
            *(affine.gamma, affine.beta, 41000, 22, -5, -128, 127),
        )
        assert four_parts(x, affine, constants, held) == expected[:4]


@pytest.mark.parametrize("held", [wide.LAYERNORM, rows_of("ibert_layernorm")], ids=["wide", "I-BERT's"])
def test_ibert(held: LayerNorm) -> None:
    for x, zero, affine in cases(range(-1, 2), range(-(10**9), 10**9)):
        ratios = [(30000 + j, 37) for j in range(len(x))]
        codes = [requantizer(Ratio("dyadic", *ratio), held.converter, *SHIFTED) for ratio in ratios]
        expected = oracle.ibert_layernorm(
            x, zero, True, 1, affine.gamma, affine.beta, ratios, oracle.Result(*SHIFTED)
        ).output
        assert ibert_layernorm(x, affine, zero, 1, codes, held) == expected


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("held", [wide.LAYERNORM, rows_of("pulp_layernorm")], ids=["wide", "PULP's"])
def test_pulp(held: LayerNorm, centred: bool) -> None:
    for x, zero, affine in cases(range(-30000, 30000), range(-9000, 9000)):
        expected = oracle.pulp_layernorm(x, zero, centred, affine.gamma, affine.beta, 9, oracle.Result(*SHIFTED)).output
        assert pulp_layernorm(x, affine, PulpConstants(zero, 9, centred), SHIFTED, 8, held) == expected


@pytest.mark.parametrize("held", [wide.LAYERNORM, rows_of("tflite_layernorm")], ids=["wide", "TFLite's"])
def test_tflite(held: LayerNorm) -> None:
    for x, zero, affine in cases(range(-32768, 32767), range(-(10**8), 10**8)):
        code = requantizer(Ratio("q31_double", 2048297340, 40), held.converter, *SHIFTED)
        expected = oracle.tflite_layernorm(
            x, zero, True, affine.gamma, affine.beta, 1, (2048297340, 40), oracle.Result(*SHIFTED)
        ).output
        assert tflite_layernorm(x, affine, zero, 1, code, held) == expected


def test_pulp_codes_that_do_not_fit_wrap_where_the_kernel_casts() -> None:
    """Mean 0, sigma isqrt(100 + 1) = 10; 10 * 1600 / 10 >> 3 = 200, which an int8 takes for -56."""
    x, affine = [10, -10], Affine([1600, 1600], [0, 0])
    for held in (wide.LAYERNORM, rows_of("pulp_layernorm")):
        assert pulp_layernorm(x, affine, PulpConstants(0, 3), INT8, 8, held) == [127, -128]
        assert pulp_layernorm(x, affine, PulpConstants(0, 3, wraps=True), INT8, 8, held) == [-56, 56]


def test_pulp_products_wrap_in_an_int32() -> None:
    """Deviations +-100, sigma 100: 100 * 2^25 is -939524096 in an int32, a hundredth of it -9395240, >> 20 -9."""
    x, affine, constants = [100, -100], Affine([2**25, 2**25], [0, 0]), PulpConstants(0, 20)
    assert pulp_layernorm(x, affine, constants, INT8, 8, rows_of("pulp_layernorm")) == [-9, 8]
    assert pulp_layernorm(x, affine, constants, INT8, 8, wide.LAYERNORM) == [32, -32]


def test_ibert_sums_of_squares_are_32_bits() -> None:
    """2 * 46341^2 = 2^32 + 9266 is 9266 there, sigma 96 and not 65536: F = 22369621 and not 32768."""
    x, affine = [46341, -46341], Affine([1, 1], [0, 0])
    code = [requantizer(Ratio("dyadic", 1, 24), wide.CONVERTER, 0, -(2**40), 2**40)]
    assert ibert_layernorm(x, affine, 0, 0, code, rows_of("ibert_layernorm")) == [30894, -30894]
    assert ibert_layernorm(x, affine, 0, 0, code, wide.LAYERNORM) == [45, -45]


def test_gemmini_by_hand() -> None:
    """x' = 7, -3, 2, 12: mean 18/4 -> 4, y = 3, -7, -2, 8; V = 126/4 -> 31, sigma 5: u = 1, -1, 0, 2."""
    affine = Affine([10, 20, 30, -40], [1, 3, 8, 2])
    code = requantizer(Ratio("float32", 2**23, 24), rows_of("gemmini_layernorm").converter, *SHIFTED)
    # (10 + 1, -20 + 3, 0 + 8, -80 + 2) / 2 = 5.5, -8.5, 4, -39: halves go to even, then -5
    assert gemmini_layernorm([8, -2, 3, 13], affine, 1, code, rows_of("gemmini_layernorm")) == [1, -13, -1, -44]


def test_gemmini_of_a_constant_row_is_its_bias() -> None:
    code = requantizer(Ratio("float32", 2**23, 23), rows_of("gemmini_layernorm").converter, *INT8)
    assert gemmini_layernorm([9, 9], Affine([50, 60], [4, -7]), 0, code, rows_of("gemmini_layernorm")) == [4, -7]


def test_gemmini_quotients_are_int8() -> None:
    """One 30000 among 20000 zeros: mean 1, V 44996, sigma 212; 29999 / 212 is 142."""
    x = [0] * 20000 + [30000]
    code = requantizer(Ratio("float32", 2**23, 23), wide.CONVERTER, 0, -(2**31), 2**31)
    codes = gemmini_layernorm(x, Affine([1] * len(x), [0] * len(x)), 0, code, rows_of("gemmini_layernorm"))
    assert [codes[0], codes[-1]] == [0, 127]
