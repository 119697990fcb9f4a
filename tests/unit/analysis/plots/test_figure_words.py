"""Words of the figures of reports and explanations: titles, axes with units, ticks, legends and notes, literally."""

import math
from typing import Any

import numpy as np
import pytest

from analysis import plots
from analysis.accuracy.bleu import Bleu
from analysis.accuracy.sensitivity import Row
from analysis.pages.operators import pictures
from analysis.proof.explain import plot
from analysis.proof.explain.records import Explanation, Histogram, SiteReport
from reference.quantize.sites import Role, Site, SiteSet
from tests.unit.analysis.plots.figure_words import words


def row(kind: str, name: str, bits: int, loss: float) -> Row:
    return Row(kind=kind, name=name, bits=bits, loss_increase=loss, sqnr_db=1.0)  # type: ignore[arg-type]


# --- sensitivity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "names", "legend"),
    [
        ("group", ["self_attention", "dram_sram_mac"], ["self attention", "DRAM SRAM MAC"]),
        ("layer", ["encoder.0"], ["encoder.0"]),
        ("site", ["encoder.0.feed_forward.hidden"], ["encoder.0.feed forward.hidden"]),
    ],
)
@pytest.mark.parametrize(("below", "shown"), [(1e-3, "0.001"), (0.25, "0.25")])
def test_lines_of_sensitivity(kind: Any, names: list[str], legend: list[str], below: float, shown: str) -> None:
    others = [row("layer" if kind == "group" else "group", "another", 3, 9.0)]
    given = [row(kind, name, bits, 0.02) for name in names for bits in (8, 4)]
    found = words(plots.sensitivity_lines(given + others, kind, below))
    assert found.title == f"Sensitivity by {kind}: the rest stays int8"
    assert found.x == "bits"
    assert found.y == f"loss increase over float, nat per token\ngrey: linear within ±{shown}"
    assert found.x_ticks == ["4", "8"]
    assert found.legend == legend


@pytest.mark.parametrize(("bits", "floor", "shown"), [(4, 1e-3, "0.001"), (3, 0.05, "0.05")])
def test_map_of_sensitivity(bits: int, floor: float, shown: str) -> None:
    names = ["encoder.0.self_attention.key", "encoder.1.self_attention.key", "encoder.0.self_attention.key.weight"]
    names += ["encoder.1.feed_forward.hidden", "encoder.embedding", "generator.logits.weight"]
    drawn = plots.sensitivity_map([row("site", name, bits, 0.1) for name in names], bits, floor)
    assert drawn.get_suptitle() == f"Sensitivity by site at {bits} bits: the rest stays int8"
    panels = [words(drawn, panel) for panel in range(len(drawn.axes))]
    assert [panel.title for panel in panels] == ["self attention", "feed forward", "outside the layers", ""]
    assert (panels[0].x_ticks, panels[0].y_ticks) == (["key", "key.weight"], ["encoder.0", "encoder.1"])
    assert (panels[1].x_ticks, panels[1].y_ticks) == (["hidden"], ["encoder.1"])
    assert panels[2].x_ticks == ["encoder.embedding", "generator.logits.weight"]
    assert panels[2].y_ticks == ["embedding", "generator"]
    assert panels[3].y == f"loss increase over float (nat/token)\npalest: below {shown}, or a fall; grey: no such site"


# --- sites, energy, kernels, BLEU -------------------------------------------------------------------------------------


def sites(*groups: str) -> dict[str, Site]:
    names = [f"site.{i}" for i in range(len(groups))]
    of = {"set": SiteSet.PAPER, "role": Role.WEIGHT}
    return {name: Site(name=name, group=group, **of) for name, group in zip(names, groups, strict=True)}


def test_bars_of_sites() -> None:
    known = sites("softmax", "feed_forward", "softmax")
    values = {"site.0": 31.25, "site.1": -4.04, "site.2": math.inf}
    found = words(plots.sqnr_bars(values, known, "int8"))
    assert (found.title, found.x, found.y) == ("int8", "SQNR against float (dB)", "")
    assert found.y_ticks == ["site.0", "site.1", "site.2"]
    assert found.notes == ["31.2", "−4.0", "exact"]
    assert found.legend == ["feed forward", "softmax"]
    fewer = words(plots.sqnr_bars(values, known, "int8", most=2))
    assert fewer.title == "int8: the 2 lowest of 3 sites"
    assert fewer.y_ticks == ["site.0", "site.1"]
    assert words(plots.sqnr_bars(values, known, "int8", most=3)).title == "int8"


@pytest.mark.parametrize(
    ("scale", "unit", "notes"),
    [
        (1.0, "pJ", ["30", "600"]),
        (1e3, "10$^{3}$ pJ", ["30", "600"]),
        (1e6, "10$^{6}$ pJ", ["30", "600"]),
        (2e6, "10$^{9}$ pJ", ["0.06", "1.2"]),
    ],
)
def test_bars_of_energy(scale: float, unit: str, notes: list[str]) -> None:
    energies = {"int8": {"encode": {"mac_add": 30 * scale}}, "own": {"decode": {"sram_access": 600 * scale}}}
    found = words(plots.energy_bars(energies))
    assert (found.title, found.x) == ("Energy of a sentence by component", "")
    assert found.y == f"energy ({unit} per sentence)"
    assert found.x_ticks == ["encode", "decode"]
    assert found.notes == [*notes, "int8", "own"]
    assert found.legend == ["MAC add", "SRAM access"]


@pytest.mark.parametrize(("small", "named"), [(5.1, True), (4.9, False)])
def test_half_a_percent_of_energy_has_a_colour(small: float, named: bool) -> None:
    """Of 1000 in all."""
    parts = {"mac_add": 994.9 if named else 995.1, "clamp": small}
    legend = words(plots.energy_bars({"int8": {"encode": parts}})).legend
    assert legend == [*(["clamp"] if named else ["other"]), "MAC add"]


def test_histograms_of_errors() -> None:
    given = {8: ([0.0, 0.5], [1000, 234]), 4: ([-0.5], [5])}
    drawn = plots.error_histogram("layer_norm", given, 0.25)
    first, second = words(drawn), words(drawn, 1)
    assert first.above == "layer norm: error against real mathematics"
    assert (first.title, second.title) == ("8 bits: 1,234 results", "4 bits: 5 results")
    assert first.x == second.x == "error (LSB; dotted: ±0.5)"
    assert (first.y, second.y) == ("density (share of results per LSB)", "")
    assert [bar.get_height() for bar in drawn.axes[0].patches] == pytest.approx([1000 / 1234 * 4, 234 / 1234 * 4])
    assert drawn.axes[0].get_xlim() == (-0.75, 0.75)


def bleu(score: float, low: float, high: float) -> Bleu:
    return Bleu(score=score, low=low, high=high, signature="")


def test_bars_of_bleu() -> None:
    given = {"int8": bleu(28.13, 26.06, 30.25), "own": bleu(2.0, 1.0, 3.5)}
    found = words(plots.bleu_bars(given, bleu(29.0, 27.5, 31.0)))
    assert (found.title, found.x, found.y) == ("BLEU with 95% bootstrap intervals", "configuration", "BLEU (points)")
    assert found.x_ticks == ["int8\n28.1\n26.1 to 30.2", "own\n2.0\n1.0 to 3.5"]
    assert found.legend == ["float\n29.0\n27.5 to 31.0"]
    assert words(plots.bleu_bars(given)).legend == []


# --- operators' pages -------------------------------------------------------------------------------------------------


def test_panels_of_operators() -> None:
    x, error = np.array([1.0, 2.0]), np.array([0.25, -0.5])
    drawn = pictures.scatter(
        "Errors of exp", {"ita": {"one": (x, error), "two": (x, error)}, "pulp": {"one": (x, error)}}, "input"
    )
    assert (drawn.get_suptitle(), drawn.get_supxlabel()) == ("Errors of exp", "input")
    assert drawn.get_supylabel() == "error (LSB; dotted: ±0.5)"
    assert [words(drawn, panel).title for panel in range(2)] == ["ita", "pulp"]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["one", "two"]
    assert [line.get_ydata()[0] for line in drawn.axes[0].lines[2:]] == [-0.5, 0.5]
    alone = pictures.scatter("Errors", {"ita": {"one": (x, error)}}, "input")
    assert alone.legends == []
    found = pictures.growth("Growth", {"ita": {"one": (x, np.abs(error))}}, "n", "worst (LSB)")
    assert (found.get_suptitle(), found.get_supxlabel(), found.get_supylabel()) == ("Growth", "n", "worst (LSB)")
    dense = pictures.histograms("All", {"ita": error, "pulp": np.array([0.1, 0.2, 0.3])}, "error (LSB)")
    assert (dense.get_supxlabel(), dense.get_supylabel()) == ("error (LSB)", "density (share of results per LSB)")
    for axes in dense.axes[:2]:
        assert sum(bar.get_height() * bar.get_width() for bar in axes.patches) == pytest.approx(1.0)


# --- explanations -----------------------------------------------------------------------------------------------------

EQUAL = Histogram(codes={0: 100}, below=0, above=0)


def report(
    site: str, status: str, different: int, histogram: Histogram = EQUAL, function: str = "encode"
) -> SiteReport:
    return SiteReport(
        site=site, function=function, operation="matmul", status=status, compared=100, different=different,
        different_on_equal_inputs=different, max_lsb=1, histogram=histogram, histogram_on_equal_inputs=histogram,
        events_a=None, events_b=None, follows_from=[], causes=[], observations=[],
    )  # fmt: skip


def explanation(*reports: SiteReport, a: str = "tflm", b: str = "tosa") -> Explanation:
    return Explanation(
        a=a, b=b, sentences=1, calls=1, sites_compared=len(reports), sites_made=9, equal=False, first=None,
        sites=list(reports), not_compared={},
    )  # fmt: skip


OFF = Histogram(codes={0: 90, 1: 6, -2: 4}, below=0, above=0)


def test_an_explanation() -> None:
    found = explanation(
        report("encoder.0.self_attention.key", "origin", 10, OFF),
        report("encoder.0.self_attention.scores", "follows", 1),
        report("encoder.0.self_attention.context", "equal", 0),
        report("decoder.0.self_attention.key", "follows", 5, function="decode_step"),
        a="a$1",
    )
    drawn = plot.figure(found)
    shares, panel = words(drawn), words(drawn, 1)
    assert shares.title == "A = a\\$1, B = tosa: 16 of 400 codes differ"
    assert (shares.x, shares.y) == ("sites in execution order", "codes that differ (share)")
    assert shares.legend == ["differs on equal inputs (1)", "differs because an input does (2)", "equal (1)"]
    assert shares.x_ticks == ["encoder.0\nencode", "decoder.0\ndecode_step"]
    heights = {line.get_label(): list(line.get_ydata()) for line in drawn.axes[0].lines}
    assert heights["differs on equal inputs (1)"] == [0.1]
    assert heights["differs because an input does (2)"] == [0.01, 0.05]
    assert [text.get_text() for text in drawn.texts] == ["By how much: the site with differences on equal inputs"]
    assert panel.title == "encoder.0.\nself_attention.key"
    assert (panel.x, panel.y) == ("B − A (LSB)", "codes")
    assert panel.x_ticks == ["−2", "−1", "0", "+1", "+2"]
    assert [bar.get_height() for bar in drawn.axes[1].patches] == [4, 0, 0, 6, 0]


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (2, "By how much: sites with differences on equal inputs"),
        (4, "By how much: sites with differences on equal inputs"),
        (5, "By how much: the first 4 of 5 sites with differences on equal inputs"),
    ],
)
def test_panels_of_an_explanation(count: int, line: str) -> None:
    drawn = plot.figure(explanation(*(report(f"site.{i}", "origin", 10, OFF) for i in range(count))))
    assert [text.get_text() for text in drawn.texts] == [line]
    labels = [words(drawn, 1 + panel).y for panel in range(min(count, 4))]
    assert labels == ["codes", *[""] * (min(count, 4) - 1)]
    assert len(drawn.axes) == 1 + min(count, 4)


def test_far_differences_have_a_bar_at_either_end() -> None:
    far = Histogram(codes={0: 1, 16: 3}, below=7, above=9)
    at, heights, labels = plot._bars(far)
    assert (at[0], at[-1]) == (-17, 17)
    assert (heights[0], heights[-2], heights[-1]) == (7, 3, 9)
    assert (labels[0], labels[1], labels[17], labels[-2], labels[-1]) == ("<−16", "−16", "0", "+16", ">16")


def test_equal_programs_have_no_panels() -> None:
    drawn = plot.figure(explanation(report("site", "equal", 0)))
    assert words(drawn).title == "A = tflm, B = tosa: 0 of 100 codes differ"
    assert words(drawn).legend[2] == "equal (1)"
    assert list(drawn.texts) == []
