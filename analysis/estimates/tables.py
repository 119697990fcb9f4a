"""Estimates as tables for the terminal, within 120 columns."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from analysis.estimates.rows import rows, shortened
from analysis.inspect.provenance import Provenance
from hwsim.accelerator.cost.energy import Cost
from hwsim.accelerator.cost.estimate import Estimate, PhaseCost
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.energy_tables import EnergyTable, describe, dram_constant
from hwsim.accelerator.hardware import Boundary, Hardware
from hwsim.accelerator.layers import Part, Product, Workload
from hwsim.accelerator.options import Objective, Tiles
from hwsim.accelerator.prices import AJ_PER_PJ
from hwsim.accelerator.reading import short

DEAREST = 20
LEAST = {Objective.DRAM: "DRAM traffic", Objective.LATENCY: "latency", Objective.ENERGY: "energy"}
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))
"""Signs that every terminal has."""


class Sortable(Protocol):
    """What a table of layers is sorted by."""

    @property
    def cost(self) -> Cost: ...
    @property
    def cycles(self) -> Cycles: ...
    @property
    def product(self) -> Product | None: ...
    @property
    def utilization(self) -> float: ...


class Priced(Protocol):
    """A machine and its energies."""

    @property
    def hardware(self) -> Hardware: ...
    @property
    def table(self) -> EnergyTable: ...


S = TypeVar("S", bound=Sortable)


def _utilization(layer: Sortable) -> float:
    """Least first; layers without a product last."""
    return -layer.utilization if layer.product is not None else -2.0


SORTS: dict[str, tuple[str, Callable[[Sortable], float] | None]] = {
    "energy": ("dearest first", lambda layer: layer.cost.energy_aj),
    "cycles": ("slowest first", lambda layer: layer.cycles.total),
    "dram": ("most DRAM traffic first", lambda layer: layer.cost.dram_bytes),
    "macs": ("most MACs first", lambda layer: layer.cost.macs),
    "utilization": ("least utilized first", _utilization),
    "order": ("in the order in which they run", None),
}
"""Columns that layers are sorted by, greatest first but for utilization."""


def check_sort(column: str) -> None:
    """Refuse an unknown column; the known ones are listed."""
    if column not in SORTS:
        raise ValueError(f"--sort is {short(repr(column))}; known: {', '.join(SORTS)}")


def tables(
    result: Estimate, origin: Provenance | None = None, sort: str = "energy", most: int | None = DEAREST
) -> list[RenderableType]:
    """What was priced on what, totals by phase, cycles by cause, layers, and what the sums leave out.

    Parameters
    ----------
    origin
        Whose arithmetic it is, of a program.
    sort
        One of `SORTS`.
    most
        So many layers; None is all.
    """
    parts: list[RenderableType] = [plain(line) for line in header(result)]
    if origin is not None:
        parts.append(plain(str(origin)))
    parts += [_phases(result), _causes(result), layer_table(result, sort, most)]
    return parts + [plain(line) for line in left_out(result.total.cost, result.table.name)]


def header(result: Estimate) -> list[str]:
    """Workload, machine, mapping and energies, a line each."""
    sram = f"; {result.hardware.sram.capacity_bytes / 1024:,.6g} KiB scratchpad"
    machine = machine_line(result.hardware, sram)
    return [workload_line(result.workload), machine, mapping_line(result), energy_line(result)]


def workload_line(workload: Workload) -> str:
    """Model, widths and sizes."""
    w = workload
    lengths = [f"{what} {length}" for what, length in (("source", w.source), ("target", w.target)) if length]
    inputs = f", {w.sentences} inputs" if w.sentences > 1 else ""
    return f"{w.name}: scheme {w.scheme}, {', '.join([f'batch {w.batch}', *lengths])}{inputs}"


def machine_line(hardware: Hardware, sram: str = "") -> str:
    """Array, scratchpad, DRAM and clock."""
    array, dram = hardware.array, hardware.dram
    kind = f"{array.rows}x{array.cols} {array.kind.value} {array.dataflow.value}, {array.fold_mode.value}"
    far = f"{dram.type} at {quantity(dram.bandwidth_bytes_per_second, 'B/s')}" if sram else "no scratchpad, no stalls"
    return f"on {hardware.name}: {kind}{sram}; {far}; {quantity(hardware.clock_hz, 'Hz')}"


def mapping_line(result: Estimate) -> str:
    """What the tiles are chosen for, and what else is."""
    o = result.options
    attends = any(layer.part is not Part.NONE for phase in result.workload.phases for layer in phase.layers)
    parts = [f"tiles for least {LEAST[o.objective]}"]
    parts += [f"{o.attention.value} attention"] if attends else []
    parts += ["published-table mode (divisors)"] if o.tiles is Tiles.DIVISORS else []
    parts += [f"partial sums of {o.psum_bits} bits"] if o.psum_bits is not None else []
    parts += ["zero-gating"] if o.zero_gating else []
    parts += [f"{o.sparsity} weights"] if o.sparsity is not None else []
    return "; ".join(parts)


def energy_line(result: Priced) -> str:
    """Boundary and table; the band of DRAM."""
    h = result.hardware
    line = f"energy: boundary {h.boundary.value}, table {describe(result.table, h.dram.type).title}, {h.voltage:g} V"
    constant = dram_constant(result.table, h.dram.type)
    if h.boundary is Boundary.SYSTEM and constant is not None:
        low, high = constant.band
        unit = constant.unit + ("/bit" if constant.bits == 1 else f" per {constant.bits} bits")
        line += f"; {h.dram.type} {constant.value:g} {unit}, band {low:g} to {high:g}"
    return line


# --- totals -----------------------------------------------------------------------------------------------------------


def _phases(result: Estimate) -> Table:
    many = len(result.phases) > 1
    table = make_table("Totals")
    columns = ("cycles", "time", "MACs", "util.", "DRAM", "energy", "low to high DRAM", "per input", "per token")
    add_columns(table, ("phase",), columns)
    for phase in (*result.phases, *([result.total] if many else [])):
        cost = phase.cost
        band = f"{energy(cost.low_aj)} to {energy(cost.high_aj)}" if cost.low_aj < cost.high_aj else "-"
        table.add_row(
            phase.name,
            f"{phase.cycles.total:,}",
            quantity(phase.cycles.total / result.hardware.clock_hz, "s"),
            quantity(cost.macs, ""),
            percent(_phase_utilization(phase)),
            quantity(cost.dram_bytes, "B"),
            energy(cost.energy_aj),
            band,
            energy(phase.per_sentence(cost.energy_aj)),
            energy(phase.per_token(cost.energy_aj)),
        )
    tokens = ", ".join(f"{phase.name} {phase.tokens:,}" for phase in result.phases)
    table.caption = Text(f"tokens: {tokens}" + ("; the total is per token of the last phase" if many else ""))
    return table


def _phase_utilization(phase: PhaseCost) -> float | None:
    """Executed MACs over what the array could have done in the time of the whole phase."""
    executed = phase.cost.executed_macs
    needed = sum(one.cost.executed_macs / one.peak_macs_per_cycle for one in phase.layers if one.peak_macs_per_cycle)
    return needed / phase.cycles.total if executed and phase.cycles.total else None


def _causes(result: Estimate) -> Table:
    table = make_table("Cycles by cause")
    add_columns(table, ("phase",), ("compute", "fill, drain", "SRAM ports", "DMA in", "DMA out", "vector unit"))
    for phase in (*result.phases, *([result.total] if len(result.phases) > 1 else [])):
        total = max(phase.cycles.total, 1)
        table.add_row(phase.name, *(f"{cycles:,} ({100 * cycles / total:.0f}%)" for cycles in phase.cycles))
    return table


# --- layers -----------------------------------------------------------------------------------------------------------


def sorted_layers(layers: Iterable[S], sort: str) -> list[S]:
    """Layers by a column of `SORTS`; equal ones in the order in which they run."""
    key = SORTS[sort][1]
    return list(layers) if key is None else sorted(layers, key=key, reverse=True)


def layer_table(result: Estimate, sort: str, most: int | None) -> Table:
    """One row a layer; if only so many are shown, one for all layers that differ in block or step alone."""
    found = sorted_layers(rows(result.total.layers, together=most is not None), sort)
    shown = found[:most]
    many = len(result.phases) > 1
    table = make_table(count_line(len(shown), len(found), len(result.total.layers), SORTS[sort][0]))
    names = ("phase", "layer", "shape") if many else ("layer", "shape")
    add_columns(table, names, ("cycles", "util.", "bound", "DRAM", "energy"))
    for row in shown:
        table.add_row(
            *([row.phase] if many else []),
            plain(shortened(row.name)),
            row.shape,
            f"{row.cycles.total:,}",
            percent(row.utilization if row.product is not None else None),
            row.bound,
            quantity(row.cost.dram_bytes, "B"),
            energy(row.cost.energy_aj),
        )
    return table


def count_line(shown: int, found: int, layers: int, order: str) -> str:
    """A title that says what is there and what is not."""
    if found == layers:
        return f"{shown} of {layers} layers, {order}" if shown < found else f"{layers} layers, {order}"
    rows_shown = f"{shown} of {found} rows" if shown < found else f"{found} rows"
    return f"{layers} layers in {rows_shown}, {order}; * is every block or step, --all lists each"


def left_out(cost: Cost, table_name: str) -> list[str]:
    """What no sum has: events without a constant, and energies outside the boundary."""
    lines = []
    missing = sorted({entry.what for entry in cost.not_modelled})
    if missing:
        lines.append(f"Not modelled (no constant in {table_name}, part of no sum): {', '.join(missing)}")
    outside = ", ".join(f"{level} {energy(energy_aj)}" for level, energy_aj in cost.outside_aj.items())
    if outside:
        lines.append(f"Outside the boundary: {outside}")
    return lines


# --- cells ------------------------------------------------------------------------------------------------------------


def make_table(title: str) -> Table:
    """Two spaces between columns, nothing at the edges."""
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = table.pad_edge = False
    return table


def add_columns(table: Table, names: Sequence[str], figures: Sequence[str]) -> None:
    """Names to the left, folded where there is no room; figures to the right, always whole."""
    for name in names:
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)


def energy(energy_aj: float) -> str:
    """Attojoules as joules with a prefix."""
    return quantity(energy_aj / AJ_PER_PJ * 1e-12, "J")


def quantity(value: float, unit: str) -> str:
    """Three significant digits with an SI prefix; small whole numbers as they are."""
    if value == 0:
        return f"0 {unit}".rstrip()
    factor, prefix = next((pair for pair in _PREFIXES if abs(value) >= 0.9995 * pair[0]), (1e-12, "p"))
    scaled = value / factor
    if factor == 1.0 and value == int(value):
        return f"{int(value)} {unit}".rstrip()
    digits = max(0, 2 - sum(abs(scaled) >= limit for limit in (9.995, 99.95)))
    return f"{scaled:.{digits}f} {prefix}{unit}".rstrip()


def percent(share: float | None) -> str:
    """A share of one; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.1f}%"


def plain(text: str) -> Text:
    """Text that is no markup."""
    return Text(text)
