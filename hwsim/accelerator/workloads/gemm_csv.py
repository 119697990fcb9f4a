"""GEMM tables as SCALE-Sim reads them (version 3.0.0, `-i gemm`): a header `Layer,M,N,K,` and a line a product.

The order is M, N, K. The trailing comma may be there or not; blank lines are skipped, spaces around cells ignored.
Names that occur twice get numbers: `fc`, `fc_2`. Unlike there the header is needed, and read.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from hwsim.accelerator.layers import Layer, Phase, Product, Workload
from hwsim.accelerator.reading import nearest, read_regular
from hwsim.accelerator.workloads.blocks import product_layer
from hwsim.accelerator.workloads.sizes import check_range

HEADER = ("Layer", "M", "N", "K")
MAX_SIZE = 1 << 20
MAX_BYTES = 1_000_000
MAX_NAME = 200
_SHOWN = 40


def read_gemm_csv(
    path: Path, a_bits: int = 8, b_bits: int = 8, *, output_bits: int = 8, accumulator_bits: int = 32
) -> Workload:
    """A GEMM table as one phase `forward` of bare products: no bias, no epilogue, no constants of columns.

    Parameters
    ----------
    path
        A regular file of at most `MAX_BYTES` bytes, UTF-8, with or without a byte order mark.
    a_bits, b_bits
        Of the (M, K) activation and the (K, N) weight, 2 to 16.
    output_bits, accumulator_bits
        Of results, 2 to 32, and of sums, 8 to 63.

    Raises
    ------
    ValueError
        If it cannot be read, or a cell is missing, too many or no size of 1 to 2^20; names line and column.
    """
    for what, bits, low, high in (
        ("a_bits", a_bits, 2, 16),
        ("b_bits", b_bits, 2, 16),
        ("output_bits", output_bits, 2, 32),
        ("accumulator_bits", accumulator_bits, 8, 63),
    ):
        check_range(what, bits, low, high)

    def layer(name: str, m: int, n: int, k: int) -> Layer:
        product = Product(
            m=m, k=k, n=n, a_bits=a_bits, b_bits=b_bits, output_bits=output_bits, accumulator_bits=accumulator_bits
        )
        return product_layer(name, product)

    try:
        rows = list(_rows(_text(path)))
        layers = tuple(
            layer(name, *sizes) for name, (_, *sizes) in zip(_numbered(r[0] for r in rows), rows, strict=True)
        )
    except ValueError as error:
        raise ValueError(f"GEMM table {_short(str(path))}: {error}") from None
    return Workload(
        name=path.stem,
        scheme=f"w{b_bits}a{a_bits}",
        phases=(Phase(name="forward", tokens=1, layers=layers),),
    )


def _text(path: Path) -> str:
    try:
        return read_regular(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise ValueError(f"line {line}, byte {column}: {error.object[error.start]:#04x} is not UTF-8") from None


def _rows(text: str) -> Iterator[tuple[str, int, int, int]]:
    """Name, M, N and K of each line behind the header."""
    reader = csv.reader(io.StringIO(text, newline=None), strict=True, skipinitialspace=True)
    found = 0
    try:
        for cells in reader:
            cells = [" ".join(cell.split()) for cell in cells]
            if not any(cells):
                continue
            if found == 0:
                _check_header(cells, reader.line_num)
            else:
                yield _row(cells, reader.line_num)
            found += 1
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: no CSV: {error}") from None
    if found < 2:
        raise ValueError("no layers: a header and a line for each layer are needed" if found else _no_header("nothing"))


def _no_header(first: str) -> str:
    return f"no header: the first line must be {','.join(HEADER)}, got {first}"


def _check_header(cells: list[str], line: int) -> None:
    cells = _trimmed(cells)
    if any(cell.isdecimal() for cell in cells):
        raise ValueError(f"line {line}: {_no_header(_short(','.join(cells)))}")
    for column, name in enumerate(HEADER):
        if column >= len(cells):
            raise ValueError(f"line {line}, column {column + 1}: {name} is missing; the header is {','.join(HEADER)}")
        if cells[column].lower() == name.lower():
            continue
        got = _short(repr(cells[column]))
        same = any(cells[column].lower() == other.lower() for other in HEADER)
        hint = "the order is M, N, K" if same else nearest(cells[column], HEADER)
        hint = hint if len(cells) > 1 else f"the header is {','.join(HEADER)}, with commas"
        raise ValueError(f"line {line}, column {column + 1}: {got} instead of {name}; {hint}")
    _check_end(cells, line)


def _row(cells: list[str], line: int) -> tuple[str, int, int, int]:
    cells = _trimmed(cells)
    for column, name in enumerate(HEADER):
        if column >= len(cells) or not cells[column]:
            raise ValueError(f"line {line}, column {column + 1}: {name} is missing")
    _check_end(cells, line)
    if len(cells[0]) > MAX_NAME or not cells[0].isprintable():
        raise ValueError(f"line {line}, column 1: name {_short(cells[0])}; allowed are {MAX_NAME} printable characters")
    m, n, k = (_size(cells[column], HEADER[column], line, column + 1) for column in (1, 2, 3))
    return cells[0], m, n, k


def _trimmed(cells: list[str]) -> list[str]:
    """Without the empty cell behind a trailing comma."""
    return cells[: len(HEADER)] if len(cells) == len(HEADER) + 1 and not cells[-1] else cells


def _check_end(cells: list[str], line: int) -> None:
    if len(cells) > len(HEADER):
        extra = _short(repr(cells[len(HEADER)]))
        raise ValueError(
            f"line {line}, column {len(HEADER) + 1}: {extra} is one cell too many; a line has {len(HEADER)}"
        )


def _size(cell: str, name: str, line: int, column: int) -> int:
    """A whole number of 1 to 2^20; `int` alone would take other scripts' digits, and underscores."""
    digits = cell.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"line {line}, column {column}: {name} is {_short(repr(cell))}; it must be a whole number")
    if cell != digits or not 1 <= int(digits.lstrip("0")[:_SHOWN] or "0") <= MAX_SIZE:
        raise ValueError(f"line {line}, column {column}: {name} is {_short(cell)}; allowed are 1 to {MAX_SIZE}")
    return int(digits.lstrip("0"))


def _numbered(names: Iterable[str]) -> Iterator[str]:
    """Names, those that are taken already with the next free number."""
    taken: set[str] = set()
    last: dict[str, int] = {}  # numbers up to it are taken: no number is tried twice
    for name in names:
        number, free = last.get(name, 1), name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        last[name] = number
        taken.add(free)
        yield free


def _short(text: str) -> str:
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= 4 * _SHOWN else f"{line[:_SHOWN]}...{line[-_SHOWN:]}"
