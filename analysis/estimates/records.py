"""Estimates as records: JSON of all that was asked and found, CSV with one row a layer. Units are in the names."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from analysis.inspect.provenance import Provenance
from hwsim.accelerator.cost.energy import Cost
from hwsim.accelerator.cost.estimate import COST_MODEL, Estimate, LayerCost, PhaseCost
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.energy_tables import EnergyTable, describe
from hwsim.accelerator.events import LEVEL_OF, Component, Direction, Event, Level, Operand
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Workload
from hwsim.accelerator.options import Options
from hwsim.accelerator.prices import AJ_PER_PJ, prices_of

Record = dict[str, Any]
BREAKDOWNS = ("component", "level", "operand")
MEMORIES = (Level.SRAM, Level.DRAM)


def estimate_record(result: Estimate, origin: Provenance | None = None) -> Record:
    """The configuration echoed, then totals, phases and layers.

    `energy_pj` is nominal and within the boundary, `energy_low_pj` and `energy_high_pj` are at the ends of the band of
    DRAM; `energy_aj` and its breakdowns are the same sums in attojoules, exact. What has no constant is in
    `not_modelled` and in no sum.
    """
    return {
        **configuration_record(result.workload, result.hardware, result.options, result.table, origin),
        "total": phase_record(result.total, result.hardware),
        "phases": [phase_record(phase, result.hardware) for phase in result.phases],
        "layers": [layer_record(layer) for layer in result.total.layers],
    }


def configuration_record(
    workload: Workload, hardware: Hardware, options: Options, table: EnergyTable, origin: Provenance | None = None
) -> Record:
    """What was priced, on what, how, and with which energies."""
    described = describe(table, hardware.dram.type)
    sizes = ("name", "scheme", "batch", "source", "target", "sentences")
    return {
        "cost_model": COST_MODEL,
        "workload": {
            **{name: getattr(workload, name) for name in sizes},
            "phases": [{"name": p.name, "tokens": p.tokens, "layers": len(p.layers)} for p in workload.phases],
        },
        **({} if origin is None else {"program": origin._asdict()}),
        "hardware": msgspec.to_builtins(hardware, str_keys=True),
        "options": msgspec.to_builtins(options),
        "boundary": hardware.boundary.value,
        "sram_area_mm2": prices_of(hardware, table).sram_area_mm2,
        "energy_table": {
            "name": described.name,
            "title": described.title,
            "composite": described.composite,
            "constants": [row._asdict() for row in described.rows],
        },
    }


def phase_record(phase: PhaseCost, hardware: Hardware) -> Record:
    """Totals of a phase, or of all; per token and per sentence too."""
    cost = phase.cost
    return {
        "name": phase.name,
        "tokens": phase.tokens,
        "sentences": phase.sentences,
        **_time_record(phase.cycles),
        "seconds": phase.cycles.total / hardware.clock_hz,
        **cost_record(cost),
        "energy_pj_per_token": phase.per_token(cost.energy_pj),
        "energy_pj_per_sentence": phase.per_sentence(cost.energy_pj),
        "cycles_per_token": phase.per_token(phase.cycles.total),
        "cycles_per_sentence": phase.per_sentence(phase.cycles.total),
        "dram_bytes_per_token": phase.per_token(cost.dram_bytes),
        "dram_bytes_per_sentence": phase.per_sentence(cost.dram_bytes),
        "not_modelled": not_modelled_records(cost),
    }


def layer_record(layer: LayerCost) -> Record:
    """One layer over all its runs in a phase; shape and tiling are None of a row layer."""
    product, plan = layer.product, layer.plan
    sizes = ("m", "k", "n", "count", "a_bits", "b_bits", "accumulator_bits", "output_bits")
    return {
        "phase": layer.phase,
        "name": layer.name,
        "operation": layer.operation,
        "runs": layer.runs,
        **{size: None if product is None else getattr(product, size) for size in sizes},
        "tiling": None
        if plan is None
        else {**msgspec.to_builtins(plan.tiling), "trips": plan.trips, "room_bytes": plan.room_bytes},
        **_time_record(layer.cycles),
        "bound": layer.bound,
        "utilization": layer.utilization,
        "bytes": memory_bytes(layer.events),
        **cost_record(layer.cost),
    }


def _time_record(cycles: Cycles) -> Record:
    return {"cycles": cycles.total, "cycles_by_cause": cycles._asdict()}


def cost_record(cost: Cost) -> Record:
    """Counts and energies of a sum of events."""
    return {
        "macs": cost.macs,
        "executed_macs": cost.executed_macs,
        "sram_bytes": cost.sram_bytes,
        "dram_bytes": cost.dram_bytes,
        "dram_bytes_by_operand": cost.dram_bytes_by_operand,
        "energy_aj": cost.energy_aj,
        "energy_pj": cost.energy_pj,
        "energy_low_pj": cost.low_aj / AJ_PER_PJ,
        "energy_high_pj": cost.high_aj / AJ_PER_PJ,
        **{f"energy_pj_by_{name}": _in_pj(getattr(cost, f"by_{name}")) for name in BREAKDOWNS},
        **{f"energy_aj_by_{name}": getattr(cost, f"by_{name}") for name in BREAKDOWNS},
        "energy_pj_outside_boundary": _in_pj(cost.outside_aj),
    }


def _in_pj(energies_aj: Mapping[str, int]) -> dict[str, float]:
    return {name: energy_aj / AJ_PER_PJ for name, energy_aj in energies_aj.items()}


def memory_bytes(events: Iterable[Event]) -> dict[str, dict[str, dict[str, int]]]:
    """Bytes by level, operand and direction; what there is none of is left out."""
    found: dict[str, dict[str, dict[str, int]]] = {level.value: {} for level in MEMORIES}
    for event in events:
        if event.level in MEMORIES and event.component is not Component.SRAM_LEAKAGE:
            directions = found[event.level.value].setdefault(event.operand.value, {})
            directions[event.direction.value] = directions.get(event.direction.value, 0) + event.count
    return found


def not_modelled_records(cost: Cost) -> list[Record]:
    """Events that the energy table has no constant for, by component and width."""
    return [
        {
            "component": entry.component.value,
            "direction": entry.direction.value,
            "bits": entry.bits,
            "count": entry.count,
            "unit": _unit(entry.component),
        }
        for entry in sorted(cost.not_modelled, key=lambda entry: (entry.what, entry.bits))
    ]


def _unit(component: Component) -> str:
    if component is Component.SRAM_LEAKAGE:
        return "cycles"
    level = LEVEL_OF.get(component, Level.DATAPATH)
    return "bytes" if level in MEMORIES else "bits" if level is Level.REGISTER else "operations"


# --- CSV --------------------------------------------------------------------------------------------------------------


def layer_rows(result: Estimate) -> list[Record]:
    """One flat row a layer. Energy of a component is empty where it is not modelled or outside the boundary."""
    modelled = _components(result.total.cost)
    return [_row(layer, modelled) for layer in result.total.layers]


def _components(cost: Cost) -> list[Component]:
    """Components of a workload that cost energy, or would if they were modelled."""
    missing = {entry.component for entry in cost.not_modelled}
    return [component for component in Component if component.value in cost.by_component or component in missing]


def _row(layer: LayerCost, components: Sequence[Component]) -> Record:
    record = layer_record(layer)
    bytes_moved, energies = record["bytes"], record["energy_pj_by_component"]
    missing = {entry.component for entry in layer.cost.not_modelled}
    plain = ("phase", "name", "operation", "runs", "count", "m", "k", "n", "a_bits", "b_bits", "macs", "executed_macs")
    return {
        **{name: record[name] for name in plain},
        "cycles": record["cycles"],
        **{f"cycles_{cause}": count for cause, count in record["cycles_by_cause"].items()},
        **{name: record[name] for name in ("utilization", "bound", "sram_bytes", "dram_bytes")},
        **{
            f"{level.value}_{operand.value}_{direction.value}_bytes": bytes_moved[level.value]
            .get(operand.value, {})
            .get(direction.value, 0)
            for level in MEMORIES
            for operand in Operand
            if operand is not Operand.NONE
            for direction in (Direction.READ, Direction.WRITE)
        },
        **{name: record[name] for name in ("energy_pj", "energy_low_pj", "energy_high_pj")},
        **{
            f"energy_{component.value}_pj": energies.get(component.value, None if component in missing else 0.0)
            for component in components
        },
    }


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as CSV; the header has every key of any row. None, and a key that is not there, is an empty cell."""
    stream = io.StringIO()
    keys = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(stream, fieldnames=list(keys), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
