"""`python -m analysis.pages.operators [--pages] [DOCS]`: the studies, then the pages; `--pages` the pages alone."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

from analysis.output.context import context
from analysis.pages.operators.pages import ERRORS, encode, write_pages


def main(arguments: list[str]) -> None:
    """Write errors.json and the plots, unless told not to, and then everything that is made from them."""
    docs = Path(next((argument for argument in arguments if not argument.startswith("-")), "docs"))
    if "--pages" not in arguments:
        _study(docs)
    write_pages(docs)


def _study(docs: Path) -> None:
    from analysis.pages.operators import accumulator, activation, layernorm, requantization, softmax
    from analysis.pages.operators.study import SEED
    from analysis.plots import save
    from hwsim.files import write_whole

    began, record = time.perf_counter(), []
    for module in (requantization, softmax, layernorm, activation, accumulator):
        for study in module.studies():
            save(study.figure, docs / "operators" / f"{study.name}.png")
            rows = [asdict(finding) for finding in study.findings]
            record.append({"page": study.page, "name": study.name, "findings": rows})
    command = ["python", "-m", "analysis.pages.operators"]
    provenance = asdict(context(command, None, time.perf_counter() - began, SEED))
    write_whole(docs / ERRORS, encode({"context": provenance, "studies": record}))


if __name__ == "__main__":
    main(sys.argv[1:])
