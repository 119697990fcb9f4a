"""The tables of a report as files: CSV, and the translations as TSV."""

import re
from collections.abc import Sequence
from typing import Any

from analysis.accuracy.parts import Row
from analysis.estimates.records import csv_text, layer_rows
from analysis.output.numbers import finite
from analysis.report.records import Record, configuration_names
from analysis.run import RunResult

_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
"""Whatever some reader takes for the end of a field or of a line."""


def table_files(result: RunResult, rows: Sequence[Row], report: Record) -> dict[str, str]:
    """Name and content of every table."""
    configurations = report["configurations"]
    sites = [{"configuration": one["name"], **site} for one in configurations for site in one["sites"]]
    layers = [
        {"configuration": name, **row}
        for name, one in zip(configuration_names(result), result.configurations, strict=True)
        for row in layer_rows(one.estimate)
    ]
    return {
        "configurations.csv": csv_text([_flat(one) for one in configurations]),
        "sites.csv": csv_text(sites),
        "layers.csv": csv_text(layers),
        "sensitivity.csv": sensitivity_csv(rows),
        "translations.tsv": _translations(result),
    }


def _flat(configuration: Record) -> Record:
    """The figures that fit a cell; an interval has one for each end."""
    cells: Record = {}
    for key, value in configuration.items():
        if key.endswith("_95_percent"):
            low, high = value or (None, None)
            cells |= {f"{key}_low": low, f"{key}_high": high}
        elif key == "borrowed":
            cells[key] = "; ".join(f"{operator} from {lender}" for operator, lender in value.items())
        elif key == "extended":
            cells[key] = "; ".join(value)
        elif not isinstance(value, (list, dict)) and key != "first_divergence":
            cells[key] = value
    return cells


def sensitivity_csv(rows: Sequence[Row]) -> str:
    """One line a target and width, with its header even if there is none."""
    loss = "loss_increase_nat_per_token"
    header = f"target,kind,name,bits,{loss},{loss}_95_percent_low,{loss}_95_percent_high,sqnr_db,bleu\n"
    lines = [
        (
            *(row.accelerator, row.kind, row.name, row.bits),
            *map(finite, (row.loss_increase, *(row.interval or (None, None)), row.sqnr_db, row.bleu)),
        )
        for row in rows
    ]
    return header + "".join(",".join("" if cell is None else str(cell) for cell in line) + "\n" for line in lines)


def _translations(result: RunResult) -> str:
    """One line a sentence; a tab or line break within a sentence becomes a space."""
    header = ["source", *([] if result.references is None else ["reference"]), "float", *configuration_names(result)]
    columns = [result.source, *([] if result.references is None else [result.references]), result.floating.text]
    columns += [one.integer.text for one in result.configurations]
    lines: list[Sequence[Any]] = [header, *zip(*columns, strict=True)]
    return "".join("\t".join(_BREAKS.sub(" ", cell) for cell in line) + "\n" for line in lines)
