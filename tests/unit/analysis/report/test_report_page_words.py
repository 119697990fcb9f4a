"""What the page of a report says of a run: every cell of its tables, of figures that were chosen by hand."""

from typing import Any

from lxml import html

from analysis.accuracy.sensitivity import Row
from analysis.report.page import page
from analysis.report.records import report_record
from tests.unit.analysis.report.reports_by_hand import CONTEXT, configuration, different, rows, run

TWO = configuration("int8"), configuration("own", "ita", factor=2)


def texts(element: Any) -> list[list[str]]:
    """Cells of the rows of a table's body."""
    found = [[" ".join(cell.text_content().split()) for cell in row] for row in element.xpath(".//tbody/tr")]
    return [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in found]


def page_of(result: Any, sensitivity: list[Row]) -> Any:
    return html.fromstring(page(result, report_record(result, sensitivity, CONTEXT), []))


def test_the_page() -> None:
    found = page_of(run(*TWO), rows())
    tables = [texts(table) for table in found.xpath("//section[@id='configurations']//table")]
    assert tables[0] == [
        ["float", "32", "32", "29.027.5 to 31.0", "–", "2.500", "–", "–", "–", "–", "–"],
        ["int8fullyqt", "8", "8", "28.226.0 to 30.5", "−0.8−1.5 to 0.2", "2.562", "+0.0620.031 to 0.125",
         "1.23 MB", "1.60 MB", "3.75 mJ3.70 mJ to 3.85 mJ", "7.50 mJ3.0 tokens"],
        ["ownita", "8", "8", "14.113.0 to 15.2", "−14.9−3.0 to 0.5", "2.625", "+0.1250.062 to 0.250",
         "2.47 MB", "1.60 MB", "3.75 mJ3.70 mJ to 3.85 mJ", "7.50 mJ3.0 tokens"],
    ]  # fmt: skip
    borrowed = (
        "mask from fullyqt, embedding from fullyqt, generator from fullyqt, residual from pulp, layernorm from deeploy"
    )
    assert tables[1] == [
        ["int8", "fullyqt", "none: every operator is native", "none"], ["own", "ita", borrowed, "none"]
    ]  # fmt: skip
    (equality,) = (texts(table) for table in found.xpath("//section[@id='equality']//table"))
    assert equality == [
        ["int8fullyqt", "6,000", "0", "0", "28.25", "28.50", "0"], ["ownita", "12,000", "0", "0", "14.12", "14.25", "0"]
    ]  # fmt: skip
    accuracy = [texts(table) for table in found.xpath("//section[@id='accuracy']//table")]
    assert accuracy[0] == [
        ["embedding", "40.0encoder.embedding", "20.0encoder.embedding"],
        ["attention", "30.0encoder.0.self_attention.scores", "15.0encoder.0.self_attention.scores"],
    ]
    assert accuracy[1] == [
        ["encoder.embedding", "embedding", "8", "1,000", "0", "40.0", "0.500", "0.99975"],
        ["encoder.0.self_attention.scores", "attention", "16", "2,000", "0", "30.0", "0.0123", "0.98765"],
        ["encoder.0.self_attention.scores.shifted", "attention", "20", "3,000", "0", "–", "–", "–"],
    ]
    words = " ".join(found.text_content().split())
    assert "2 sentences, greedy decoding, model model; 2026-01-02, took 2 min 5 s" in words
    assert "Every code equal: 18,000 codes compared, 0 different" in words


def test_cost_on_the_page() -> None:
    """Of a sentence: half of all; of a token: a quarter in prefill, a third else."""
    found = page_of(run(TWO[0]), [])
    cost, causes, missing, constants = (texts(table) for table in found.xpath("//section[@id='cost']//table"))
    assert cost == [
        ["int8", "prefill", "130 k", "1.02 k", "750 B", "250 B", "0 B", "1.00 kB", "1.02 kB", "1.02 nJ", "510 pJ"],
        ["decode", "80", "2.50 M", "0 B", "0 B", "0 B", "1.60 MB", "0 B", "3.75 mJ", "2.50 mJ"],
        ["total", "130 k", "2.50 M", "0 B", "0 B", "0 B", "1.60 MB", "0 B", "3.75 mJ", "2.50 mJ"],
    ]
    assert causes == [
        ["compute", "350"], ["fill drain", "10"], ["sram", "1.50"], ["dma in", "2.50 M"], ["dma out", "15"],
        ["vector", "620"], ["MACs with a zero operand", "25.0%"],
    ]  # fmt: skip
    assert missing == [
        ["clamp", "1.50"], ["dram transfer write, bytes", "50 B"], ["register read, bits", "2.50"],
        ["sram leakage, cycles", "1.02 k"], ["table read", "6"],
    ]  # fmt: skip
    horowitz = "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, figure 1.1.9"
    assert constants[0] == ["multiply_8", "0.2", "pJ", "45 nm", "0.9 V", horowitz, "–"]
    assert constants[2][:5] == ["dram.LPDDR4", "19501300 to 2600", "pJ per 64 bits", "–", "–"]
    words = " ".join(found.xpath("//section[@id='cost']/p")[0].text_content().split()).replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert words == (
        "On edge-256: 16 × 16 systolic array, 256 KiB of SRAM, LPDDR4 at 4.00 GB/s, 500 MHz; tiles for least dram,"
        " attention unfused. Energy within the boundary system, cost model hwsim-3. Priced at batch 1, greedy, at the"
        " lengths of the sources and of the references: encoding is once a sentence, decoding once a target token."
    )


def test_sensitivity_on_the_page() -> None:
    found = page_of(run(TWO[0]), rows())
    titles = [title.text_content() for title in found.xpath("//section[@id='sensitivity']/h3")]
    assert titles == ["By group, target fullyqt", "By layer, target fullyqt"]
    groups, layers = (texts(table) for table in found.xpath("//section[@id='sensitivity']//table"))
    assert groups == [
        ["feed forward", "−0.0020", "+0.0100", "+0.3000", "48.0", "36.0", "24.0"],
        ["layernorm", "+0.0010", "–", "+0.0200", "48.0", "–", "24.0"],
    ]
    assert layers == [["encoder.0", "+0.1500", "20.0", "27.0"]]


def test_samples_and_a_difference_on_the_page() -> None:
    found = page_of(run(TWO[0], different(TWO[1]), beam_width=4), [])
    items = [[" ".join(part.text_content().split()) for part in one.xpath("./dl/*")]
             for one in found.xpath("//section[@id='translations']//li")]  # fmt: skip
    assert items == [
        ["reference", "gut!", "float, int8, own", "gut"],
        ["reference", "dies", "float", "float made it", "int8", "int8 made it", "own", "own made it"],
    ]
    words = " ".join(found.xpath("//section[@id='verdict']")[0].text_content().split())
    assert words.startswith("Not equal: 18,000 codes compared, 3 different Integer machine")
    assert "Tokens that fake-quant would have chosen differently: 2." in words
    assert (
        "First divergence of own Siteencoder.embedding Callencode Index[0, 3, 1] Machine17 Fake-quant18"
        " Accumulator4321 Before rounding17.250000"
    ) in words
    header = " ".join(found.xpath("//header")[0].text_content().split())
    assert "beam search of width 4" in header
    assert not found.xpath("//section[@id='sensitivity']")
