"""The report of a run on a tiny model: its JSON, its tables, its page, and that it appears whole or not at all."""

import base64
import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
from lxml import html
from rich.console import Console
from rich.table import Table

from analysis import plots
from analysis.accuracy import accuracy
from analysis.accuracy.accuracy import float_passes
from analysis.accuracy.sensitivity import Row
from analysis.output import folder
from analysis.output.numbers import duration, energy, finite, fixed, si, signed, significant
from analysis.output.provenance import Context
from analysis.proof.equality import Divergence
from analysis.report import check_target, context, sensitivity_table, summary_table, write_report
from analysis.report.page import pivots
from analysis.report.records import configuration_names
from analysis.run import RunResult, run
from analysis.workload import Model, calibrate_model, load_model
from hwsim.accelerator.cost.estimate import COST_MODEL
from reference.data import ParallelText
from reference.floating import FloatArithmetic
from reference.quantize.origin import checkpoint_hash
from reference.quantize.scheme import Rule, preset, scheme_for
from tests.small.models import save_tiny_model

SENTENCES = 12
SCRIPT = "<script>alert('x')</script>\t& \"quoted\""
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


@pytest.fixture(scope="module")
def model(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Random weights."""
    path = tmp_path_factory.mktemp("report") / "model"
    save_tiny_model(path, vocabulary)
    return load_model(path)


@pytest.fixture(scope="module")
def result(model: Model, small_text: ParallelText) -> RunResult:
    """Two configurations on a few sentences; BLEU, which random weights leave at 0, is made up."""
    text = small_text.head(SENTENCES)
    rules = [Rule(pattern="*.softmax.output", bits=5)]
    own = scheme_for("ita", name="own & <b>$x^$</b>", weight_bits=4, rules=rules)
    done = run(model, [preset("int8"), own], text, calibrate_model(model, text))
    score = replace(done.bleu_float, score=12.5, low=9.0, high=16.5)
    scored = [replace(one, bleu_integer=score, bleu_fake_quant=score) for one in done.configurations]
    return replace(done, bleu_float=score, configurations=scored)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Made up, with everything that JSON has no number for."""
    groups = [
        Row(kind="group", name=name, bits=bits, loss_increase=slope / bits, sqnr_db=6.0 * bits)
        for name, slope in (("layernorm", 0.1), ("feed_forward", 0.3))
        for bits in (8, 4)
    ]
    layer = Row(kind="layer", name="encoder.0", bits=4, loss_increase=-0.01, sqnr_db=20.0, bleu=3.5)
    site = Row(kind="site", name="encoder.0.self_attention.key", bits=4, loss_increase=0.02, sqnr_db=math.inf)
    ita = Row(kind="group", name="softmax", bits=4, loss_increase=0.5, sqnr_db=9.0, accelerator="ita")
    return [*groups, ita, layer, site]


@pytest.fixture
def origin(model: Model) -> Context:
    return context(["/somewhere/bin/hwsim", "run", "--text", "a file.en"], model.folder, 125.04)


@pytest.fixture(scope="module")
def written(model: Model, result: RunResult, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a hostile translation in it."""
    target = tmp_path_factory.mktemp("written") / "runs" / "report"
    floating = replace(result.floating, text=[SCRIPT, *result.floating.text[1:]])
    argv = ["hwsim", "run", "--text", "<img src=http://example.com/x>"]
    write_report(replace(result, floating=floating), rows, target, context(argv, model.folder, 3.21))
    return target


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def read_json(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text(), parse_constant=refuse)


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def printed(table: Table, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return text


def broken(result: RunResult) -> RunResult:
    """The result as if the second configuration had differed."""
    first = Divergence(
        site="encoder.embedding",
        call="encode",
        index=(1, 2, 3),
        machine=17,
        reference=18,
        accumulator=None,
        before_rounding=None,
    )
    good, bad = result.configurations
    compared, _ = bad.equality.by_site["encoder.embedding"]
    by_site = bad.equality.by_site | {"encoder.embedding": (compared, 3)}
    equality = replace(bad.equality, codes_different=3, tokens_different=1, first=first, by_site=by_site)
    return replace(result, configurations=[good, replace(bad, equality=equality)])


# --- JSON ---------------------------------------------------------------------------------------------------------


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


def test_every_table_says_whose_arithmetic_it_is(written: Path, result: RunResult) -> None:
    plain, ita = read_json(written)["configurations"]
    assert (plain["target"], plain["borrowed"], plain["extended"]) == ("fullyqt", {}, [])
    assert (ita["target"], ita["extended"]) == ("ita", ["4-bit weights", "5-bit activations at 3 sites"])
    assert ita["borrowed"] == {"embedding": "fullyqt", "generator": "fullyqt", "residual": "pulp", "layernorm": "pulp"}
    rows = read_csv(written / "configurations.csv")
    assert [row["target"] for row in rows] == ["fullyqt", "ita"] and rows[0]["borrowed"] == rows[0]["extended"] == ""
    assert "layernorm from pulp" in rows[1]["borrowed"] and "4-bit weights" in rows[1]["extended"]
    assert {row["target"] for row in read_csv(written / "sensitivity.csv")} == {"fullyqt", "ita"}
    page = " ".join(page_of(written).xpath("//*[@id='configurations']")[0].text_content().split())
    assert "residual from pulp, layernorm from pulp 4-bit weights" in page and "every operator is native" in page
    text = " ".join(printed(summary_table(result)).split())
    assert "int8: target fullyqt: every operator native" in text
    assert "own & <b>$x^$</b>: target ita: embedding and generator borrowed from fullyqt" in text
    assert "extended: 4-bit weights" in text


def test_sites_are_those_of_the_target(result: RunResult) -> None:
    """The float model has softmax numerators; a target whose softmax has none is not measured there."""
    plain, ita = (set(one.accuracy.sites) for one in result.configurations)
    assert ita < plain
    assert {site.rpartition(".")[2] for site in plain - ita} == {"numerator", "denominator", "quotient"}


def test_the_float_model_is_run_once_for_all_schemes(
    model: Model, small_text: ParallelText, result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[object] = []
    monkeypatch.setattr(accuracy, "FloatArithmetic", lambda *args: passes.append(args) or FloatArithmetic(*args))
    text = small_text.head(SENTENCES)
    schemes = [one.configuration.scheme for one in result.configurations]
    again = run(model, schemes, text, calibrate_model(model, text))
    assert len(passes) == len(model.batches_by_length(text, "text"))
    for ours, theirs in zip(again.configurations, result.configurations, strict=True):
        assert ours.accuracy == theirs.accuracy
        alone = float_passes(model.network, model.batches_by_length(text, "text"), keep_sites=True)
        assert accuracy.measure(model.network, ours.configuration.plan, alone) == ours.accuracy


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
        assert sum(site["macs"] for site in sites) == ours.zeros.total.macs == ours.estimate.total.cost.macs
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


def test_what_is_not_finite_is_none() -> None:
    assert [finite(x) for x in (math.nan, math.inf, -math.inf, None, 1.5)] == [None, None, None, None, 1.5]


def test_like_names_are_numbered(result: RunResult) -> None:
    twice = replace(result, configurations=[result.configurations[0]] * 3)
    assert configuration_names(twice) == ["int8", "int8 (2)", "int8 (3)"]


# --- Tables -------------------------------------------------------------------------------------------------------


def test_tables_have_every_row(written: Path, result: RunResult, rows: list[Row]) -> None:
    assert len(read_csv(written / "configurations.csv")) == 2
    sites = sum(len(one.equality.by_site) for one in result.configurations)
    assert len(read_csv(written / "sites.csv")) == sites
    layers = sum(len(one.estimate.total.layers) for one in result.configurations)
    assert len(read_csv(written / "layers.csv")) == layers
    assert len(read_csv(written / "sensitivity.csv")) == len(rows)


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


# --- Page ---------------------------------------------------------------------------------------------------------


def page_of(folder: Path) -> Any:
    return html.fromstring((folder / "report.html").read_bytes())


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


# --- Whole or not at all ------------------------------------------------------------------------------------------


def test_a_folder_with_something_in_it_is_refused(
    result: RunResult, tmp_path: Path, origin: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "report" / "kept"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        write_report(result, [], kept.parent, origin)
    with pytest.raises(ValueError, match="is a file"):
        check_target(kept)
    with pytest.raises(ValueError, match="is not a folder"):
        check_target(kept / "below")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(ValueError, match="working folder"):
        check_target(Path("."))
    assert kept.read_text() == "mine" and sorted(tmp_path.iterdir()) == [empty, kept.parent]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    folder.write_folder(tmp_path / "link", {"a": b"1"})
    assert (tmp_path / "empty" / "a").read_bytes() == b"1"
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o755


def test_a_plot_that_fails_leaves_nothing(
    result: RunResult, tmp_path: Path, origin: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no plot")

    monkeypatch.setattr(plots, "energy_bars", fail)
    with pytest.raises(RuntimeError, match="no plot"):
        write_report(result, [], tmp_path / "report", origin)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    written: Iterator[Any] = iter([None])
    original = folder.write_whole

    def first_only(path: Path, content: bytes) -> None:
        if next(written, error):
            raise error
        original(path, content)

    monkeypatch.setattr(folder, "write_whole", first_only)
    with pytest.raises(type(error)):
        folder.write_folder(tmp_path / "report", {"a": b"1", "b": b"2"})
    assert list(tmp_path.iterdir()) == []


# --- Terminal -----------------------------------------------------------------------------------------------------


def test_summary_fits_the_terminal(result: RunResult) -> None:
    text = printed(summary_table(result))
    assert "Every code equal" in text and "int8" in text and "own & <b>" in text
    assert "…" not in text.replace("own & <b>$x^$…", "")
    text.replace("…", "").translate(dict.fromkeys(map(ord, "─ "))).encode("ascii")
    text = printed(summary_table(broken(result)))
    assert "NOT EQUAL" in text and "encoder.embedding" in text


def test_summary_fits_large_numbers(result: RunResult) -> None:
    one = result.configurations[0]
    large = replace(one, equality=replace(one.equality, codes_compared=98_765_432_109, codes_different=1_234_567))
    text = printed(summary_table(replace(result, configurations=[large])))
    assert "98,765,432,109" in text and "1,234,567" in text and "…" not in text


def test_sensitivity_fits_the_terminal(rows: list[Row]) -> None:
    groups = [replace(row, bits=bits) for row in rows if row.kind == "group" for bits in (8, 6, 4, 3)]
    text = printed(sensitivity_table(groups))
    assert "SQNR" in text and text.index("feed_forward") < text.index("layernorm") and "…" not in text
    text = printed(sensitivity_table(rows))
    assert "group or layer or site" in text and "BLEU" in text and "3.5" in text


def test_numbers_have_sensible_digits() -> None:
    assert [fixed(-1.256), fixed(None), signed(0.5), significant(0.012345)] == ["−1.26", "–", "+0.50", "0.0123"]
    assert [significant(x) for x in (0.0, 1.3, 123.4)] == ["0.00", "1.30", "123"]
    shown = [si(x, "B").replace("\N{NO-BREAK SPACE}", " ") for x in (0, 7, 999, 999.6, 1234, 99_950, 3.3e9, 2.5)]
    assert shown == ["0 B", "7 B", "999 B", "1.00 kB", "1.23 kB", "100 kB", "3.30 GB", "2.50 B"]
    assert [energy(x).replace("\N{NO-BREAK SPACE}", " ") for x in (32.3e9, 0.5, None)] == ["32.3 mJ", "0.50 pJ", "–"]
    assert [duration(9.96), duration(119.9), duration(125)] == ["10.0 s", "119.9 s", "2 min 5 s"]
