"""`python -m analysis.pages.performance [DOCS]`: page and figures, from the record of `hwsim bench --growth --json`."""

import json
import sys
from pathlib import Path
from typing import Any

from analysis.pages.performance import figures
from analysis.pages.performance.page import FIGURES, PAGE, RECORD, page
from analysis.plots.style import save
from hwsim.files import write_whole


def write(docs: Path, record: dict[str, Any]) -> None:
    """Page, and a figure for each part that was measured."""
    folder = docs / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    if record["gemm"]:
        save(figures.roofline(record), folder / "roofline.png")
    if record["operators"]:
        save(figures.operators(record), folder / "operators.png")
    if record["growth"] is not None:
        save(figures.growth(record), folder / "growth.png")
    write_whole(docs / PAGE, page(record))


def main(arguments: list[str]) -> None:
    docs = Path(arguments[0] if arguments else "docs")
    write(docs, json.loads((docs / RECORD).read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
