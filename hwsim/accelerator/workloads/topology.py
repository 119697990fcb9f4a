"""Columns of SCALE-Sim's tables of products and of convolutions, and the product that a line is.

Both kinds are those of its version 3.0.0 (`topology_utils.py`, `load_arrays_gemm` and `load_arrays_conv`). There
columns go by place alone; here the header is needed, and read. A convolution is the product of its im2col: a row for
each result, a column for each filter.
"""

from collections.abc import Iterator
from typing import NamedTuple

from hwsim.accelerator.options import Sparsity
from hwsim.accelerator.reading import nearest, short
from hwsim.accelerator.storage import ceil_div

MAX_SIZE = 1 << 24
MAX_LAYERS = 1 << 16
"""Of a table: a depthwise convolution is a layer a channel."""
MAX_NAME = 200
MAX_GROUP = 1 << 20
_DIGITS = 10
DEPTHWISE = "DP"
"""What is in the name of a depthwise convolution, as SCALE-Sim has it."""

GEMM = ("Layer", "M", "N", "K")
IFMAP, FILTER = ("IFMAP Height", "IFMAP Width"), ("Filter Height", "Filter Width")
CONVOLUTION = ("Layer", *IFMAP, *FILTER, "Channels", "Num Filter")
STRIDES, STRIDE, BATCH, SPARSITY = "Strides", ("Stride Height", "Stride Width"), "Batch Size", "Sparsity"
BEHIND = {GEMM: (SPARSITY,), CONVOLUTION: (STRIDES, *STRIDE, BATCH, SPARSITY)}
"""Columns that may follow in any order, each once."""
_ALSO = {
    "layer name": "Layer",
    "l": "Layer",
    "channel": "Channels",
    "num filters": "Num Filter",
    "stride": STRIDES,
    "strides height": STRIDE[0],
    "strides width": STRIDE[1],
}
_KNOWN = {name.lower(): name for kind, behind in BEHIND.items() for name in (*kind, *behind)} | _ALSO


class Line(NamedTuple):
    """One product: its name, sizes, and the sparsity that the line states; one without zeros if it states that."""

    name: str
    m: int
    n: int
    k: int
    sparsity: Sparsity | None
    dense: bool


# --- the header -------------------------------------------------------------------------------------------------------


def columns(cells: list[str]) -> tuple[str, ...]:
    """Names of the columns of a header, as this module has them.

    Raises
    ------
    ValueError
        If one is missing, unknown, at another's place or there twice; names the column.
    """
    cells = _without_tail(cells, 0)
    if any(cell.isdecimal() for cell in cells):
        raise ValueError(f": {no_header(short(','.join(cells)))}")
    names = [_KNOWN.get(cell.lower(), cell) for cell in cells]
    kind = CONVOLUTION if len(names) > 1 and names[1] in IFMAP else GEMM
    if names[1:3] == [IFMAP[1]] * 2:  # a misprint of the DeepBench tables
        names[1] = IFMAP[0]
    for place, name in enumerate(kind):
        if place >= len(names):
            raise ValueError(f", column {place + 1}: {name} is missing; the header is {','.join(kind)}")
        if names[place] != name:
            raise ValueError(
                f", column {place + 1}: {short(repr(cells[place]))} instead of {name}; {_hint(cells, place)}"
            )
    for place in range(len(kind), len(names)):
        if names[place] not in BEHIND[kind]:
            near = nearest(cells[place], BEHIND[kind])
            raise ValueError(f", column {place + 1}: unknown column {short(repr(cells[place]))}; {near}")
        if names[place] in names[:place]:
            raise ValueError(f", column {place + 1}: {names[place]} is there twice")
    _check_strides(names, kind)
    return tuple(names)


def _hint(cells: list[str], place: int) -> str:
    """What may be meant by a column at another's place."""
    if len(cells) == 1:
        return f"the header is {','.join(GEMM)}, with commas"
    if _KNOWN.get(cells[place].lower()) in GEMM[1:]:
        return "the order is M, N, K"
    if place == 1:
        return f"a table of products has M, N, K, one of convolutions {', '.join(CONVOLUTION[1:])}, {STRIDES}"
    kind = CONVOLUTION if _KNOWN.get(cells[1].lower()) in IFMAP else GEMM
    return f"the header is {','.join(kind)}" if cells[place].lower() in _KNOWN else nearest(cells[place], kind)


def _check_strides(names: list[str], kind: tuple[str, ...]) -> None:
    missing = [name for name in STRIDE if name not in names]
    if kind is CONVOLUTION and STRIDES not in names and missing:
        raise ValueError(f", column {len(names) + 1}: {missing[0] if len(missing) == 1 else STRIDES} is missing")


def no_header(first: str) -> str:
    return f"no header: the first line must be {','.join(GEMM)} or that of convolutions, got {first}"


# --- a line -----------------------------------------------------------------------------------------------------------


class _Cells(NamedTuple):
    """Cells of a line by the names of their columns; an error names the column."""

    names: tuple[str, ...]
    cells: list[str]

    def text(self, name: str) -> str:
        """A cell, empty if it is not there."""
        place = self.names.index(name) if name in self.names else len(self.cells)
        return self.cells[place] if place < len(self.cells) else ""

    def size(self, name: str) -> int:
        """A whole number of 1 to `MAX_SIZE`; `int` alone would take other scripts' digits, and underscores."""
        cell = self.text(name)
        digits = cell.removeprefix("-")
        if not cell:
            self.refuse(name, f"{name} is missing")
        if not (digits.isascii() and digits.isdecimal()):
            self.refuse(name, f"{name} is {short(repr(cell))}; it must be a whole number")
        digits = digits.lstrip("0") or "0"
        if cell[0] == "-" or len(digits) > _DIGITS or not 1 <= int(digits) <= MAX_SIZE:
            self.refuse(name, f"{name} is {short(cell)}; allowed are 1 to {MAX_SIZE}")
        return int(digits)

    def refuse(self, name: str, why: str) -> None:
        raise ValueError(f", column {self.names.index(name) + 1}: {why}")


def lines(names: tuple[str, ...], cells: list[str]) -> Iterator[Line]:
    """The products of a line: one, but of a depthwise convolution one for each channel.

    Raises
    ------
    ValueError
        If a cell is missing, too many or no size, or if a convolution has no results; names the column.
    """
    cells = _without_tail(cells, len(names))
    if len(cells) > len(names):
        extra = short(repr(cells[len(names)]))
        raise ValueError(f", column {len(names) + 1}: {extra} is one cell too many; a line has {len(names)}")
    line = _Cells(names, cells)
    name = line.text("Layer")
    if not name:
        line.refuse("Layer", "Layer is missing")
    if len(name) > MAX_NAME or not name.isprintable():
        line.refuse("Layer", f"name {short(name)}; allowed are {MAX_NAME} printable characters")
    sparsity, dense = _sparsity(line)
    if names[1] == "M":
        m, n, k = (line.size(size) for size in GEMM[1:])
        yield Line(name, m, n, k, sparsity, dense)
        return
    m, n, k, channels = _convolution(line)
    for channel in range(channels):
        yield Line(f"{name}Channel_{channel}" if DEPTHWISE in name else name, m, n, k, sparsity, dense)


def _without_tail(cells: list[str], most: int) -> list[str]:
    """Without the empty cells behind trailing commas, and a remark `#...`, but for the first `most`."""
    end = len(cells)
    while end > most and (not cells[end - 1] or cells[end - 1].startswith("#")):
        end -= 1
    return cells[:end]


def _sparsity(line: _Cells) -> tuple[Sparsity | None, bool]:
    """The N:M of a line, if it has one; and whether it says that all weights are there."""
    cell = line.text(SPARSITY)
    if not cell:
        return None, False
    parts = [part.strip() for part in cell.split(":")]
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() and len(part) <= _DIGITS for part in parts):
        line.refuse(SPARSITY, f"{SPARSITY} is {short(repr(cell))}; it is two whole numbers, for example 2:4")
    kept, group = map(int, parts)
    if not 1 <= kept <= group <= MAX_GROUP:
        line.refuse(SPARSITY, f"{SPARSITY} is {kept}:{group}; of 1 to {MAX_GROUP} at least one is kept, at most all")
    return (None, True) if kept == group else (Sparsity(kept, group), False)


def _convolution(line: _Cells) -> tuple[int, int, int, int]:
    """M, N and K of a convolution, and how often it is there: a depthwise one once a channel."""
    name, strides = line.text("Layer"), line.size(STRIDES) if line.text(STRIDES) else 0
    results = line.size(BATCH) if line.text(BATCH) else 1
    for side in range(2):
        whole, part = line.size(IFMAP[side]), line.size(FILTER[side])
        own = bool(line.text(STRIDE[side])) or not strides
        column = STRIDE[side] if own and STRIDE[side] in line.names else STRIDES
        step = line.size(column)
        if part > whole:
            line.refuse(FILTER[side], f"layer {name}: {FILTER[side]} is {part}; its {IFMAP[side]} is {whole}")
        if step >= whole > part:
            line.refuse(column, f"layer {name}: {column} is {step}; its {IFMAP[side]} of {whole} has no second window")
        results *= ceil_div(whole - part, step) + 1
    channels, filters = line.size("Channels"), line.size("Num Filter")
    window = line.size(FILTER[0]) * line.size(FILTER[1]) * (1 if DEPTHWISE in name else channels)
    for what, size in (("M", results), ("K", window)):
        if size > MAX_SIZE:
            line.refuse("Layer", f"layer {name}: as a product it has {what} = {size}; allowed are 1 to {MAX_SIZE}")
    if DEPTHWISE in name and channels > MAX_LAYERS:
        line.refuse("Channels", f"layer {name}: {channels} channels, a layer each; allowed are {MAX_LAYERS} layers")
    return results, filters, window, channels if DEPTHWISE in name else 1
