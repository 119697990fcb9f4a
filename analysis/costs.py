"""Cost estimates as tables for the terminal, CSV and JSON."""

import csv
import io
import json
from pathlib import Path

from rich.table import Table

from analysis.targets import Provenance
from hwsim.accelerator.energy import AJ_PER_PJ
from hwsim.accelerator.estimate import Cell, Estimate, summary_rows, table_rows
from hwsim.files import write_whole


def csv_text(rows: list[dict[str, Cell]]) -> str:
    """Rows with the same keys as CSV with a header; None is an empty cell."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def write(result: Estimate, origin: Provenance, csv_path: Path | None, json_path: Path | None) -> None:
    """Write the table of operations as CSV, and summary and operations as JSON."""
    if csv_path is not None:
        write_whole(csv_path, csv_text(table_rows(result)))
    if json_path is not None:
        content = {**origin._asdict(), "batch": 1, "summary": summary_rows(result), "operations": table_rows(result)}
        write_whole(json_path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def tables(result: Estimate, origin: Provenance, most: int | None) -> list[Table | str]:
    """Whose arithmetic it is, summary by phase, the dearest operations, and what the energy table leaves out."""
    table = result.table
    parts: list[Table | str] = [
        f"{result.program}: scheme {result.scheme}, batch 1, greedy, padding excluded; energy table {table.name}",
        str(origin),
        _summary(result),
        _operations(result, most),
    ]
    missing = sorted({entry.component.value for entry in result.total.cost.not_modelled})
    if missing:
        parts.append(f"Not modelled (no constant in {table.name}, part of no sum): {', '.join(missing)}")
    return parts


def _summary(result: Estimate) -> Table:
    table = Table(title="Per sentence")
    for name in ("phase", "MACs", "DRAM bytes", "energy, uJ", "low to high DRAM, uJ", "uJ per token"):
        table.add_column(name, justify="left" if name == "phase" else "right")
    for phase in (result.encode, result.decode, result.total):
        low, high = (x / AJ_PER_PJ / phase.sentences / 1e6 for x in (phase.cost.low_aj, phase.cost.high_aj))
        table.add_row(
            phase.name,
            f"{phase.macs_per_sentence:,.0f}",
            f"{phase.dram_bytes_per_sentence:,.0f}",
            f"{phase.energy_pj_per_sentence / 1e6:,.1f}",
            f"{low:,.1f} to {high:,.1f}",
            f"{phase.energy_pj_per_token / 1e6:,.2f}",
        )
    return table


def _operations(result: Estimate, most: int | None) -> Table:
    rows = sorted(result.rows(), key=lambda row: -row.cost.energy_aj)[:most]
    title = "Operations, dearest first" if most is None else f"The {len(rows)} dearest operations"
    table = Table(title=title)
    for name in ("phase", "operation", "MACs", "weight B", "activation B", "KV B", "energy, uJ"):
        table.add_column(name, justify="left" if name in ("phase", "operation") else "right", overflow="fold")
    for row in rows:
        cost = row.cost
        counts = (cost.macs, cost.weight_bytes, cost.activation_bytes, cost.kv_cache_bytes)
        energy = f"{cost.energy_pj / 1e6:,.2f}"
        table.add_row(row.phase, f"{row.site} ({row.operation})", *(f"{x:,}" for x in counts), energy)
    return table
