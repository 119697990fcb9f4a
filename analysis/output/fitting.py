"""Tables whose rows are sites: whole names where they fit the terminal, else under their common beginnings."""

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

NARROW = 72
"""Columns of a terminal below which even names fold."""


class Row(NamedTuple):
    """A line of a table; without cells, the heading of those that follow."""

    name: str
    cells: tuple[str, ...] = ()


class Fitting:
    """A table with full names where they fit the terminal, else with the names' beginnings as headings."""

    def __init__(self, title: str, left: Sequence[str], right: Sequence[str], rows: Sequence[Row]) -> None:
        self.title, self.left, self.right, self.rows = title, left, right, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table(grouped=False, whole_names=True)
        unlimited = options.update(max_width=10_000)
        if Measurement.get(console, unlimited, table).maximum > options.max_width:
            table = self._table(grouped=True, whole_names=options.max_width >= NARROW)
        yield table

    def _table(self, *, grouped: bool, whole_names: bool) -> Table:
        """`whole_names` lets the other columns fold first."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for name in self.left:
            table.add_column(name, overflow="fold", no_wrap=whole_names)
        for name in self.right:
            table.add_column(name, justify="right", overflow="fold")
        group = ""
        for name, cells in self.rows:
            head, tail = _split(name) if grouped and cells else ("", name)
            if head and head != group:
                table.add_row(Text(head))
            group = head
            table.add_row(Text(f"  {tail}" if head else tail, style="" if cells else "bold"), *cells)
        return table


def _split(name: str) -> tuple[str, str]:
    """`encoder.0.self_attention` and `scores.shifted`; shorter names stay whole."""
    parts = name.split(".", 3)
    return (".".join(parts[:3]), parts[3]) if len(parts) > 3 else ("", name)
