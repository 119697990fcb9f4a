"""The cost of a workload: totals, per sentence, per token, and a table with one row for each operation."""

from collections.abc import Iterable

import msgspec

from hwsim.accelerator.energy import AJ_PER_PJ, HOROWITZ_45NM, EnergyTable
from hwsim.accelerator.events import Component, Event, merge
from hwsim.accelerator.mapping import ARRAY
from hwsim.accelerator.pricing import Cost, price
from hwsim.accelerator.sentences import SentenceCounter
from hwsim.accelerator.traffic import Array
from hwsim.program import Program

Cell = str | int | float | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of one operation over a workload; `cost` has the bytes and the energies."""

    phase: str
    site: str
    operation: str
    cost: Cost


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """Encoding or decoding: `calls` of one function, for so many sentences and tokens.

    `tokens` are source tokens of encoding, target tokens of decoding.
    """

    name: str
    calls: int
    sentences: int
    tokens: int
    events: list[Event]
    cost: Cost

    @property
    def energy_pj_per_sentence(self) -> float:
        return self.cost.energy_pj / self.sentences

    @property
    def energy_pj_per_token(self) -> float:
        return self.cost.energy_pj / self.tokens

    @property
    def macs_per_sentence(self) -> float:
        return self.cost.macs / self.sentences

    @property
    def macs_per_token(self) -> float:
        return self.cost.macs / self.tokens

    @property
    def dram_bytes_per_sentence(self) -> float:
        return self.cost.dram_bytes / self.sentences

    @property
    def dram_bytes_per_token(self) -> float:
        return self.cost.dram_bytes / self.tokens


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of translating sentences one by one, greedily, without padding.

    `total` is encoding plus decoding; its per-token figures are per target token.
    """

    program: str
    scheme: str
    table: EnergyTable
    array: Array
    encode: Phase
    decode: Phase
    total: Phase

    def rows(self) -> list[Row]:
        """One row for each operation that costs something, in order, encoding first."""
        rows = []
        for phase in (self.encode, self.decode):
            parts: dict[tuple[str, str], list[Event]] = {}
            for event in phase.events:
                parts.setdefault((event.site, event.operation), []).append(event)
            rows += [
                Row(phase=phase.name, site=site, operation=operation, cost=price(events, self.table))
                for (site, operation), events in parts.items()
            ]
        return rows


def estimate(
    program: Program,
    lengths: Iterable[tuple[int, int]],
    table: EnergyTable = HOROWITZ_45NM,
    array: Array = ARRAY,
) -> Estimate:
    """Cost of a workload at batch 1, greedy, actual lengths.

    Parameters
    ----------
    program
        A validated program with functions `encode` and `decode_step`.
    lengths
        (source, target) tokens of each sentence, EOS included; the target length is the number of decode steps.
    table
        Energy constants.
    array
        Output-stationary array.

    Raises
    ------
    ValueError
        If there is no sentence, or a length is outside what the program allows.
    """
    lengths = list(lengths)
    if not lengths:
        raise ValueError("a workload of no sentences; at least one is needed")
    events = SentenceCounter(program, array).sentences(lengths)
    source, target = (sum(pair[i] for pair in lengths) for i in (0, 1))
    count = len(lengths)

    def phase(name: str, calls: int, tokens: int, events: list[Event]) -> Phase:
        cost = price(events, table)
        return Phase(name=name, calls=calls, sentences=count, tokens=tokens, events=events, cost=cost)

    return Estimate(
        program=program.manifest.name,
        scheme=program.manifest.scheme,
        table=table,
        array=array,
        encode=phase("encode", count, source, events.encode),
        decode=phase("decode", target, target, events.decode),
        total=phase("total", count + target, target, merge([*events.encode, *events.decode])),
    )


def table_rows(result: Estimate) -> list[dict[str, Cell]]:
    """An estimate as flat rows for CSV or JSON, one for each operation; units are in the names.

    Energy that the table cannot give is None, not 0. `energy_aj` is the exact integer, `*_pj` are floats.
    """
    return [
        {"phase": row.phase, "site": row.site, "operation": row.operation, **_cells(row.cost)} for row in result.rows()
    ]


def summary_rows(result: Estimate) -> list[dict[str, Cell]]:
    """Encoding, decoding and total as flat rows for CSV or JSON; units are in the names."""
    return [
        {
            "phase": phase.name,
            "program": result.program,
            "scheme": result.scheme,
            "energy_table": result.table.name,
            "calls": phase.calls,
            "sentences": phase.sentences,
            "tokens": phase.tokens,
            **_cells(phase.cost),
            "energy_low_pj": phase.cost.low_aj / AJ_PER_PJ,
            "energy_high_pj": phase.cost.high_aj / AJ_PER_PJ,
            "energy_pj_per_sentence": phase.energy_pj_per_sentence,
            "energy_pj_per_token": phase.energy_pj_per_token,
            "macs_per_sentence": phase.macs_per_sentence,
            "macs_per_token": phase.macs_per_token,
            "dram_bytes_per_sentence": phase.dram_bytes_per_sentence,
            "dram_bytes_per_token": phase.dram_bytes_per_token,
        }
        for phase in (result.encode, result.decode, result.total)
    ]


def event_rows(events: Iterable[Event]) -> list[dict[str, Cell]]:
    """Events as flat rows for CSV or JSON; the unit of `count` is beside it."""
    return [
        {
            "site": event.site,
            "operation": event.operation,
            "component": event.component.value,
            "level": event.level.value,
            "operand": event.operand.value,
            "direction": event.direction.value,
            "width_bits": event.bits,
            "second_width_bits": event.second_bits,
            "count": event.count,
            "unit": "operations" if event.level.value == "datapath" else "bytes",
        }
        for event in events
    ]


def _cells(cost: Cost) -> dict[str, Cell]:
    missing = {entry.component for entry in cost.not_modelled}
    cells: dict[str, Cell] = {
        "macs": cost.macs,
        "weight_bytes": cost.weight_bytes,
        "activation_bytes": cost.activation_bytes,
        "kv_cache_bytes": cost.kv_cache_bytes,
        "accumulator_bytes": cost.accumulator_bytes,
        "dram_bytes": cost.dram_bytes,
        "sram_bytes": cost.sram_bytes,
        "energy_aj": cost.energy_aj,
        "energy_pj": cost.energy_pj,
    }
    for component in Component:
        energy_pj = cost.by_component.get(component.value, 0) / AJ_PER_PJ
        cells[f"{component.value}_energy_pj"] = None if component in missing else energy_pj
    return cells
