"""Scaling, residual sum and GELU of Gemmini's C library, against what it computes.

Its rounding macro adds 1 in binary32, where the sum can lose its fraction: just below a power of two it rounds one too
far. The rows where that happens are marked; there hwsim has the code that is nearest, a documented deviation.
"""

import struct
from types import ModuleType

from tests.golden import oracles
from tests.golden.conftest import Rows
from tests.golden.outcome import INT8, Outcome, assert_equal, assert_refused, ratios
from tests.golden.tables import Table


def scale_of(pattern: int) -> float:
    (value,) = struct.unpack("<f", struct.pack("<I", pattern))
    return value


def assert_one_apart(table: Table, made: list[int], correct: list[int], own: bool) -> None:
    """The codes are correctly rounded ones, and the C code's differ by 1 from them or, after a clamp, not at all."""
    assert made == correct
    apart = [abs(a - b) for a, b in zip(made, table["out"], strict=True)]
    assert set(apart) <= {0, 1}
    assert not own or 1 in apart


def scaled(engine: ModuleType, table: Table, acc: list[int]) -> list[int]:
    return engine.requantize("float32", acc, ratios(table["scale_f32bits"]), [0] * len(table), INT8).codes


def test_scaling(engine: ModuleType, within: Rows) -> None:
    table = within("gemmini_acc_scale", macro_deviates=0)
    assert_equal(table, scaled(engine, table, table["acc"]))


def test_scaling_where_the_macro_errs(engine: ModuleType, beyond: Rows, own: bool) -> None:
    table = beyond("gemmini_acc_scale", macro_deviates=1)
    assert_one_apart(table, scaled(engine, table, table["acc"]), scaled(oracles, table, table["acc"]), own)


# Residual sum


def summed(engine: ModuleType, table: Table) -> Outcome:
    by = [ratios(table[f"{name}_scale_f32bits"]) for name in "abc"]
    made = engine.rescaled_add("float32", table["a"], table["b"], by, 0, INT8, INT8)
    codes = [max(code, 0) if relu else code for code, relu in zip(made.codes, table["relu"], strict=True)]
    return made._replace(codes=codes)


def test_residual_sum(engine: ModuleType, within: Rows) -> None:
    """Each operand is clamped to int8 before the sum, which many rows show."""
    table = within("gemmini_resadd", macro_deviates=0)
    made = summed(engine, table)
    assert_equal(table, made.codes)
    assert made.saturations >= sum(table["operand_saturates"])


def test_residual_sum_counts_the_clamps_of_its_operands(engine: ModuleType, beyond: Rows) -> None:
    """With sums that stay within int8 nothing else is counted."""
    table = beyond("gemmini_resadd", operand_saturates=1, macro_deviates=0)
    assert summed(engine, table).saturations >= len(table)
    still = table.taken([-128 < code < 127 and not relu for code, relu in table.integers("out", "relu")])
    assert len(still) <= summed(engine, still).saturations <= 2 * len(still)


def test_residual_sum_where_the_macro_errs(engine: ModuleType, beyond: Rows, own: bool) -> None:
    table = beyond("gemmini_resadd", macro_deviates=1)
    assert_one_apart(table, summed(engine, table).codes, summed(oracles, table).codes, own)


# GELU


def constants_of(table: Table) -> list[list[int]]:
    return [table[name] for name in ("q1", "qb", "qc")]


def test_gelu(engine: ModuleType, within: Rows) -> None:
    table = within("gemmini_igelu", fits_int32=1, macro_deviates=0)
    acc = engine.gemmini_gelu(table["x"], *constants_of(table)).codes
    assert_equal(table, acc, "acc")
    assert_equal(table, scaled(engine, table, acc))


def test_gelu_where_the_macro_errs(engine: ModuleType, beyond: Rows, own: bool) -> None:
    table = beyond("gemmini_igelu", fits_int32=1, macro_deviates=1)
    acc = engine.gemmini_gelu(table["x"], *constants_of(table)).codes
    assert_equal(table, acc, "acc")
    assert_one_apart(table, scaled(engine, table, acc), scaled(oracles, table, acc), own)


def test_gelu_refuses_what_leaves_int32(engine: ModuleType, beyond: Rows) -> None:
    table = beyond("gemmini_igelu", fits_int32=0)
    rows = table.integers("x", "q1", "qb", "qc")
    assert_refused(table, lambda i: engine.gemmini_gelu(*([value] for value in rows[i])))


def test_constants_of_gelu_by_the_oracle(golden) -> None:
    table = golden("gemmini_igelu")
    made = [oracles.oracle.gemmini_gelu_constants(scale_of(bits)) for bits in table["bert_scale_f32bits"]]
    assert made == table.integers("q1", "qb", "qc")


def test_constants_of_gelu(golden) -> None:
    from reference.quantize.plan.binary32 import gemmini_gelu

    table = golden("gemmini_igelu")
    made = [tuple(gemmini_gelu(scale_of(bits))) for bits in table["bert_scale_f32bits"]]
    assert made == table.integers("q1", "qb", "qc")
