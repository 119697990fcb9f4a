"""report.json: every figure, of the right type, and that they belong together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from analysis.accuracy.sensitivity import Row
from analysis.output.context import context
from analysis.report.records import configuration_names
from analysis.run import RunResult
from analysis.workload import Model
from hwsim.accelerator.cost.estimate import COST_MODEL
from reference.quantize.origin import checkpoint_hash
from tests.unit.analysis.report.reading import SENTENCES, read_json

NUMBER = (int, float)
REQUIRED = {
    "name": str,
    "weight_bits": int,
    "activation_bits": int,
    "bleu_float": NUMBER,
    "bleu_fake_quant": NUMBER,
    "bleu_integer": NUMBER,
    "bleu_signature": str,
    "sentences": int,
    "codes_compared": int,
    "codes_different": int,
    "tokens_different": int,
    "overflows": int,
    "weight_bytes": int,
    "energy_pj_per_sentence": NUMBER,
    "dram_bytes_per_sentence": NUMBER,
    "macs_per_sentence": NUMBER,
    "cost_model": str,
    "accelerator": str,
    "energy_table": str,
    "boundary": str,
    "batch": int,
    "encode_energy_pj_per_sentence": NUMBER,
    "decode_energy_pj_per_sentence": NUMBER,
    "encode_cycles_per_sentence": NUMBER,
    "decode_cycles_per_sentence": NUMBER,
    "cycles_per_sentence": NUMBER,
    "macs_zero_fraction": NUMBER,
}


def test_json_has_every_figure_of_the_right_type(written: Path, result: RunResult) -> None:
    report = read_json(written)
    assert len(report["configurations"]) == 2
    for one in report["configurations"]:
        for key, kind in REQUIRED.items():
            assert isinstance(one[key], kind) and not isinstance(one[key], bool), key
        assert one["batch"] == 1 and one["sentences"] == SENTENCES and one["first_divergence"] is None
        for key in ("bleu_float", "bleu_fake_quant", "bleu_integer"):
            low, high = one[f"{key}_95_percent"]
            assert low <= high
        assert [phase["name"] for phase in one["cost"]] == ["encode", "decode", "total"]
        assert sum(site["codes_compared"] for site in one["sites"]) == one["codes_compared"] > 0
    assert report["verdict"]["equal"] is True
    assert report["verdict"]["codes_compared"] == sum(c.equality.codes_compared for c in result.configurations)


def test_json_energies_belong_together(written: Path) -> None:
    for one in read_json(written)["configurations"]:
        parts = one["encode_energy_pj_per_sentence"] + one["decode_energy_pj_per_sentence"]
        assert parts == pytest.approx(one["energy_pj_per_sentence"], rel=1e-12)
        assert one["energy_low_pj_per_sentence"] < one["energy_pj_per_sentence"] < one["energy_high_pj_per_sentence"]
        encode, decode, total = one["cost"]
        assert {entry["unit"] for entry in total["not_modelled"]} == {"operations", "bits"}
        assert encode["energy_aj"] + decode["energy_aj"] == total["energy_aj"]
        assert encode["cycles"] + decode["cycles"] == total["cycles"] == sum(total["cycles_by_cause"].values())
        assert total["energy_pj"] / SENTENCES == pytest.approx(one["energy_pj_per_sentence"], rel=1e-12)


def test_json_names_the_machine_and_its_energies(written: Path) -> None:
    report = read_json(written)
    machine = report["accelerator"]
    assert machine["hardware"]["name"] == "edge-256" and machine["boundary"] == "system"
    assert machine["hardware"]["sources"]["array.rows"] and machine["options"]["objective"] == "dram"
    assert machine["energy_table"]["composite"] is True
    constants = {one["constant"]: one for one in machine["energy_table"]["constants"]}
    assert constants["multiply_8"]["value"] == pytest.approx(0.2 * 0.294)
    assert constants["dram.LPDDR4"]["low"] < constants["dram.LPDDR4"]["value"] < constants["dram.LPDDR4"]["high"]
    assert {one["cost_model"] for one in report["configurations"]} == {machine["cost_model"]} == {COST_MODEL}


def test_json_counts_zeros(written: Path, result: RunResult) -> None:
    for one, ours in zip(read_json(written)["configurations"], result.configurations, strict=True):
        sites = one["zeros"]["sites"].values()
        assert sum(site["macs"] for site in sites) == ours.zeros.total.macs == ours.own_estimate.total.cost.macs
        assert 0 < one["macs_zero_fraction"] < 1


def test_json_sensitivity(written: Path, rows: list[Row]) -> None:
    report = read_json(written)
    assert [(row["group"], row["bits"]) for row in report["sensitivity"]] == [
        (row.name, row.bits) for row in rows if row.kind == "group"
    ]
    assert all(row["bleu"] is None for row in report["sensitivity"])
    assert report["sensitivity_by_layer"][0]["bleu"] == 3.5
    assert report["sensitivity_by_site"][0]["sqnr_db"] is None  # infinite


def test_json_says_where_it_comes_from(written: Path, model: Model) -> None:
    origin = read_json(written)["context"]
    assert origin["command"] == "hwsim run --text '<img src=http://example.com/x>'"
    assert origin["model"] == f"{model.folder.name}, SHA-256 {checkpoint_hash(model.folder)}"
    assert origin["seconds"] == 3.2 and origin["seed"] == 12345 and origin["beam_width"] == 1
    assert origin["machine"] and origin["torch_version"] == torch.__version__


def test_a_command_with_bytes_that_are_no_text_can_be_written() -> None:
    origin = context(["hwsim", "run", "--out", "\udcff"], None, 1.0)
    origin.command.encode()
    assert "udcff" in origin.command
    assert context(["hwsim"], None, 1.0).model is None


def test_like_names_are_numbered(result: RunResult) -> None:
    twice = replace(result, configurations=[result.configurations[0]] * 3)
    assert configuration_names(twice) == ["int8", "int8 (2)", "int8 (3)"]
