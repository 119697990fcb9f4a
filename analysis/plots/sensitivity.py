"""Sensitivity: loss against bits by group or layer, and a map of every site."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator
from numpy.typing import NDArray

from analysis.accuracy.parts import Kind, Row, layer_of
from analysis.plots.style import EMPTY, GREY, MARKERS, NORMAL, OKABE_ITO, SMALL, label, new_figure, plain, require


def sensitivity_lines(rows: Sequence[Row], kind: Kind = "group", linear_below: float = 1e-3) -> Figure:
    """Loss increase against bits, one line a target; for sites, which are too many, see `sensitivity_map`.

    The vertical axis is logarithmic on both sides of zero and linear within `linear_below`, because noise lets a loss
    fall below the float model's too. Where rows have intervals, these are bars, and the lines stand side by side.

    Raises
    ------
    ValueError
        If there is no row of the kind.
    """
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if row.kind == kind:
            lines.setdefault(row.name, []).append(row)
    require(lines, f"no rows of kind {kind}")
    figure = new_figure(7.5, max(4.5, 0.6 + 0.21 * len(lines)))
    axes = figure.subplots()
    spread = SPREAD if any(row.interval for line in lines.values() for row in line) else 0.0
    for index, (name, line) in enumerate(lines.items()):
        shift = spread * (0.5 - (index + 0.5) / len(lines))
        _draw_line(axes, index, plain(name), line, shift)
    title, unit = f"Sensitivity by {kind}: the rest stays int8", f"nat per token\ngrey: linear within ±{linear_below:g}"
    label(axes, title, "bits", f"loss increase over float, {unit}")
    shown = [row for line in lines.values() for row in line]
    ends = [end for row in shown for end in row.interval or ()]
    _symmetric_log(axes, [*(row.loss_increase for row in shown), *ends], linear_below)
    bits = sorted({row.bits for row in shown})
    axes.set_xticks(bits, [str(bit) for bit in bits])
    axes.invert_xaxis()
    axes.legend(fontsize=SMALL + 0.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_line(axes: Axes, index: int, name: str, line: Sequence[Row], shift: float) -> None:
    """One part's losses against bits, moved by a part of a bit, with its intervals as bars."""
    colour, marker = OKABE_ITO[index % len(OKABE_ITO)], MARKERS[(index + index // len(OKABE_ITO)) % len(MARKERS)]
    x, y = [row.bits + shift for row in line], [row.loss_increase for row in line]
    axes.plot(x, y, color=colour, marker=marker, label=name, linewidth=1.8)
    bars = [(at, value, row.interval) for at, value, row in zip(x, y, line, strict=True) if row.interval]
    for at, value, (low, high) in bars:
        spread = [[max(0.0, value - low)], [max(0.0, high - value)]]
        axes.errorbar([at], [value], spread, fmt="none", ecolor=colour, capsize=2.5, linewidth=1.0)


def _symmetric_log(axes: Axes, values: list[float], linear_below: float) -> None:
    """A symlog axis around the values, with the linear part shaded."""
    axes.set_yscale("symlog", linthresh=linear_below, linscale=0.4)
    low, high = min([*values, 0.0]), max([*values, linear_below])
    axes.set_ylim(low * 2 if low < -linear_below else -linear_below, high * 2)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear_below))
    axes.axhspan(-linear_below, linear_below, color=EMPTY, alpha=0.5, linewidth=0)
    axes.axhline(0.0, color=GREY, linewidth=1.0)
    axes.grid(axis="y", color=EMPTY, linewidth=0.8)


SPREAD = 0.5
"""Bits over which the points of one width stand side by side, so that their bars do not hide each other."""

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
    require(cells, f"no rows of sites at {bits} bits")
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
    axes.set_title(plain(panel.block) or "outside the layers", fontsize=NORMAL, loc="left")
    axes.set_xticks(np.arange(len(panel.columns)) + 0.5, panel.columns)
    axes.tick_params(axis="x", rotation=60)
    for tick in axes.get_xticklabels():
        tick.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(panel.layers)) + 0.5, panel.layers)
    axes.set_xticks(range(1, len(panel.columns)), minor=True)
    axes.set_yticks(range(1, len(panel.layers)), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="both", length=0, labelsize=SMALL)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    return image
