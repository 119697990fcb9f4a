"""Figures of an estimate: roofline, energy by component and by layer, DRAM traffic and energy along an axis."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.estimates.machine import options
from analysis.estimates.request import Priced, Request
from analysis.estimates.rows import Row, rows, shortened
from analysis.estimates.sweeps import against_context, against_sram
from analysis.estimates.tables import LEAST
from analysis.plots.style import EMPTY, GREY, MARKERS, NORMAL, OKABE_ITO, SMALL, png
from hwsim.accelerator.cost.energy import Cost
from hwsim.accelerator.cost.estimate import Estimate, LayerCost
from hwsim.accelerator.events import Operand
from hwsim.accelerator.prices import AJ_PER_PJ

COMPONENTS = 7
"""Components that have a colour; the others are one."""
LAYERS = 14
"""Bars of layers; the others are one."""
REST = "other"
REST_OF_LAYERS = "all other layers"
LEVELS = ("datapath", "register", "sram", "dram")
GIGA = 1e9
LETTERS_PER_INCH = 10
"""Of a title, at most."""


def pictures(request: Request, found: Priced, result: Estimate) -> tuple[dict[str, bytes], list[str]]:
    """PNG files by name, and a line for each figure that there is no sense in drawing."""
    files = {
        "energy_by_component.png": png(energy_by_component(result)),
        "energy_by_layer.png": png(energy_by_layer(result)),
    }
    notes = []
    if _by_width(result):
        files["roofline.png"] = png(roofline(result))
    else:
        notes.append("roofline.png is not drawn: no product has DRAM traffic")
    sizes = against_sram(found.workload, result.hardware, options(request))
    if sizes:
        files["dram_against_sram.png"] = png(dram_against_sram(result, sizes))
    else:
        notes.append("dram_against_sram.png is not drawn: no scratchpad of 8 KiB to 1 MiB holds the workload")
    steps = against_context(request, found, result.hardware, options(request))
    if steps:
        files["energy_against_context.png"] = png(energy_against_context(result, steps))
    else:
        notes.append(f"energy_against_context.png is not drawn: {result.workload.name} has no decode step of its own")
    return files, notes


# --- roofline ---------------------------------------------------------------------------------------------------------


def roofline(result: Estimate) -> Figure:
    """Operations a second against operations per DRAM byte: a roof for each pair of widths, a dot for each layer.

    A MAC is two operations. A layer without DRAM traffic is left out, as it has no place on the axis.

    Raises
    ------
    ValueError
        If no product has DRAM traffic.
    """
    by_width = _by_width(result)
    if not by_width:
        raise ValueError("nothing to plot: no product has DRAM traffic")
    drawn, axes = _figure(7.5, 4.8, "Roofline", _on(result))
    clock, bandwidth = result.hardware.clock_hz, result.hardware.dram.bandwidth_bytes_per_second
    dots = {widths: [_dot(one, clock) for one in group] for widths, group in by_width.items()}
    intensities, speeds = zip(*(dot for group in dots.values() for dot in group), strict=True)
    knees = [2 * group[0].peak_macs_per_cycle * clock / bandwidth for group in by_width.values()]
    ends = _decades(min(intensities), max(*intensities, *knees))
    for index, (widths, group) in enumerate(dots.items()):
        colour, marker = OKABE_ITO[index % len(OKABE_ITO)], MARKERS[index % len(MARKERS)]
        peak = 2 * by_width[widths][0].peak_macs_per_cycle * clock / GIGA
        _roof(axes, ends, peak, bandwidth / GIGA, colour, index)
        label = f"{widths[0]} x {widths[1]} bits: {len(group)} layers, peak {peak:,.4g} Gop/s"
        x, y = zip(*group, strict=True)
        axes.scatter(x, y, s=26, c=colour, marker=marker, alpha=0.7, lw=0, label=label, zorder=3)
    highest = max(2 * group[0].peak_macs_per_cycle * clock / GIGA for group in by_width.values())
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=_decades(min(speeds), 1.5 * highest))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("operations per byte of DRAM traffic (op/B; a MAC is two)", fontsize=NORMAL)
    axes.set_ylabel("throughput (Gop/s)", fontsize=NORMAL)
    axes.grid(color=EMPTY, linewidth=0.8)
    axes.legend(fontsize=SMALL, frameon=True, framealpha=0.9, edgecolor=EMPTY, loc="lower right")
    return drawn


def _by_width(result: Estimate) -> dict[tuple[int, int], list[LayerCost]]:
    """Layers with traffic by the widths of their operands, narrowest first."""
    found: dict[tuple[int, int], list[LayerCost]] = {}
    for layer in result.total.layers:
        if layer.product is not None and layer.cost.dram_bytes and layer.cycles.total:
            found.setdefault((layer.product.a_bits, layer.product.b_bits), []).append(layer)
    return dict(sorted(found.items()))


def _dot(layer: LayerCost, clock_hz: int) -> tuple[float, float]:
    """Operations a byte, and Gop/s."""
    operations = 2 * layer.cost.executed_macs
    return operations / layer.cost.dram_bytes, operations * clock_hz / layer.cycles.total / GIGA


def _decades(low: float, high: float) -> tuple[float, float]:
    """Whole powers of ten around positive values, with some room."""
    first, last = math.floor(math.log10(low / 1.3)), math.ceil(math.log10(high * 1.3))
    return 10.0**first, 10.0 ** max(last, first + 1)


def _roof(axes: Axes, ends: tuple[float, float], peak: float, bandwidth: float, colour: str, index: int) -> None:
    """Bandwidth times intensity, up to the peak; of equal roofs each shows through the gaps of the next."""
    corner = max(peak / bandwidth, ends[0])
    x = [ends[0], corner, ends[1]]
    style = "-" if index == 0 else (index * 4, (4, 4))
    axes.plot(x, [min(peak, bandwidth * one) for one in x], color=colour, linewidth=1.8, linestyle=style, zorder=2)


# --- energy -----------------------------------------------------------------------------------------------------------


def energy_by_component(result: Estimate) -> Figure:
    """One stacked bar a phase; the dearest components have a colour each."""
    components = _dearest(result.total.cost)
    names = [phase.name for phase in result.phases]
    drawn, axes = _figure(max(5.5, 3.4 + 0.9 * len(names)), 4.4, "Energy by component", _on(result))
    factor, unit = _scale(max(phase.cost.energy_aj for phase in result.phases))
    bottom = np.zeros(len(names))
    for index, component in enumerate(components):
        heights = np.array([_part(phase.cost, component, components) / factor for phase in result.phases])
        axes.bar(range(len(names)), heights, 0.6, bottom, color=_colour(index, component), label=_shown(component))
        bottom += heights
    for x, total in enumerate(bottom):
        axes.annotate(f"{total:.3g}", (x, total), (0, 2), textcoords="offset points", ha="center", fontsize=SMALL)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(f"energy ({unit}, boundary {result.hardware.boundary.value})", fontsize=NORMAL)
    _legend(axes, reverse=True)
    return drawn


def energy_by_layer(result: Estimate, most: int = LAYERS) -> Figure:
    """Stacked bars of the dearest layers, those of all blocks together; the rest is one bar."""
    found = sorted(rows(result.total.layers, together=True), key=lambda row: row.cost.energy_aj, reverse=True)
    shown, rest = found[:most], found[most:]
    components = _dearest(result.total.cost)
    costs = [row.cost for row in shown]
    names = [_row_name(row, len(result.phases) > 1) for row in shown]
    bars = [{one: _part(cost, one, components) for one in components} for cost in costs]
    if rest:
        bars.append({one: sum(_part(row.cost, one, components) for row in rest) for one in components})
        names.append(f"{REST_OF_LAYERS} ({len(rest)} rows)")
    drawn, axes = _figure(9.0, 1.4 + 0.27 * len(bars), "Energy by layer", _on(result))
    factor, unit = _scale(max(sum(bar.values()) for bar in bars))
    left = np.zeros(len(bars))
    for index, component in enumerate(components):
        lengths = np.array([bar[component] / factor for bar in bars])
        axes.barh(range(len(bars)), lengths, 0.75, left, color=_colour(index, component), label=_shown(component))
        left += lengths
    axes.set_yticks(range(len(bars)), names, fontsize=SMALL)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"energy ({unit}, boundary {result.hardware.boundary.value})", fontsize=NORMAL)
    _legend(axes)
    return drawn


def _row_name(row: Row, many_phases: bool) -> str:
    return f"{row.phase}: {shortened(row.name)}" if many_phases else shortened(row.name)


def _dearest(cost: Cost) -> list[str]:
    order = sorted(cost.by_component, key=lambda component: -cost.by_component[component])
    return order if len(order) <= COMPONENTS else [*order[: COMPONENTS - 1], REST]


def _part(cost: Cost, component: str, components: Sequence[str]) -> float:
    if component == REST:
        return sum(energy_aj for name, energy_aj in cost.by_component.items() if name not in components)
    return cost.by_component.get(component, 0)


def _colour(index: int, component: str) -> str:
    return GREY if component == REST else OKABE_ITO[index]


def _shown(component: str) -> str:
    return " ".join(word.upper() if word in ("mac", "sram", "dram") else word for word in component.split("_"))


# --- along an axis ----------------------------------------------------------------------------------------------------


def dram_against_sram(result: Estimate, sizes: Mapping[int, Estimate]) -> Figure:
    """DRAM bytes by operand, stacked, against the scratchpad's size; sizes that are too small are left out."""
    drawn, axes = _figure(7.5, 4.4, "DRAM traffic against scratchpad", _on(result, machine=False))
    kib = list(sizes)
    totals = [estimate.total.cost.dram_bytes for estimate in sizes.values()]
    factor, unit = _byte_scale(max(totals))
    parts = {
        operand.value: [e.total.cost.dram_bytes_by_operand.get(operand.value, 0) / factor for e in sizes.values()]
        for operand in Operand
    }
    bottom = np.zeros(len(kib))
    for index, (operand, heights) in enumerate(parts.items()):
        if any(heights):
            label = "KV cache" if operand == "kv_cache" else operand
            axes.bar(range(len(kib)), heights, 0.7, bottom, color=OKABE_ITO[index - 1], label=label)
            bottom += np.array(heights)
    for x, total in enumerate(bottom):
        axes.annotate(f"{total:.3g}", (x, total), (0, 2), textcoords="offset points", ha="center", fontsize=SMALL)
    axes.set_xticks(range(len(kib)), [f"{size} KiB" if size < 1024 else "1 MiB" for size in kib], fontsize=SMALL)
    axes.set_xlabel(f"scratchpad, tiles for least {LEAST[result.options.objective]}", fontsize=NORMAL)
    axes.set_ylabel(f"DRAM traffic ({unit})", fontsize=NORMAL)
    _legend(axes, reverse=True)
    return drawn


def energy_against_context(result: Estimate, steps: Mapping[int, Estimate]) -> Figure:
    """Energy of a decoded token by level, stacked, against the keys that it attends to."""
    drawn, axes = _figure(7.5, 4.4, "Energy per token against context", _on(result))
    keys = list(steps)
    tokens = [estimate.total.tokens for estimate in steps.values()]
    totals = [estimate.total.cost.energy_aj / count for estimate, count in zip(steps.values(), tokens, strict=True)]
    factor, unit = _scale(max(totals))
    bottom = np.zeros(len(keys))
    for index, level in enumerate(LEVELS):
        energies = [estimate.total.cost.by_level.get(level, 0) / factor for estimate in steps.values()]
        heights = np.array(energies) / tokens
        if heights.any():
            axes.bar(range(len(keys)), heights, 0.7, bottom, color=OKABE_ITO[index], label=_shown(level))
            bottom += heights
    for x, total in enumerate(bottom):
        axes.annotate(f"{total:.3g}", (x, total), (0, 2), textcoords="offset points", ha="center", fontsize=SMALL)
    axes.set_xticks(range(len(keys)), [str(count) for count in keys])
    axes.set_xlabel("context length (keys, the token's own included)", fontsize=NORMAL)
    axes.set_ylabel(f"energy ({unit} per token, boundary {result.hardware.boundary.value})", fontsize=NORMAL)
    _legend(axes, reverse=True)
    return drawn


# --- style ------------------------------------------------------------------------------------------------------------


def _figure(width: float, height: float, title: str, of: str) -> tuple[Figure, Axes]:
    """Sizes in inches; what it is of is a line of its own below the title, cut to the width. A dollar is a dollar."""
    letters = int(LETTERS_PER_INCH * width)
    shown = of if len(of) <= letters else f"{of[: letters - 3]}..."
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    figure.suptitle(f"{title}\n{shown}".replace("$", r"\$"), fontsize=NORMAL, x=0.01, ha="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    axes.set_axisbelow(True)
    return figure, axes


def _on(result: Estimate, machine: bool = True) -> str:
    """`bert-base, int8, on edge-256`."""
    named = f"{result.workload.name}, {result.workload.scheme}"
    return f"{named}, on {result.hardware.name}" if machine else named


def _legend(axes: Axes, reverse: bool = False) -> None:
    handles, labels = axes.get_legend_handles_labels()
    order = slice(None, None, -1 if reverse else 1)
    axes.legend(
        handles[order], labels[order], fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
    )


def _scale(energy_aj: float) -> tuple[float, str]:
    """Attojoules in a unit, and the unit, so that the figure has up to four digits before the point."""
    units = ((1e15, "mJ"), (1e12, "uJ"), (1e9, "nJ"), (float(AJ_PER_PJ), "pJ"))
    return next((unit for unit in units if energy_aj >= unit[0]), units[-1])


def _byte_scale(count: float) -> tuple[float, str]:
    units = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
    return next((unit for unit in units if count >= unit[0]), units[-1])
