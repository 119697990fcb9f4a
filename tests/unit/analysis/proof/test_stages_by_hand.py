"""What was rounded, of every elementwise operation and LayerNorm: integers, exact values and terms by hand."""

from fractions import Fraction

import pytest

from hwsim.formats import Rounding
from hwsim.program.catalogue import Dyadic, Float32, Q31Double
from hwsim.program.operations import (
    Add,
    Embed,
    IBertLayerNorm,
    LayerNorm,
    PulpLayerNorm,
    Relu,
    Requantize,
    RescaledAdd,
    ShiftRight,
    TfliteLayerNorm,
)
from tests.oracle.layernorms import Result, tflite_layernorm
from tests.unit.analysis.proof.stage_cases import INT8, UINT8, WIDE, only, staged

F = Fraction


def by(multiplier: int | str, shift: int | str) -> Dyadic:
    return Dyadic(multiplier=multiplier, shift=shift)


def test_requantization_reads_the_ratio_of_its_channel() -> None:
    """-7 * 5 / 8 + 4 and 10 * 3 / 4 + 4."""
    operation = Requantize(output="y", input="x", requantization=by("m", "e"))
    second, first = staged(
        operation, "y", [(0, 1), (0, 0)], {"x": [[10, -7]]}, m=[3, 5], e=[2, 3], zeros={"y": 4, "x": 9}
    )
    assert second is not None and (second.integer, second.value, second.code) == (-7, F(-3, 8), 0)
    assert first is not None and (first.integer, first.value, first.code) == (10, F(23, 2), 12)
    assert first.terms == ()  # and 7.5 is a tie that goes to 8
    assert first.is_tie and not second.is_tie


def test_a_code_is_clamped_and_its_value_is_not() -> None:
    """1000 + 4 and -1000 + 4 of 8 bits."""
    operation = Requantize(output="y", input="x", requantization=by(1, 0))
    both = staged(operation, "y", [(0, 0), (0, 1)], {"x": [[1000, -1000]]}, zeros={"y": 4})
    assert [stage and (stage.value, stage.unclamped, stage.code) for stage in both] == [
        (1004, 1004, 127),
        (-996, -996, -128),
    ]


def test_one_ratio_serves_all_channels() -> None:
    operation = Requantize(output="y", input="x", requantization=by("m", 1))
    assert only(staged(operation, "y", [(0, 1)], {"x": [[10, -7]]}, m=[3])).value == F(-21, 2)


def test_a_shift_rounds_as_it_says() -> None:
    for rounding, code in ((Rounding.FLOOR, -6), (Rounding.HALF_EVEN, -6), (Rounding.HALF_UP, -5)):
        operation = ShiftRight(output="y", input="x", shift=2, rounding=rounding)
        stage = only(staged(operation, "y", [(1,)], {"x": [3, -22]}))
        assert (stage.integer, stage.value, stage.code) == (-22, F(-11, 2), code)


# --- sums -------------------------------------------------------------------------------------------------------------

SUM = {"a": [[0, 10]], "b": [[0, -4]]}
ZEROS = {"a": 3, "b": -1, "y": 5}
"""a is 7 and b -3 at the second element."""


def test_a_sum_adds_both_operands_and_rounds_once() -> None:
    """(7*6 - 3*10) / 8 = 12/8, a tie."""
    operation = Add(output="y", a="a", b="b", a_multiplier=6, b_multiplier=10, shift=3)
    stage = only(staged(operation, "y", [(0, 1)], SUM, zeros=ZEROS))
    assert (stage.integer, stage.value, stage.code) == (12, F(13, 2), 7)
    assert stage.terms == (F(42, 8), F(-30, 8)) and sum(stage.terms) + 5 == stage.value


def test_a_rescaled_sum_rounds_each_operand_and_the_sum() -> None:
    """28 * 3/8 = 10.5 becomes 10, -12 * 5/16 = -3.75 becomes -4; 6 * 7/4 = 10.5."""
    operation = RescaledAdd(
        output="y",
        a="a",
        b="b",
        left_shift=2,
        a_requantization=by(3, 3),
        b_requantization=by(5, 4),
        output_requantization=by(7, 2),
    )
    stage = only(staged(operation, "y", [(0, 1)], SUM, zeros=ZEROS))
    assert (stage.integer, stage.value, stage.code) == (6, F(31, 2), 15)
    assert stage.terms == (F(21, 2) * F(7, 4), F(-15, 4) * F(7, 4))


def test_a_rescaled_sum_without_an_output_scheme() -> None:
    """The sum of the rounded operands is exact; 10.5 goes to 11 in gemmlowp's arithmetic, -3.75 to -4."""
    scheme = {"a_requantization": by(3, 3), "b_requantization": by(5, 4)}
    operation = RescaledAdd(output="y", a="a", b="b", left_shift=2, **scheme)
    stage = only(staged(operation, "y", [(0, 1)], SUM, zeros=ZEROS))
    assert (stage.integer, stage.value, stage.code) == (6, 11, 11)
    assert stage.terms == (F(21, 2), F(-15, 4))
    q31 = {"multiplier": 3 << 29, "shift": 32}, {"multiplier": 5 << 28, "shift": 32}
    double = RescaledAdd(
        output="y",
        a="a",
        b="b",
        left_shift=2,
        a_requantization=Q31Double(**q31[0]),
        b_requantization=Q31Double(**q31[1]),
    )
    stage = only(staged(double, "y", [(0, 1)], SUM, zeros=ZEROS))
    assert (stage.integer, stage.value) == (7, 12)
    assert stage.terms == (F(21, 2), F(-15, 4))


def test_an_embedding_adds_word_and_position() -> None:
    """Token 2 at position 3 + 1: (-5*7 + 9*2) / 4."""
    operation = Embed(
        output="y",
        ids="ids",
        position="start",
        table="w",
        positions="p",
        multiplier="m",
        position_multiplier=2,
        shift=2,
    )
    constants = {"w": [[1, 1], [4, 3], [-5, 6]], "p": [[0, 0]] * 4 + [[9, -9]], "m": [100, 3, 7]}
    values = {"ids": [[1, 2]], "start": 3}
    first, other = staged(operation, "y", [(0, 1, 0), (0, 0, 1)], values, **constants, zeros={"y": 1})
    assert first is not None and (first.integer, first.value, first.code) == (-17, F(-13, 4), -3)
    assert first.terms == (F(-35, 4), F(18, 4))
    assert other is not None and (other.integer, other.terms) == (9, (F(9, 4), 0))


def test_what_rounds_nothing_has_no_stage() -> None:
    assert staged(Relu(output="y", input="x"), "y", [(0,)], {"x": [3]}) == [None]


# --- (5a) to (5f) -----------------------------------------------------------------------------------------------------

NORM = LayerNorm(
    numerator="num",
    denominator="den",
    quotient="quo",
    output="y",
    input="x",
    gamma="g",
    beta="b",
    eps=10,
    numerator_requantization=by(1, 1),
    denominator_requantization=by(3, 2),
    quotient_requantization=by(5, 1),
    output_requantization=by(3, 2),
)
PARTS = {"num": INT8, "den": UINT8, "quo": INT8, "y": INT8}
ROWS = {
    "x": [[1, 4, -2, 9], [0, 0, 0, 0]],
    "num": [[9, 9, 9, -11], [1, 2, 3, 4]],
    "den": [[12], [7]],
    "quo": [[5, 5, 5, 2], [6, 6, 6, -6]],
}
"""Codes of the parts that are not those of the row: each stage reads its own operands."""


@pytest.mark.parametrize(
    ("site", "row", "column", "integer", "value", "code"),
    [
        ("num", 0, 3, 24, F(12), 12),  # 4*9 - 12
        ("num", 0, 2, -20, F(-10), -10),
        ("num", 1, 3, 0, F(0), 0),
        ("den", 0, 0, 16, F(12), 12),  # V = 4*102 - 144 + 10 = 274
        ("den", 1, 0, 3, F(9, 4), 2),  # eps alone
        ("quo", 0, 3, -11, F(-55, 24), -2),  # -11*5 / (12*2)
        ("quo", 1, 1, 2, F(10, 14), 1),
        ("y", 0, 3, -7, F(-21, 4) + 6, 1),  # 2*-10 + 13
        ("y", 1, 2, 63, F(189, 4) + 6, 53),  # 6*11 - 3
    ],
)
def test_every_stage_of_a_layernorm(site: str, row: int, column: int, integer: int, value: Fraction, code: int) -> None:
    constants = {"g": [1, 1, 11, -10], "b": [0, 0, -3, 13]}
    stage = only(staged(NORM, site, [(row, column)], ROWS, PARTS, **constants, zeros={"y": 6, "x": 77}))
    assert (stage.integer, stage.value, stage.code) == (integer, value, code)


def test_rows_do_not_share_their_sums() -> None:
    both = staged(NORM, "num", [(0, 3), (1, 3), (0, 2)], ROWS, PARTS, g=[0] * 4, b=[0] * 4)
    assert [stage and stage.integer for stage in both] == [24, 0, -20]


def test_a_denominator_is_at_least_one() -> None:
    flat = LayerNorm(**{field: getattr(NORM, field) for field in NORM.__struct_fields__} | {"eps": 0})
    stage = only(staged(flat, "den", [(1, 0)], ROWS, PARTS, g=[0] * 4, b=[0] * 4))
    assert (stage.integer, stage.value, stage.unclamped, stage.code) == (0, 0, 0, 1)


# --- the other LayerNorms ---------------------------------------------------------------------------------------------


def test_ibert() -> None:
    """x' = 9, 3, -4, 2; the mean 2.5 is 2; y = 7, 1, -6, 0, halved 3, 0, -3, 0; sigma = 2 * isqrt(18) = 8.

    2^31 / 8 = 2^28; -6 * 2^28 / 2 = -3 * 2^28, of the sign -1, and 100.
    """
    operation = IBertLayerNorm(output="y", input="x", gamma="g", beta="b", variance_shift=1, requantization=by(3, 30))
    values, constants = {"x": [[10, 4, -3, 3]]}, {"g": [1, 1, -1, 0], "b": [0, 0, 100, 5]}
    found = staged(operation, "y", [(0, 2), (0, 0), (0, 3)], values, **constants, zeros={"x": 1, "y": -2})
    third, first, last = found
    assert third is not None and third.integer == 3 * 2**28 + 100 and third.code == 0
    assert third.value == F(9 * 2**28 + 300, 2**30) - 2
    assert first is not None and first.integer == 7 * 2**27
    assert last is not None and last.integer == 5


def test_ibert_floors_deviations_before_it_squares_them() -> None:
    """y = 6, 0, -7, 1 of the mean 3: halved 3, 0, -4, 0; sigma = 2 * isqrt(25); -7 * floor(2^31 / 10), halved."""
    operation = IBertLayerNorm(output="y", input="x", gamma="g", beta="b", variance_shift=1, requantization=by(3, 30))
    (stage,) = staged(
        operation, "y", [(0, 2)], {"x": [[10, 4, -3, 5]]}, g=[0, 0, -1, 0], b=[0, 0, 100, 0], zeros={"x": 1}
    )
    assert stage is not None and stage.integer == 751619274 + 100


@pytest.mark.parametrize(("x", "shift"), [([3, 5], 0), ([4, 5], 1)])
def test_ibert_of_a_sigma_of_one_and_of_none(x: list[int], shift: int) -> None:
    """y = -1, 1 has sigma 1; y = 0, 1 halved has none, and 1 stands for it: 2^31 * 1 / 2."""
    operation = IBertLayerNorm(
        output="y", input="x", gamma="g", beta="b", variance_shift=shift, requantization=by(1, 0)
    )
    assert only(staged(operation, "y", [(0, 1)], {"x": [x]}, g=[1, 1], b=[0, 9])).integer == 2**30 + 9


def test_ibert_of_a_constant_row() -> None:
    """sigma is 0, the divisor 1, and the deviations are 0."""
    operation = IBertLayerNorm(output="y", input="x", gamma="g", beta="b", variance_shift=0, requantization=by(1, 0))
    assert only(staged(operation, "y", [(0, 1)], {"x": [[4, 4]]}, g=[1, 1], b=[0, 9])).integer == 9


def test_pulp() -> None:
    """x' = 9, 3, -4, -21; the mean -13/4 is -3; y = 12, 6, -1, -18; isqrt(505/4 + 1) = isqrt(127) = 11.

    -18*5 / 11 is -8, plus 3, halved and floored; 6*-5 / 11 is -2, plus 4.
    """
    operation = PulpLayerNorm(output="y", input="x", gamma="g", beta="b", shift=1)
    values, constants = {"x": [[10, 4, -3, -20]]}, {"g": [0, -5, 0, 5], "b": [0, 4, 0, 3]}
    last, second = staged(operation, "y", [(0, 3), (0, 1)], values, **constants, zeros={"x": 1, "y": 7})
    assert last is not None and (last.integer, last.value, last.code) == (-5, F(9, 2), 4)
    assert second is not None and (second.integer, second.code) == (2, 8)


def test_pulp_adds_one_to_the_variance() -> None:
    """3, -1, -2, 0 has 14/4 + 1 = 4 and the root 2; equal codes have 1, which divides their zeros."""
    operation = PulpLayerNorm(output="y", input="x", gamma="g", beta="b", shift=0)
    constants = {"g": [10, 1, 1, 1], "b": [7, 0, 0, 0]}
    both = staged(operation, "y", [(0, 0), (1, 0)], {"x": [[3, -1, -2, 0], [5, 5, 5, 5]]}, **constants)
    assert [stage and stage.integer for stage in both] == [15 + 7, 7]


@pytest.mark.parametrize(
    ("x", "zero"), [([5, 1, 2], 0), ([15, 11, 12], 10), ([-7, 100, 3], -4), ([6, 6, 6], 2), ([0, 1, 0], 0)], ids=str
)
def test_tflite_is_the_oracle_before_its_last_rounding(x: list[int], zero: int) -> None:
    """By the oracle with the ratio 1, which rounds nothing; the limit stands for the variances of the last two."""
    gamma, bias = [900, -3000, 1111], [5, -700, 90000]
    wide, one = Result(0, -(2**31), 2**31 - 1), (2**30, 30)
    expected = tflite_layernorm(x, zero, True, gamma, bias, 7, one, wide).output
    operation = TfliteLayerNorm(
        output="y",
        input="x",
        gamma="g",
        beta="b",
        variance_limit=7,
        requantization=Q31Double(multiplier=2**30, shift=33),
    )
    found = staged(
        operation, "y", [(0, j) for j in range(3)], {"x": [x]}, {"y": WIDE}, g=gamma, b=bias, zeros={"x": zero, "y": 3}
    )
    assert [stage and stage.integer for stage in found] == expected
    for stage, integer in zip(found, expected, strict=True):
        half = (integer + 1) // 2  # HALF_UP, what the doubling high multiply by 2^30 does
        assert stage is not None and stage.value == F(half, 4) + 3
    assert len(set(expected)) == 3


def test_tflite_by_hand() -> None:
    """x = 3, -3: variance 9, normalised +-1 of 1024; 1024 * 3000 / 1024 + 2 / 1024 rounds to 3000 and -3000."""
    operation = TfliteLayerNorm(
        output="y",
        input="x",
        gamma="g",
        beta="b",
        variance_limit=1,
        requantization=Q31Double(multiplier=2**30, shift=31),
    )
    found = staged(operation, "y", [(0, 0), (0, 1)], {"x": [[3, -3]]}, {"y": WIDE}, g=[3000, 3000], b=[2, 2])
    assert [stage and stage.integer for stage in found] == [3000, -3000]


def test_float_of_a_requantization() -> None:
    """2^24 + 1 has no binary32: what is rounded is 2^24 / 2^20."""
    operation = Requantize(output="y", input="x", requantization=Float32(multiplier=1, shift=20))
    stage = only(staged(operation, "y", [(0,)], {"x": [2**24 + 1]}))
    assert (stage.integer, stage.value) == (2**24 + 1, 16)
