"""The report of a run: JSON, tables, plots and one self-contained page; and its tables for the terminal."""

from analysis.output.context import Context, context
from analysis.output.folder import check_target
from analysis.report.console import sensitivity_table, summary_table
from analysis.report.write import report_files, write_report

__all__ = [
    "Context",
    "check_target",
    "context",
    "report_files",
    "sensitivity_table",
    "summary_table",
    "write_report",
]
