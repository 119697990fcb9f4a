"""How tests read a report: its JSON, its tables, its page, what is printed, and one that says the codes differ."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lxml import html
from rich.console import Console
from rich.table import Table

from analysis.accuracy.sensitivity import Row
from analysis.output.context import Context
from analysis.proof.equality import Divergence
from analysis.report import report_files
from analysis.run import RunResult

SENTENCES = 12
SCRIPT = "<script>alert('x')</script>\t& \"quoted\""


def write_report(result: RunResult, rows: list[Row], folder: Path, origin: Context) -> None:
    folder.mkdir(parents=True)
    for name, content in report_files(result, rows, origin).items():
        (folder / name).write_bytes(content)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def read_json(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text(), parse_constant=refuse)


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def page_of(folder: Path) -> Any:
    return html.fromstring((folder / "report.html").read_bytes())


def printed(table: Table, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return text


def broken(result: RunResult) -> RunResult:
    """The result as if the second configuration had differed."""
    first = Divergence(
        site="encoder.embedding",
        call="encode",
        sentence=1,
        index=(1, 2, 3),
        machine=17,
        reference=18,
        accumulator=None,
        before_rounding=None,
    )
    good, bad = result.configurations
    compared, _ = bad.equality.by_site["encoder.embedding"]
    by_site = bad.equality.by_site | {"encoder.embedding": (compared, 3)}
    equality = replace(bad.equality, codes_different=3, tokens_different=1, first=first, by_site=by_site)
    return replace(result, configurations=[good, replace(bad, equality=equality)])
