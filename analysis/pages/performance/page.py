"""The Markdown of docs/performance.md; every figure on it is read from the record."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.bench.gemm import PEERS
from analysis.bench.job import DECODE_STEPS
from analysis.bench.model import ALSO, OURS
from analysis.bench.model import PEERS as TRANSLATORS
from analysis.output.numbers import count, fixed, significant

PAGE, RECORD, FIGURES = Path("performance.md"), Path("results", "performance.json"), Path("results", "performance")


def page(record: dict[str, Any]) -> str:
    """A part that was not measured has no section."""
    environment = Environment(
        loader=PackageLoader("analysis.pages"), undefined=StrictUndefined, trim_blocks=False, autoescape=False
    )
    environment.filters.update(count=count, fixed=fixed, significant=significant)
    names = {"peers": PEERS, "translators": TRANSLATORS, "ours": OURS, "also": ALSO, "steps": DECODE_STEPS}
    return environment.get_template("performance.md.jinja").render(r=record, figures=FIGURES.as_posix(), **names)
