"""Softmax of a row: the equations in wide registers, and what each hardware makes of rows beyond it."""

import random

import pytest

from tests.oracle import softmax as oracle_table
from tests.oracle import softmaxes as oracle
from tests.oracle.exp_table import qlinear_table
from tests.oracle.interpolation import softmax_tables
from tests.replay.context import Result
from tests.replay.scaling import Ratio
from tests.replay.softmaxes import (
    Polynomial,
    Row,
    gemmini_softmax,
    gemmlowp_softmax,
    ibert_softmax,
    int16_softmax,
    itamax,
    pulp_softmax,
    qlinear_softmax,
    table_softmax,
)
from tests.replay.widths import ROWS, WIDTHS, Softmax
from tests.unit.replay import wide

INDEX = Ratio("q31_double", 1717986918, 29)
"""Of scores to the table of exponentials."""


def rows(bits: int = 8, count: int = 60) -> list[Row]:
    """Rows of 1 to 40 keys, spread narrowly and widely, some of their keys masked, one of them wholly."""
    rng = random.Random(bits)
    drawn = []
    for _ in range(count):
        spread, length = 1 << rng.randrange(2, bits), rng.randrange(1, 40)
        scores = [rng.randrange(-spread, spread) for _ in range(length)]
        drawn.append(Row(scores, [rng.random() < 0.8 for _ in scores]))
    return [*drawn, Row([3, -4], [False, False])]


def equal(count: int) -> Row:
    return Row([7] * count, [True] * count)


def test_table() -> None:
    table = [max(255 - 3 * d, 0) for d in range(256)]
    for row in rows():
        found = table_softmax(
            row, table, Ratio("dyadic", 41648, 18), Ratio("dyadic", 41485, 15), (255, 255), wide.SOFTMAX
        )
        expected = oracle_table(row.scores, row.allowed, table, 41648, 18, 255, 41485, 15, 255)
        assert found == (expected.numerator, expected.denominator, expected.output)


@pytest.mark.parametrize("bits", [8, 16])
def test_gemmlowp(bits: int) -> None:
    for row in rows():
        expected = oracle.gemmlowp_softmax(row.scores, row.allowed, 1843124184, 21, bits).output
        assert gemmlowp_softmax(row, 1843124184, 21, bits, ROWS["gemmlowp_softmax"]) == expected


def test_int16() -> None:
    tables = softmax_tables()
    for row in rows(16):
        expected = oracle.softmax_int16(row.scores, row.allowed, 1717986918, 29, *tables).output
        assert int16_softmax(row, INDEX, tables, True, ROWS["int16_softmax"]) == expected


@pytest.mark.parametrize("bits", [8, 16])
def test_ibert(bits: int) -> None:
    constants = 14, 54, 1117
    for row in rows():
        expected = oracle.ibert_softmax(row.scores, row.allowed, oracle.Polynomial(*constants), 30041, 40, bits).output
        assert ibert_softmax(row, Polynomial(*constants), (30041, 40), bits, ROWS["ibert_softmax"]) == expected


@pytest.mark.parametrize("group", [0, 16])
@pytest.mark.parametrize("fraction_bits", [0, 3, 5])
def test_itamax(fraction_bits: int, group: int) -> None:
    for row in rows():
        expected = oracle.itamax(row.scores, row.allowed, fraction_bits, group, 8).output
        for target in ("ita", "deeploy"):
            held = WIDTHS[target].rows["itamax"]
            assert isinstance(held, Softmax)
            assert itamax(row, fraction_bits, group, 8, held) == expected


def test_itamax_of_7_bits_is_clamped() -> None:
    for row in rows():
        expected = oracle.itamax(row.scores, row.allowed, 5, 0, 7).output
        assert itamax(row, 5, 0, 7, ROWS["itamax"]) == expected


@pytest.mark.parametrize(("keys", "ita", "deeploy"), [(2047, 0, 0), (2048, 255, 0), (2049, 255, 0), (2050, 127, 0)])
def test_sums_of_19_bits_wrap_in_ita(keys: int, ita: int, deeploy: int) -> None:
    """2048 exponentials of 256 are 2^19, which leaves 0: a division by it gives ones. One key more divides by 256."""
    assert set(itamax(equal(keys), 5, 16, 8, WIDTHS["ita"].rows["itamax"])) == {ita}
    assert set(itamax(equal(keys), 5, 16, 8, WIDTHS["deeploy"].rows["itamax"])) == {deeploy}


def test_gemmlowp_is_defined_below_512_equal_keys() -> None:
    held = ROWS["gemmlowp_softmax"]
    assert set(gemmlowp_softmax(equal(511), 1843124184, 21, 8, held)) == {-127}
    with pytest.raises(ValueError, match="512 keys: their exponentials sum to 268435456; below 2\\^28"):
        gemmlowp_softmax(equal(512), 1843124184, 21, 8, held)


def test_a_single_key_of_an_int16_softmax_wraps_where_there_is_no_clamp() -> None:
    tables = softmax_tables()
    held = ROWS["int16_softmax"]
    assert int16_softmax(equal(1), INDEX, tables, True, held) == [32767]
    assert int16_softmax(equal(1), INDEX, tables, False, held) == [-32768]


def test_gemmini_divides_in_binary32() -> None:
    """Two equal keys of E = 133^2 + 9406 = 27095: fl32(127/54190) * 27095 lies below 63.5, which would go to 64."""
    assert gemmini_softmax(equal(2), Polynomial(68, 133, 9406), 8, ROWS["gemmini_softmax"]) == [63, 63]


def test_gemmini_by_hand() -> None:
    """d = 0, 10, 30 with ln2 = 20: z = 0, 0, 1; E = 40^2 + 400, 30^2 + 400, (30^2 + 400) >> 1; their sum 3950."""
    row = Row([100, 90, 70, 99], [True, True, True, False])
    assert gemmini_softmax(row, Polynomial(20, 40, 400), 8, ROWS["gemmini_softmax"]) == [64, 42, 21, 0]


def test_gemmini_wraps_a_sum_beyond_an_int32() -> None:
    """E = 40000^2 + 7 = 1600000007; two of them less 2^32 are negative, and raised to 1: both keys saturate."""
    assert gemmini_softmax(equal(2), Polynomial(68, 40000, 7), 8, ROWS["gemmini_softmax"]) == [127, 127]
    assert gemmini_softmax(equal(2), Polynomial(68, 40000, 7), 8, wide.SOFTMAX) == [64, 64]


def test_qlinear() -> None:
    """Tables of ONNX Runtime's, one of them so coarse that far exponentials are subnormal."""
    for scale, step in ((0.05, 1), (1.9, 3)):
        table = qlinear_table(scale, 8, 40)
        for row in rows(7):
            near = Row([score // step for score in row.scores], row.allowed)
            for signed, result in ((True, Result(-128, -128, 127)), (False, Result(0, 0, 255))):
                expected = oracle.qlinear_softmax(*near, table, 256, 8, signed).output
                assert qlinear_softmax(near, table, 256, result, ROWS["qlinear_softmax"]) == expected


def test_qlinear_adds_keys_in_their_order() -> None:
    """2^24 + 1 is a tie that goes to 2^24, twice; 1 + 1 + 2^24 is 2^24 + 2: Y/sum of the last differs by 2^-24."""
    table, result = [bits_of(2**24), bits_of(1)], Result(0, 0, 2**40)
    held = wide.SOFTMAX
    first = qlinear_softmax(Row([1, 0, 0], [True] * 3), table, 2**30, result, held)
    last = qlinear_softmax(Row([0, 0, 1], [True] * 3), table, 2**30, result, held)
    assert first == [2**30, 64, 64]
    assert last == [64, 64, 2**30 - 128]


def bits_of(power: int) -> int:
    """The 32 bits of a power of two."""
    return (power.bit_length() - 1 + 127) << 23


def test_pulp_by_hand() -> None:
    """d = 0, 10, 30, 20 with ln2 = 20: z = 0, 0, 1, 1; p = 0, -10, -10, 0; E = 2000, 1300, 650, 1000, sum 4950."""
    row = Row([100, 90, 70, 80, 101], [True, True, True, True, False])
    assert pulp_softmax(row, Polynomial(20, 40, 400), 8, ROWS["pulp_softmax"]) == [103, 66, 33, 51, 0]


def test_pulp_shifts_by_31_at_most_and_wraps_products_of_32_bits() -> None:
    """d = 100 with ln2 = 1: z = 31, p = -69; (p + b)^2 + c is shifted out. 255 * 40000000 leaves 1610065408."""
    far = Row([100, 0], [True, True])
    assert pulp_softmax(far, Polynomial(1, 40, 400), 8, ROWS["pulp_softmax"]) == [255, 0]
    large = equal(1)
    assert 255 * 40000000 % 2**32 // 40000000 == 40
    assert pulp_softmax(large, Polynomial(1, 6000, 4000000), 8, ROWS["pulp_softmax"]) == [40]
    assert pulp_softmax(large, Polynomial(1, 6000, 4000000), 8, wide.SOFTMAX) == [255]


@pytest.mark.parametrize("kernel", [pulp_softmax, gemmini_softmax])
def test_nothing_allowed_is_nothing(kernel: object) -> None:
    assert callable(kernel)
    assert kernel(Row([1, 2], [False, False]), Polynomial(20, 40, 400), 8, ROWS["pulp_softmax"]) == [0, 0]
