"""SCALE-Sim's tables (version 3.0.0) of products, `-i gemm`, and of convolutions, as bare products.

A header `Layer,M,N,K,` or `Layer name,IFMAP Height,IFMAP Width,...` and a line a layer (`topology`), perhaps with a
column `Sparsity`. Trailing commas may be there or not; blank lines are skipped, spaces around cells ignored. Names that
occur twice get numbers: `fc`, `fc_2`.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from hwsim.accelerator.layers import Layer, Phase, Product, Workload
from hwsim.accelerator.options import Sparsity
from hwsim.accelerator.workloads.blocks import product_layer
from hwsim.accelerator.workloads.sizes import check_range
from hwsim.accelerator.workloads.topology import MAX_LAYERS, Line, columns, lines, no_header
from hwsim.reading import read_whole

MAX_BYTES = 1_000_000
_SHOWN = 40


def read_gemm_csv(
    path: Path,
    a_bits: int = 8,
    b_bits: int = 8,
    *,
    output_bits: int = 8,
    accumulator_bits: int = 32,
    sparsity: Sparsity | None = None,
) -> Workload:
    """A table as one phase `forward` of bare products: no bias, no epilogue, no constants of columns.

    Parameters
    ----------
    path
        A regular file of at most `MAX_BYTES` bytes, UTF-8, with or without a byte order mark.
    a_bits, b_bits
        Of the (M, K) activation and the (K, N) weight, 2 to 16.
    output_bits, accumulator_bits
        Of results, 2 to 32, and of sums, 8 to 63.
    sparsity
        What the mapping skips: a line that states another is refused.

    Raises
    ------
    ValueError
        If it cannot be read, or a cell is missing, too many or no size; names file, line and column.
    """
    for what, bits, low, high in (
        ("a_bits", a_bits, 2, 16),
        ("b_bits", b_bits, 2, 16),
        ("output_bits", output_bits, 2, 32),
        ("accumulator_bits", accumulator_bits, 8, 63),
    ):
        check_range(what, bits, low, high)

    def layer(name: str, line: Line) -> Layer:
        product = Product(
            m=line.m, k=line.k, n=line.n, a_bits=a_bits, b_bits=b_bits, output_bits=output_bits,
            accumulator_bits=accumulator_bits, sparsity=line.sparsity,
        )  # fmt: skip
        return product_layer(name, product)

    content = read_whole(path, "GEMM table", MAX_BYTES)
    try:
        rows = list(_rows(_text(content), sparsity))
        layers = tuple(layer(name, row) for name, row in zip(_numbered(row.name for row in rows), rows, strict=True))
    except ValueError as error:
        raise ValueError(f"GEMM table {_short(str(path))}: {error}") from None
    return Workload(
        name=path.stem,
        scheme=f"w{b_bits}a{a_bits}",
        phases=(Phase(name="forward", tokens=1, layers=layers),),
    )


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise ValueError(f"line {line}, byte {column}: {error.object[error.start]:#04x} is not UTF-8") from None


def _rows(text: str, sparsity: Sparsity | None) -> Iterator[Line]:
    """The products of all lines behind the header."""
    names: tuple[str, ...] = ()
    found = 0
    for number, cells in _cells(text):
        try:
            if not names:
                names = columns(cells)
                continue
            for row in lines(names, cells):
                _check_sparsity(row, sparsity, names)
                found += 1
                if found > MAX_LAYERS:
                    raise ValueError(f", column 1: layer {row.name} is one too many; allowed are {MAX_LAYERS}")
                yield row
        except ValueError as error:
            raise ValueError(f"line {number}{error}") from None
    if not found:
        raise ValueError("no layers: a header and a line for each layer are needed" if names else no_header("nothing"))


def _cells(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not blank, with their numbers."""
    reader = csv.reader(io.StringIO(text, newline=None), strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            cells = [" ".join(cell.split()) for cell in cells]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: no CSV: {error}") from None


def _check_sparsity(row: Line, asked: Sparsity | None, names: tuple[str, ...]) -> None:
    """Refuse a line that states another sparsity than is asked for of all."""
    stated = "that all weights are there" if row.dense else f"{row.sparsity}"
    if asked is not None and (row.dense or row.sparsity not in (None, asked)):
        column = names.index("Sparsity") + 1
        raise ValueError(f", column {column}: layer {row.name}: its Sparsity is {stated}, but {asked} is asked for")


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


def _short(path: str) -> str:
    line = path if path.isprintable() else repr(path)[1:-1]
    return line if len(line) <= 4 * _SHOWN else f"{line[:_SHOWN]}...{line[-_SHOWN:]}"
