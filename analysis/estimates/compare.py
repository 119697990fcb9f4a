"""Two estimates of one workload side by side: two accelerators, or two bit widths."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from analysis.estimates.machine import machine
from analysis.estimates.records import Record, estimate_record
from analysis.estimates.request import Request
from analysis.estimates.rows import Row, rows, shortened
from analysis.estimates.tables import (
    SORTS,
    add_columns,
    count_line,
    energy,
    energy_line,
    header,
    left_out,
    make_table,
    quantity,
)
from analysis.inspect.provenance import Provenance
from hwsim.accelerator.cost.estimate import Estimate, LayerCost, PhaseCost
from hwsim.accelerator.hardware import Boundary
from hwsim.accelerator.prices import prices_of
from hwsim.accelerator.workloads import SCHEMES

LONGEST_LABEL = 24


class Pair(NamedTuple):
    """A figure of both sides."""

    a: float
    b: float

    @property
    def ratio(self) -> float | None:
        """B over A; None if A is 0."""
        return self.b / self.a if self.a else None


def asked(request: Request, names: Sequence[str]) -> list[Request]:
    """The request with each of two accelerators, or of two bit widths.

    Raises
    ------
    ValueError
        If the names are not of one kind, or the request says already what they would.
    """
    first, second = names
    if first == second:
        raise ValueError(f"--compare {first} {second}: the two are the same")
    widths = [name in SCHEMES for name in names]
    if any(widths) and not all(widths):
        raise ValueError(f"--compare {first} {second}: give two accelerators, or two of {', '.join(SCHEMES)}")
    field = "config" if all(widths) else "accelerator"
    if getattr(request, field) is not None:
        raise ValueError(f"--compare {first} {second} and --{field} exclude each other; leave --{field} out")
    if field == "config" and request.workload is None and request.gemm is None:
        raise ValueError(f"--compare {first} {second}: widths are chosen for --workload and --gemm only")
    return [msgspec.structs.replace(request, **{field: name}) for name in names]


def alike(sides: Sequence[Request]) -> list[Request]:
    """Both with one boundary of energy: the asked one, or the wider of theirs, as far as both energy tables reach.

    Else a ratio would compare unlike sums.
    """
    machines = [machine(one) for one in sides]
    order = list(Boundary).index
    wider = max((one.boundary for one in machines), key=order)
    boundary = sides[0].boundary or min(wider, *(prices_of(one).reach for one in machines), key=order).value
    return [msgspec.structs.replace(one, boundary=boundary) for one in sides]


# --- figures ----------------------------------------------------------------------------------------------------------


_Costs = PhaseCost | LayerCost | Row


def _figures(a: _Costs, b: _Costs) -> dict[str, Pair]:
    return {
        "cycles": Pair(a.cycles.total, b.cycles.total),
        "macs": Pair(a.cost.macs, b.cost.macs),
        "sram_bytes": Pair(a.cost.sram_bytes, b.cost.sram_bytes),
        "dram_bytes": Pair(a.cost.dram_bytes, b.cost.dram_bytes),
        "energy_pj": Pair(a.cost.energy_pj, b.cost.energy_pj),
    }


def _phase_figures(a: PhaseCost, b: PhaseCost, clocks_hz: tuple[int, int]) -> dict[str, Pair]:
    seconds = Pair(a.cycles.total / clocks_hz[0], b.cycles.total / clocks_hz[1])
    return {"seconds": seconds, **_figures(a, b)}


def _phases(a: Estimate, b: Estimate) -> Iterator[tuple[str, dict[str, Pair]]]:
    clocks = a.hardware.clock_hz, b.hardware.clock_hz
    pairs = [*zip(a.phases, b.phases, strict=True), *([(a.total, b.total)] if len(a.phases) > 1 else [])]
    for one, other in pairs:
        yield one.name, _phase_figures(one, other, clocks)


def _rows(a: Estimate, b: Estimate, sort: str, together: bool) -> list[tuple[Row, Row]]:
    """Rows of both, those first that differ most in a column; in the order in which they run if that is asked."""
    pairs = list(zip(rows(a.total.layers, together), rows(b.total.layers, together), strict=True))
    key = SORTS[sort][1]
    if key is None:
        return pairs
    return sorted(pairs, key=lambda pair: abs(key(pair[0]) - key(pair[1])), reverse=True)


# --- record -----------------------------------------------------------------------------------------------------------


def comparison_record(names: Sequence[str], a: Estimate, b: Estimate, origin: Provenance | None = None) -> Record:
    """Figures of both with the ratio of the second to the first, then both estimates in full."""
    layers = zip(a.total.layers, b.total.layers, strict=True)
    return {
        "compare": {
            "a": names[0],
            "b": names[1],
            "phases": [{"name": name, **_shown(figures)} for name, figures in _phases(a, b)],
            "layers": [
                {"phase": one.phase, "name": one.name, "operation": one.operation, **_shown(_figures(one, other))}
                for one, other in layers
            ],
        },
        "a": estimate_record(a, origin),
        "b": estimate_record(b, origin),
    }


def _shown(figures: dict[str, Pair]) -> Record:
    return {name: {"a": pair.a, "b": pair.b, "b_over_a": pair.ratio} for name, pair in figures.items()}


# --- tables -----------------------------------------------------------------------------------------------------------


def comparison_tables(
    names: Sequence[str], a: Estimate, b: Estimate, sort: str, most: int | None, origin: Provenance | None = None
) -> list[RenderableType]:
    """Both machines or widths, totals of each phase, and the layers that differ most."""
    labels = [_label(name) for name in names]
    parts: list[RenderableType] = [Text(line) for line in _headers(a, b)]
    parts += [] if origin is None else [Text(str(origin))]
    parts += [_phase_table(labels, a, b), _layer_table(labels, _rows(a, b, sort, most is not None), sort, most)]
    lines = dict.fromkeys([*left_out(a.total.cost, a.table.name), *left_out(b.total.cost, b.table.name)])
    return parts + [Text(line) for line in lines]


def _headers(a: Estimate, b: Estimate) -> list[str]:
    lines = dict.fromkeys([*header(a)[:2], *header(b)[:2], *header(a)[2:3], energy_line(a), energy_line(b)])
    return list(lines)


def _label(name: str) -> str:
    shown = name.rpartition("/")[2]
    return shown if len(shown) <= LONGEST_LABEL else f"{shown[: LONGEST_LABEL - 3]}..."


def _phase_table(labels: Sequence[str], a: Estimate, b: Estimate) -> Table:
    table = make_table("Totals")
    add_columns(table, ("phase", "figure"), (*labels, f"{labels[1]} / {labels[0]}"))
    shown = {"cycles": "cycles", "seconds": "time", "dram_bytes": "DRAM", "sram_bytes": "SRAM", "energy_pj": "energy"}
    for name, figures in _phases(a, b):
        for key, what in shown.items():
            pair = figures[key]
            table.add_row(name if key == "cycles" else "", what, *(_cell(key, x) for x in pair), _ratio(pair))
        table.add_section()
    return table


def _layer_table(labels: Sequence[str], pairs: Sequence[tuple[Row, Row]], sort: str, most: int | None) -> Table:
    shown = pairs[:most]
    order = SORTS[sort][0] if sort == "order" else f"those first that differ most in {sort}"
    table = make_table(count_line(len(shown), len(pairs), sum(one.layers for one, _ in pairs), order))
    table.caption = Text(f"each figure: {labels[0]}, {labels[1]}, their ratio")
    many = len({one.phase for one, _ in pairs}) > 1
    names = ("phase", "layer") if many else ("layer",)
    add_columns(table, names, ("cycles", "", "", "DRAM", "", "", "energy", "", ""))
    for one, other in shown:
        figures = _figures(one, other)
        cells = []
        for key in ("cycles", "dram_bytes", "energy_pj"):
            cells += [*(_cell(key, x) for x in figures[key]), _ratio(figures[key])]
        table.add_row(*([one.phase] if many else []), Text(shortened(one.name)), *cells)
    return table


def _cell(key: str, value: float) -> str:
    if key == "energy_pj":
        return energy(value * 1e6)
    return quantity(value, {"seconds": "s", "cycles": "", "macs": ""}.get(key, "B"))


def _ratio(pair: Pair) -> str:
    if pair.ratio is None:
        return "-"
    return f"{pair.ratio:.2f}" if pair.ratio >= 0.095 else f"{pair.ratio:.2g}"
