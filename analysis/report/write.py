"""The files of a report, made in memory."""

import json
from collections.abc import Sequence

from analysis.accuracy.parts import Row
from analysis.output.context import Context
from analysis.report.page import page
from analysis.report.records import report_record
from analysis.report.tables import table_files
from analysis.run import RunResult


def report_files(result: RunResult, rows: Sequence[Row], context: Context) -> dict[str, bytes]:
    """Name and content of every file of a report."""
    from analysis.report.figures import pictures  # loads matplotlib, which takes a moment: only who draws waits

    report = report_record(result, rows, context)
    images = pictures(result, rows)
    texts = {
        "report.json": json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        "report.html": page(result, report, images),
        **table_files(result, rows, report),
    }
    files = {name: text.encode() for name, text in texts.items()}
    return files | {f"{image.name}.png": image.png for image in images}
