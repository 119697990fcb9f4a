"""The figures of a report, with the captions that they have on its page."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis import plots
from analysis.accuracy.parts import Kind, Row
from analysis.report.records import accelerators, configuration_names
from analysis.run import ConfigurationResult, RunResult
from hwsim.accelerator.cost.estimate import Estimate
from hwsim.accelerator.prices import AJ_PER_PJ
from hwsim.program.targets import DEFAULT_TARGET

LONGEST_LABEL = 12
"""Letters below a bar."""
BARS = " Bars are 95% bootstrap intervals over sentences."
SQNR_BARS = 40
"""So many sites fit a page."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG: its section on the page, and for `sites` its configuration; `name` is its file's, without suffix."""

    name: str
    section: str
    caption: str
    png: bytes
    configuration: str = ""


def pictures(result: RunResult, rows: Sequence[Row]) -> list[Picture]:
    """All figures that the result has data for."""
    return [*_of_configurations(result), *sensitivity_pictures(rows), *_of_sites(result)]


def _of_configurations(result: RunResult) -> Iterator[Picture]:
    names = [_literal(name) for name in configuration_names(result)]
    scores = {
        _folded(name): one.scores.integer for name, one in zip(names, result.configurations, strict=True) if one.scores
    }
    energies = {name: _energies(one.estimate) for name, one in zip(names, result.configurations, strict=True)}
    if result.references is not None:
        yield Picture(
            name="bleu",
            section="configurations",
            caption="BLEU of the integer machine with 95% bootstrap intervals; line and band are the float model's.",
            png=plots.png(plots.bleu_bars(scores, result.bleu_float)),
        )
    yield Picture(
        name="energy",
        section="cost",
        caption="Energy of an average sentence at batch 1. What the energy table has no constant for is left out.",
        png=plots.png(plots.energy_bars(energies)),
    )


def _energies(cost: Estimate) -> dict[str, dict[str, float]]:
    """Phase to component to picojoules a sentence."""
    return {
        phase.name: {
            component: energy_aj / AJ_PER_PJ / phase.sentences
            for component, energy_aj in phase.cost.by_component.items()
        }
        for phase in cost.phases
    }


def sensitivity_pictures(rows: Sequence[Row]) -> Iterator[Picture]:
    """Lines by group and by layer, and a map of sites at each width below 8; of what there are rows for."""
    for name in accelerators(rows):
        yield from _sensitivity_of(name, [row for row in rows if row.accelerator == name])


def _sensitivity_of(accelerator: str, rows: Sequence[Row]) -> Iterator[Picture]:
    """Figures of one target; the default's files are not named after it."""
    suffix = "" if accelerator == DEFAULT_TARGET else f"_{_file_name(accelerator)}"
    rest = f"while the rest stays at 8 bits. Target {accelerator}."
    kinds: tuple[Kind, ...] = ("group", "layer")
    for kind in kinds:
        if any(row.kind == kind for row in rows):
            bars = BARS if any(row.interval for row in rows if row.kind == kind) else ""
            yield Picture(
                name=f"sensitivity_{kind}{suffix}",
                section="sensitivity",
                caption=f"What one {kind} with fewer bits adds to the loss, {rest}{bars}",
                png=plots.png(plots.sensitivity_lines(rows, kind)),
            )
    for bits in sorted({row.bits for row in rows if row.kind == "site" and row.bits < 8}, reverse=True):
        yield Picture(
            name=f"sensitivity_sites_{bits}_bits{suffix}",
            section="sensitivity",
            caption=f"What a single site at {bits} bits adds to the loss, {rest}",
            png=plots.png(plots.sensitivity_map(rows, bits)),
        )


def _of_sites(result: RunResult) -> Iterator[Picture]:
    for number, (name, one) in enumerate(zip(configuration_names(result), result.configurations, strict=True), start=1):
        yield Picture(
            name=f"sqnr_{number}_{_file_name(name)[:40]}",
            section="sites",
            caption=f"Signal-to-quantization-noise ratio of the sites of {name} that are furthest from float.",
            png=plots.png(_sqnr(name, one)),
            configuration=name,
        )


def _sqnr(name: str, one: ConfigurationResult) -> Figure:
    ratios = {site: error.sqnr_db for site, error in one.accuracy.sites.items()}
    return plots.sqnr_bars(ratios, one.configuration.plan.sites, _literal(name), SQNR_BARS)


def _folded(name: str) -> str:
    """A name on two lines if it would run into its neighbour's below a bar."""
    target, dash, rest = name.rpartition("-")
    return f"{target}{dash}\n{rest}" if target and len(name) > LONGEST_LABEL else name


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name)


def _literal(name: str) -> str:
    """A name as matplotlib shows it unchanged: a dollar would begin a formula."""
    return name.replace("$", r"\$")
