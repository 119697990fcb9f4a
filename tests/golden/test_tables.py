"""The tables of this repository: how many rows each has, and how many of them lie within the operator's range."""

import pytest

from tests.golden.tables import AUTHORS, NAMES, path_of, read

LARGE = 100_000
"""A table of more bytes is kept compressed."""

COUNTS: dict[str, tuple[int, dict[str, int]]] = {
    "cmsis_add_s16": (3000, {}),
    "cmsis_fc_s16": (3000, {"fits_int32": 2680, "shift_le_7": 2941}),
    "cmsis_fc_s16_rows": (300, {"first512_fit_int32": 298}),
    "cmsis_softmax_s16": (300, {}),
    "cmsis_softmax_s16_luts": (513, {}),
    "cmsis_softmax_s8": (300, {"defined": 277}),
    "deeploy_igelu": (3000, {}),
    "deeploy_ilayernorm": (300, {"codes_outside_int8": 52}),
    "deeploy_irmsnorm": (300, {"fits_int32": 275}),
    "deeploy_isoftmax": (300, {"fits_uint32": 274}),
    "deeploy_itamax": (300, {}),
    "deeploy_itapartialmax": (300, {"whole_groups": 273}),
    "deeploy_requantshift": (3000, {"fits_int32": 1852}),
    "deeploy_rqgelu": (3000, {"fits_int32": 2712}),
    "gemmini_acc_scale": (3000, {"macro_deviates": 66}),
    "gemmini_igelu": (3000, {"fits_int32": 2971, "macro_deviates": 6}),
    "gemmini_layernorm": (300, {"defined": 280, "macro_deviates": 0}),
    "gemmini_resadd": (3000, {"operand_saturates": 549, "macro_deviates": 41}),
    "gemmini_softmax": (300, {"defined": 268}),
    "ita_gelu_activation": (3000, {"acc_fits_26bits": 2998}),
    "ita_requantizer": (3000, {}),
    "ita_softmax_b0": (300, {"defined": 298}),
    "ita_softmax_b5": (300, {"defined": 298}),
    "nvdla_cacc_int16": (3000, {"truncate_le_16": 2573}),
    "nvdla_cacc_int8": (3000, {"truncate_le_16": 2612}),
    "nvdla_cacc_sdp_int8": (3000, {"acc_in_int32": 1598, "truncate_le_16": 3000}),
    "nvdla_sdp_c": (3000, {}),
    "nvdla_sdp_x_mul": (3000, {}),
    "nvdla_sdp_y_cvt": (3000, {}),
    "pulpnn_add": (3000, {"fits_int32": 2974, "operand_clipped": 1455}),
}
"""Rows, and of each flag the rows where it is not 0."""


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_flags(name: str) -> None:
    table = read(AUTHORS, name)
    rows, flags = COUNTS[name]
    assert (len(table), {flag: sum(value != 0 for value in table[flag]) for flag in flags}) == (rows, flags)


def test_every_table_is_counted_described_and_used() -> None:
    assert list(COUNTS) == NAMES
    readme = (AUTHORS / "README.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in readme] == []
    tests = "".join(path.read_text() for path in AUTHORS.parent.glob("test_*.py") if path.name != "test_tables.py")
    assert [name for name in NAMES if f'"{name}"' not in tests] == []


def test_the_directory_holds_the_tables_alone_and_large_ones_compressed() -> None:
    files = [path_of(AUTHORS, name) for name in NAMES]
    assert {path for path in AUTHORS.iterdir() if path.name != "README.md"} == set(files)
    assert [path.name for path in files if path and path.suffix == ".csv" and path.stat().st_size > LARGE] == []
