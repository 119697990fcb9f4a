"""Errors of kernels."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import GREY, NORMAL, OKABE_ITO, label, new_figure, plain, require


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
    require(histograms, f"no histogram of {kernel}")
    for bits, (_, counts) in histograms.items():
        require(np.flatnonzero(counts), f"no results of {kernel} at {bits} bits")
    figure = new_figure(max(4.0, 3.1 * len(histograms)), 3.2)
    all_axes = figure.subplots(1, len(histograms), sharey=True, squeeze=False)[0]
    reach = max(abs(centre) for centres, _ in histograms.values() for centre in centres) + bin_lsb
    for axes, colour, (bits, (centres, counts)) in zip(all_axes, cycle(OKABE_ITO), histograms.items()):
        total = sum(counts)
        density = np.asarray(counts) / (total * bin_lsb)
        axes.bar(centres, density, width=bin_lsb, color=colour, linewidth=0)
        for half in (-0.5, 0.5):
            axes.axvline(half, color=GREY, linewidth=0.9, linestyle=":")
        label(axes, f"{bits} bits: {total:,} results", "error (LSB; dotted: ±0.5)", "")
        axes.set_xlim(-max(reach, 0.6), max(reach, 0.6))
        axes.set_yscale("log")
    all_axes[0].set_ylabel("density (share of results per LSB)", fontsize=NORMAL)
    figure.suptitle(f"{plain(kernel)}: error against real mathematics", fontsize=NORMAL + 1)
    return figure
