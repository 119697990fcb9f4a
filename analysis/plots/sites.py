"""Errors of sites."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.plots.style import OKABE_ITO, SMALL, label, new_figure, plain, require
from reference.quantize.sites import GROUPS, Site

GROUP_COLOURS = dict(zip(GROUPS, OKABE_ITO, strict=False))


def sqnr_bars(sqnr_db: Mapping[str, float], sites: Mapping[str, Site], title: str, most: int = 60) -> Figure:
    """SQNR of every site as horizontal bars, top to bottom in the order given (that of execution), coloured by group.

    Of more than `most` sites only the lowest are drawn, which the title says. An exact site has a bar across the
    figure, one without a value has none; both say so.

    Raises
    ------
    ValueError
        If there is no site.
    """
    require(sqnr_db, "no sites")
    worst = sorted(sqnr_db, key=lambda site: math.inf if math.isnan(sqnr_db[site]) else sqnr_db[site])[:most]
    shown = [site for site in sqnr_db if site in set(worst)]
    finite = [sqnr_db[site] for site in shown if math.isfinite(sqnr_db[site])] or [0.0]
    low, high = min(0.0, *finite), max(10.0, *finite)
    figure = new_figure(8.0, 1.1 + 0.165 * max(len(shown), 8))
    axes = figure.subplots()
    for y, site in enumerate(shown):
        length, text = _bar(sqnr_db[site], low, high)
        axes.barh(y, length, height=0.75, color=GROUP_COLOURS[sites[site].group])
        end = (max(length, 0.0), y)
        axes.annotate(text, end, (3, 0), textcoords="offset points", va="center", fontsize=SMALL - 1.5)
    if len(shown) < len(sqnr_db):
        title = f"{title}: the {len(shown)} lowest of {len(sqnr_db)} sites"
    label(axes, title, "SQNR against float (dB)", "")
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
    handles = [Patch(color=GROUP_COLOURS[group], label=plain(group)) for group in GROUPS if group in groups]
    axes.legend(handles=handles, fontsize=SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
