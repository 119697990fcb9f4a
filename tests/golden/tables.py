"""The tables of tests/golden/authors, and of any other directory that holds such tables."""

import csv
import io
import lzma
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from tests import GOLDEN

AUTHORS = GOLDEN / "authors"
"""The tables of this repository."""

NAMES = """
    cmsis_add_s16 cmsis_fc_s16 cmsis_fc_s16_rows cmsis_softmax_s16 cmsis_softmax_s16_luts cmsis_softmax_s8
    deeploy_igelu deeploy_ilayernorm deeploy_irmsnorm deeploy_isoftmax deeploy_itamax deeploy_itapartialmax
    deeploy_requantshift deeploy_rqgelu
    gemmini_acc_scale gemmini_igelu gemmini_layernorm gemmini_resadd gemmini_softmax
    ita_gelu_activation ita_requantizer ita_softmax_b0 ita_softmax_b5
    nvdla_cacc_int16 nvdla_cacc_int8 nvdla_cacc_sdp_int8 nvdla_sdp_c nvdla_sdp_x_mul nvdla_sdp_y_cvt
    pulpnn_add
""".split()


class Table:
    """Rows of a table by their columns."""

    def __init__(self, name: str, columns: dict[str, list[str]]) -> None:
        self.name, self._columns = name, columns
        self._rows: dict[str, list[list[int]]] = {}

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __getitem__(self, column: str) -> list[int]:
        """A column of integers."""
        return [int(cell) for cell in self._columns[column]]

    def rows_of(self, column: str) -> list[list[int]]:
        """A column whose cells hold rows of codes."""
        if column not in self._rows:
            self._rows[column] = [[int(code) for code in cell.split()] for cell in self._columns[column]]
        return self._rows[column]

    def integers(self, *columns: str) -> list[tuple[int, ...]]:
        """One tuple a row of several columns."""
        return list(zip(*(self[column] for column in columns), strict=True))

    def taken(self, keep: Sequence[int | bool]) -> "Table":
        """The rows for which `keep` is not 0."""
        columns = {
            name: [cell for cell, kept in zip(cells, keep, strict=True) if kept]
            for name, cells in self._columns.items()
        }
        return Table(self.name, columns)

    def where(self, **flags: int) -> "Table":
        """The rows whose flags are these."""
        table = self
        for name, value in flags.items():
            table = table.taken([cell == value for cell in table[name]])
        return table


def path_of(directory: Path, name: str) -> Path | None:
    """The file of a table, plain or compressed; None if there is none."""
    return next((path for suffix in (".csv", ".csv.xz") if (path := directory / f"{name}{suffix}").is_file()), None)


def complaint(directory: Path) -> str | None:
    """What is wrong with a directory of tables, in one line."""
    if not directory.is_dir():
        return f"--golden {directory}: there is no such directory"
    missing = [name for name in NAMES if path_of(directory, name) is None]
    return f"--golden {directory}: it lacks {', '.join(f'{name}.csv' for name in missing)}" if missing else None


@cache
def read(directory: Path, name: str) -> Table:
    path = path_of(directory, name)
    if path is None:
        raise FileNotFoundError(f"{directory} has no {name}.csv and no {name}.csv.xz")
    data = path.read_bytes()
    text = (lzma.decompress(data) if path.suffix == ".xz" else data).decode()
    header, *rows = csv.reader(io.StringIO(text))
    columns = [list(cells) for cells in zip(*rows, strict=True)] or [[] for _ in header]
    return Table(name, dict(zip(header, columns, strict=True)))


Read = Callable[[str], Table]
