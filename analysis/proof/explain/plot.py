"""An explanation as a figure: where codes differ, in execution order, and by how much where it begins."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.plots.style import EMPTY, GREY, NORMAL, OKABE_ITO, SMALL
from analysis.proof.explain.records import ASSUMED, Explanation, Histogram, SiteReport
from analysis.proof.explain.tally import HISTOGRAM_REACH

PANELS = 4
TICKS = 6
TITLE = 24
"""Letters of a line above a panel."""
SHORTEST = 1e-6
COLOURS = {"origin": OKABE_ITO[1], "follows": OKABE_ITO[0]}
LABELS = {"origin": "differs on equal inputs", "follows": "differs because an input does"}


def figure(found: Explanation) -> Figure:
    """Share of differing codes of every compared site in execution order; below it the LSB histograms of origins.

    Raises
    ------
    ValueError
        If no site was compared.
    """
    if not found.sites:
        raise ValueError("nothing to plot: no site was compared")
    origins = found.origins[:PANELS]
    height = 7.2 if origins else 3.6
    drawn = Figure(figsize=(10.5, height))
    FigureCanvasAgg(drawn)
    grid = drawn.add_gridspec(1, 1, left=0.08, right=0.985, top=1 - 0.75 / height, bottom=1 - 2.9 / height)
    _shares(drawn.add_subplot(grid[0]), found)
    if origins:
        panels = drawn.add_gridspec(1, PANELS, left=0.08, right=0.985, top=0.34, bottom=0.08, wspace=0.35)
        for column, site in enumerate(origins):
            axes = drawn.add_subplot(panels[column])
            _histogram(axes, site)
            axes.set_ylabel("" if column else "codes", fontsize=NORMAL)
        drawn.text(0.08, 0.455, _panels_title(found), fontsize=NORMAL + 1)
    return drawn


def _panels_title(found: Explanation) -> str:
    shown, total = min(PANELS, len(found.origins)), len(found.origins)
    which = f"the first {shown} of {total} sites" if total > shown else f"{'the site' if total == 1 else 'sites'}"
    return f"By how much: {which} with differences on equal inputs"


def _shares(axes: Axes, found: Explanation) -> None:
    """A stem for every site that differs, on a logarithmic axis; equal sites lie on the line below."""
    shares = [site.different / site.compared for site in found.sites]
    floor = min([share for share in shares if share] or [0.1])
    bottom = 10.0 ** np.floor(np.log10(max(floor, SHORTEST)) - 0.3)
    for status in ("origin", "follows"):
        at = [i for i, site in enumerate(found.sites) if site.status == status]
        heights = [max(shares[i], bottom) for i in at]
        axes.vlines(at, bottom, heights, color=COLOURS[status], linewidth=min(1.2, 120 / len(shares)))
        axes.plot(at, heights, "o", color=COLOURS[status], markersize=4, label=f"{LABELS[status]} ({len(at)})")
    equal = [i for i, site in enumerate(found.sites) if site.status == "equal"]
    axes.plot(equal, [bottom] * len(equal), "|", color=GREY, markersize=6, label=f"equal ({len(equal)})", clip_on=False)
    axes.set_yscale("log")
    axes.set_ylim(bottom, 1.5)
    axes.set_xlim(-1, len(shares))
    axes.set_ylabel("codes that differ (share)", fontsize=NORMAL)
    axes.set_title(_title(found), fontsize=NORMAL + 1, loc="left", pad=24)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=EMPTY, linewidth=0.8)
    axes.tick_params(labelsize=SMALL)
    _blocks(axes, found.sites)
    axes.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=3)


def _title(found: Explanation) -> str:
    names = f"A = {found.a}, B = {found.b}".replace("$", r"\$")
    return f"{names}: {found.different:,} of {found.compared:,} codes differ"


def _blocks(axes: Axes, sites: Sequence[SiteReport]) -> None:
    """Layers and functions under the sites, in the order of execution."""
    names = [(_layer(site.site), site.function) for site in sites]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    middles, labels = [], []
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        if start:
            axes.axvline(start - 0.5, color=EMPTY, linewidth=0.8, zorder=0)
        if names[start][0] and end - start >= len(names) * 0.07:
            middles.append((start + end - 1) / 2)
            labels.append("\n".join(names[start]))
    axes.set_xticks(middles, labels)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("sites in execution order", fontsize=NORMAL)


def _layer(site: str) -> str:
    """`encoder.0`, or nothing for what is in no layer."""
    parts = site.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 and parts[1].isdigit() else ""


def _histogram(axes: Axes, site: SiteReport) -> None:
    """B - A on equal inputs; equal codes are left out, they would hide the others."""
    at, heights, labels = _bars(site.histogram_on_equal_inputs)
    axes.bar(at, heights, width=0.8, color=COLOURS["origin"])
    assumed = f"\n{ASSUMED}" if site.is_assumed else ""
    axes.set_title(f"{_folded(site.site)}{assumed}", fontsize=SMALL, loc="left")
    axes.set_xlabel("B − A (LSB)", fontsize=NORMAL)
    step = -(-len(at) // TICKS)
    ends = [x for x, label in zip(at, labels, strict=True) if label[0] in "<>"]
    ticks = [
        (x, label)
        for x, label in zip(at, labels, strict=True)
        if x in ends or (x % step == 0 and all(abs(x - end) > step for end in ends))
    ]
    axes.set_xticks(*map(list, zip(*ticks, strict=True)))
    axes.set_xlim(at[0] - 0.6, at[-1] + 0.6)
    if max(heights) > 100 * max(1, min(height for height in heights if height)):
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)


def _bars(histogram: Histogram) -> tuple[list[int], list[int], list[str]]:
    """Places, codes and labels; what is far off has a bar at either end."""
    unequal = {lsb: count for lsb, count in histogram.codes.items() if lsb}
    reach = max([2, *map(abs, unequal)])
    at = list(range(-reach, reach + 1))
    heights = [unequal.get(lsb, 0) for lsb in at]
    labels = [f"{lsb:+d}".replace("-", "−") if lsb else "0" for lsb in at]
    if histogram.below:
        at, heights, labels = [at[0] - 1, *at], [histogram.below, *heights], [f"<−{HISTOGRAM_REACH}", *labels]
    if histogram.above:
        at, heights, labels = [*at, at[-1] + 1], [*heights, histogram.above], [*labels, f">{HISTOGRAM_REACH}"]
    return at, heights, labels


def _folded(site: str) -> str:
    """A name in lines that fit above a panel."""
    lines = [""]
    for part in site.split("."):
        lines[-1:] = [f"{lines[-1]}{part}."] if len(lines[-1] + part) < TITLE else [lines[-1], f"{part}."]
    return "\n".join(lines).removesuffix(".").removeprefix("\n")
