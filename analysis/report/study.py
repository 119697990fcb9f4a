"""The sensitivity study: measured, and written as JSON, CSV and plots."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from typing import get_args

from analysis.accuracy.parts import KINDS, Kind, Row
from analysis.accuracy.sensitivity import BITS, add_bleu, baseline, count_schemes, passes_by_length, sensitivity
from analysis.inspect.provenance import Provenance, scheme_provenance
from analysis.output.context import Context
from analysis.report.records import accelerators, forced_words, sensitivity_record
from analysis.report.tables import sensitivity_csv
from analysis.workload import Model
from hwsim.program.targets import DEFAULT_TARGET
from reference.data import ParallelText
from reference.quantize.calibrate import Range
from reference.quantize.graph import trace
from reference.quantize.sites import enumerate_sites

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


def study(
    model: Model,
    text: ParallelText,
    ranges: dict[str, Range],
    kinds: Sequence[Kind],
    with_bleu: bool,
    progress: Progress,
    names: Sequence[str] = (DEFAULT_TARGET,),
) -> list[Row]:
    """Sensitivity of every target of some kinds on a text, under the `int8` of each accelerator of these names."""
    passes = passes_by_length(model, text)
    schemes = sum(count_schemes(model, kinds, accelerator=name) for name in names)
    with progress("sensitivity", schemes) as advance:
        rows = [
            row
            for name in names
            for row in sensitivity(model, ranges, passes, kinds, advance=partial(advance, 1), accelerator=name)
        ]
    if with_bleu:
        with progress("translating", schemes) as advance:
            rows = add_bleu(rows, model, ranges, text, advance=partial(advance, 1))
    return rows


def study_files(
    rows: Sequence[Row], model: Model, sentences: int, has_references: bool, origin: Context
) -> dict[str, bytes]:
    """`sensitivity.json`, `sensitivity.csv` and plots."""
    from analysis.report.figures import sensitivity_pictures  # loads matplotlib: only who draws waits

    record = {
        "context": asdict(origin),
        "targets": [_provenance(model, name)._asdict() for name in accelerators(rows)],
        "sentences": sentences,
        "teacher_forced_on": forced_words(has_references),
        "bits": list(BITS),
        "sensitivity": [sensitivity_record(row) for row in rows],
    }
    files = {
        "sensitivity.json": (json.dumps(record, indent=1, allow_nan=False) + "\n").encode(),
        "sensitivity.csv": sensitivity_csv(rows).encode(),
    }
    return files | {f"{picture.name}.png": picture.png for picture in sensitivity_pictures(rows)}


def _provenance(model: Model, name: str) -> Provenance:
    scheme = baseline(name)
    return scheme_provenance(scheme, enumerate_sites(trace(model.network), scheme.arithmetic))
