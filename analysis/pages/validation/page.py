"""The generated section of docs/accelerator.md, and the record beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.output.numbers import count, fixed
from analysis.pages.operators import pages
from analysis.pages.validation.points import Band, Fit, Point
from analysis.pages.validation.silicon import MAC_SHARE_LIMIT
from analysis.pages.validation.vela import COLUMN_BYTES
from hwsim.accelerator.presets import hardware

PAGE = Path("accelerator.md")
RECORD = Path("results", "accelerator", "validation.json")
BLOCK = "validation"


def figure(value: float) -> str:
    """Four significant digits; whole numbers in full."""
    return count(value) if value == int(value) and value >= 1000 else f"{value:#.4g}"


def band(allowed: Band | None) -> str:
    """Both ends, or nothing."""
    return "" if allowed is None else f"{allowed.low:.4g} to {allowed.high:.4g}"


class Conditions(NamedTuple):
    """What some points have in common; `numbers` counts from 1."""

    numbers: list[int]
    point: Point


def conditions(points: Sequence[Point]) -> list[Conditions]:
    """Points under the same conditions together, in the order of the first of each."""
    found: dict[tuple[object, ...], Conditions] = {}
    for number, one in enumerate(points, 1):
        key = (one.precision, one.voltage, one.boundary, one.included, one.workload, one.source)
        found.setdefault(key, Conditions([], one)).numbers.append(number)
    return list(found.values())


def block(points: Sequence[Point], fits: Sequence[Fit]) -> str:
    """Section 12 in Markdown."""
    loader = PackageLoader("analysis.pages")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(figure=figure, band=band, fixed=fixed)
    cycles = [point for point in points if point.unit == "cycles" and point.band is not None]
    return environment.get_template("validation.md.jinja").render(
        points=points,
        conditions=conditions(points),
        fits=fits,
        ratio={point.name: point.ratio for point in points},
        unit_low=min(point.ratio for point in cycles if point.name.endswith("unit")),
        total_off=max(abs(point.ratio - 1) for point in cycles if point.name.endswith("all")),
        mac_share_limit=MAC_SHARE_LIMIT,
        column_bytes=COLUMN_BYTES,
        keller_rows=hardware("keller-5nm").array.rows,
    )


def page(text: str, points: Sequence[Point], fits: Sequence[Fit]) -> str:
    """The page with its section as it has to be.

    Raises
    ------
    ValueError
        If it lacks a marker.
    """
    return pages.replaced(text, BLOCK, block(points, fits))


def records(points: Sequence[Point], fits: Sequence[Fit]) -> dict[str, list[dict[str, object]]]:
    """Everything as plain data, with what follows from it."""
    return {
        "fits": [msgspec.to_builtins(one) | {"factor": one.factor, "mac_share": one.mac_share} for one in fits],
        "points": [msgspec.to_builtins(one) | {"ratio": one.ratio, "inside": one.inside} for one in points],
    }
