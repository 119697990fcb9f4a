"""`python -m analysis.pages.validation.speed [DOCS]`: how long estimates take, in fresh processes, after imports.

Repetitions of all cases are interleaved, so that a busy moment of the machine falls on all of them.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from io import StringIO
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from analysis.estimates.job import Output, run
from analysis.estimates.request import Request
from analysis.output.reserved import Outputs
from hwsim.accelerator.cost.estimate import estimate
from hwsim.accelerator.layers import Workload
from hwsim.accelerator.presets import PRESETS, hardware
from hwsim.accelerator.workloads.bert import Bert
from hwsim.accelerator.workloads.custom import CustomWorkload
from hwsim.files import write_whole

PAGE, BLOCK = Path("accelerator.md"), "speed"
RECORD = Path("results", "accelerator", "speed.json")
REPORTS = ("bert-base", "transformer-big")
LAYERS = (6, 12, 24, 48)
REPETITIONS = 25


def encoder(layers: int) -> Workload:
    """So many layers of the dimensions of BERT-Base."""
    return CustomWorkload(name="encoder", bert=Bert(layers=layers, d_model=768, n_heads=12, d_ff=3072)).workload()


def _report(name: str) -> Callable[[], object]:
    """`hwsim estimate --workload NAME`, from the request to the text."""
    console = Console(file=StringIO(), width=120)
    return lambda: console.print(*run(Request(workload=name), Output(), Outputs({})))


def _cost(layers: int) -> Callable[[], object]:
    """Shapes and cost on the default accelerator."""
    return lambda: estimate(encoder(layers), hardware(PRESETS[0]))


def cases() -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    reports = {f"report {name}": _report(name) for name in REPORTS}
    return reports | {f"cost {layers}": _cost(layers) for layers in LAYERS}


def once(case: str) -> float:
    """Seconds of a case in this process, whose caches are empty if it is the first."""
    work = cases()[case]
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(repetitions: int) -> dict[str, list[float]]:
    """Seconds of every case, one process each, all cases once in every repetition."""
    found: dict[str, list[float]] = {case: [] for case in cases()}
    for _ in range(repetitions):
        for case, seconds in found.items():
            command = [sys.executable, "-m", "analysis.pages.validation.speed", "--once", case]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds.append(round(float(done.stdout), 5))
    return found


def record(found: dict[str, list[float]]) -> dict[str, object]:
    """Medians, and medians of ratios within a repetition.

    `added_layer_ms` is what each further layer costs: like layers are searched once, so that time is a constant and a
    share of each layer. `added_layer_ratio` is that of each step over that of the last one.
    """
    costs = [found[f"cost {layers}"] for layers in LAYERS]
    steps = list(pairwise(LAYERS))
    added = [
        [1e3 * (after - before) / (more - fewer) for before, after in zip(low, high, strict=True)]
        for (fewer, more), (low, high) in zip(steps, pairwise(costs), strict=True)
    ]
    return {
        "repetitions": len(costs[0]),
        "reports": [
            {"workload": name, "median_seconds": round(median(found[f"report {name}"]), 4)} for name in REPORTS
        ],
        "cost": [
            {
                "encoder_layers": layers,
                "median_seconds": round(median(seconds), 5),
                "per_layer_ms": round(1e3 * median(seconds) / layers, 4),
            }
            for layers, seconds in zip(LAYERS, costs, strict=True)
        ],
        "added_layer_ms": {
            f"{fewer} to {more}": round(median(step), 4) for (fewer, more), step in zip(steps, added, strict=True)
        },
        "added_layer_ratio": {
            f"{fewer} to {more}": round(median(step) / median(added[-1]), 3)
            for (fewer, more), step in zip(steps, added, strict=True)
        },
        "seconds": found,
    }


def paragraph(speed: dict[str, Any]) -> str:
    """What docs/accelerator.md says of a record."""
    reports = ", ".join(f"`{one['workload']}` {one['median_seconds']:.2f} s" for one in speed["reports"])
    added = ", ".join(f"{step} layers {ms:.2f} ms" for step, ms in speed["added_layer_ms"].items())
    return (
        f"Made by `python -m analysis.pages.validation.speed` on {speed['context']['machine']}; medians of"
        f" {speed['repetitions']} fresh processes, in\n[`speed.json`](results/accelerator/speed.json)."
        f" The report of `hwsim estimate`, after the imports: {reports}. Encoder layers of BERT-Base's size cost\n"
        f"alike, however many there are: from {added} for each layer more; the first layer of a kind is searched, the"
        " others are looked up.\n"
    )


def main(arguments: list[str]) -> None:
    """Measure and record, or time one case and print its seconds."""
    if arguments[:1] == ["--once"]:
        print(once(arguments[1]))
        return
    # these import torch: not in the processes that are timed
    from analysis.output.context import context
    from analysis.pages.operators.pages import encode, replaced

    docs, began = Path(arguments[0] if arguments else "docs"), time.perf_counter()
    found = measure(REPETITIONS)
    command = ["python", "-m", "analysis.pages.validation.speed"]
    provenance = asdict(context(command, None, time.perf_counter() - began))
    speed = {"context": provenance, **record(found)}
    write_whole(docs / RECORD, encode(speed))
    write_whole(docs / PAGE, replaced((docs / PAGE).read_text(), BLOCK, paragraph(speed)))


if __name__ == "__main__":
    main(sys.argv[1:])
