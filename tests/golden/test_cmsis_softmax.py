"""The softmaxes of CMSIS-NN and TensorFlow Lite Micro, against what their C and C++ code computes."""

from types import ModuleType

from tests.golden import kernels
from tests.golden.conftest import Rows
from tests.golden.outcome import assert_equal, assert_refused
from tests.golden.tables import Read, Table
from tests.oracle import softmax_tables

# int16


def of_int16(engine: ModuleType, golden: Read, table: Table, clamped: bool) -> list[list[int]]:
    luts = golden("cmsis_softmax_s16_luts")
    assert len(luts) == 513 and luts["index"] == list(range(513))
    by = luts["exp"], luts["one_over_one_plus_x"]
    rows = zip(table.rows_of("x"), table["mult"], table["shift"], strict=True)
    return [engine.softmax_int16(x, *by, (m, 31 - shift), clamped).codes for x, m, shift in rows]


def test_int16(engine: ModuleType, golden: Read, within: Rows) -> None:
    """CMSIS-NN keeps the low 16 bits of a code, where TensorFlow Lite Micro clamps it."""
    table = within("cmsis_softmax_s16")
    assert_equal(table, of_int16(engine, golden, table, False), row_codes=True)
    assert_equal(table, of_int16(engine, golden, table, True), "out_tflm", row_codes=True)


def test_int16_differs_in_rows_of_one_key_alone(golden: Read, own: bool) -> None:
    table = golden("cmsis_softmax_s16")
    rows = list(zip(table.rows_of("x"), table.rows_of("out"), table.rows_of("out_tflm"), strict=True))
    assert all((len(x) == 1) == (cmsis != tflm) for x, cmsis, tflm in rows)
    assert {(*cmsis, *tflm) for x, cmsis, tflm in rows if len(x) == 1} <= {(-32768, 32767)}
    assert len(rows) and (not own or any(len(x) == 1 for x, _, _ in rows))


def test_tables_of_int16(golden: Read) -> None:
    """The tables of TensorFlow Lite Micro, in float32, are those rounded from the real functions to 1 in 2^15."""
    luts = golden("cmsis_softmax_s16_luts")
    for column, real in zip(("exp", "one_over_one_plus_x"), softmax_tables(), strict=True):
        assert max(abs(a - b) for a, b in zip(luts[column], real, strict=True)) <= 1


# int8


def of_int8(engine: ModuleType, table: Table, **limit: int) -> list[list[int]]:
    rows = zip(table.rows_of("x"), table["mult"], table["left_shift"], strict=True)
    return [engine.gemmlowp_softmax(x, m, left, **limit).codes for x, m, left in rows]


def test_int8(engine: ModuleType, within: Rows) -> None:
    table = within("cmsis_softmax_s8", defined=1)
    assert_equal(table, of_int8(engine, table), row_codes=True)


def test_int8_with_the_limit_of_512_exponentials(within: Rows) -> None:
    """Rows of fewer than 512 keys cannot reach it."""
    table = within("cmsis_softmax_s8", defined=1)
    short = table.taken([len(x) < 512 for x in table.rows_of("x")])
    assert_equal(short, of_int8(kernels, short, max_exponentials=512), row_codes=True)


def test_int8_refuses_512_exponentials(beyond: Rows) -> None:
    table = beyond("cmsis_softmax_s8", defined=0)
    assert all(total >= 512 * 2**19 for total in table["sum_of_exponentials_q12"])
    rows = list(zip(table.rows_of("x"), table["mult"], table["left_shift"], strict=True))
    assert_refused(table, lambda i: kernels.gemmlowp_softmax(*rows[i], max_exponentials=512))


def test_distances_that_int8_leaves_out(golden: Read) -> None:
    """diff_min of (S1), which the code is given ready made."""
    table = golden("cmsis_softmax_s8")
    assert [-(31 * 2**26 // 2**left) for left in table["left_shift"]] == table["diff_min"]
