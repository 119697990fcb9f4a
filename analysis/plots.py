"""Figures of the reports: colour-blind safe, units on every axis, drawn without a display."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import SymmetricalLogLocator
from numpy.typing import NDArray

from analysis.bleu import Bleu
from analysis.sensitivity import Kind, Row, layer_of
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
    """Write a PNG whole or not at all, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    write_whole(path, stream.getvalue())


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
    """Loss increase against bits, one line a target.

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
    figure = _figure(7.5, 4.5)
    axes = figure.subplots()
    for index, (name, line) in enumerate(lines.items()):
        colour, marker = OKABE_ITO[index % len(OKABE_ITO)], MARKERS[index // len(OKABE_ITO) + index % len(MARKERS)]
        axes.plot(list(line), list(line.values()), color=colour, marker=marker, label=_plain(name), linewidth=1.8)
    _label(axes, f"Sensitivity by {kind}: the rest stays int8", "bits", "loss increase over float (nat per token)")
    _symmetric_log(axes, [value for line in lines.values() for value in line.values()], linear_below)
    bits = sorted({bits for line in lines.values() for bits in line})
    axes.set_xticks(bits, [str(bit) for bit in bits])
    axes.invert_xaxis()
    axes.legend(fontsize=SMALL + 0.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _symmetric_log(axes: Axes, values: list[float], linear_below: float) -> None:
    """A symlog axis around the values, with the linear part shaded and said."""
    axes.set_yscale("symlog", linthresh=linear_below, linscale=0.4)
    low, high = min([*values, 0.0]), max([*values, linear_below])
    axes.set_ylim(low * 2 if low < -linear_below else -linear_below, high * 2)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear_below))
    axes.axhspan(-linear_below, linear_below, color=EMPTY, alpha=0.5, linewidth=0)
    axes.axhline(0.0, color=GREY, linewidth=1.0)
    note = f"linear within ±{linear_below:g}"
    axes.annotate(note, (0.99, 0.0), (0, 3), ("axes fraction", "data"), "offset points", ha="right", fontsize=SMALL)
    axes.grid(axis="y", color=EMPTY, linewidth=0.8)


def _plain(name: str) -> str:
    return name.replace("_", " ")


PANELS = ("self_attention", "cross_attention", "feed_forward", "")
"""Blocks of a layer; the last panel is for what is in no layer."""


def sensitivity_map(rows: Sequence[Row], bits: int, floor: float = 1e-3) -> Figure:
    """Loss increase of every site at one width, layers down and kinds of site across, one panel a block.

    Increases below `floor`, and losses that fell, have the palest colour; sites without a row are grey.

    Raises
    ------
    ValueError
        If there is no row of a site at this width.
    """
    cells = {row.name: row.loss_increase for row in rows if row.kind == "site" and row.bits == bits}
    _require(cells, f"no rows of sites at {bits} bits")
    panels = [grid for grid in (_grid(cells, block) for block in PANELS) if grid[0]]
    widest = max(len(columns) for _, columns, _ in panels)
    heights = [0.3 * len(names) + 0.4 + 0.075 * max(map(len, columns)) for names, columns, _ in panels]
    figure = _figure(max(5.0, 2.6 + 0.36 * widest), sum(heights) + 0.6)
    norm = LogNorm(floor, max(10 * floor, *cells.values()))
    all_axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (names, columns, values) in zip(all_axes, panels, strict=True):
        image = _draw_grid(axes, names, columns, values, widest, norm)
    colours = figure.colorbar(image, ax=list(all_axes), extend="min", shrink=0.6, aspect=30, pad=0.02)
    colours.set_label(f"loss increase over float (nat/token)\npalest: below {floor:g}, or a fall", fontsize=NORMAL)
    figure.suptitle(f"Sensitivity by site at {bits} bits: the rest stays int8", fontsize=NORMAL + 1)
    return figure


def _grid(cells: Mapping[str, float], block: str) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Layers, kinds of site, and their loss increases; NaN where there is no row."""
    inside = {}
    for site, value in cells.items():
        layer = layer_of(site)
        in_layer = site.startswith(f"{layer}.") and layer not in ("embedding", "generator")
        rest = site.removeprefix(f"{layer}.") if in_layer else site
        if rest.partition(".")[0] == block if block else not in_layer:
            inside[layer, rest.removeprefix(f"{block}.") if block else rest] = value
    layers = list(dict.fromkeys(layer for layer, _ in inside))
    columns = list(dict.fromkeys(column for _, column in inside))
    columns.sort(key=lambda column: column.endswith((".weight", ".gamma")))
    values = [[inside.get((layer, column), math.nan) for column in columns] for layer in layers]
    names = [f"{layer} {_plain(block)}".strip() for layer in layers]
    return names, columns, np.array(values, ndmin=2)


def _draw_grid(
    axes: Axes, names: list[str], columns: list[str], values: NDArray[np.float64], widest: int, norm: LogNorm
) -> Any:
    """One panel; all have cells of one size."""
    axes.set_facecolor("white")
    known = np.ma.masked_invalid(values)
    shown = np.ma.maximum(known, norm.vmin * 0.999)  # a logarithm has no place for what is not above zero
    axes.pcolormesh(np.isnan(values), cmap=_two_tone(), vmin=0, vmax=1, edgecolors="white", linewidth=1.0)
    image = axes.pcolormesh(shown, cmap="viridis_r", norm=norm, edgecolors="white", linewidth=1.0)
    axes.set_xlim(0, widest)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.invert_yaxis()
    axes.tick_params(length=0, labelsize=SMALL)
    axes.spines[:].set_visible(False)
    return image


def _two_tone() -> ListedColormap:
    """White for False, grey for True."""
    return ListedColormap(["white", EMPTY])


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
        value = sqnr_db[site]
        width = value if math.isfinite(value) else {math.inf: high, -math.inf: low}.get(value, 0.0)
        axes.barh(y, width, height=0.75, color=GROUP_COLOURS[sites[site].group])
        text = f"{value:.1f}" if math.isfinite(value) else {math.inf: "exact", -math.inf: "−∞"}.get(value, "no value")
        axes.annotate(text, (max(width, 0.0), y), (3, 0), textcoords="offset points", va="center", fontsize=SMALL - 1.5)
    if len(shown) < len(sqnr_db):
        title = f"{title}: the {len(shown)} lowest of {len(sqnr_db)} sites"
    _label(axes, title, "SQNR against float (dB)", "")
    axes.set_yticks(range(len(shown)), shown, fontsize=SMALL - 1)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(low * 1.1, high * 1.08)
    axes.tick_params(axis="y", length=0)
    _group_legend(axes, [sites[site].group for site in shown])
    return figure


def _group_legend(axes: Axes, groups: Sequence[str]) -> None:
    handles = [Patch(color=GROUP_COLOURS[group], label=_plain(group)) for group in GROUPS if group in groups]
    axes.legend(handles=handles, fontsize=SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


# Energy

PHASES = ("encode", "decode")
OTHER = "other"


def energy_bars(energy_pj: Energies, most: int = 7) -> Figure:
    """Energy of a sentence, stacked by component: for every configuration one bar a phase.

    The `most` dearest components have a colour each, the rest is `other`.

    Raises
    ------
    ValueError
        If there is no configuration, or no component costs anything.
    """
    _require(energy_pj, "no configurations")
    components = _dearest(energy_pj, most)
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
        axes.bar(positions, heights, bottom=bottom, color=colour, width=0.8, label=_plain(component), edgecolor="white")
        bottom += heights
    for x, total in zip(positions, bottom, strict=True):
        axes.annotate(f"{total:.3g}", (x, total), (0, 2), textcoords="offset points", ha="center", fontsize=SMALL)
    unit = f"10$^{{{power}}}$ pJ" if power else "pJ"
    _label(axes, "Energy of a sentence by component", "", f"energy ({unit} per sentence)")
    _two_line_ticks(axes, positions, bars, list(energy_pj))
    _reversed_legend(axes)
    return figure


def _dearest(energy_pj: Energies, most: int) -> list[str]:
    """Components that cost anything, dearest first; `other` stands for what is beyond `most`."""
    totals: dict[str, float] = {}
    for phases in energy_pj.values():
        for parts in phases.values():
            for component, energy in parts.items():
                totals[component] = totals.get(component, 0.0) + energy
    order = sorted((name for name in totals if totals[name] > 0.0), key=lambda name: -totals[name])
    return order if len(order) <= most else [*order[:most], OTHER]


def _part(parts: Mapping[str, float], component: str, components: Sequence[str]) -> float:
    if component == OTHER and OTHER not in parts:
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
        place = dict(xycoords=axes.get_xaxis_transform(), textcoords="offset points", ha="center", va="top")
        axes.annotate(name, (middle, 0.0), (0, -20), fontsize=NORMAL, **place)


def _reversed_legend(axes: Axes) -> None:
    """A legend in the order in which the parts are stacked."""
    handles, labels = axes.get_legend_handles_labels()
    place = dict(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.legend(handles[::-1], labels[::-1], fontsize=SMALL, frameon=False, **place)


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
    figure = _figure(max(4.0, 3.1 * len(histograms)), 3.2)
    all_axes = figure.subplots(1, len(histograms), sharey=True, squeeze=False)[0]
    reach = max(abs(centre) for centres, _ in histograms.values() for centre in centres) + bin_lsb
    for axes, colour, (bits, (centres, counts)) in zip(all_axes, OKABE_ITO, histograms.items(), strict=False):
        total = sum(counts)
        if total == 0:
            raise ValueError(f"nothing to plot: no results of {kernel} at {bits} bits")
        density = np.asarray(counts) / (total * bin_lsb)
        axes.bar(centres, density, width=bin_lsb, color=colour, linewidth=0)
        for half in (-0.5, 0.5):
            axes.axvline(half, color=GREY, linewidth=0.9, linestyle=":")
        _label(axes, f"{bits} bits", "error (LSB of the output)", "")
        axes.set_xlim(-max(reach, 0.6), max(reach, 0.6))
        axes.set_yscale("log")
    all_axes[0].set_ylabel("density (share of results per LSB)", fontsize=NORMAL)
    figure.suptitle(f"{_plain(kernel)}: error against real mathematics, {sum(sum(c) for _, c in histograms.values()):,} "
                    "results; dotted: half an LSB", fontsize=NORMAL + 1)
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
    figure = _figure(max(4.5, 2.4 + 0.9 * len(scores)), 4.0)
    axes = figure.subplots()
    places = range(len(scores))
    values = [one.score for one in scores.values()]
    spread = np.array([[one.score - one.low for one in scores.values()], [one.high - one.score for one in scores.values()]])
    axes.bar(places, values, color=OKABE_ITO[0], width=0.6)
    axes.errorbar(places, values, np.maximum(spread, 0.0), fmt="none", ecolor="black", capsize=4, linewidth=1.2)
    for x, one in zip(places, scores.values(), strict=True):
        axes.annotate(f"{one.score:.1f}", (x, one.high), (0, 4), textcoords="offset points", ha="center", fontsize=NORMAL)
    if floating is not None:
        axes.axhspan(floating.low, floating.high, color=OKABE_ITO[1], alpha=0.15, linewidth=0)
        axes.axhline(floating.score, color=OKABE_ITO[1], linewidth=1.6, label=f"float: {floating.score:.1f}")
        axes.legend(fontsize=SMALL + 0.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _label(axes, "BLEU by configuration, with 95% bootstrap intervals", "configuration", "BLEU (points)")
    axes.set_xticks(places, list(scores))
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0.0, 1.15 * max([one.high for one in scores.values()] + [floating.high if floating else 1.0]))
    return figure
