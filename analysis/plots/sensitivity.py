"""Figures of the reports: colour-blind safe, units on every axis, drawn without a display."""

import io
import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import SymmetricalLogLocator
from numpy.typing import NDArray

from analysis.accuracy.bleu import Bleu
from analysis.accuracy.sensitivity import Kind, Row, layer_of
from hwsim.files import write_whole
from reference.quantize.sites import GROUPS, Site

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A3D9A", "#F0E442")
"""Okabe and Ito (2008), in an order that keeps neighbours apart; purple stands for black, which is kept for text."""

MARKERS = "osD^vPX*"
GROUP_COLOURS = dict(zip(GROUPS, OKABE_ITO, strict=False))
GREY, EMPTY = "#666666", "#DDDDDD"
DOTS_PER_INCH = 150
SMALL, NORMAL = 8.5, 10.0

Energies = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Configuration to phase (`encode`, `decode`) to component to picojoules."""


def save(figure: Figure, path: Path) -> None:
    """Write a PNG file whole or not at all."""
    write_whole(path, png(figure))


def png(figure: Figure) -> bytes:
    """A figure as a PNG, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return stream.getvalue()


def _figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=NORMAL + 1, loc="left")
    axes.set_xlabel(x, fontsize=NORMAL)
    axes.set_ylabel(y, fontsize=NORMAL)
    axes.spines[["top", "right"]].set_visible(False)


def _require(values: Any, what: str) -> None:
    if not len(values):
        raise ValueError(f"nothing to plot: {what}")


# Sensitivity


def sensitivity_lines(rows: Sequence[Row], kind: Kind = "group", linear_below: float = 1e-3) -> Figure:
    """Loss increase against bits, one line a target; for sites, which are too many, see `sensitivity_map`.

    The vertical axis is logarithmic on both sides of zero and linear within `linear_below`, because noise lets a loss
    fall below the float model's too.

    Raises
    ------
    ValueError
        If there is no row of the kind.
    """
    lines: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.kind == kind:
            lines.setdefault(row.name, {})[row.bits] = row.loss_increase
    _require(lines, f"no rows of kind {kind}")
    figure = _figure(7.5, max(4.5, 0.6 + 0.21 * len(lines)))
    axes = figure.subplots()
    for index, (name, line) in enumerate(lines.items()):
        colour, marker = OKABE_ITO[index % len(OKABE_ITO)], MARKERS[(index + index // len(OKABE_ITO)) % len(MARKERS)]
        axes.plot(list(line), list(line.values()), color=colour, marker=marker, label=_plain(name), linewidth=1.8)
    title, unit = f"Sensitivity by {kind}: the rest stays int8", f"nat per token\ngrey: linear within ±{linear_below:g}"
    _label(axes, title, "bits", f"loss increase over float, {unit}")
    _symmetric_log(axes, [value for line in lines.values() for value in line.values()], linear_below)
    bits = sorted({bits for line in lines.values() for bits in line})
    axes.set_xticks(bits, [str(bit) for bit in bits])
    axes.invert_xaxis()
    axes.legend(fontsize=SMALL + 0.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _symmetric_log(axes: Axes, values: list[float], linear_below: float) -> None:
    """A symlog axis around the values, with the linear part shaded."""
    axes.set_yscale("symlog", linthresh=linear_below, linscale=0.4)
    low, high = min([*values, 0.0]), max([*values, linear_below])
    axes.set_ylim(low * 2 if low < -linear_below else -linear_below, high * 2)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear_below))
    axes.axhspan(-linear_below, linear_below, color=EMPTY, alpha=0.5, linewidth=0)
    axes.axhline(0.0, color=GREY, linewidth=1.0)
    axes.grid(axis="y", color=EMPTY, linewidth=0.8)


def _plain(name: str) -> str:
    """A name as a reader would write it."""
    return " ".join(word.upper() if word in ("mac", "sram", "dram") else word for word in name.split("_"))


BLOCKS = ("self_attention", "cross_attention", "feed_forward", "")
"""Blocks of a layer; the last is for what is in no layer."""

CELL, LEFT, GAP, LABELS = 0.34, 0.95, 0.35, 1.35
"""Inches: a cell of the map, room for names of layers, for the title of a panel, for names of sites."""


class _Panel(NamedTuple):
    """One block of the map: layers down, kinds of site across, NaN where there is no row."""

    block: str
    layers: list[str]
    columns: list[str]
    values: NDArray[np.float64]


def sensitivity_map(rows: Sequence[Row], bits: int, floor: float = 1e-3) -> Figure:
    """Loss increase of every site at one width: layers down, kinds of site across, one panel a block.

    Increases below `floor`, and losses that fell, have the palest colour; grey cells have no row.

    Raises
    ------
    ValueError
        If there is no row of a site at this width.
    """
    cells = {row.name: row.loss_increase for row in rows if row.kind == "site" and row.bits == bits}
    _require(cells, f"no rows of sites at {bits} bits")
    panels = [panel for panel in (_panel(cells, block) for block in BLOCKS) if panel.layers]
    places, width, height = _places(panels)
    figure = Figure(figsize=(width + 1.3, height + 0.4))
    FigureCanvasAgg(figure)
    norm = LogNorm(floor, max([10 * floor, *(value for value in cells.values() if math.isfinite(value))]))
    for panel, (x, y) in zip(panels, places, strict=True):
        rows_high, columns_wide = panel.values.shape
        box = (x, height - y - CELL * rows_high, CELL * columns_wide, CELL * rows_high)
        image = _draw_panel(figure.add_axes(_fractions(figure, box)), panel, norm)
    bar = figure.add_axes(_fractions(figure, (width + 0.2, max(0.3, height / 2 - 2.0), 0.16, min(4.0, height - 0.6))))
    colours = figure.colorbar(image, cax=bar, extend="min")
    note = f"palest: below {floor:g}, or a fall; grey: no such site"
    colours.set_label(f"loss increase over float (nat/token)\n{note}", fontsize=NORMAL)
    figure.suptitle(f"Sensitivity by site at {bits} bits: the rest stays int8", fontsize=NORMAL + 1)
    return figure


def _panel(cells: Mapping[str, float], block: str) -> _Panel:
    """The cells of one block; activations before weights, else in the order given."""
    inside: dict[tuple[str, str], float] = {}
    for site, value in cells.items():
        layer = layer_of(site)
        in_block = site.startswith(f"{layer}.{block}.") if block else not site.startswith(("encoder.", "decoder."))
        if in_block or (not block and layer == "embedding"):
            inside[layer, site.removeprefix(f"{layer}.{block}.") if block else site] = value
    layers = list(dict.fromkeys(layer for layer, _ in inside))
    columns = list(dict.fromkeys(column for _, column in inside))
    columns.sort(key=lambda column: column.endswith((".weight", ".gamma")))
    values = [[inside.get((layer, column), math.nan) for column in columns] for layer in layers]
    return _Panel(block, layers, columns, np.array(values, ndmin=2))


def _places(panels: Sequence[_Panel]) -> tuple[list[tuple[float, float]], float, float]:
    """Left and top edge of every panel, and the size of all, inches; a panel goes right of the last one if it can."""
    widest = LEFT + CELL * max(len(panel.columns) for panel in panels)
    places: list[tuple[float, float]] = []
    right, top, bottom = 0.0, 0.0, 0.0
    for panel in panels:
        if right + LEFT + CELL * len(panel.columns) > widest:
            right, top = 0.0, bottom
        places.append((right + LEFT, top + GAP))
        right += LEFT + CELL * len(panel.columns)
        bottom = max(bottom, top + GAP + CELL * len(panel.layers) + LABELS)
    return places, max(widest, 3.5), max(bottom, 4.2)


def _fractions(figure: Figure, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Left, bottom, width, height in inches as fractions of the figure."""
    width, height = figure.get_size_inches()
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def _draw_panel(axes: Axes, panel: _Panel, norm: LogNorm) -> QuadMesh:
    floor = norm.vmin if norm.vmin is not None else 0.0
    axes.set_facecolor(EMPTY)
    shown = np.ma.maximum(np.ma.masked_invalid(panel.values), floor * 0.999)  # a logarithm has no place for zero
    image = axes.pcolormesh(shown, cmap="YlGnBu", norm=norm)
    axes.set_title(_plain(panel.block) or "outside the layers", fontsize=NORMAL, loc="left")
    axes.set_xticks(np.arange(len(panel.columns)) + 0.5, panel.columns)
    axes.tick_params(axis="x", rotation=60)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(panel.layers)) + 0.5, panel.layers)
    axes.set_xticks(range(1, len(panel.columns)), minor=True)
    axes.set_yticks(range(1, len(panel.layers)), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="both", length=0, labelsize=SMALL)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    return image


# Sites


def sqnr_bars(sqnr_db: Mapping[str, float], sites: Mapping[str, Site], title: str, most: int = 60) -> Figure:
    """SQNR of every site as horizontal bars, top to bottom in the order given (that of execution), coloured by group.

    Of more than `most` sites only the lowest are drawn, which the title says. An exact site has a bar across the
    figure, one without a value has none; both say so.

    Raises
    ------
    ValueError
        If there is no site.
    """
    _require(sqnr_db, "no sites")
    worst = sorted(sqnr_db, key=lambda site: math.inf if math.isnan(sqnr_db[site]) else sqnr_db[site])[:most]
    shown = [site for site in sqnr_db if site in set(worst)]
    finite = [sqnr_db[site] for site in shown if math.isfinite(sqnr_db[site])] or [0.0]
    low, high = min(0.0, *finite), max(10.0, *finite)
    figure = _figure(8.0, 1.1 + 0.165 * max(len(shown), 8))
    axes = figure.subplots()
    for y, site in enumerate(shown):
        length, text = _bar(sqnr_db[site], low, high)
        axes.barh(y, length, height=0.75, color=GROUP_COLOURS[sites[site].group])
        end = (max(length, 0.0), y)
        axes.annotate(text, end, (3, 0), textcoords="offset points", va="center", fontsize=SMALL - 1.5)
    if len(shown) < len(sqnr_db):
        title = f"{title}: the {len(shown)} lowest of {len(sqnr_db)} sites"
    _label(axes, title, "SQNR against float (dB)", "")
    axes.set_yticks(range(len(shown)), shown, fontsize=SMALL - 1)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(low * 1.1, high * 1.08)
    axes.tick_params(axis="y", length=0)
    _group_legend(axes, [sites[site].group for site in shown])
    return figure


def _bar(value: float, low: float, high: float) -> tuple[float, str]:
    """Length of a bar, and what stands at its end."""
    if math.isnan(value):
        return 0.0, "no value"
    if math.isinf(value):
        return (high, "exact") if value > 0 else (low, "−∞")
    return value, f"{value:.1f}".replace("-", "−")


def _group_legend(axes: Axes, groups: Sequence[str]) -> None:
    handles = [Patch(color=GROUP_COLOURS[group], label=_plain(group)) for group in GROUPS if group in groups]
    axes.legend(handles=handles, fontsize=SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


# Energy

OTHER = "other"
SHARE_SHOWN, MOST_COMPONENTS = 0.005, 7


def energy_bars(energy_pj: Energies) -> Figure:
    """Energy of a sentence, stacked by component: for every configuration one bar a phase.

    The dearest components have a colour each; what is less than 0.5% of the whole, or the eighth, is in `other`.

    Raises
    ------
    ValueError
        If there is no configuration, or no component costs anything.
    """
    _require(energy_pj, "no configurations")
    components = _dearest(energy_pj)
    _require(components, "no component costs energy")
    bars = [(name, phase, energy_pj[name][phase]) for name in energy_pj for phase in energy_pj[name]]
    totals = [sum(parts.values()) for _, _, parts in bars]
    power = 3 * int(math.log10(max(totals)) // 3)
    positions = _positions([len(phases) for phases in energy_pj.values()])
    figure = _figure(max(5.5, 2.6 + 0.62 * len(bars)), 4.5)
    axes = figure.subplots()
    bottom = np.zeros(len(bars))
    for index, component in enumerate(components):
        heights = np.array([_part(parts, component, components) for _, _, parts in bars]) / 10.0**power
        colour = GREY if component == OTHER else OKABE_ITO[index]
        axes.bar(positions, heights, 0.8, bottom, color=colour, label=_plain(component))
        bottom += heights
    for x, total in zip(positions, bottom, strict=True):
        axes.annotate(f"{total:.3g}", (x, total), (0, 2), textcoords="offset points", ha="center", fontsize=SMALL)
    unit = f"10$^{{{power}}}$ pJ" if power else "pJ"
    _label(axes, "Energy of a sentence by component", "", f"energy ({unit} per sentence)")
    axes.set_xlim(positions[0] - 0.8, positions[-1] + 0.8)
    _two_line_ticks(axes, positions, bars, list(energy_pj))
    _reversed_legend(axes)
    return figure


def _dearest(energy_pj: Energies) -> list[str]:
    """Components dearest first, those that get a colour; `other` stands for the rest that costs anything."""
    totals: dict[str, float] = {}
    for phases in energy_pj.values():
        for parts in phases.values():
            for component, energy in parts.items():
                totals[component] = totals.get(component, 0.0) + energy
    order = sorted((name for name in totals if totals[name] > 0.0), key=lambda name: -totals[name])
    shown = [name for name in order if totals[name] >= SHARE_SHOWN * sum(totals.values())][:MOST_COMPONENTS]
    return shown if len(shown) == len(order) else [*shown, OTHER]


def _part(parts: Mapping[str, float], component: str, components: Sequence[str]) -> float:
    if component == OTHER:
        return sum(energy for name, energy in parts.items() if name not in components)
    return parts.get(component, 0.0)


def _positions(sizes: Sequence[int]) -> list[float]:
    """Places of bars in clusters of these sizes."""
    places, start = [], 0.0
    for size in sizes:
        places += [start + i * 0.9 for i in range(size)]
        start += size * 0.9 + 0.5
    return places


def _two_line_ticks(
    axes: Axes, positions: list[float], bars: Sequence[tuple[str, str, Any]], configurations: Sequence[str]
) -> None:
    """Phases below the bars, configurations below the phases."""
    axes.set_xticks(positions, [phase for _, phase, _ in bars], fontsize=SMALL)
    axes.tick_params(axis="x", length=0)
    for name in configurations:
        middle = float(np.mean([x for x, bar in zip(positions, bars, strict=True) if bar[0] == name]))
        below = axes.get_xaxis_transform()
        axes.annotate(name, (middle, 0.0), (0, -20), below, "offset points", fontsize=NORMAL, ha="center", va="top")


def _reversed_legend(axes: Axes) -> None:
    """A legend in the order in which the parts are stacked."""
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


# Kernels


def error_histogram(
    kernel: str, histograms: Mapping[int, tuple[Sequence[float], Sequence[int]]], bin_lsb: float
) -> Figure:
    """Density of code - real value in steps of the output, one panel a bit width.

    Parameters
    ----------
    histograms
        By bits: centres of the bins in LSB, and how many results fell into each.
    bin_lsb
        Width of a bin, LSB.

    Raises
    ------
    ValueError
        If there is no width, or one without results.
    """
    _require(histograms, f"no histogram of {kernel}")
    for bits, (_, counts) in histograms.items():
        _require(np.flatnonzero(counts), f"no results of {kernel} at {bits} bits")
    figure = _figure(max(4.0, 3.1 * len(histograms)), 3.2)
    all_axes = figure.subplots(1, len(histograms), sharey=True, squeeze=False)[0]
    reach = max(abs(centre) for centres, _ in histograms.values() for centre in centres) + bin_lsb
    for axes, colour, (bits, (centres, counts)) in zip(all_axes, cycle(OKABE_ITO), histograms.items()):
        total = sum(counts)
        density = np.asarray(counts) / (total * bin_lsb)
        axes.bar(centres, density, width=bin_lsb, color=colour, linewidth=0)
        for half in (-0.5, 0.5):
            axes.axvline(half, color=GREY, linewidth=0.9, linestyle=":")
        _label(axes, f"{bits} bits: {total:,} results", "error (LSB; dotted: ±0.5)", "")
        axes.set_xlim(-max(reach, 0.6), max(reach, 0.6))
        axes.set_yscale("log")
    all_axes[0].set_ylabel("density (share of results per LSB)", fontsize=NORMAL)
    figure.suptitle(f"{_plain(kernel)}: error against real mathematics", fontsize=NORMAL + 1)
    return figure


# BLEU


def bleu_bars(scores: Mapping[str, Bleu], floating: Bleu | None = None) -> Figure:
    """BLEU of every configuration with its 95% bootstrap interval; the float model as a line with its own.

    Raises
    ------
    ValueError
        If there is no configuration.
    """
    _require(scores, "no configurations")
    figure = _figure(max(4.5, 2.4 + 1.05 * len(scores)), 4.0)
    axes = figure.subplots()
    places = range(len(scores))
    values = [one.score for one in scores.values()]
    spread = np.array([(one.score - one.low, one.high - one.score) for one in scores.values()]).T
    axes.bar(places, values, color=OKABE_ITO[0], width=0.6)
    axes.errorbar(places, values, np.maximum(spread, 0.0), fmt="none", ecolor="black", capsize=4, linewidth=1.2)
    if floating is not None:
        axes.axhspan(floating.low, floating.high, color=OKABE_ITO[1], alpha=0.2, linewidth=0, zorder=0)
        axes.axhline(floating.score, color=OKABE_ITO[1], linewidth=1.6, label=f"float\n{_interval(floating)}")
        axes.legend(fontsize=SMALL + 0.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _label(axes, "BLEU with 95% bootstrap intervals", "configuration", "BLEU (points)")
    axes.set_xticks(places, [f"{name}\n{_interval(one)}" for name, one in scores.items()])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, len(scores) - 0.3)
    axes.set_ylim(0.0, 1.15 * max([one.high for one in scores.values()] + [floating.high if floating else 0.0, 1.0]))
    return figure


def _interval(one: Bleu) -> str:
    return f"{one.score:.1f}\n{one.low:.1f} to {one.high:.1f}"
