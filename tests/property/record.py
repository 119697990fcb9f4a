"""Runs many examples of "the program equals strict fake-quant" and writes down what came of them.

python -m tests.property.record --examples 5000 --out docs/results/property_equality.json
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hwsim.files import write_whole
from tests.property.equality import EVENTS, Outcome, RefusedError, compare, missing
from tests.strategies import A, B, Case, cases

SEED = 20260


def run(examples: int, chosen_seed: int) -> Outcome:
    """That many examples of both profiles; differences are counted, not raised."""
    seen = Outcome()

    @seed(chosen_seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(cases(A), cases(B)))
    def example(case: Case) -> None:
        try:
            seen.add(compare(case))
        except RefusedError:
            seen.refused += 1
        done = seen.examples + seen.refused
        if done % 100 == 0:
            print(f"{done} examples, {seen.compared} codes compared, {seen.different} different", file=sys.stderr)

    example()
    return seen


def report(seen: Outcome, chosen_seed: int, seconds: float, command: str) -> dict[str, Any]:
    """The record, ready for JSON."""
    widths = {
        kind: sorted(int(key.split()[1]) for key in seen.widths if key.startswith(kind))
        for kind in ("activation", "weight")
    }
    return {
        "examples": seen.examples,
        "refused": seen.refused,
        "codes_compared": seen.compared,
        "codes_compared_whole_targets": seen.compared_whole,
        "codes_compared_sentences_alone": seen.compared_alone,
        "different": seen.different,
        "first_difference": seen.first or None,
        "events": {event: seen.events[event] for event in EVENTS},
        "operations": dict(sorted(seen.operations.items())),
        "widths": widths,
        "not_met": missing(seen),
        "command": command,
        "seed": chosen_seed,
        "commit": commit(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "hypothesis": hypothesis.__version__,
        "wall_seconds": round(seconds, 1),
    }


def commit() -> str:
    """The commit that is checked out, and whether files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return (git("rev-parse", "HEAD") or "unknown") + ("-modified" if git("status", "--porcelain") else "")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Record the equality of programs and strict fake-quant.")
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    began = time.perf_counter()
    seen = run(options.examples, options.seed)
    command = f"python -m tests.property.record --examples {options.examples} --seed {options.seed} --out {options.out}"
    record = report(seen, options.seed, time.perf_counter() - began, command)
    write_whole(options.out, json.dumps(record, indent=1) + "\n")
    return int(seen.different > 0 or bool(record["not_met"]))


if __name__ == "__main__":
    sys.exit(main())
