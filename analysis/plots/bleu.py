"""BLEU with its intervals."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from analysis.accuracy.bleu import Bleu
from analysis.plots.style import OKABE_ITO, SMALL, label, new_figure, require


def bleu_bars(scores: Mapping[str, Bleu], floating: Bleu | None = None) -> Figure:
    """BLEU of every configuration with its 95% bootstrap interval; the float model as a line with its own.

    Raises
    ------
    ValueError
        If there is no configuration.
    """
    require(scores, "no configurations")
    figure = new_figure(max(4.5, 2.4 + 1.05 * len(scores)), 4.0)
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
    label(axes, "BLEU with 95% bootstrap intervals", "configuration", "BLEU (points)")
    axes.set_xticks(places, [f"{name}\n{_interval(one)}" for name, one in scores.items()])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, len(scores) - 0.3)
    axes.set_ylim(0.0, 1.15 * max([one.high for one in scores.values()] + [floating.high if floating else 0.0, 1.0]))
    return figure


def _interval(one: Bleu) -> str:
    return f"{one.score:.1f}\n{one.low:.1f} to {one.high:.1f}"
