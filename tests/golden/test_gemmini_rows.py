"""Softmax and LayerNorm of Gemmini's C library, against what it computes."""

from types import ModuleType

from tests.golden import kernels
from tests.golden.conftest import Rows
from tests.golden.outcome import Outcome, assert_equal, assert_refused, binary32
from tests.golden.tables import Table
from tests.golden.test_gemmini_elementwise import scale_of
from tests.oracle import gemmini_constants


def softmax(engine: ModuleType, table: Table, i: int) -> Outcome:
    return engine.gemmini_softmax(table.rows_of("x")[i], *(table[name][i] for name in ("ln2", "b", "c")))


def test_softmax(engine: ModuleType, within: Rows) -> None:
    table = within("gemmini_softmax", defined=1)
    assert_equal(table, [softmax(engine, table, i).codes for i in range(len(table))], row_codes=True)


def test_softmax_refuses_what_leaves_int32(beyond: Rows) -> None:
    """Or a shift by 32 and more, which C does not define."""
    table = beyond("gemmini_softmax", defined=0)
    assert_refused(table, lambda i: softmax(kernels, table, i))


def test_constants_of_softmax_by_the_oracle(golden) -> None:
    table = golden("gemmini_softmax")
    made = [tuple(gemmini_constants(scale_of(bits))) for bits in table["bert_scale_f32bits"]]
    assert made == table.integers("ln2", "b", "c")


def test_constants_of_softmax(golden) -> None:
    from reference.quantize.plan.binary32 import gemmini_exponential

    table = golden("gemmini_softmax")
    made = [tuple(gemmini_exponential(scale_of(bits))) for bits in table["bert_scale_f32bits"]]
    assert made == table.integers("ln2", "b", "c")


def layernorm(engine: ModuleType, table: Table, i: int) -> Outcome:
    return engine.gemmini_layernorm(table.rows_of("x")[i], binary32(table["scale_f32bits"][i]))


def test_layernorm(engine: ModuleType, within: Rows) -> None:
    table = within("gemmini_layernorm", defined=1)
    assert_equal(table, [layernorm(engine, table, i).codes for i in range(len(table))], row_codes=True)


def test_layernorm_refuses_sums_beyond_int32(engine: ModuleType, beyond: Rows) -> None:
    table = beyond("gemmini_layernorm", defined=0)
    assert_refused(table, lambda i: layernorm(engine, table, i))
