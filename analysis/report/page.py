"""The page of a report: one HTML file that needs no other, and runs no script."""

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.output import numbers
from analysis.report.records import Record, configuration_names
from analysis.run import RunResult

if TYPE_CHECKING:  # which loads matplotlib; the tables of a terminal come by without
    from analysis.report.figures import Picture

SAMPLES = 10
CSS_PIXELS_PER_INCH = 96
_SENSITIVITIES = (("sensitivity", "group"), ("sensitivity_by_layer", "layer"))


def page(result: RunResult, report: Record, images: "Sequence[Picture]") -> str:
    """`report.html`. Sentences, names and commands are untrusted text: the template escapes all of them."""
    environment = Environment(
        loader=PackageLoader("analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formats = ("fixed", "signed", "significant", "count", "si", "energy", "duration")
    environment.filters |= {name: getattr(numbers, name) for name in formats}
    return environment.get_template("report.html.jinja").render(
        report=report,
        images=[_image(image) for image in images],
        float_bleu=result.bleu_float,
        group_sqnr=lowest_sqnr(report["configurations"]),
        sensitivity=[table for key, kind in _SENSITIVITIES for table in pivots(report[key], kind)],
        not_modelled=not_modelled(report["configurations"]),
        has_accumulators=any(
            "accumulator" in phase["dram_bytes_by_operand"] for one in report["configurations"] for phase in one["cost"]
        ),
        samples=samples(result),
    )


def _image(image: "Picture") -> Record:
    """As the template needs it; sizes in CSS pixels, so that figures have the letters of the page."""
    from analysis.plots import DOTS_PER_INCH

    width, height = (int.from_bytes(image.png[start : start + 4], "big") for start in (16, 20))  # PNG's first chunk
    uri = f"data:image/png;base64,{base64.b64encode(image.png).decode()}"
    return {
        "uri": uri,
        "width": round(width * CSS_PIXELS_PER_INCH / DOTS_PER_INCH),
        "height": round(height * CSS_PIXELS_PER_INCH / DOTS_PER_INCH),
        "section": image.section,
        "caption": image.caption,
        "file": f"{image.name}.png",
        "configuration": image.configuration,
    }


def lowest_sqnr(configurations: Sequence[Record]) -> dict[str, list[Record | None]]:
    """Group to the site with the lowest ratio in each configuration; None where no site of it has one."""
    groups = dict.fromkeys(site["group"] for one in configurations for site in one["sites"])
    return {
        group: [
            min(
                (site for site in one["sites"] if site["group"] == group and site["sqnr_db"] is not None),
                key=lambda site: float(site["sqnr_db"]),
                default=None,
            )
            for one in configurations
        ]
        for group in groups
    }


def pivots(rows: Sequence[Record], kind: str) -> list[Record]:
    """`pivot` of each target's rows."""
    names = dict.fromkeys(row["target"] for row in rows)
    return [pivot([row for row in rows if row["target"] == name], kind) | {"target": name} for name in names]


def pivot(rows: Sequence[Record], kind: str, widths: Sequence[int] = ()) -> Record:
    """Rows of one kind with widths across, falling; most sensitive at the lowest width first."""
    widths = widths or sorted({row["bits"] for row in rows}, reverse=True)
    cells: dict[str, dict[int, Record]] = {}
    for row in rows:
        cells.setdefault(row[kind], {})[row["bits"]] = row

    def rank(name: str) -> float:
        increase = cells[name].get(widths[-1], {}).get("loss_increase")
        return math.inf if increase is None else -float(increase)

    return {
        "kind": kind,
        "widths": widths,
        "rows": {name: [cells[name].get(bits) for bits in widths] for name in sorted(cells, key=rank)},
        "has_bleu": any(row["bleu"] is not None for row in rows),
    }


def not_modelled(configurations: Sequence[Record]) -> dict[tuple[str, str], list[float]]:
    """(event, unit) to events of an average sentence in each configuration, all widths together."""
    missing = [each["cost"][-1]["not_modelled"] for each in configurations]
    keys = sorted({(_event(one), one["unit"]) for events in missing for one in events})
    return {
        key: [
            sum(one["count"] for one in events if _event(one) == key[0]) / each["sentences"]
            for each, events in zip(configurations, missing, strict=True)
        ]
        for key in keys
    }


def _event(one: Record) -> str:
    direction = one["direction"]
    return str(one["component"]) if direction == "none" else f"{one['component']} {direction}"


def samples(result: RunResult) -> list[dict[str, Any]]:
    """The first sentences; translations that are the same stand once, behind all who made them."""
    names = ["float", *configuration_names(result)]
    texts = [result.floating.text, *(one.integer.text for one in result.configurations)]
    found = []
    for i, source in enumerate(result.source[:SAMPLES]):
        makers: dict[str, list[str]] = {}
        for name, column in zip(names, texts, strict=True):
            makers.setdefault(column[i], []).append(name)
        reference = None if result.references is None else result.references[i]
        found.append({"source": source, "reference": reference, "translations": makers})
    return found
