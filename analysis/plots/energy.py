"""Energy by component and phase."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import GREY, NORMAL, OKABE_ITO, SMALL, label, new_figure, plain, require

Energies = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Configuration to phase (`encode`, `decode`) to component to picojoules."""

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
    require(energy_pj, "no configurations")
    components = _dearest(energy_pj)
    require(components, "no component costs energy")
    bars = [(name, phase, energy_pj[name][phase]) for name in energy_pj for phase in energy_pj[name]]
    totals = [sum(parts.values()) for _, _, parts in bars]
    power = 3 * int(math.log10(max(totals)) // 3)
    positions = _positions([len(phases) for phases in energy_pj.values()])
    figure = new_figure(max(5.5, 2.6 + 0.62 * len(bars)), 4.5)
    axes = figure.subplots()
    bottom = np.zeros(len(bars))
    for index, component in enumerate(components):
        heights = np.array([_part(parts, component, components) for _, _, parts in bars]) / 10.0**power
        colour = GREY if component == OTHER else OKABE_ITO[index]
        axes.bar(positions, heights, 0.8, bottom, color=colour, label=plain(component))
        bottom += heights
    for x, total in zip(positions, bottom, strict=True):
        axes.annotate(f"{total:.3g}", (x, total), (0, 2), textcoords="offset points", ha="center", fontsize=SMALL)
    unit = f"10$^{{{power}}}$ pJ" if power else "pJ"
    label(axes, "Energy of a sentence by component", "", f"energy ({unit} per sentence)")
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
