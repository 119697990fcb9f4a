"""Tables and text on a stream, as wide as it is: nothing in them is markup, and every name is `readable`."""

import os
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from analysis.output.outlet import readable

LEAST_COLUMNS, MOST_COLUMNS, PIPE_COLUMNS = 20, 1000, 120
"""What `COLUMNS` may ask for, and how wide a table is in a pipe that was not asked for a width."""
STACKED_BELOW = 60
"""Columns of a terminal below which a table that would split a word has a line for every cell."""
LEAST_CELL = 8
"""Letters a line that a cell is folded to at least, in any terminal; a table with less room is stacked, too."""


class Terminal(Console):
    """What is printed, cleaned before it is laid out: an escape takes the room that it has."""

    def __init__(self, stream: TextIO, **options: Any) -> None:
        super().__init__(file=stream, width=columns(stream), markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        part, room = _readable(renderable), options or self.options
        if isinstance(part, Table) and self._needed(part, room) > room.max_width:
            part = Group(*_stacked(part))
        return super().render(part, room)

    def _needed(self, table: Table, room: ConsoleOptions) -> int:
        """Columns without which a table loses letters, or has a column that is too narrow to be read."""
        wide = room.update(max_width=MOST_COLUMNS)
        whole = Measurement.get(self, wide, table)
        widths, least = [], []
        for column in table.columns:
            cells = [*([column.header] if table.show_header else []), *column.cells]
            width = max((Measurement.get(self, wide, cell).maximum for cell in cells), default=0)
            widths.append(width if column.max_width is None else min(width, column.max_width))
            folds = column.overflow == "fold" and not column.no_wrap
            least.append(min(widths[-1], LEAST_CELL) if folds else widths[-1])
        needed = whole.maximum - sum(widths) + sum(least)
        return max(needed, whole.minimum) if room.max_width < STACKED_BELOW else needed


def columns(stream: TextIO) -> int | None:
    """As many as `COLUMNS` says, else those of the terminal (None: it is asked), else enough for every table."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked[:9]) > 0:
        return min(max(int(asked[:9]), LEAST_COLUMNS), MOST_COLUMNS)
    return None if stream.isatty() else PIPE_COLUMNS


def _readable(part: RenderableType) -> RenderableType:
    if isinstance(part, str):
        return readable(part)
    if isinstance(part, Text) and (clean := readable(part.plain)) != part.plain:
        same: dict[str, Any] = {name: getattr(part, name) for name in ("justify", "overflow", "no_wrap", "end")}
        return Text(clean, part.style, **same)
    if isinstance(part, Table):
        for column in part.columns:
            column._cells[:] = map(_readable, column._cells)  # before it is measured
    return part


def _stacked(table: Table) -> Iterator[Text]:
    """Each row as lines: its first cell, then every other that says something behind the name of its column."""
    yield from (Text(str(title), "italic") for title in (table.title,) if title)
    names = [" ".join(str(column.header).split()) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        lines: list[Text] = []
        for number, (name, cell) in enumerate(zip(names, cells, strict=True)):
            words, style = " ".join(str(cell).split()), getattr(cell, "style", "")
            if number == 0:
                lines.append(Text(words, style or "bold"))
            elif words and not name and number > 1:  # the column before goes on
                lines[-1].append(f", {words}")
            elif words:
                lines.append(Text(f"  {name}: {words}" if name else f"  {words}", style))
        yield from lines
    yield from (part if isinstance(part, Text) else Text(str(part)) for part in (table.caption,) if part)
