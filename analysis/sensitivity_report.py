"""The sensitivity study: measured, and written as JSON, CSV and plots."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import get_args

from rich.table import Table

from analysis.report.console import sensitivity_table
from analysis.report.figures import sensitivity_pictures
from analysis.report.folder import check_target, write_folder
from analysis.report.provenance import context
from analysis.report.records import sensitivity_record
from analysis.report.tables import sensitivity_csv
from analysis.sensitivity import BITS, KINDS, Kind, Row, add_bleu, count_schemes, passes_by_length, sensitivity
from analysis.workload import Model, calibrate_model
from reference.data import ParallelText

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


def check_kinds(names: Sequence[str] | None) -> tuple[Kind, ...]:
    """The kinds of targets that were asked for; all without a wish.

    Raises
    ------
    ValueError
        For an unknown one; lists the known.
    """
    for name in names or ():
        if name not in get_args(Kind):
            raise ValueError(f"unknown kind of target {name!r}; known: {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if not names or kind in names)


def study(model: Model, text: ParallelText, kinds: Sequence[Kind], with_bleu: bool, progress: Progress) -> list[Row]:
    """Sensitivity of every target of some kinds on a text, ranges calibrated on training sentences."""
    with progress("calibrating", None):
        ranges = calibrate_model(model)
        passes = passes_by_length(model, text)
    schemes = count_schemes(model, kinds)
    with progress("measuring", schemes) as advance:
        rows = sensitivity(model, ranges, passes, kinds, advance=partial(advance, 1))
    if with_bleu:
        with progress("translating", schemes) as advance:
            rows = add_bleu(rows, model, ranges, text, advance=partial(advance, 1))
    return rows


def write_sensitivity(
    model: Model,
    text: ParallelText,
    kinds: Sequence[str] | None,
    with_bleu: bool,
    out: Path,
    arguments: Sequence[str],
    progress: Progress,
) -> Table:
    """Run the study, write `sensitivity.json`, `sensitivity.csv` and plots to a new folder; the table of groups."""
    check_target(out)
    chosen, began = check_kinds(kinds), time.perf_counter()
    rows = study(model, text, chosen, with_bleu, progress)
    record = {
        "context": asdict(context(arguments, model.folder, time.perf_counter() - began)),
        "sentences": len(text),
        "bits": list(BITS),
        "sensitivity": [sensitivity_record(row) for row in rows],
    }
    files = {
        "sensitivity.json": (json.dumps(record, indent=1, allow_nan=False) + "\n").encode(),
        "sensitivity.csv": sensitivity_csv(rows).encode(),
    }
    write_folder(out, files | {f"{picture.name}.png": picture.png for picture in sensitivity_pictures(rows)})
    return sensitivity_table([row for row in rows if row.kind != "site"] or rows)
