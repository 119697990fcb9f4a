"""The report of a run: JSON, tables, plots and one self-contained page; and its tables for the terminal."""

from analysis.report.console import sensitivity_table, summary_table
from analysis.report.write import write_report

__all__ = [
    "sensitivity_table",
    "summary_table",
    "write_report",
]
