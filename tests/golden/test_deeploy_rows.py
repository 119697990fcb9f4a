"""LayerNorm, RMSNorm and the softmaxes of Deeploy, against what its C code computes."""

from collections.abc import Callable
from types import ModuleType

from tests.golden import kernels
from tests.golden.conftest import Rows
from tests.golden.outcome import Outcome, assert_equal, assert_refused
from tests.golden.tables import Table


def codes_of(table: Table, call: Callable[[int], Outcome]) -> list[list[int]]:
    return [call(i).codes for i in range(len(table))]


# LayerNorm and RMSNorm


def layernorms(engine: ModuleType, table: Table, overflow: str) -> list[Outcome]:
    rows = zip(*(table.rows_of(name) for name in ("x", "weight", "bias")), strict=True)
    constants = table.integers("input_offset", "log2d")
    return [
        engine.pulp_layernorm(*row, -offset, shift, overflow=overflow)
        for row, (offset, shift) in zip(rows, constants, strict=True)
    ]


def test_layernorm_casts_and_counts_what_the_cast_changed(engine: ModuleType, within: Rows) -> None:
    table = within("deeploy_ilayernorm")
    made = layernorms(engine, table, "wrap")
    assert_equal(table, [row.codes for row in made], row_codes=True)
    assert [row.overflows for row in made] == table["codes_outside_int8"]


def test_layernorm_with_a_clamp_where_the_cast_changes_nothing(engine: ModuleType, within: Rows) -> None:
    table = within("deeploy_ilayernorm", codes_outside_int8=0)
    made = layernorms(engine, table, "saturate")
    assert_equal(table, [row.codes for row in made], row_codes=True)
    assert sum(row.saturations for row in made) == 0


def test_layernorm_with_a_clamp_where_the_cast_changes_codes(engine: ModuleType, beyond: Rows, own: bool) -> None:
    """The clamp gives the nearest code where the C code gives the low bits: as many events, other codes."""
    table = beyond("deeploy_ilayernorm", "codes_outside_int8")
    made = layernorms(engine, table, "saturate")
    assert [row.saturations for row in made] == table["codes_outside_int8"]
    differing = [
        sum(code != cast for code, cast in zip(row.codes, out, strict=True))
        for row, out in zip(made, table.rows_of("out"), strict=True)
    ]
    assert all(changed <= outside for changed, outside in zip(differing, table["codes_outside_int8"], strict=True))
    assert not own or all(differing)


def rmsnorm(engine: ModuleType, table: Table, i: int) -> Outcome:
    x, weight = table.rows_of("x")[i], table.rows_of("weight")[i]
    constants = -table["input_offset"][i], table["log2d"][i]
    return engine.pulp_layernorm(x, weight, [0] * len(x), *constants, centred=False, product_bits=32)


def test_rmsnorm(engine: ModuleType, within: Rows) -> None:
    table = within("deeploy_irmsnorm", fits_int32=1)
    assert_equal(table, codes_of(table, lambda i: rmsnorm(engine, table, i)), row_codes=True)


def test_rmsnorm_refuses_products_beyond_int32(engine: ModuleType, beyond: Rows) -> None:
    table = beyond("deeploy_irmsnorm", fits_int32=0)
    assert_refused(table, lambda i: rmsnorm(engine, table, i))


# Softmax


def softmax(engine: ModuleType, table: Table, i: int) -> Outcome:
    constants = (table[name][i] for name in ("log2", "coeff_b", "coeff_c"))
    return engine.pulp_softmax(table.rows_of("x")[i], *constants)


def test_softmax(engine: ModuleType, within: Rows) -> None:
    table = within("deeploy_isoftmax", fits_uint32=1)
    assert_equal(table, codes_of(table, lambda i: softmax(engine, table, i)), row_codes=True)


def test_softmax_refuses_what_would_wrap(beyond: Rows) -> None:
    table = beyond("deeploy_isoftmax", fits_uint32=0)
    assert_refused(table, lambda i: softmax(kernels, table, i))


def itamaxes(engine: ModuleType, table: Table, levels: list[int], groups: list[int]) -> list[list[int]]:
    """(S15) to (S17) with B = 5, less half of the levels as Deeploy stores them; 2^b levels."""
    rows = zip(table.rows_of("x"), levels, groups, strict=True)
    made = [engine.itamax(x, 5, group, count.bit_length() - 1).codes for x, count, group in rows]
    halves = [count // 2 for count in table["n_levels"]]
    return [[code - half for code in codes] for codes, half in zip(made, halves, strict=True)]


def test_itamax(engine: ModuleType, within: Rows) -> None:
    table = within("deeploy_itamax")
    assert all(levels.bit_count() == 1 for levels in table["n_levels"])
    assert_equal(table, itamaxes(engine, table, table["n_levels"], [0] * len(table)), row_codes=True)


def test_itapartialmax(engine: ModuleType, within: Rows) -> None:
    """Its output has half of the levels: 7 bits."""
    table = within("deeploy_itapartialmax", whole_groups=1)
    halves = [levels // 2 for levels in table["n_levels"]]
    assert_equal(table, itamaxes(engine, table, halves, table["group"]), row_codes=True)


def test_itapartialmax_leaves_out_the_tail_of_a_row(engine: ModuleType, beyond: Rows, own: bool) -> None:
    """hwsim has a last group that is shorter, Deeploy none: a row with a tail gives other codes, or those by chance."""
    table = beyond("deeploy_itapartialmax", whole_groups=0)
    assert all(len(x) % group for x, group in zip(table.rows_of("x"), table["group"], strict=True))
    made = itamaxes(engine, table, [levels // 2 for levels in table["n_levels"]], table["group"])
    assert not own or made != table.rows_of("out")
