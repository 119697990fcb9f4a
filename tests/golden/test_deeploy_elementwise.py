"""RequantShift, the sum of two tensors and GELU of Deeploy and PULP-NN, against what their C code computes."""

from types import ModuleType

from tests.golden.conftest import Rows
from tests.golden.outcome import INT8, INT32, Outcome, assert_equal, clamp
from tests.golden.tables import Table


def converted(engine: ModuleType, table: Table) -> Outcome:
    return engine.requant_shift(*(table[name] for name in ("acc", "mul", "add", "log2d", "rounding")), INT8)


def test_requant_shift(engine: ModuleType, within: Rows) -> None:
    table = within("deeploy_requantshift", fits_int32=1)
    made = converted(engine, table)
    assert_equal(table, made.codes)
    assert made.overflows == 0


def test_requant_shift_wraps_beyond_int32_and_counts_it(engine: ModuleType, beyond: Rows, own: bool) -> None:
    table = beyond("deeploy_requantshift", fits_int32=0)
    made = converted(engine, table)
    assert_equal(table, made.codes)
    rows = table.integers("acc", "mul", "add", "log2d", "rounding")
    sums = [acc * mul + add + (2**shift // 2 if rounded else 0) for acc, mul, add, shift, rounded in rows]
    assert made.overflows == sum(not -(2**31) <= total < 2**31 for total in sums)
    assert not own or made.overflows > 1000


# The sum of two tensors


def operand(engine: ModuleType, table: Table, name: str, index: int) -> Outcome:
    by = (table[f"{column}{index}"] for column in ("mul", "add", "shift"))
    return engine.requant_shift(table[name], *by, [0] * len(table), INT8)


def summed(engine: ModuleType, table: Table) -> tuple[list[int], int, int]:
    """The codes of PULP-NN's sum, its overflows, and how often an operand was clipped."""
    a, b = operand(engine, table, "a", 1), operand(engine, table, "b", 2)
    sums = [x + y for x, y in zip(a.codes, b.codes, strict=True)]
    by = (table[name] for name in ("out_mul", "out_add", "out_shift"))
    last = engine.requant_shift(sums, *by, [0] * len(table), INT8)
    rows = zip(table["out_requant"], last.codes, sums, strict=True)
    codes = [code if own_scheme else clamp(total, INT8) for own_scheme, code, total in rows]
    return codes, a.overflows + b.overflows + last.overflows, a.saturations + b.saturations


def test_sum_of_two_tensors(engine: ModuleType, within: Rows) -> None:
    table = within("pulpnn_add", fits_int32=1)
    codes, overflows, _ = summed(engine, table)
    assert_equal(table, codes)
    assert overflows == 0


def test_sum_of_two_tensors_clips_each_operand(engine: ModuleType, within: Rows, beyond: Rows) -> None:
    clipped = beyond("pulpnn_add", operand_clipped=1)
    assert len(clipped) <= summed(engine, clipped)[2] <= 2 * len(clipped)
    assert summed(engine, within("pulpnn_add", operand_clipped=0))[2] == 0


def test_sum_of_two_tensors_wraps_beyond_int32(engine: ModuleType, beyond: Rows, own: bool) -> None:
    table = beyond("pulpnn_add", fits_int32=0)
    codes, overflows, _ = summed(engine, table)
    assert_equal(table, codes)
    assert not own or overflows > 20


def test_sum_of_two_tensors_as_a_rescaled_add(engine: ModuleType, within: Rows, own: bool) -> None:
    """Where each `add` is the half of its shift, a sum is (R10) with operands clamped to int8."""
    table = within("pulpnn_add", fits_int32=1, out_requant=1)
    schemes = [("mul1", "add1", "shift1"), ("mul2", "add2", "shift2"), ("out_mul", "out_add", "out_shift")]
    table = table.taken(
        [
            all(m > 0 and e > 0 and z == 2**e // 2 for m, z, e in zip(row[::3], row[1::3], row[2::3], strict=True))
            for row in table.integers(*(name for scheme in schemes for name in scheme))
        ]
    )
    a, b, last = (table.integers(scheme[0], scheme[2]) for scheme in schemes)
    made = engine.rescaled_add("half_up", table["a"], table["b"], (a, b, last), 0, INT8, INT8)
    assert_equal(table, made.codes)
    assert not own or 100 < sum(table["operand_clipped"]) < len(table)


# GELU


def gelus(engine: ModuleType, table: Table) -> Outcome:
    return engine.pulp_gelu(table["x"], [-offset for offset in table["input_offset"]], table["b"], table["one"])


def test_gelu(engine: ModuleType, within: Rows) -> None:
    table = within("deeploy_igelu")
    assert_equal(table, gelus(engine, table).codes)


def requantized_gelus(engine: ModuleType, table: Table) -> tuple[list[int], int]:
    """The codes after the requantization and the output's offset, and its overflows."""
    by = (table[name] for name in ("mul", "add", "shift"))
    made = engine.requant_shift(gelus(engine, table).codes, *by, [1] * len(table), INT32)
    rows = zip(made.codes, table["output_offset"], strict=True)
    return [clamp(code + offset, INT8) for code, offset in rows], made.overflows


def test_requantized_gelu(engine: ModuleType, within: Rows) -> None:
    table = within("deeploy_rqgelu", fits_int32=1)
    codes, overflows = requantized_gelus(engine, table)
    assert_equal(table, codes)
    assert overflows == 0


def test_requantized_gelu_wraps_beyond_int32(engine: ModuleType, beyond: Rows, own: bool) -> None:
    table = beyond("deeploy_rqgelu", fits_int32=0)
    codes, overflows = requantized_gelus(engine, table)
    assert_equal(table, codes)
    assert not own or overflows > 100
