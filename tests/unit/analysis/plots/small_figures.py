"""Every figure that is drawn anywhere, from few numbers chosen by hand: those whose looks are in a table."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from matplotlib.figure import Figure

from analysis import plots
from analysis.accuracy.bleu import Bleu
from analysis.accuracy.sensitivity import Row
from analysis.estimates import figures
from analysis.pages.operators import accumulator, pictures
from analysis.proof.explain import plot
from analysis.proof.explain.records import Explanation, Histogram, SiteReport
from hwsim.accelerator.cost.estimate import Estimate, PhaseCost
from reference.quantize.sites import GROUPS, Role, Site, SiteSet
from tests.unit.analysis.estimates.estimates_by_hand import DECODE, FIRST, LAST, PREFILL, SECOND, TOTAL, estimated

PJ = 10**6
"""Attojoules."""

# --- reports ----------------------------------------------------------------------------------------------------------


def _row(kind: Any, name: str, bits: int, loss: float) -> Row:
    return Row(kind=kind, name=name, bits=bits, loss_increase=loss, sqnr_db=1.0)


def _lines() -> Figure:
    """A line for each colour and one more, on both sides of zero."""
    losses = {8: -0.002, 6: 0.0005, 4: 0.01}
    names = [*GROUPS, *(f"encoder.{i}" for i in range(9 - len(GROUPS)))]
    made = [_row("group", name, bits, loss * (i + 1)) for i, name in enumerate(names) for bits, loss in losses.items()]
    return plots.sensitivity_lines(made)


def _intervals() -> Figure:
    """Bars on both sides of a point, on one, and none; two parts side by side."""
    ends = {8: (-0.003, 0.001), 6: (0.0005, 0.004), 4: None}
    losses = {8: -0.002, 6: 0.0005, 4: 0.01}
    made = [_row("group", name, bits, loss) for name in ("residual", "softmax") for bits, loss in losses.items()]
    return plots.sensitivity_lines([replace(row, interval=ends[row.bits]) for row in made])


def _map() -> Figure:
    columns = ["self_attention.key", "self_attention.scores", "self_attention.key.weight", "feed_forward.hidden"]
    names = [f"{layer}.{column}" for layer in ("encoder.0", "encoder.1") for column in columns]
    names = [name for name in names if name != "encoder.1.self_attention.scores"] + ["generator.logits.weight"]
    return plots.sensitivity_map([_row("site", name, 4, 10.0 ** (i - 5)) for i, name in enumerate(names)], 4)


def _sites() -> Figure:
    """One for each group and one more; one exact, one without a value."""
    groups = [*GROUPS, GROUPS[0]]
    values = [31.25, -4.0, math.inf, math.nan, *(12.0 + 2 * i for i in range(4, len(groups)))]
    of = {"set": SiteSet.PAPER, "role": Role.WEIGHT}
    known = {f"site.{i}": Site(name=f"site.{i}", group=group, **of) for i, group in enumerate(groups)}
    return plots.sqnr_bars(dict(zip(known, values, strict=True)), known, "int8")


def _energy() -> Figure:
    """More components than colours."""
    parts = {f"{name}_access": 400.0 - 40 * i for i, name in enumerate("sram dram mac a b c d e".split())}
    half = {name: energy / 2 for name, energy in parts.items()}
    return plots.energy_bars({"int8": {"encode": parts, "decode": half}, "own": {"decode": parts}})


def _errors() -> Figure:
    return plots.error_histogram("layer_norm", {8: ([-0.25, 0.0, 0.25], [20, 1000, 214]), 4: ([-0.5], [5])}, 0.25)


def _bleu(score: float) -> Bleu:
    return Bleu(score=score, low=score - 1.5, high=score + 2.0, signature="")


# --- operators' pages -------------------------------------------------------------------------------------------------

X, ERROR = np.array([1.0, 2.0, 4.0]), np.array([0.25, -0.5, 0.125])


def _scatter() -> Figure:
    """Two series in the first of three panels, and a place in the grid that stays empty."""
    panels: dict[str, pictures.Series] = {"ita": {"one": (X, ERROR), "two": (X, 3 * ERROR)}}
    panels |= {"pulp": {"one": (X, ERROR)}, "tosa": {"one": (X, -ERROR)}}
    return pictures.scatter("Errors of exp", panels, "input", columns=2, x_range=(0.0, 5.0))


def _growth() -> Figure:
    """Over two decades."""
    panels = {"ita": {"one": (10 ** np.arange(3.0), np.array([0.5, 2.0, 9.0]))}}
    return pictures.growth("Growth", panels, "deviation", "worst (LSB)", columns=1)


def _histograms() -> Figure:
    few = np.array([0.1, 0.2, 0.3])
    return _fewer_bars(pictures.histograms("All", {"ita": few, "pulp": 2 * few}, "error (LSB)"))


def _fewer_bars(figure: Figure) -> Figure:
    """Those that are empty say nothing."""
    for axes in figure.axes:
        for bar in [bar for bar in axes.patches if not bar.get_height()]:
            bar.remove()
    return figure


def _widths() -> Figure:
    errors = {(rule.name, bits): (20 - bits) * (i + 1) * ERROR for i, rule in enumerate(accumulator.RULES)
              for bits in (16, 18, 20)}  # fmt: skip
    return accumulator._figure(errors, accumulator.Widths(20, 26, 24))


# --- explanations -----------------------------------------------------------------------------------------------------

NEAR = Histogram(codes={0: 90, 1: 6, -2: 4}, below=0, above=0)
FAR = Histogram(codes={0: 1, 1: 5000, 16: 3}, below=7, above=9)


def _report(site: str, status: str, different: int, function: str = "encode", histogram: Histogram = NEAR) -> Any:
    return SiteReport(
        site=site, function=function, operation="matmul", status=status, compared=100, different=different,
        different_on_equal_inputs=different, max_lsb=1, histogram=histogram, histogram_on_equal_inputs=histogram,
        events_a=None, events_b=None, follows_from=[], causes=[], observations=[],
    )  # fmt: skip


def _explanation(*reports: SiteReport) -> Figure:
    return plot.figure(Explanation(
        a="tflm", b="tosa", sentences=1, calls=1, sites_compared=len(reports), sites_made=9, equal=False, first=None,
        sites=list(reports), not_compared={},
    ))  # fmt: skip


def _explained() -> Figure:
    return _explanation(
        _report("encoder.0.self_attention.key", "origin", 10),
        _report("encoder.0.self_attention.scores", "follows", 1),
        _report("encoder.0.self_attention.context", "equal", 0),
        _report("decoder.0.self_attention.key", "origin", 5, "decode_step", FAR),
    )


# --- estimates --------------------------------------------------------------------------------------------------------


def _with_parts(phase: PhaseCost, parts: dict[str, int]) -> PhaseCost:
    """A phase of these components, in picojoules."""
    by = {name: energy * PJ for name, energy in parts.items()}
    return msgspec.structs.replace(
        phase, cost=msgspec.structs.replace(phase.cost, energy_aj=sum(by.values()), by_component=by)
    )


def _components() -> Figure:
    """More than there are colours for."""
    parts = {f"part_{i}": 1000 - 100 * i for i in range(8)}
    prefill, decode = _with_parts(PREFILL, parts), _with_parts(DECODE, {"part_0": 1500, "part_1": 400})
    return figures.energy_by_component(estimated(prefill, decode, total=_with_parts(TOTAL, parts)))


def _layers() -> Figure:
    """The dearest and the rest, of two components."""
    layers = []
    for layer, energy in ((FIRST, 500), (SECOND, 700), (LAST, 900)):
        by = {"mac_multiply": energy * PJ * 2 // 3, "dram_transfer": energy * PJ // 3}
        cost = msgspec.structs.replace(layer.cost, energy_aj=sum(by.values()), by_component=by)
        layers.append(msgspec.structs.replace(layer, cost=cost))
    total = _with_parts(TOTAL, {"mac_multiply": 1400, "dram_transfer": 700})
    return figures.energy_by_layer(estimated(total=msgspec.structs.replace(total, layers=tuple(layers))), 1)


def _moving(**parts: int) -> Estimate:
    cost = msgspec.structs.replace(TOTAL.cost, dram_bytes=sum(parts.values()), dram_bytes_by_operand=parts)
    return estimated(total=msgspec.structs.replace(TOTAL, cost=cost))


def _scratchpads() -> Figure:
    small = _moving(kv_cache=3000, weight=2000, accumulator=600, activation=1000)
    return figures.dram_against_sram(estimated(), {8: small, 1024: _moving(weight=3400, activation=1000)})


def _levels(**energies_pj: int) -> Estimate:
    by = {name: energy * PJ for name, energy in energies_pj.items()}
    cost = msgspec.structs.replace(TOTAL.cost, energy_aj=sum(by.values()), by_level=by)
    return estimated(total=msgspec.structs.replace(TOTAL, cost=cost))


def _context() -> Figure:
    steps = {4: _levels(datapath=600, register=300, sram=150, dram=1950), 8: _levels(datapath=900, dram=3000)}
    return figures.energy_against_context(estimated(), steps)


# --- all --------------------------------------------------------------------------------------------------------------

FIGURES: dict[str, Callable[[], Figure]] = {
    "sensitivity_lines": _lines,
    "sensitivity_lines_with_intervals": _intervals,
    "sensitivity_map": _map,
    "sqnr_bars": _sites,
    "energy_bars": _energy,
    "error_histogram": _errors,
    "bleu_bars": lambda: plots.bleu_bars({"int8": _bleu(28.0), "own": _bleu(2.0)}, _bleu(29.0)),
    "operators_scatter": _scatter,
    "operators_growth": _growth,
    "operators_histograms": _histograms,
    "operators_accumulator": _widths,
    "explanation": _explained,
    "explanation_equal": lambda: _explanation(_report("encoder.0.self_attention.key", "equal", 0)),
    "estimate_roofline": lambda: figures.roofline(estimated()),
    "estimate_energy_by_component": _components,
    "estimate_energy_by_layer": _layers,
    "estimate_dram_against_sram": _scratchpads,
    "estimate_energy_against_context": _context,
}
