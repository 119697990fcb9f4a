"""What was rounded in every softmax: masked keys have nothing, the others integers and exact values by hand."""

from fractions import Fraction

import pytest

from analysis.proof.divergence import Stage, tie_distance
from hwsim.formats import IntFormat
from hwsim.program.catalogue import Dyadic, Q31Double
from hwsim.program.operations import (
    GemminiSoftmax,
    GemmlowpSoftmax,
    IBertSoftmax,
    Int16Softmax,
    ItaMax,
    Operation,
    PulpSoftmax,
    QLinearSoftmax,
    Softmax,
)
from tests.oracle.gemmlowp import exp_q, leading_zeros, recip
from tests.oracle.scaling import doubling_high, rounding_shift
from tests.unit.analysis.proof.stage_cases import INT8, UINT8, only, staged

F = Fraction
ALL = [(0, 0), (0, 1), (0, 2), (0, 3)]


def of_row(
    operation: Operation, scores: list[int], mask: list[int] | None = None, form: IntFormat = UINT8
) -> list[Stage | None]:
    """The stages of one row of probabilities."""
    values: dict[str, object] = {"x": [scores]}
    if mask is not None:
        values["mask"] = [mask]
    return staged(operation, "y", [(0, j) for j in range(len(scores))], values, {"y": form})


def integers(found: list[Stage | None]) -> list[int | None]:
    return [stage and stage.integer for stage in found]


def codes(found: list[Stage | None]) -> list[int | None]:
    return [stage and stage.code for stage in found]


TABLE = Softmax(
    numerator="num",
    denominator="den",
    output="y",
    input="x",
    table="t",
    denominator_requantization=Dyadic(multiplier=3, shift=2),
    output_requantization=Dyadic(multiplier=255, shift=1),
)
PARTS = {"num": UINT8, "den": UINT8, "y": UINT8}
ROWS = {"x": [[0, 0, 0, 0]] * 2, "num": [[9, 3, 0, 6], [0, 0, 0, 0]], "den": [[14], [1]]}


def test_the_table_has_two_roundings() -> None:
    """18 * 3/4 is a tie; 6*255 / (14*2)."""
    denominator = only(staged(TABLE, "den", [(0, 0)], ROWS, PARTS, t=[1]))
    assert (denominator.integer, denominator.value, denominator.code) == (18, F(27, 2), 14)
    empty = only(staged(TABLE, "den", [(1, 0)], ROWS, PARTS, t=[1]))
    assert (empty.integer, empty.value, empty.unclamped, empty.code) == (0, 0, 0, 1)
    output = only(staged(TABLE, "y", [(0, 3)], ROWS, PARTS, t=[1]))
    assert (output.integer, output.value, output.code) == (6, F(1530, 28), 55)
    assert staged(TABLE, "num", [(0, 3)], ROWS, PARTS, t=[1]) == [None]


def test_ibert() -> None:
    """Distances 0, 13, 400, 7: c; (17*-3 + 300) / 2 = 124.5; 300 / 2^30; (13*-7 + 300). Their sum is 633."""
    operation = IBertSoftmax(output="y", input="x", ln2=10, b=20, c=300, multiplier=1, shift=30)
    found = of_row(operation, [401, 388, 1, 394])
    factor = 2**32 // (300 + 124 + 0 + 209)
    assert integers(found) == [300 * factor, 124 * factor, 0, 209 * factor]
    assert codes(found) == [121, 50, 0, 84]  # 256/633 of each, floored
    assert found[1] is not None and found[1].value == F(124 * factor, 2**24)


def test_ibert_leaves_masked_keys_out() -> None:
    """300 and 124 remain; an exponential has 16 bits at most, and none is below 0."""
    operation = IBertSoftmax(output="y", input="x", mask="mask", ln2=10, b=20, c=300, multiplier=1, shift=30)
    factor = 2**32 // 424
    assert integers(of_row(operation, [500, 401, 388, 1], [0, 1, 1, 0])) == [None, 300 * factor, 124 * factor, None]
    wide = IBertSoftmax(output="y", input="x", ln2=10, b=20, c=300, multiplier=300, shift=30)
    assert integers(of_row(wide, [0, -20])) == [65535 * (2**32 // 88035), 22500 * (2**32 // 88035)]
    below = IBertSoftmax(output="y", input="x", ln2=10, b=20, c=30, multiplier=1, shift=30)
    assert integers(of_row(below, [0, -5])) == [30 * (2**32 // 30), 0]  # 15*-5 + 30 is -45


def test_itamax() -> None:
    """Distances 5, 1 and then 0, 7: 64 + 256, halved when the maximum moves by 1, + 256 + 16 = 432; 65280 / 432."""
    found = of_row(ItaMax(output="y", input="x", shift=1, group=2), [5, 9, 10, 3])
    assert integers(found) == [151] * 4
    assert [stage and stage.value for stage in found] == [F(151, 8), F(151, 2), 151, F(151, 16)]
    assert codes(found) == [18, 75, 151, 9]
    whole = of_row(ItaMax(output="y", input="x", shift=1, group=0), [5, 9, 10, 3])
    assert integers(whole) == [65280 // (32 + 128 + 256 + 16)] * 4  # of the whole row the 64 are 32
    none = of_row(ItaMax(output="y", input="x", shift=0, group=0), [5, 4, 5])
    assert integers(none) == [65280 // 640] * 3 and codes(none) == [102, 51, 102]


def test_itamax_loses_what_falls_behind_a_later_maximum() -> None:
    """Distances 9, 9, 9, 8, 0 one by one: 768, halved + 256 = 640, 2 of it + 256; at once 0, 0, 0, 1 and 256."""
    scores = [0, 0, 0, 1, 9]
    assert integers(of_row(ItaMax(output="y", input="x", shift=0, group=1), scores)) == [65280 // 258] * 5
    assert integers(of_row(ItaMax(output="y", input="x", shift=0, group=0), scores)) == [65280 // 257] * 5


def test_itamax_leaves_masked_keys_out() -> None:
    """A group of masked keys moves nothing: 256 and 64 of the second group, 16 of the third."""
    operation = ItaMax(output="y", input="x", mask="mask", shift=1, group=2)
    found = of_row(operation, [90, 91, 9, 5, 1, 99], [0, 0, 1, 1, 1, 0])
    assert integers(found) == [None, None, 65280 // 336, 65280 // 336, 65280 // 336, None]
    assert codes(found)[2:5] == [194, 48, 12]


def test_gemmini() -> None:
    """Distances 0, 13, 25: 444; (17^2 + 44) / 2 = 166; (15^2 + 44) / 4 = 67. The sum is 677.

    127/677 * 2^26 is 12,589,107.4. Products keep 24 bits: 444 of them 2^-17, 166 2^-18, 67 2^-20.
    """
    found = of_row(GemminiSoftmax(output="y", input="x", ln2=10, b=20, c=44), [25, 12, 0], form=INT8)
    assert integers(found) == [444, 166, 67]
    factor = 12_589_107
    halves = [round(F(444 * factor, 2**9)), round(F(166 * factor, 2**8)), round(F(67 * factor, 2**6))]
    assert halves == [10_917_116, 8_163_249, 13_179_221]
    assert [stage and stage.value for stage in found] == [
        F(10_917_116, 2**17), F(8_163_249, 2**18), F(13_179_221, 2**20)
    ]  # fmt: skip
    assert codes(found) == [83, 31, 13]


def test_gemmini_leaves_masked_keys_out() -> None:
    """127/511 * 2^26 is 16,678,720.2; 67 of it in 2^-19 are 8,730,267.5, a tie of the product itself."""
    masked = GemminiSoftmax(output="y", input="x", mask="mask", ln2=10, b=20, c=44)
    found = of_row(masked, [25, 99, 0], [1, 0, 1], INT8)
    assert integers(found) == [444, None, 67] and codes(found) == [110, None, 17]
    assert found[2] is not None and found[2].value == F(8_730_268, 2**19)


def test_gemmini_multiplies_by_a_rounded_quotient() -> None:
    """Two equal keys: 133^2 + 9406 is 27,095; the exact quotient 127/2 is a tie and gives 64, the product 63."""
    found = of_row(GemminiSoftmax(output="y", input="x", ln2=68, b=133, c=9406), [3, 3], form=INT8)
    assert integers(found) == [27_095] * 2 and codes(found) == [63, 63]
    assert [stage and stage.value for stage in found] == [F(127, 2) - F(1, 2**18)] * 2


def test_gemmini_and_pulp_halve_at_other_distances() -> None:
    """floor(65536 / 10) is 6553, ten of which are not yet a halving: (10^2 + 44) there, (20^2 + 44) / 2 here."""
    constants = {"output": "y", "input": "x", "ln2": 10, "b": 20, "c": 44}
    assert integers(of_row(GemminiSoftmax(**constants), [10, 0], form=INT8)) == [444, 144]
    assert integers(of_row(PulpSoftmax(**constants), [10, 0])) == [444, 222]


def test_pulp() -> None:
    """As Gemmini's row, but 255 E / 677, floored."""
    found = of_row(PulpSoftmax(output="y", input="x", ln2=10, b=20, c=44), [25, 12, 0])
    assert integers(found) == [444, 166, 67]
    assert [stage and stage.value for stage in found] == [F(444 * 255, 677), F(166 * 255, 677), F(67 * 255, 677)]
    assert codes(found) == [167, 62, 25]
    masked = of_row(PulpSoftmax(output="y", input="x", mask="mask", ln2=10, b=20, c=44), [25, 99, 0], [1, 0, 1])
    assert integers(masked) == [444, None, 67] and codes(masked) == [221, None, 33]


INT16 = IntFormat(bits=16)
LINE, TENS = [32 * i for i in range(513)], [10 * i for i in range(513)]
ONE_TO_ONE = Q31Double(multiplier=1 << 30, shift=30)


def of_int16(scores: list[int], mask: list[int], reciprocals: list[int], clamped: bool = True) -> list[Stage | None]:
    """A row of the int16 softmax whose exponentials are those of LINE, a step of a score one of the table."""
    operation = Int16Softmax(
        output="y",
        input="x",
        mask="mask",
        exp_table="e",
        reciprocal_table="r",
        requantization=ONE_TO_ONE,
        clamped=clamped,
    )
    indices = [(0, j) for j in range(len(scores))]
    return staged(
        operation, "y", indices, {"x": [scores], "mask": [mask]}, {"y": INT16}, e=LINE, r=reciprocals
    )  # fmt: skip


def test_int16() -> None:
    """Steps 32767 and 31485 lie 127 and 125 128ths behind 511 and 501: 16384 and 16063. Their sum has 17 zeros: 31484.

    That is 124 behind entry 501 of the reciprocals, 5020; products are halved 14 times.
    """
    found = of_int16([1282, 9999, 0], [1, 0, 1], TENS)
    assert integers(found) == [16_384 * 5020, None, 16_063 * 5020]
    assert [stage and stage.value for stage in found] == [F(5020), None, F(16_063 * 5020, 2**14)]
    assert codes(found) == [5020, None, 4922]


def test_int16_rounds_its_sum_half_up() -> None:
    """8 * 16384 + 16063 is odd; half of it, rounded up, less 98304 is 96 behind entry 62: 620 + 7.5 and 1/2."""
    found = of_int16([1282] * 8 + [0], [1] * 9, TENS)
    assert integers(found) == [16_384 * 628] * 8 + [16_063 * 628]


def test_int16_without_a_clamp_keeps_the_low_bits() -> None:
    """One key: 65536 - 98304 is entry 0, 16384 * 40000 / 2^14 beyond int16; far keys have the table's first entry."""
    assert codes(of_int16([7], [1], [40_000] * 513)) == [32_767]
    assert codes(of_int16([7], [1], [40_000] * 513, clamped=False)) == [40_000 - 65_536]
    assert codes(of_int16([0], [1], [-7] * 513)) == [0]  # (S9) has no code below 0
    assert integers(of_int16([70_000, 0], [1, 1], TENS))[1] == 0


@pytest.mark.parametrize(
    ("scores", "mask"), [([3, 3], None), ([9, -40, 5], None), ([9, 120, 5, 9], [1, 0, 1, 1])], ids=str
)
def test_gemmlowp(scores: list[int], mask: list[int] | None) -> None:
    """From the oracle's functions of fixed point; 2^26 / 2^6 steps of a score are one."""
    q, left = 3 << 29, 22
    operation = GemmlowpSoftmax(
        output="y", input="x", mask=None if mask is None else "mask", multiplier=q, left_shift=left
    )
    allowed = [True] * len(scores) if mask is None else [bool(kept) for kept in mask]
    top = max(score for score, kept in zip(scores, allowed, strict=True) if kept)
    powers = [
        exp_q(doubling_high((score - top) << left, q)) if kept else None
        for score, kept in zip(scores, allowed, strict=True)
    ]
    total = sum(rounding_shift(power, 12) for power in powers if power is not None)
    zeros = leading_zeros(total)
    expected = [None if power is None else doubling_high(recip(total * 2**zeros - 2**31), power) for power in powers]
    found = of_row(operation, scores, mask, INT8)
    assert integers(found) == expected
    shift = 12 - zeros + 31 - 8
    for stage, integer in zip(found, expected, strict=True):
        if stage is not None and integer is not None:
            assert stage.value == F(integer, 2**shift) - 128 and stage.zero_point == -128


def quotients(scores: list[int], mask: list[int] | None = None, multiplier: int = 3) -> list[tuple[F, int] | None]:
    """Exact value and code of a row whose exponentials are 2^23, 1 and 0 for distances 0, 1 and 2."""
    named = None if mask is None else "mask"
    operation = QLinearSoftmax(output="y", input="x", table="t", mask=named, multiplier=multiplier)
    values: dict[str, object] = {"x": [scores]} | ({} if mask is None else {"mask": [mask]})
    indices = [(0, j) for j in range(len(scores))]
    found = staged(operation, "y", indices, values, {"y": UINT8}, t=[0x4B000000, 0x3F800000, 0])
    return [stage and (stage.value, stage.code) for stage in found]


def test_qlinear() -> None:
    """2^23 + 2^23 + 1 + 1 is 2^24, each 1 being a tie; 1 + 1 first is not lost, and 3 * 2^23 / (2^24 + 2) below 3/2."""
    tiny = F(3, 2**24)
    assert quotients([0, 0, -1, -1]) == [(F(3, 2), 2), (F(3, 2), 2), (tiny, 0), (tiny, 0)]
    below, less = F(3 * 2**23, 2**24 + 2), F(3, 2**24 + 2)
    assert quotients([-1, -1, 0, 0]) == [(less, 0), (less, 0), (below, 1), (below, 1)]


def test_qlinear_leaves_masked_keys_out_and_has_no_quotient_of_0() -> None:
    assert quotients([5, 0, -2], [0, 1, 1], 256) == [None, (F(256), 255), (F(0), 0)]
    assert quotients([5, 0], [0, 0]) == [None, None]


def test_gemmlowp_by_hand() -> None:
    """Of two equal keys each has half of 2^8, less 128; a key further than 31 below has nothing."""
    operation = GemmlowpSoftmax(output="y", input="x", multiplier=2**30, left_shift=26)
    found = of_row(operation, [7, 7, -25], form=INT8)
    assert codes(found) == [0, 0, None]
    assert of_row(operation, [7, -24, -25], form=INT8)[1] is not None
    assert of_row(operation, [7, -24, -25], form=INT8)[2] is None


def test_distance_from_a_tie() -> None:
    distances = {F(5, 2): F(0), F(9, 4): F(1, 4), F(11, 4): F(1, 4), F(3): F(1, 2), F(-1, 2): F(0), F(-7, 8): F(3, 8)}
    assert {value: tie_distance(value) for value in distances} == distances
