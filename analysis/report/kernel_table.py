"""The kernel table for the terminal, and as JSON with an error plot for each kernel."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from analysis.accuracy.kernel_errors import BINS_PER_LSB, KernelRow
from analysis.output.context import context
from analysis.output.numbers import finite

SEED = 2026


def files(rows: Sequence[KernelRow], arguments: Sequence[str], seconds: float) -> dict[str, bytes]:
    """`kernels.json`, and an error histogram a kernel."""
    record = {
        "context": asdict(context(arguments, None, seconds, SEED)),
        "kernels": [_record(row) for row in rows],
    }
    return {"kernels.json": (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()} | _plots(rows)


def _record(row: KernelRow) -> dict[str, Any]:
    fields = asdict(row) | {"sqnr_db": finite(row.sqnr_db)}
    return {name: value for name, value in fields.items() if name not in ("error_lsb", "error_counts")}


def _plots(rows: Sequence[KernelRow]) -> dict[str, bytes]:
    """One error histogram a kernel, widths side by side."""
    from analysis import plots  # loads matplotlib: only who draws waits

    files = {}
    for kernel in dict.fromkeys(row.kernel for row in rows):
        histograms = {row.bits: (row.error_lsb, row.error_counts) for row in rows if row.kernel == kernel}
        figure = plots.error_histogram(kernel, histograms, 1 / BINS_PER_LSB)
        files[f"{kernel.lower().replace(' ', '_')}.png"] = plots.png(figure)
    return files


def table(rows: Sequence[KernelRow]) -> Table:
    """Codes compared and different, and the error against real mathematics in steps of the output (LSB)."""
    result = Table(title="Kernels against strict fake-quant (codes) and real mathematics (error)")
    left = ("kernel", "inputs")
    for name in ("kernel", "bits", "inputs", "codes", "different", "max LSB", "mean LSB", "SQNR dB"):
        result.add_column(name, justify="left" if name in left else "right", overflow="fold")
    for row in rows:
        kind = "all" if row.exhausted else "sampled"
        sqnr = finite(row.sqnr_db)
        result.add_row(
            row.kernel,
            str(row.bits),
            f"{row.inputs:,} {row.unit} ({kind})",
            f"{row.codes_compared:,}",
            str(row.codes_different),
            f"{row.max_error_lsb:.3f}",
            f"{row.mean_error_lsb:.3f}",
            "exact" if sqnr is None else f"{sqnr:.1f}",
        )
    return result
