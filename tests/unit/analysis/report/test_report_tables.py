"""The tables of a report: every row, whose arithmetic, units, and one line a sentence."""

from pathlib import Path

from analysis.accuracy.sensitivity import Row
from analysis.report import summary_table
from analysis.run import RunResult
from tests.unit.analysis.report.reading import SCRIPT, SENTENCES, page_of, printed, read_csv, read_json


def test_tables_have_every_row(written: Path, result: RunResult, rows: list[Row]) -> None:
    assert len(read_csv(written / "configurations.csv")) == 2
    sites = sum(len(one.equality.by_site) for one in result.configurations)
    assert len(read_csv(written / "sites.csv")) == sites
    layers = sum(len(one.estimate.total.layers) for one in result.configurations)
    assert len(read_csv(written / "layers.csv")) == layers
    assert len(read_csv(written / "sensitivity.csv")) == len(rows)


def test_every_table_says_whose_arithmetic_it_is(written: Path, result: RunResult) -> None:
    plain, ita = read_json(written)["configurations"]
    assert (plain["target"], plain["borrowed"], plain["extended"]) == ("fullyqt", {}, [])
    assert (ita["target"], ita["extended"]) == ("ita", ["4-bit weights", "5-bit activations at 3 sites"])
    fullyqt = dict.fromkeys(("mask", "embedding", "generator"), "fullyqt")
    assert ita["borrowed"] == fullyqt | {"residual": "pulp", "layernorm": "deeploy"}
    rows = read_csv(written / "configurations.csv")
    assert [row["target"] for row in rows] == ["fullyqt", "ita"] and rows[0]["borrowed"] == rows[0]["extended"] == ""
    assert "layernorm from deeploy" in rows[1]["borrowed"] and "4-bit weights" in rows[1]["extended"]
    assert {row["target"] for row in read_csv(written / "sensitivity.csv")} == {"fullyqt", "ita"}
    page = " ".join(page_of(written).xpath("//*[@id='configurations']")[0].text_content().split())
    assert "residual from pulp, layernorm from deeploy 4-bit weights" in page and "every operator is native" in page
    text = " ".join(printed(summary_table(result)).split())
    assert "int8: target fullyqt: every operator native" in text
    assert "own & <b>$x^$</b>: target ita: mask, embedding and generator borrowed from fullyqt" in text
    assert "extended: 4-bit weights" in text


def test_tables_have_units_and_empty_cells(written: Path) -> None:
    assert {"energy_pj_per_sentence", "bleu_integer_95_percent_low"} <= read_csv(written / "configurations.csv")[
        0
    ].keys()
    site = read_csv(written / "sites.csv")[0]
    assert list(site)[:2] == ["configuration", "site"]
    assert {"codes_compared", "codes_different", "sqnr_db", "max_error", "cosine"} <= site.keys()
    last = read_csv(written / "sensitivity.csv")[-1]
    assert (last["kind"], last["sqnr_db"], last["bleu"]) == ("site", "", "")


def test_translations_have_one_line_a_sentence(written: Path, result: RunResult) -> None:
    lines = (written / "translations.tsv").read_text().splitlines()
    cells = [line.split("\t") for line in lines]
    assert cells[0] == ["source", "reference", "float", "int8", "own & <b>$x^$</b>"]
    assert len(cells) == 1 + SENTENCES and {len(row) for row in cells} == {5}
    assert cells[1][2] == SCRIPT.replace("\t", " ")
    assert cells[2][3] == result.configurations[0].integer.text[1]
