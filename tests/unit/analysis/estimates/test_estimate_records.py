"""JSON and CSV of an estimate: every field of an estimate whose figures were chosen by hand, with its unit."""

import csv
import io
from typing import Any

import msgspec
import pytest

from analysis.estimates.compare import comparison_record
from analysis.estimates.records import (
    csv_text,
    estimate_record,
    layer_record,
    layer_rows,
    not_modelled_records,
    phase_record,
)
from analysis.inspect.provenance import Provenance
from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Options
from hwsim.accelerator.tiling import Plan, Tiling, plan
from tests.unit.analysis.estimates.estimates_by_hand import (
    COLUMNS,
    DECODE,
    FIRST,
    LAST,
    PREFILL,
    SECOND,
    SOFTMAX,
    TOTAL,
    estimated,
    machine,
)

COSTS = {
    "macs": 60_000,
    "executed_macs": 51_200,
    "sram_bytes": 2048,
    "dram_bytes": 900,
    "dram_bytes_by_operand": {"weight": 600, "activation": 300},
    "energy_aj": 500_000_000,
    "energy_pj": 500.0,
    "energy_low_pj": 400.0,
    "energy_high_pj": 700.0,
    "energy_pj_by_component": {"mac_multiply": 300.0, "dram_transfer": 200.0},
    "energy_pj_by_level": {"datapath": 300.0, "dram": 200.0},
    "energy_pj_by_operand": {"none": 300.0, "weight": 140.0, "activation": 60.0},
    "energy_aj_by_component": {"mac_multiply": 300_000_000, "dram_transfer": 200_000_000},
    "energy_aj_by_level": {"datapath": 300_000_000, "dram": 200_000_000},
    "energy_aj_by_operand": {"none": 300_000_000, "weight": 140_000_000, "activation": 60_000_000},
    "energy_pj_outside_boundary": {"sram": 25.0},
}
CAUSES = {"compute": 100, "fill_drain": 20, "sram": 3, "dma_in": 40, "dma_out": 30, "vector": 7}


def test_a_layer() -> None:
    assert layer_record(FIRST) == {
        "phase": "prefill",
        "name": COLUMNS[0],
        "operation": "matmul",
        "runs": 1,
        "m": 4,
        "k": 8,
        "n": 6,
        "count": 2,
        "a_bits": 8,
        "b_bits": 4,
        "accumulator_bits": 32,
        "output_bits": 8,
        "tiling": None,
        "cycles": 200,
        "cycles_by_cause": CAUSES,
        "bound": "compute",
        "utilization": 0.5,
        "bytes": {
            "sram": {"weight": {"read": 1408, "write": 640}},  # accesses and transfers of one direction together
            "dram": {"weight": {"read": 600}, "activation": {"read": 200, "write": 100}},
        },
        **COSTS,
    }


def test_a_layer_of_rows_has_no_shape() -> None:
    record = layer_record(SOFTMAX)
    sizes = ("m", "k", "n", "count", "a_bits", "b_bits", "accumulator_bits", "output_bits", "tiling")
    assert {name: record[name] for name in sizes} == dict.fromkeys(sizes)
    assert (record["operation"], record["runs"], record["bound"], record["utilization"]) == ("softmax", 2, "vector", 0)
    assert record["bytes"] == {"sram": {}, "dram": {}}


def test_a_tiling() -> None:
    """5 by 6 by 4 in tiles of 2, 4, 2: 3, 2, 2 tiles."""
    product = Product(m=5, k=6, n=4, a_bits=8, b_bits=8, output_bits=8)
    tiled: Plan = plan(product, machine(), Options(), Tiling(tm=2, tk=4, tn=2, order="nkm"))
    record = layer_record(msgspec.structs.replace(FIRST, plan=msgspec.structs.replace(tiled, room_bytes=77)))
    assert record["tiling"] == {
        "tm": 2, "tk": 4, "tn": 2, "order": "nkm", "trips": (3, 2, 2), "room_bytes": 77
    }  # fmt: skip


def test_a_phase() -> None:
    record = phase_record(PREFILL, machine())
    assert {name: record[name] for name in ("name", "tokens", "sentences", "cycles", "seconds")} == {
        "name": "prefill", "tokens": 4, "sentences": 2, "cycles": 2034, "seconds": 4.068e-6
    }  # fmt: skip
    assert record["cycles_by_cause"] == {
        "compute": 700, "fill_drain": 20, "sram": 3, "dma_in": 40, "dma_out": 30, "vector": 1241
    }  # fmt: skip
    assert {name: value for name, value in record.items() if "_per_" in name} == {
        "energy_pj_per_token": 510.0,
        "energy_pj_per_sentence": 1020.0,
        "cycles_per_token": 508.5,
        "cycles_per_sentence": 1017.0,
        "dram_bytes_per_token": 500.0,
        "dram_bytes_per_sentence": 1000.0,
    }
    assert (record["energy_pj"], record["energy_low_pj"], record["energy_high_pj"]) == (2040, 1900, 2300)
    assert record["not_modelled"] == []
    assert phase_record(PREFILL, machine(clock_hz=1_000_000))["seconds"] == 2.034e-3


def test_what_is_not_modelled_has_its_unit() -> None:
    assert not_modelled_records(TOTAL.cost) == [
        {"component": "clamp", "direction": "none", "bits": 32, "count": 3, "unit": "operations"},
        {"component": "dram_transfer", "direction": "write", "bits": 8, "count": 100, "unit": "bytes"},
        {"component": "register", "direction": "read", "bits": 1, "count": 5, "unit": "bits"},
        {"component": "sram_leakage", "direction": "none", "bits": 0, "count": 2034, "unit": "cycles"},
        {"component": "table_read", "direction": "none", "bits": 8, "count": 12, "unit": "operations"},
    ]


def test_all_of_an_estimate() -> None:
    record = estimate_record(estimated(), Provenance("ita", {"layernorm": "pulp"}, []))
    assert list(record) == [
        "cost_model", "workload", "program", "hardware", "options", "boundary", "sram_area_mm2", "energy_table",
        "total", "phases", "layers",
    ]  # fmt: skip
    assert record["cost_model"] == "hwsim-3"
    assert record["workload"] == {
        "name": "mine", "scheme": "w4a8", "batch": 2, "source": "3", "target": "5", "sentences": 2,
        "phases": [{"name": "prefill", "tokens": 4, "layers": 3}, {"name": "decode", "tokens": 3, "layers": 1}],
    }  # fmt: skip
    assert record["program"] == {"target": "ita", "borrowed": {"layernorm": "pulp"}, "extended": []}
    assert record["boundary"] == "system"
    table = record["energy_table"]
    assert (table["name"], table["title"], table["composite"]) == ("horowitz-45", "horowitz-45", False)
    assert [row["constant"] for row in table["constants"]][-1] == "dram.LPDDR4"
    assert (
        table["constants"][-1] | {"value": 1950, "low": 1300, "high": 2600, "unit": "pJ per 64 bits"}
        == (table["constants"][-1])
    )
    assert record["total"]["energy_pj"] == 7_500_002_040
    assert [phase["energy_pj"] for phase in record["phases"]] == [2040, 7_500_000_000]
    assert [layer["energy_pj"] for layer in record["layers"]] == [500, 1500, 40, 7_500_000_000]
    assert "program" not in estimate_record(estimated())


# --- CSV --------------------------------------------------------------------------------------------------------------

MOVED = [
    f"{level}_{operand}_{direction}_bytes"
    for level in ("sram", "dram")
    for operand in ("weight", "activation", "kv_cache", "accumulator")
    for direction in ("read", "write")
]


def rows_of(*layers: Any, **total: Any) -> list[dict[str, Any]]:
    its = msgspec.structs.replace(TOTAL, layers=layers)
    its = msgspec.structs.replace(its, cost=msgspec.structs.replace(its.cost, **total))
    return layer_rows(estimated(total=its))


def test_a_row_of_csv() -> None:
    """Energies of what costs some in all, in the order of components; empty where the layer's are not modelled."""
    row, other = rows_of(FIRST, SECOND, by_component={"dram_transfer": 1, "mac_multiply": 1, "mac_add": 1})
    assert list(row) == [
        "phase", "name", "operation", "runs", "count", "m", "k", "n", "a_bits", "b_bits", "macs", "executed_macs",
        "cycles", "cycles_compute", "cycles_fill_drain", "cycles_sram", "cycles_dma_in", "cycles_dma_out",
        "cycles_vector", "utilization", "bound", "sram_bytes", "dram_bytes", *MOVED, "energy_pj", "energy_low_pj",
        "energy_high_pj", "energy_mac_multiply_pj", "energy_mac_add_pj", "energy_clamp_pj", "energy_table_read_pj",
        "energy_register_pj", "energy_sram_leakage_pj", "energy_dram_transfer_pj",
    ]  # fmt: skip
    assert {name: value for name, value in row.items() if name not in MOVED} == {
        "phase": "prefill", "name": COLUMNS[0], "operation": "matmul", "runs": 1, "count": 2, "m": 4, "k": 8, "n": 6,
        "a_bits": 8, "b_bits": 4, "macs": 60_000, "executed_macs": 51_200, "cycles": 200, "cycles_compute": 100,
        "cycles_fill_drain": 20, "cycles_sram": 3, "cycles_dma_in": 40, "cycles_dma_out": 30, "cycles_vector": 7,
        "utilization": 0.5, "bound": "compute", "sram_bytes": 2048, "dram_bytes": 900, "energy_pj": 500.0,
        "energy_low_pj": 400.0, "energy_high_pj": 700.0, "energy_mac_multiply_pj": 300.0, "energy_mac_add_pj": 0.0,
        "energy_clamp_pj": 0.0, "energy_table_read_pj": None, "energy_register_pj": 0.0, "energy_sram_leakage_pj": 0.0,
        "energy_dram_transfer_pj": 200.0,
    }  # fmt: skip
    moved = {
        "sram_weight_read_bytes": 1408, "sram_weight_write_bytes": 640, "dram_weight_read_bytes": 600,
        "dram_activation_read_bytes": 200, "dram_activation_write_bytes": 100,
    }  # fmt: skip
    assert {name: row[name] for name in MOVED} == {name: moved.get(name, 0) for name in MOVED}
    assert other["energy_table_read_pj"] == 0.0
    assert (other["runs"], other["cycles"], other["energy_pj"]) == (3, 600, 1500)


def test_csv_has_all_keys_of_all_rows() -> None:
    text = csv_text([{"a": 1, "b": None}, {"a": 2.5, "c": "x,y"}])
    assert text == 'a,b,c\n1,,\n2.5,,"x,y"\n'
    assert list(csv.reader(io.StringIO(text)))[2] == ["2.5", "", "x,y"]


# --- two --------------------------------------------------------------------------------------------------------------


def test_a_record_of_two() -> None:
    """B has half the clock; its prefill takes a quarter of the cycles, and no DRAM."""
    fewer = PREFILL.cycles._replace(vector=0, compute=508 - 93 + 0.5)  # type: ignore[arg-type]
    assert fewer.total == 508.5
    less = msgspec.structs.replace(PREFILL.cost, energy_aj=510_000_000, dram_bytes=0, macs=130_000, sram_bytes=4096)
    phase = msgspec.structs.replace(PREFILL, cycles=fewer, cost=less)
    dear = msgspec.structs.replace(FIRST, cost=msgspec.structs.replace(FIRST.cost, energy_aj=750_000_000))
    total = msgspec.structs.replace(TOTAL, layers=(dear, SECOND, SOFTMAX, LAST))
    a, b = estimated(), estimated(phase, DECODE, total=total, clock_hz=250_000_000)
    record = comparison_record(("one", "other"), a, b)
    compared = record["compare"]
    assert (compared["a"], compared["b"]) == ("one", "other")
    assert [phase["name"] for phase in compared["phases"]] == ["prefill", "decode", "total"]
    assert compared["phases"][0] == {
        "name": "prefill",
        "seconds": {"a": 4.068e-6, "b": 2.034e-6, "b_over_a": 0.5},
        "cycles": {"a": 2034, "b": 508.5, "b_over_a": 0.25},
        "macs": {"a": 260_000, "b": 130_000, "b_over_a": 0.5},
        "sram_bytes": {"a": 2048, "b": 4096, "b_over_a": 2.0},
        "dram_bytes": {"a": 2000, "b": 0, "b_over_a": 0.0},
        "energy_pj": {"a": 2040.0, "b": 510.0, "b_over_a": 0.25},
    }
    assert compared["phases"][1]["seconds"] == {"a": 0.01, "b": 0.02, "b_over_a": 2.0}
    assert compared["phases"][1]["sram_bytes"] == {"a": 0, "b": 0, "b_over_a": None}
    assert compared["layers"][0] == {
        "phase": "prefill",
        "name": COLUMNS[0],
        "operation": "matmul",
        "cycles": {"a": 200, "b": 200, "b_over_a": 1.0},
        "macs": {"a": 60_000, "b": 60_000, "b_over_a": 1.0},
        "sram_bytes": {"a": 2048, "b": 2048, "b_over_a": 1.0},
        "dram_bytes": {"a": 900, "b": 900, "b_over_a": 1.0},
        "energy_pj": {"a": 500.0, "b": 750.0, "b_over_a": 1.5},
    }
    assert [layer["name"] for layer in compared["layers"]] == [one.name for one in TOTAL.layers]
    assert (record["a"]["hardware"]["clock_hz"], record["b"]["hardware"]["clock_hz"]) == (500_000_000, 250_000_000)


def test_one_phase_is_compared_without_a_total() -> None:
    one = estimated(PREFILL, total=PREFILL)
    assert [phase["name"] for phase in comparison_record("ab", one, one)["compare"]["phases"]] == ["prefill"]


@pytest.mark.parametrize("which", ["a", "b"])
def test_both_sides_say_whose_program_it_is(which: str) -> None:
    record = comparison_record("ab", estimated(), estimated(), Provenance("ita", {}, None))
    assert record[which]["program"] == {"target": "ita", "borrowed": {}, "extended": None}
