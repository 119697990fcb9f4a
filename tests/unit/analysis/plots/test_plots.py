"""Figures: each is drawn, labelled with units, and saved as a PNG, from ordinary and from awkward numbers."""

import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis import plots
from analysis.accuracy.bleu import Bleu
from analysis.accuracy.sensitivity import Row
from reference.quantize.sites import GROUPS, Role, Site
from tests.small.models import sites_of

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def sites() -> dict[str, Site]:
    return sites_of(3, 3)


@pytest.fixture
def saved(tmp_path: Path):
    """Save a figure and return its size in pixels; nothing may stick out of it."""

    def save(figure: Figure) -> tuple[int, int]:
        path = tmp_path / "figure.png"
        plots.save(figure, path)
        content = path.read_bytes()
        assert content[:8] == PNG
        assert content[-8:-4] == b"IEND"
        width, height = struct.unpack(">II", content[16:24])
        assert 5_000 < len(content) < 500_000
        assert 400 < width < 1_600 and 300 < height < 2_000
        box = figure.get_tightbbox()
        assert box.x0 > -0.05 and box.y0 > -0.05
        assert box.x1 < figure.get_figwidth() + 0.05 and box.y1 < figure.get_figheight() + 0.05
        return width, height

    return save


def rows(kind: str, names: list[str], bits: tuple[int, ...] = (8, 6, 4, 3)) -> list[Row]:
    rng = np.random.default_rng(1)
    increase = {(name, width): float(rng.normal(0.01, 0.05)) * (9 - width) for name in names for width in bits}
    return [
        Row(kind=kind, name=name, bits=width, loss_increase=increase[name, width], sqnr_db=20.0)
        for name in names
        for width in bits
    ]


def score(value: float) -> Bleu:
    return Bleu(score=value, low=value - 1.5, high=value + 1.6, signature="")


# Sensitivity


def test_lines_of_groups(saved):
    given = rows("group", list(GROUPS)) + rows("layer", ["encoder.0"])
    figure = plots.sensitivity_lines(given)
    saved(figure)
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == [group.replace("_", " ") for group in GROUPS]
    for group in GROUPS:
        drawn = lines[group.replace("_", " ")]
        want = {row.bits: row.loss_increase for row in given if row.name == group}
        assert dict(zip(drawn.get_xdata(), drawn.get_ydata(), strict=True)) == want
    assert len({line.get_color() for line in lines.values()}) == len(GROUPS)
    assert "nat per token" in axes.get_ylabel()
    assert axes.get_xlabel() == "bits"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "4", "6", "8"]
    assert axes.xaxis_inverted()


@pytest.mark.parametrize("increase", [0.02, 1e-5, 0.0, -1e-5, -0.02, 7.0])
def test_lines_of_one_row(saved, increase):
    figure = plots.sensitivity_lines([Row(kind="group", name="softmax", bits=4, loss_increase=increase, sqnr_db=1.0)])
    saved(figure)
    (axes,) = figure.axes
    assert axes.get_yscale() == "symlog"
    low, high = axes.get_ylim()
    assert low < increase < high


def test_intervals_are_bars_that_do_not_hide_each_other():
    """Lines stand side by side, half a bit for all of them; each bar has the ends of its interval."""
    rows = [
        Row(kind="group", name=name, bits=bits, loss_increase=0.2, sqnr_db=1.0, interval=(0.1, 0.25 + bits))
        for name in ("softmax", "attention")
        for bits in (8, 4)
    ]
    (axes,) = plots.sensitivity_lines(rows).axes
    bars = [one.get_segments()[0] for container in axes.containers for one in container.lines[2]]
    assert [bar[:, 1].tolist() for bar in bars] == [pytest.approx([0.1, 0.25 + bits]) for bits in (8, 4)] * 2
    assert [bar[0, 0] for bar in bars] == [8.125, 4.125, 7.875, 3.875]


def test_lines_of_many_layers_differ_in_colour_or_marker(saved):
    figure = plots.sensitivity_lines(rows("layer", [f"encoder.{i}" for i in range(24)]), "layer")
    saved(figure)
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines if line.get_marker() != "None"}
    assert len(looks) == 24


def cells(figure: Figure) -> dict[tuple[str, str, str], float]:
    """(panel, layer, kind of site) to the value drawn; NaN where grey shows through."""
    found = {}
    for axes in figure.axes[:-1]:
        values = axes.collections[0].get_array().filled(math.nan)
        layers = [text.get_text() for text in axes.get_yticklabels()]
        columns = [text.get_text() for text in axes.get_xticklabels()]
        assert values.shape == (len(layers), len(columns))
        title = axes.get_title(loc="left")
        found |= {(title, y, x): values[i, j] for i, y in enumerate(layers) for j, x in enumerate(columns)}
    return found


def test_map_has_a_cell_for_every_site(saved, sites):
    given = rows("site", [name for name, site in sites.items() if site.role is not Role.LOGITS])
    figure = plots.sensitivity_map(given, 4)
    saved(figure)
    drawn = cells(figure)
    coloured = {key: value for key, value in drawn.items() if not math.isnan(value)}
    at_four = {row.name: row.loss_increase for row in given if row.bits == 4}
    assert len(coloured) == len(at_four)
    assert coloured["cross attention", "decoder.2", "softmax.numerator"] == pytest.approx(
        max(at_four["decoder.2.cross_attention.softmax.numerator"], 0.999e-3)
    )
    assert coloured["self attention", "encoder.1", "query.weight"] == pytest.approx(
        max(at_four["encoder.1.self_attention.query.weight"], 0.999e-3)
    )
    assert ("outside the layers", "generator", "generator.logits.weight") in coloured
    assert math.isnan(drawn["outside the layers", "generator", "positions.weight"])
    assert {layer for panel, layer, _ in drawn if panel == "cross attention"} == {f"decoder.{i}" for i in range(3)}
    assert "nat/token" in figure.axes[-1].get_ylabel()


@pytest.mark.parametrize("site", ["encoder.0.self_attention.key", "positions.weight", "generator.logits.weight"])
@pytest.mark.parametrize("increase", [-0.5, 0.0, 1e-4, 3.0])
def test_map_of_one_row(saved, site, increase):
    figure = plots.sensitivity_map([Row(kind="site", name=site, bits=3, loss_increase=increase, sqnr_db=1.0)], 3)
    saved(figure)
    ((_, value),) = cells(figure).items()
    assert value == pytest.approx(max(increase, 0.999e-3))


# Sites


def test_bars_of_sites_are_in_order_and_the_lowest_are_kept(saved, sites):
    rng = np.random.default_rng(2)
    values = {name: float(rng.uniform(5, 50)) for name, site in sites.items() if site.role is not Role.WEIGHT}
    figure = plots.sqnr_bars(values, sites, "int8")
    saved(figure)
    (axes,) = figure.axes
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert shown == [name for name in values if name in shown]
    assert set(shown) == set(sorted(values, key=values.__getitem__)[:60])
    assert [bar.get_width() for bar in axes.patches] == [values[name] for name in shown]
    assert f"the 60 lowest of {len(values)} sites" in axes.get_title(loc="left")
    assert "(dB)" in axes.get_xlabel()
    assert axes.yaxis_inverted()


def test_bars_without_a_finite_value_say_so(saved, sites):
    names = [f"encoder.0.self_attention.{part}" for part in ("key", "value", "query", "scores")]
    figure = plots.sqnr_bars(dict(zip(names, (math.inf, math.nan, -math.inf, -4.0), strict=True)), sites, "int8")
    saved(figure)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["exact", "no value", "−∞", "−4.0"]
    assert [bar.get_width() for bar in axes.patches] == [10.0, 0.0, -4.0, -4.0]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.0, 31.5])
def test_one_bar(saved, sites, value):
    saved(plots.sqnr_bars({"encoder.embedding": value}, sites, "int8"))


# Energy


def test_energy_is_stacked_by_component(saved):
    parts = {"dram_transfer": 7e6, "sram_access": 2e6, "mac_multiply": 9.9e5, "bias_add": 6e3, "clamp": 0.0}
    twice = {name: 2 * value for name, value in parts.items()}
    figure = plots.energy_bars({"int8": {"encode": parts, "decode": twice}, "int4": {"encode": parts}})
    saved(figure)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "energy (10$^{6}$ pJ per sentence)"
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["other", "MAC multiply", "SRAM access", "DRAM transfer"]
    heights = [[bar.get_height() for bar in stack] for stack in axes.containers]
    np.testing.assert_allclose(heights, np.outer([7.0, 2.0, 0.99, 0.006], [1, 2, 1]))
    tops = [bar.get_y() + bar.get_height() for bar in axes.containers[-1]]
    np.testing.assert_allclose(tops, [9.996, 19.992, 9.996])
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["10", "20", "10", "int8", "int4"]


def test_energy_of_one_bar_and_of_many_components(saved):
    saved(plots.energy_bars({"int8": {"decode": {"mac_multiply": 3.0}}}))
    figure = plots.energy_bars({"int8": {"decode": {f"part_{i}": 2.0 + i for i in range(12)}}})
    saved(figure)
    assert len(figure.axes[0].containers) == 8
    top = figure.axes[0].containers[-1][0]
    assert top.get_y() + top.get_height() == pytest.approx(sum(2.0 + i for i in range(12)))


# Kernels


def test_histogram_is_a_density(saved):
    centres = [i / 32 for i in range(-16, 17)]
    given = {bits: (centres, list(range(bits, bits + 33))) for bits in (8, 6, 4)}
    figure = plots.error_histogram("layernorm", given, 1 / 32)
    saved(figure)
    assert len(figure.axes) == 3
    for axes, bits in zip(figure.axes, given, strict=True):
        assert axes.get_title(loc="left").startswith(f"{bits} bits")
        assert "LSB" in axes.get_xlabel()
        assert sum(bar.get_height() * bar.get_width() for bar in axes.patches) == pytest.approx(1.0)
    assert "per LSB" in figure.axes[0].get_ylabel()


def test_histogram_of_an_exact_kernel(saved):
    saved(plots.error_histogram("relu", {8: ([0.0], [1000])}, 1 / 32))


# BLEU


@pytest.mark.parametrize("floating", [None, score(28.4)])
def test_bleu_with_intervals(saved, floating):
    given = {"int8": score(28.1), "int6": score(27.0), "int4": score(2.0)}
    figure = plots.bleu_bars(given, floating)
    saved(figure)
    (axes,) = figure.axes
    (bars, _) = axes.containers if floating is None else axes.containers[:2]
    assert [bar.get_height() for bar in bars] == [28.1, 27.0, 2.0]
    assert axes.get_ylabel() == "BLEU (points)"
    assert [text.get_text() for text in axes.get_xticklabels()][2] == "int4\n2.0\n0.5 to 3.6"
    assert (axes.get_legend() is None) == (floating is None)


def test_bleu_of_one_configuration_whose_interval_misses_it(saved):
    saved(plots.bleu_bars({"int2": Bleu(score=0.0, low=0.0, high=0.0, signature="")}))
    saved(plots.bleu_bars({"int3": Bleu(score=5.0, low=5.1, high=5.3, signature="")}, score(20.0)))


# All


@pytest.mark.parametrize(
    ("draw", "what"),
    [
        (lambda: plots.sensitivity_lines([]), "no rows of kind group"),
        (lambda: plots.sensitivity_lines(rows("site", ["positions.weight"])), "no rows of kind group"),
        (lambda: plots.sensitivity_map(rows("site", ["positions.weight"]), 5), "no rows of sites at 5 bits"),
        (lambda: plots.sqnr_bars({}, {}, "int8"), "no sites"),
        (lambda: plots.energy_bars({}), "no configurations"),
        (lambda: plots.energy_bars({"int8": {"encode": {"clamp": 0.0}}}), "no component costs energy"),
        (lambda: plots.error_histogram("relu", {}, 1 / 32), "no histogram of relu"),
        (lambda: plots.error_histogram("relu", {8: ([], [])}, 1 / 32), "no results of relu at 8 bits"),
        (lambda: plots.error_histogram("relu", {4: ([0.5], [0])}, 1 / 32), "no results of relu at 4 bits"),
        (lambda: plots.bleu_bars({}), "no configurations"),
    ],
)
def test_nothing_to_plot_is_refused(draw, what):
    with pytest.raises(ValueError, match=f"^nothing to plot: {what}$"):
        draw()


def test_half_a_step_is_marked_on_both_sides():
    panels = plots.error_histogram("relu", {8: ([0.0], [3]), 4: ([0.25], [2])}, 1 / 32).axes
    for axes in panels:
        assert [list(line.get_xdata()) for line in axes.lines] == [[-0.5, -0.5], [0.5, 0.5]]
        assert {line.get_linestyle() for line in axes.lines} == {":"}


def test_a_bar_has_no_tick_below_it_and_energy_has_ticks_beside():
    axes = plots.energy_bars({"int8": {"encode": {"mac": 2.0}, "decode": {"mac": 1.0}}}).axes[0]
    assert {tick.tick1line.get_markersize() for tick in axes.xaxis.get_major_ticks()} == {0}
    assert {tick.tick1line.get_markersize() > 0 for tick in axes.yaxis.get_major_ticks()} == {True}


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        plots.save(plots.bleu_bars({"int8": score(28.1)}), tmp_path / "new" / name)
    assert (tmp_path / "new" / "a.png").read_bytes() == (tmp_path / "new" / "b.png").read_bytes()


def test_no_display_and_no_global_figure_is_touched():
    code = "import sys, analysis.plots; raise SystemExit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
