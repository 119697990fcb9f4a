"""`python -m analysis.pages.validation [DOCS]`: record of the validation, and its section of docs/accelerator.md."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

from analysis.output.context import context
from analysis.pages.operators.pages import encode
from analysis.pages.validation import fits, validation
from analysis.pages.validation.page import PAGE, RECORD, page, records
from hwsim.files import write_whole


def main(arguments: list[str]) -> None:
    """Compute, and write both."""
    docs, began = Path(arguments[0] if arguments else "docs"), time.perf_counter()
    points, fitted = validation(), fits()
    command = ["python", "-m", "analysis.pages.validation"]
    provenance = asdict(context(command, None, time.perf_counter() - began))
    write_whole(docs / RECORD, encode({"context": provenance, **records(points, fitted)}))
    write_whole(docs / PAGE, page((docs / PAGE).read_text(), points, fitted))


if __name__ == "__main__":
    main(sys.argv[1:])
