"""The report of a run: JSON, tables, plots and one self-contained page; and its tables for the terminal."""

from analysis.report.console import sensitivity_table, summary_table
from analysis.report.write import report_files

__all__ = [
    "report_files",
    "sensitivity_table",
    "summary_table",
]
