"""Small multiples of errors in LSB, in the style of `analysis.plots`."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.pages.operators.study import Reals
from analysis.plots.style import EMPTY, GREY, NORMAL, OKABE_ITO, SMALL

Series = Mapping[str, tuple[NDArray[np.generic], Reals]]
"""Label to places and errors."""
PANEL_WIDTH, PANEL_HEIGHT = 2.55, 2.1
POINT = 3.2


def grid(title: str, panels: Sequence[str], x: str, y: str, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel for each name; the axes of all say the same."""
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(PANEL_WIDTH * columns + 0.3, PANEL_HEIGHT * rows + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    every = list(np.asarray(figure.subplots(rows, columns, squeeze=False)).reshape(-1))
    for axes, name in zip(every, panels, strict=False):
        axes.set_title(name, fontsize=NORMAL, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=SMALL)
        axes.grid(axis="y", color=EMPTY, linewidth=0.8)
        axes.set_axisbelow(True)
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(title, fontsize=NORMAL + 1, x=0.01, ha="left")
    figure.supxlabel(x, fontsize=NORMAL)
    figure.supylabel(y, fontsize=NORMAL)
    return figure, every[: len(panels)]


def half_lines(axes: Axes) -> None:
    """The half LSB that one rounding to nearest may err."""
    for half in (-0.5, 0.5):
        axes.axhline(half, color=GREY, linewidth=0.9, linestyle=":")


def scatter(
    title: str,
    panels: Mapping[str, Series],
    x: str,
    *,
    columns: int = 4,
    x_range: tuple[float, float] | None = None,
) -> Figure:
    """Errors against an input, one panel an operator; each panel has its own scale, at least ±0.6 LSB."""
    figure, every = grid(title, list(panels), x, "error (LSB; dotted: ±0.5)", columns)
    for axes, series in zip(every, panels.values(), strict=True):
        _points(axes, series)
        reach = 1.1 * max(0.6, *(float(np.abs(error).max()) for _, error in series.values()))
        axes.set_ylim(-reach, reach)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        half_lines(axes)
        if x_range:
            axes.set_xlim(x_range)
    _shared_legend(figure, every[0], next(iter(panels.values())))
    return figure


def growth(title: str, panels: Mapping[str, Series], x: str, y: str, *, columns: int = 4) -> Figure:
    """Greatest errors against an input, both logarithmic, on one scale for all panels."""
    figure, every = grid(title, list(panels), x, y, columns)
    highest = max(float(error.max()) for series in panels.values() for _, error in series.values())
    for axes, series in zip(every, panels.values(), strict=True):
        _points(axes, series)
        axes.set(xscale="log", yscale="log", ylim=(0.4, 1.5 * highest))
        axes.axhline(0.5, color=GREY, linewidth=0.9, linestyle=":")
    return figure


def histograms(title: str, panels: Mapping[str, Reals], x: str) -> Figure:
    """Densities of errors on one scale, one panel an operator."""
    figure, every = grid(title, list(panels), x, "density (share of results per LSB)", 4)
    reach = max(float(np.abs(error).max()) for error in panels.values()) + 0.05
    edges = np.linspace(-reach, reach, 61)
    for axes, error in zip(every, panels.values(), strict=True):
        counts, _ = np.histogram(error, edges)
        width = edges[1] - edges[0]
        axes.bar(edges[:-1] + width / 2, counts / (error.size * width), width, color=OKABE_ITO[0], linewidth=0)
        for half in (-0.5, 0.5):
            axes.axvline(half, color=GREY, linewidth=0.9, linestyle=":")
        axes.set_xlim(-reach, reach)
    highest = max(axes.get_ylim()[1] for axes in every)
    for axes in every:
        axes.set_ylim(0, highest)
    return figure


def _points(axes: Axes, series: Series) -> None:
    for (label, (places, error)), colour in zip(series.items(), OKABE_ITO, strict=False):
        axes.plot(places, error, "o", color=colour, markersize=POINT, markeredgewidth=0, alpha=0.75, label=label)


def _shared_legend(figure: Figure, axes: Axes, series: Series) -> None:
    """One legend for all panels, if there is anything to tell apart."""
    if len(series) > 1:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=SMALL, frameon=False, loc="outside upper right", ncols=len(labels))
