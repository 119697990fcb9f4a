"""Figures of docs/performance.md, from the record of `hwsim bench`."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.plots.style import EMPTY, GREY, MARKERS, NORMAL, OKABE_ITO, SMALL, label, new_figure

Record = dict[str, Any]
AXES = {
    "tokens": "tokens of each sentence",
    "batch": "sentences at once",
    "layers": "layers of encoder and decoder",
    "d_model": "d_model (d_ff is four times it)",
}


def roofline(record: Record) -> Figure:
    """Products under the roof: operations a byte against Gop/s, a marker for each kind of operands."""
    roof, points = record["roofline"], record["roofline"]["products"]
    figure = new_figure(9.0, 4.8)
    axes = figure.subplots()
    left, right = 1.0, 1000.0
    for name, style in (("cache", "-"), ("memory", "--")):
        bandwidth = roof[f"{name}_gb_per_s"]
        corner = roof["peak_gops"] / bandwidth
        ends = [left, min(max(corner, left), right), right]
        heights = [min(roof["peak_gops"], bandwidth * x) for x in ends]
        text = f"copy in {name}: {bandwidth:.3g} GB/s"
        axes.plot(ends, heights, color=GREY, linestyle=style, linewidth=1.5, label=text)
    kinds = sorted({_kind(point) for point in points})
    for colour, marker, kind in zip(OKABE_ITO, MARKERS, kinds, strict=False):
        xs, ys = zip(*((p["per_byte"], p["rate"]) for p in points if _kind(p) == kind), strict=True)
        axes.scatter(xs, ys, s=34, c=colour, marker=marker, lw=0, zorder=3, label=kind)
    axes.set(xscale="log", yscale="log", xlim=(left, right))
    _plain(axes)
    title = f"Roofline: peak {roof['peak_gops']:.3g} Gop/s, by {roof['by']}"
    label(axes, title, "operations per byte (op/B; a multiply-accumulate is two)", "throughput (Gop/s)")
    axes.grid(color=EMPTY, linewidth=0.8)
    axes.legend(fontsize=SMALL, frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left")  # beside all points
    return figure


def _kind(point: Record) -> str:
    """Operands, and whether it is a batch of small products."""
    shape, _, operands = str(point["kernel"]).rpartition(")")
    return operands.strip() + (", attention" if " x (" in shape else "")


def operators(record: Record) -> Figure:
    """Time an element with its spread, slowest on top; a tick where a copy of as many bytes would be."""
    points = {point["kernel"]: point for point in record["roofline"]["operators"]}
    rows = sorted(record["operators"], key=lambda row: row["ns_per_element"]["median"])
    figure = new_figure(7.5, 1.2 + 0.24 * len(rows))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        time, copy = row["ns_per_element"], 1 / points[row["operator"]]["roof"]
        axes.plot([time["min"], time["max"]], [y, y], color=EMPTY, linewidth=5, solid_capstyle="butt", zorder=1)
        axes.scatter(time["median"], y, s=26, c=OKABE_ITO[0], lw=0, zorder=3)
        axes.scatter(copy, y, s=60, c=OKABE_ITO[1], marker="|", zorder=2)
    axes.set_yticks(range(len(rows)), [f"{row['operator']} ({row['target']})" for row in rows], fontsize=SMALL)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color=EMPTY, linewidth=0.8)
    label(axes, "Operators: median (dot), least to greatest (bar), a copy (red)", "time per element (ns)", "")
    return figure


def growth(record: Record) -> Figure:
    """One panel an axis, both logarithmic; the dotted line is proportional to the size."""
    found = record["growth"]
    figure = new_figure(9.0, 6.0)
    for axes, (axis, x) in zip(figure.subplots(2, 2).flat, AXES.items(), strict=True):
        points = [point for point in found["points"] if point["axis"] == axis]
        sizes = [point["value"] for point in points]
        times = [point["seconds"] for point in points]
        medians = [time["median"] for time in times]
        axes.fill_between(sizes, [t["min"] for t in times], [t["max"] for t in times], color=OKABE_ITO[5], alpha=0.35)
        axes.plot(sizes, medians, color=OKABE_ITO[0], marker="o")
        axes.plot(sizes, [medians[-1] * size / sizes[-1] for size in sizes], color=GREY, linestyle=":", linewidth=1)
        axes.set(xscale="log", yscale="log")
        _plain(axes)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.grid(color=EMPTY, linewidth=0.8)
        label(axes, f"last step: exponent {found['exponent'][axis]:.2f}", x, "time (s)")
    figure.suptitle("Growth of time (dotted: in proportion)", fontsize=NORMAL + 1)
    return figure


def _plain(axes: Axes) -> None:
    """Numbers, not powers."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())
