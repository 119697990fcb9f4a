"""ONNX Runtime's softmax: kernel equals oracle, codes and events; and inputs where another arithmetic would differ."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.formats import Counter, IntFormat
from hwsim.kernels import qlinear_softmax
from tests import oracle
from tests.oracle.exp_table import bits_of
from tests.oracle.softmaxes import number_of
from tests.unit.hwsim.operators.kernel_checks import (
    Events,
    Integers,
    assert_counted,
    assert_occurred,
    assert_same,
    half_full,
    int32,
    tallied,
    thin,
)
from tests.unit.hwsim.operators.softmax_cases import extreme_rows, masks

INT8, UINT8 = IntFormat(bits=8), IntFormat(bits=8, signed=False)
SCALES = (0.004, 0.03, 0.1, 0.3, 0.9)
"""At the last the furthest keys have exponentials that are subnormal or 0."""
ONE, GREATEST = 0x3F800000, 0x7F7FFFFF
TABLES = {scale: oracle.qlinear_table(scale, 8, 64) for scale in SCALES}
Mask = NDArray[np.bool_]


def run(
    scores: Integers, table: list[int], multiplier: int, output: IntFormat, allowed: Mask | None = None
) -> tuple[Integers, Events]:
    counters = half_full()
    shown = np.ones(scores.shape, np.bool_) if allowed is None else allowed
    keywords = {"multiplier": multiplier, "output": output, "counters": counters}
    return qlinear_softmax(scores, shown, int32(table), **keywords), counters


def check(
    scores: Integers, table: list[int], multiplier: int, output: IntFormat, allowed: Mask | None = None
) -> Events:
    """Every row against the oracle."""
    got, counters = run(scores, table, multiplier, output, allowed)
    shown = np.ones(scores.shape, np.bool_) if allowed is None else allowed
    numbers = table, multiplier, output.bits, output.signed
    rows = [
        oracle.qlinear_softmax(row, kept, *numbers) for row, kept in zip(scores.tolist(), shown.tolist(), strict=True)
    ]
    assert_same(f"{multiplier} {output}", got, [row.output for row in rows])
    return assert_counted(counters, tallied((), sum(row.output_saturated for row in rows)))


def random_rows(rng: np.random.Generator, count: int, n: int) -> Integers:
    spread = np.exp2(rng.uniform(0, 8, (count, 1)))
    return np.clip(np.rint(spread * rng.normal(size=(count, n))), -128, 127).astype(np.int32)


def one(numbers: list[int], multiplier: int = 4, bits: int = 8) -> list[int]:
    """Unsigned codes of a row whose keys have these exponentials, in this order."""
    table = sorted(set(numbers), reverse=True)
    scores = int32([[-table.index(number) for number in numbers]])
    return run(scores, table, multiplier, IntFormat(bits=bits, signed=False))[0][0].tolist()


def single(value: int) -> int:
    """The 32 bits of a binary32."""
    assert number_of(bits_of(Fraction(value))) == value
    return bits_of(Fraction(value))


@pytest.mark.parametrize("scale", SCALES)
def test_rows_of_every_length(scale: float) -> None:
    rng = np.random.default_rng(int(scale * 1000))
    seen = np.zeros(len(Counter), np.int64)
    for n in (1, 2, 3, 5, 17, 64):
        for output, multiplier in ((INT8, 256), (UINT8, 256), (UINT8, 255), (IntFormat(bits=4), 16), (INT8, 10)):
            scores = random_rows(rng, 6, n)
            seen += check(scores, TABLES[scale], multiplier, output, rng.random(scores.shape) < 0.8)
    assert_occurred(seen, Counter.SATURATION)


@pytest.mark.parametrize("scale", SCALES)
def test_every_difference_of_8_bits(scale: float) -> None:
    check(int32([[-128, -128 + d] for d in thin(range(256))]), TABLES[scale], 256, INT8)


def test_extreme_rows_and_masks() -> None:
    rows = int32(extreme_rows())
    for scores in (rows, rows[:, :1].copy()):
        for mask in masks(scores):
            check(scores, TABLES[0.1], 256, INT8, mask)
    for scores in (rows[:0], rows[:, :0].copy()):
        assert run(scores, TABLES[0.1], 256, INT8)[0].shape == scores.shape


def test_any_table() -> None:
    """Numbers of every size, subnormal ones and 0 among them, in no order."""
    rng = np.random.default_rng(5)
    for _ in range(60):
        low, high = np.sort(rng.integers(0, 0x78000000, 2))
        table = rng.integers(low, high, 16, endpoint=True)
        table[rng.random(16) < 0.2] = rng.integers(0, 1 << 23)
        table[0] = max(int(table[0]), 1)
        scores = rng.integers(-8, 8, (3, int(rng.integers(1, 12)))).astype(np.int32)
        check(scores, table.tolist(), int(rng.integers(1, 257)), UINT8, rng.random(scores.shape) < 0.9)


def test_ties() -> None:
    """They go to the even code: equal keys whose quotients are 1/2, 3/2 and 5/2."""
    assert [one([ONE, ONE], multiplier) for multiplier in (1, 3, 5)] == [[0, 0], [2, 2], [2, 2]]


def test_clamp() -> None:
    """Counted where it changes a code."""
    signed, events = run(int32([[7]]), TABLES[0.1], 256, INT8)
    assert signed.tolist() == [[127]]
    assert events[Counter.SATURATION] - half_full()[Counter.SATURATION] == 1
    assert run(int32([[7]]), TABLES[0.1], 255, UINT8)[0].tolist() == [[255]]


def test_the_sum_has_an_order() -> None:
    """2^24 + 1 is a tie to 2^24, twice: the quotient is 3/2. 1 + 1 + 2^24 is exact: the quotient lies below 3/2."""
    half = single(2**23)
    assert one([half, half, ONE, ONE], 3) == [2, 2, 0, 0]
    assert one([ONE, ONE, half, half], 3) == [0, 0, 1, 1]


def test_product_and_quotient_are_exact() -> None:
    """What binary32 would make ties of or move off them: 7 * 9586981 = 2^26 + 3, and 6291458 / 8388611 below 3/4."""
    assert one([single(9586981)] * 2, 7) == [4, 4]  # 7/2; 2^26 in place of the product lies below it
    assert one([single(6291458), single(2097153)], 2) == [1, 1]  # 3/2 - 1/16777222, 1/2 + 1/16777222


def test_far_keys_have_nothing() -> None:
    """Around the distances at which the kernel stops dividing: 1 to 2^-40, and subnormal numbers beside 1."""
    for halvings in range(41):
        far = Fraction(1, 2**halvings)
        assert one([ONE, ONE - (halvings << 23)], 256)[1] == round(256 * far / (1 + far))
    assert one([ONE, 0x7FFFFF, 1, 0], 256) == [255, 0, 0, 0]
    assert one([2, 1], 255) == [170, 85]


def test_laws() -> None:
    """Any zero point cancels, and masked keys are as good as absent."""
    rng = np.random.default_rng(8)
    scores, allowed = rng.integers(-64, 64, (20, 9)).astype(np.int32), rng.random((20, 9)) < 0.7
    result, tally = run(scores, TABLES[0.03], 256, INT8, allowed)
    for other in ((scores + 50).astype(np.int32), np.where(allowed, scores, 127).astype(np.int32)):
        again, events = run(other, TABLES[0.03], 256, INT8, allowed)
        assert np.array_equal(again, result) and np.array_equal(events, tally)
    assert (result[~allowed] == -128).all()


WRONG: list[tuple[dict[str, object], str]] = [
    ({"multiplier": 0}, "^multiplier is 0; allowed: 1 to 256$"),
    ({"multiplier": 257}, "^multiplier is 257; allowed: 1 to 256$"),
    ({"output": IntFormat(bits=9)}, "^output bits is 9; allowed: 2 to 8$"),
    ({"output": IntFormat(bits=17)}, "^output has format int17; allowed: codes of at most 16 bits$"),
    ({"output": IntFormat(bits=8, narrow=True)}, "^output has format int8n; allowed: formats that are not narrow$"),
    ({"table": [0, ONE, ONE]}, "^table at distance 0 is 0; allowed: 1 to 2139095039$"),
    ({"table": [ONE, -1, ONE]}, "^an element of table is -1; allowed: 0 to 2139095039$"),
    ({"table": [GREATEST + 1, ONE, ONE]}, "^an element of table is 2139095040; allowed: 0 to 2139095039$"),
    ({"table": [ONE, ONE]}, "^a score lies 2 below its row's greatest; allowed: 0 to 1, the table$"),
    ({"table": [0x7E800000] * 3}, "^keys is 3; allowed: 0 to 1$"),  # 2^126
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_refuses_and_says_what_is_allowed(changes: dict[str, object], message: str) -> None:
    right: dict[str, object] = {"table": [ONE, ONE, ONE], "multiplier": 128, "output": INT8}
    scores = int32([[0, 1, 2]])
    run(scores, **right)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        run(scores, **right | changes)  # type: ignore[arg-type]


def test_numbers_at_the_limits_are_taken() -> None:
    """Sums to 2^127 less a step."""
    assert run(int32([[0, 0]]), [0x7E7FFFFF], 256, UINT8)[0].tolist() == [[128, 128]]
    assert run(int32([[0]]), [0x7EFFFFFF], 100, UINT8)[0].tolist() == [[100]]
