"""Writes a report: everything is made in memory first, then the folder appears at once."""

import json
from collections.abc import Sequence
from pathlib import Path

from analysis.accuracy.sensitivity import Row
from analysis.output.context import Context
from analysis.output.folder import check_target, write_folder
from analysis.report.figures import pictures
from analysis.report.page import page
from analysis.report.records import report_record
from analysis.report.tables import table_files
from analysis.run import RunResult


def report_files(result: RunResult, rows: Sequence[Row], context: Context) -> dict[str, bytes]:
    """Name and content of every file of a report."""
    report = report_record(result, rows, context)
    images = pictures(result, rows)
    texts = {
        "report.json": json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        "report.html": page(result, report, images),
        **table_files(result, rows, report),
    }
    files = {name: text.encode() for name, text in texts.items()}
    return files | {f"{image.name}.png": image.png for image in images}


def write_report(result: RunResult, rows: Sequence[Row], folder: Path, context: Context) -> None:
    """Write `report.json`, `report.html`, tables and figures into a new folder, whole or not at all.

    Parameters
    ----------
    rows
        Sensitivities of any kind; may be empty.
    folder
        New, or empty.
    context
        Where the result comes from.

    Raises
    ------
    ValueError
        If the folder is refused by `check_target`.
    """
    check_target(folder)
    write_folder(folder, report_files(result, rows, context))
