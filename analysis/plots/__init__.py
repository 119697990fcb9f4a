"""Figures of the reports: colour-blind safe, units on every axis, drawn without a display."""

from analysis.plots.bleu import bleu_bars
from analysis.plots.energy import energy_bars
from analysis.plots.errors import error_histogram
from analysis.plots.sensitivity import sensitivity_lines, sensitivity_map
from analysis.plots.sites import sqnr_bars
from analysis.plots.style import DOTS_PER_INCH, png, save

__all__ = [
    "DOTS_PER_INCH",
    "bleu_bars",
    "energy_bars",
    "error_histogram",
    "png",
    "save",
    "sensitivity_lines",
    "sensitivity_map",
    "sqnr_bars",
]
