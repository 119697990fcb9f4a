"""Six softmaxes: kernel equals oracle, codes and events, with every 8-bit difference, and the laws they obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arithmetic import gemmlowp
from hwsim.formats import Counter, IntFormat
from tests.oracle import gemmlowp as oracle_gemmlowp
from tests.oracle.interpolation import lookup
from tests.oracle.scaling import doubling_high
from tests.unit.hwsim.operators.kernel_checks import (
    assert_occurred,
    half_full,
    int32,
    no_events,
    thin,
)
from tests.unit.hwsim.operators.softmax_cases import (
    CONSTANTS,
    KERNELS,
    OUTPUT,
    TABLES,
    Constants,
    cases,
    check_softmax_of,
    constants_of,
    pinned,
    run,
)
from tests.unit.hwsim.operators.test_kernels_properties import INT8, INT16, UINT8, explore

OCCURRING = {
    "gemmlowp": (Counter.SATURATION,),
    "int16": (Counter.SATURATION,),
    "ibert": (Counter.SATURATION, Counter.DENOMINATOR_CLAMP),
    "itamax": (),
    "gemmini": (),
    "pulp": (),
}
"""Quotients of ITAMax, Gemmini and PULP are at most 1, and their sums at least that: nothing of theirs is clamped."""


@pytest.mark.parametrize("name", KERNELS)
def test_softmax(name: str) -> None:
    seen = explore(check_softmax_of, lambda bits: cases(name, bits), pinned(name), examples=16)
    assert_occurred(seen, *OCCURRING[name])


@pytest.mark.parametrize("name", KERNELS)
def test_every_difference_of_8_bits(name: str) -> None:
    """Two keys of every distance, at usual scales; of int16 every 257th distance."""
    lowest, step = (-(2**15), 257) if name == "int16" else (-128, 1)
    scores = int32([[lowest, lowest + d * step] for d in thin(range(256))])
    for constants in constants_of(name):
        check_softmax_of(name, scores, np.ones(scores.shape, np.bool_), constants, OUTPUT[name])


@pytest.mark.parametrize("bits", [2, 5, 8, 12, 16])
def test_gemmlowp_of_the_longest_row(bits: int) -> None:
    """4095 equal keys, whose sum just stays below 2^31, and as many beside one far above."""
    rows = np.zeros((2, 4095), np.int32)
    rows[1, 7] = 32767
    constants = {"multiplier": 2**31 - 1, "left_shift": 20}
    check_softmax_of("gemmlowp", rows, np.ones(rows.shape, np.bool_), constants, IntFormat(bits=bits))


@pytest.mark.parametrize(("left", "furthest"), [(0, 31 * 2**26), (20, 1984), (26, 31), (27, 15), (31, 0)])
def test_gemmlowp_leaves_out_what_lies_further_than_diff_min(left: int, furthest: int) -> None:
    """One code nearer than, at and beyond diff_min."""
    top = 32767
    scores = int32([[top, top - min(d, 65535)] for d in (max(furthest - 1, 0), furthest, furthest + 1)])
    allowed = np.ones(scores.shape, np.bool_)
    constants = {"multiplier": 2**30, "left_shift": left}
    check_softmax_of("gemmlowp", scores, allowed, constants, INT16)


def test_functions_of_gemmlowp() -> None:
    """Around every power of two, and anywhere: exp in Q5.26, 1/(1+x) in Q0.31, 1/sqrt(x) of integers."""
    rng = np.random.default_rng(1)
    around = {min(max(2**k + step, 0), 2**31 - 1) for k in range(32) for step in (-2, -1, 0, 1, 2)}
    values = thin([*sorted(around), *rng.integers(0, 2**31, 3000).tolist(), *rng.integers(0, 2**26, 1000).tolist()])
    for v in values:
        assert gemmlowp.exp_on_negative(-v) == oracle_gemmlowp.exp_q(-v), v
        assert gemmlowp.one_over_one_plus(v) == oracle_gemmlowp.recip(v), v
        assert gemmlowp.inverse_sqrt(max(v, 1)) == oracle_gemmlowp.invsqrt(max(v, 1)), v
    assert gemmlowp.exp_on_negative(-(2**31)) == 0
    products = [gemmlowp.doubling_high_multiply(a, b) for a, b in zip(values, values[::-1], strict=True)]
    assert products == list(map(doubling_high, values, values[::-1]))
    assert gemmlowp.doubling_high_multiply(-(2**31), -(2**31)) == 2**31 - 1


def test_gemmini_multiplies_by_a_factor_of_binary32() -> None:
    """The page's example: 127 / (2 * 27095) times 27095 is a hair less than 63.5; the exact quotient is a tie."""
    two = int32([[5, 5]])
    constants: Constants = {"polynomial": (68, 133, 9406)}
    assert run("gemmini", two, np.ones((1, 2), np.bool_), constants, INT8, half_full()).tolist() == [[63, 63]]


def test_pulp_by_hand() -> None:
    """ln2, b, c = 4, 6, 12: E is 48, at 3 below (-3 + 6)^2 + 12 = 21, at 4 half of 48, at 9 a quarter of 25 + 12."""
    row = int32([[0, -3, -4, -9]])
    constants: Constants = {"polynomial": (4, 6, 12)}
    want = [255 * e // (48 + 21 + 24 + 9) for e in (48, 21, 24, 9)]
    assert want == [120, 52, 60, 22]
    assert run("pulp", row, np.ones((1, 4), np.bool_), constants, UINT8, half_full()).tolist() == [want]


@pytest.mark.parametrize(("clamped", "code"), [(True, 32767), (False, -(2**15))])
def test_a_row_of_one_key_is_one(clamped: bool, code: int) -> None:
    """(S9) gives 2^15; CMSIS-NN stores its low 16 bits, which are -2^15, and counts nothing."""
    constants = constants_of("int16")[0] | {"clamped": clamped}
    counters = no_events()
    rows = int32([[3, 0, 0], [0, 0, 0]])
    allowed = np.array([[True, False, False], [True, True, False]])
    got = run("int16", rows, allowed, constants, None, counters)
    assert got.tolist() == [[code, 0, 0], [16384, 16384, 0]]
    assert counters.tolist() == [0, int(clamped), 0, 0, 0]


# Laws


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_laws(name: str, data: st.DataObject) -> None:
    """The zero point cancels, masked keys are as good as absent, and order matters to ITAMax in groups only."""
    constants = data.draw(CONSTANTS[name]) | ({"group": 0} if name == "itamax" else {})
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scores, allowed = rng.integers(-64, 64, (3, 9)).astype(np.int32), rng.random((3, 9)) < 0.7
    step, order, tally = np.int32(data.draw(st.integers(-64, 64))), rng.permutation(9), half_full()
    result = run(name, scores, allowed, constants, OUTPUT[name], tally)
    for other_scores, other_allowed, back in (
        (scores + step, allowed, slice(None)),
        (scores[:, order].copy(), allowed[:, order].copy(), np.argsort(order)),
        (np.where(allowed, scores, 127).astype(np.int32), allowed, slice(None)),
    ):
        other_tally = half_full()
        other = run(name, other_scores, other_allowed, constants, OUTPUT[name], other_tally)
        assert np.array_equal(other[:, back], result)
        assert np.array_equal(other_tally, tally)
    zero = -128 if name == "gemmlowp" else 0
    assert (result[~allowed] == zero).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_group_of_the_whole_row_is_a_single_pass(data: st.DataObject) -> None:
    case = data.draw(cases("itamax", 8))
    n, shift = case.scores.shape[1], case.constants["shift"]
    whole = [
        run("itamax", case.scores, case.allowed, {"shift": shift, "group": g}, case.output, half_full())
        for g in (0, max(n, 1), n + 5)
    ]
    assert np.array_equal(whole[0], whole[1]) and np.array_equal(whole[0], whole[2])


def test_groups_lose_bits_of_the_running_sum() -> None:
    """129 of 256 halved is 64: keys in groups of one give another sum than a whole row."""
    scores = int32([[0, 0, 0, 1, 9]])
    results = [
        run("itamax", scores, np.ones((1, 5), np.bool_), {"shift": 0, "group": group}, UINT8, half_full()).tolist()
        for group in (0, 1)
    ]
    assert results[0] != results[1]


# Refusals

ROW, ALL = int32([[0, 1, 2]]), np.ones((1, 3), np.bool_)
WRONG: list[tuple[str, Constants, str]] = [
    ("gemmlowp", {"multiplier": 2**30 - 1}, "multiplier is 1073741823; allowed: 1073741824 to 2147483647"),
    ("gemmlowp", {"multiplier": 2**31}, "multiplier is 2147483648; allowed: 1073741824 to 2147483647"),
    ("gemmlowp", {"left_shift": 32}, "left_shift is 32; allowed: 0 to 31"),
    ("gemmlowp", {"left_shift": -1}, "left_shift is -1; allowed: 0 to 31"),
    ("int16", {"multiplier": 2**30 - 1}, "multiplier is 1073741823; allowed: 1073741824 to 2147483647"),
    ("int16", {"shift": 63}, "shift is 63; allowed: 0 to 62"),
    ("int16", {"shift": 0}, r"distance of two scores is 2; allowed: 0 to [01]$"),
    ("int16", {"exp_table": [0] * 512}, r"exp_table has shape \(512,\); allowed: \(513,\)"),
    ("int16", {"exp_table": [0] * 513}, "exp_table at the greatest score is 0; allowed: 16384 to 32767"),
    ("int16", {"exp_table": [-1] * 513}, "an element of exp_table is -1; allowed: 0 to 32767"),
    ("int16", {"reciprocal_table": [2**15] * 513}, "an element of reciprocal_table is 32768; allowed: -32768 to 32767"),
    ("ibert", {"multiplier": 0}, "multiplier is 0; allowed: 1 to 2147483647"),
    ("ibert", {"multiplier": 2**31}, "multiplier is 2147483648; allowed: 1 to 2147483647"),
    ("ibert", {"shift": 63}, "shift is 63; allowed: 0 to 62"),
    ("ibert", {"polynomial": (0, 1, 1)}, "ln2 is 0; allowed: 1 to"),
    ("ibert", {"polynomial": (1, 1, 0)}, "c is 0; allowed: 1 to"),
    ("ibert", {"polynomial": (1, 1, 2**32)}, f"exponential is {2**62}; allowed: 0 to {2**62 - 1}"),
    ("ibert", {"polynomial": (1, 1, 2**31), "multiplier": 4}, r"could reach 9223372036854775808; allowed: below 2\^63"),
    ("itamax", {"shift": 9}, "shift is 9; allowed: 0 to 8"),
    ("itamax", {"group": -1}, "group is -1; allowed: 0 to"),
    ("gemmini", {"polynomial": (0, 1, 1)}, "ln2 is 0; allowed: 1 to"),
    ("gemmini", {"polynomial": (1, 2**30, 1)}, rf"b\^2 \+ c is {2**60 + 1}; allowed: 0 to {2**31 - 1}"),
    ("pulp", {"polynomial": (0, 1, 1)}, "ln2 is 0; allowed: 1 to"),
    ("pulp", {"polynomial": (1, 2**30, 1)}, rf"b\^2 \+ c is {2**60 + 1}; allowed: 0 to {2**31 - 1}"),
]


@pytest.mark.parametrize(("name", "changes", "message"), WRONG)
def test_refuses_and_says_what_is_allowed(name: str, changes: Constants, message: str) -> None:
    constants = constants_of(name)[-1]
    run(name, ROW, ALL, constants, OUTPUT[name], half_full())
    with pytest.raises(ValueError, match=message):
        run(name, ROW, ALL, constants | changes, OUTPUT[name], half_full())


@pytest.mark.parametrize("name", [name for name in KERNELS if OUTPUT[name]])
def test_refuses_formats_of_another_sign_or_width(name: str) -> None:
    right = OUTPUT[name]
    assert right is not None
    wrong = [IntFormat(bits=8, signed=not right.signed), IntFormat(bits=17, signed=right.signed)]
    wrong += [IntFormat(bits=9, signed=False)] if name in ("itamax", "pulp") else []
    wrong += [IntFormat(bits=8, narrow=True)] if name == "gemmlowp" else []
    for form in wrong:
        with pytest.raises(ValueError, match=r"output .*allowed: "):
            run(name, ROW, ALL, constants_of(name)[0], form, half_full())


def test_refuses_rows_that_are_too_long() -> None:
    long = np.zeros((1, 4096), np.int32)
    with pytest.raises(ValueError, match="4096; allowed: 0 to 4095"):
        run("gemmlowp", long, np.ones(long.shape, np.bool_), constants_of("gemmlowp")[0], INT8, half_full())
    longer = np.zeros((1, 65539), np.int32)
    with pytest.raises(ValueError, match=f" is {65539 * 32767}; allowed: 0 to {2**31 - 1}"):
        run("int16", longer, np.ones(longer.shape, np.bool_), constants_of("int16")[0], None, half_full())


def test_tables_end_where_the_page_says() -> None:
    """The greatest score reads an entry of at least 2^14, so that no sum is below that."""
    assert lookup(TABLES["exp_table"], 32767) >= 2**14
