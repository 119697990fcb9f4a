"""The page of a report: it needs nothing else, escapes what others wrote, and gives the verdict."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import matplotlib.image

from analysis.accuracy.sensitivity import Row
from analysis.output.context import Context
from analysis.report.page import pivots
from analysis.run import RunResult
from tests.unit.analysis.report.reading import SCRIPT, broken, page_of, read_json, write_report


def test_page_needs_nothing_else_and_runs_nothing(written: Path) -> None:
    page = page_of(written)
    assert page.xpath("//script | //link | //iframe | //object | //@onclick | //@onload") == []
    assert all(reference.startswith("#") for reference in page.xpath("//@href"))
    assert all(source.startswith("data:image/png;base64,") for source in page.xpath("//@src"))
    style = "".join(page.xpath("//style/text()"))
    assert "url(" not in style and "@import" not in style
    ids = set(page.xpath("//@id"))
    assert {reference[1:] for reference in page.xpath("//a/@href")} <= ids


def test_page_escapes_what_others_wrote(written: Path) -> None:
    raw = (written / "report.html").read_text()
    assert "<script" not in raw and "<img src=http" not in raw and "<b>" not in raw
    assert "&lt;script&gt;" in raw
    assert SCRIPT in page_of(written).xpath("//*[@id='translations']//dd/text()")


def test_page_shows_every_png_whole(written: Path) -> None:
    page = page_of(written)
    files = {path.name: path.read_bytes() for path in written.glob("*.png")}
    assert {"bleu.png", "energy.png", "sensitivity_group.png", "sensitivity_layer.png"} <= files.keys()
    assert {"sensitivity_sites_4_bits.png", "sensitivity_group_ita.png", "sqnr_1_int8.png"} <= files.keys()
    shown = [base64.b64decode(source.partition(",")[2], validate=True) for source in page.xpath("//img/@src")]
    assert sorted(shown) == sorted(files.values())
    for content in shown:
        assert matplotlib.image.imread(io.BytesIO(content), format="png").ndim == 3
    assert all(page.xpath("//img/@alt")) and len(page.xpath("//figcaption")) == len(files)


def test_page_gives_the_verdict(written: Path, result: RunResult) -> None:
    (verdict,) = page_of(written).xpath("//*[@id='verdict']")
    compared = sum(one.equality.codes_compared for one in result.configurations)
    assert f"Every code equal: {compared:,} codes compared, 0 different" in verdict.text_content()
    assert "pass" in verdict.get("class")


def test_page_shows_the_first_divergence(result: RunResult, tmp_path: Path, origin: Context) -> None:
    target = tmp_path / "report"
    write_report(broken(result), [], target, origin)
    report = read_json(target)
    assert report["verdict"]["equal"] is False and report["sensitivity"] == []
    assert report["configurations"][1]["first_divergence"]["index"] == [1, 2, 3]
    page = page_of(target)
    (verdict,) = page.xpath("//*[@id='verdict']")
    text = " ".join(verdict.text_content().split())
    assert "fail" in verdict.get("class") and "3 different" in text
    for part in ("First divergence of own & <b>$x^$</b>", "encoder.embedding", "[1, 2, 3]", "17", "18"):
        assert part in text
    assert len(page.xpath("//details[@open]")) == 1 and len(page.xpath("//tr[@class='differs']")) == 1
    assert (target / "sensitivity.csv").read_text().count("\n") == 1


def test_a_comparison_of_nothing_is_no_proof(result: RunResult, tmp_path: Path, origin: Context) -> None:
    nothing = [replace(one, equality=replace(one.equality, codes_compared=0)) for one in result.configurations]
    write_report(replace(result, configurations=nothing), [], tmp_path / "report", origin)
    assert "Not proven" in page_of(tmp_path / "report").xpath("//*[@id='verdict']")[0].text_content()


def test_most_sensitive_comes_first(rows: list[Row], written: Path) -> None:
    table, ita = pivots(read_json(written)["sensitivity"], "group")
    assert (table["target"], ita["target"], list(ita["rows"])) == ("fullyqt", "ita", ["softmax"])
    assert list(table["rows"]) == ["feed_forward", "layernorm"] and table["widths"] == [8, 4]
