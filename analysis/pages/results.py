"""Makes docs/results/README.md from the JSON files beside it: `python -m analysis.pages.results [FOLDER]`."""

import json
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.output.numbers import count, fixed, signed
from hwsim.files import write_whole
from reference.data import assets, corpus

RUNS = (
    ("1,000 test sentences, greedy", "test-1000-greedy"),
    ("100 test sentences, beam 4", "test-100-beam-4"),
    ("Every target in its native configuration, 1,000 test sentences", "targets/native-1000"),
)
WORST = 10


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def planted(mutants: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """By area, and last of all: faults that were tried, noticed (killed or timed out), missed, and equivalent."""
    areas = [*sorted({one["area"] for one in mutants}), "all"]
    found = {}
    for area in areas:
        outcomes = [one["outcome"] for one in mutants if area in (one["area"], "all")]
        noticed = outcomes.count("killed") + outcomes.count("timed out")
        missed = outcomes.count("survived")
        found[area] = {
            "tried": noticed + missed,
            "noticed": noticed,
            "missed": missed,
            "equivalent": outcomes.count("equivalent"),
        }
    return found


def page(folder: Path) -> str:
    """The Markdown of the page; every figure on it is read from a file."""
    runs = [
        (title, read(folder / name / "report.json"), name, (folder / name / "report.html").exists())
        for title, name in RUNS
    ]
    sensitivity = read(folder / "sensitivity" / "sensitivity.json")
    rows = sensitivity["sensitivity"]
    coarse: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        coarse.setdefault(f"{row['kind']} {row[row['kind']]}", {})[row["bits"]] = row
    by_site = folder / "sensitivity-sites" / "sensitivity.json"
    sites = read(by_site) if by_site.exists() else None  # half an hour of work, not repeated for every page
    ablation = folder / "targets" / "ablation.json"  # the same
    at_four_bits = [row for row in sites["sensitivity"] if row["bits"] == 4] if sites else []
    worst = sorted(at_four_bits, key=lambda row: -row["loss_increase"])
    faults = read(folder / "mutants.json")
    environment = Environment(
        loader=PackageLoader("analysis.pages"), undefined=StrictUndefined, trim_blocks=False, autoescape=False
    )
    environment.filters.update(count=count, fixed=fixed, signed=signed)
    return environment.get_template(
        "results.md.jinja"
    ).render(
        runs=runs,
        greedy=runs[0][1],
        training=read(assets() / "model" / "training.json"),
        train_pairs=len(corpus("train")),
        records=[read(path) for path in sorted(folder.glob("property_equality*.json"))],
        accumulators=[read(path) for path in sorted(folder.glob("accumulators/*/verify.json"))],
        replay=read(folder / "targets" / "replay.json"),
        stock=read(folder / "stock_contract.json"),
        kernels=read(folder / "kernels" / "kernels.json"),
        ablation=read(ablation) if ablation.exists() else None,
        sensitivity=sensitivity,
        sites=sites,
        coarse=list(coarse.items()),
        has_intervals=any(row.get("loss_increase_95_percent") for row in rows),  # records of before have none
        worst=worst[:WORST],
        faults=faults,
        planted=planted(faults["mutants"]),
    )


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results")
    write_whole(folder / "README.md", page(folder))


if __name__ == "__main__":
    main()
