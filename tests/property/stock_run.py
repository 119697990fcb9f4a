"""Random models of a target under the stock contract, and the record of what came of them.

python -m tests.property.stock_run --examples 40 --out docs/results/stock_contract.json
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import torch
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st

from hwsim.files import write_whole
from hwsim.program.targets import DEFAULT_TARGET, TARGETS
from reference.models.translation import TransformerConfig
from reference.quantize.scheme import Rule, Scheme
from reference.quantize.sites import Role
from tests.property.equality import RefusedError, prepare
from tests.property.record import commit
from tests.property.stock import Tally, check_prepared
from tests.small.models import sites_of
from tests.strategies import MAX_POSITIONS, Case, Draw, recipes, sentences, target_cases


@st.composite
def default_cases(draw: Draw, power_of_two: bool) -> Case:
    """Models of the default target, whose every site may have a rule of its own.

    Every scale can be a power of two: sqrt(d_head) is one, and for tied embeddings sqrt(d_model).
    """
    tied = draw(st.booleans())
    config = TransformerConfig(
        vocabulary_size=draw(st.integers(20, 60)),
        d_model=draw(st.sampled_from([16, 64] if tied else [16, 32, 64])),
        n_heads=draw(st.integers(1, 3)),
        d_head=draw(st.sampled_from([4, 16, 64])),
        d_ff=draw(st.integers(3, 48)),
        encoder_layers=1,
        decoder_layers=1,
        max_positions=MAX_POSITIONS,
        tied=tied,
    )
    bits = st.sampled_from([4, 6, 8])
    free = [site.name for site in sites_of(1, 1).values() if site.role is Role.FREE]
    rules = [Rule(pattern=name, symmetric=draw(st.booleans()), bits=draw(st.integers(3, 8))) for name in free]
    scheme = Scheme(
        name="stock",
        weight_bits=draw(bits),
        activation_bits=draw(bits),
        sqrt_mode=draw(st.sampled_from(["shift", "merged", "dropped"])),
        power_of_two=power_of_two,
        multiplier_bits=1 if power_of_two else 16,
        rules=draw(st.sampled_from([[], rules])),
    )
    weights = draw(recipes())
    pairs = draw(sentences(config.vocabulary_size))
    return Case(config=config, weights=weights, scheme=scheme, pairs=pairs, calibration=len(pairs))


def ordinary(case: Case) -> Case:
    """The case with the target's own accumulator: torch knows no other."""
    accumulator = case.scheme.arithmetic.accumulator
    return replace(case, scheme=msgspec.structs.replace(case.scheme, accumulator=accumulator))


def powers_of_two(case: Case) -> Case:
    """The case with scales that are powers of two wherever the target's own operators let them."""
    case = ordinary(case)
    scheme = msgspec.structs.replace(case.scheme, power_of_two=True, multiplier_bits=1)
    root = 2 << (case.config.d_head > 8) << (case.config.d_head > 16)
    config = replace(case.config, d_head=root**2, d_model=16 if case.config.d_model < 40 else 64)
    return replace(case, scheme=scheme, config=config)


def stock_cases(target: str, power_of_two: bool) -> st.SearchStrategy[Case]:
    if target == DEFAULT_TARGET:
        return default_cases(power_of_two)
    return target_cases(target).map(powers_of_two if power_of_two else ordinary)


def run(target: str, power_of_two: bool, examples: int) -> Tally:
    """The tally of that many cases that are not refused; the first unexplained code raises AssertionError."""
    seen = Tally()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(stock_cases(target, power_of_two))
    def explained(case: Case) -> None:
        try:
            prepared = prepare(case)
        except RefusedError:
            seen.refused += 1
            reject()
        seen.add(check_prepared(prepared))

    explained()
    return seen


def record(examples: int, command: str) -> dict[str, Any]:
    """Tallies of every target, ready for JSON."""
    targets = {}
    for target in TARGETS:
        began = time.perf_counter()
        targets[target] = {
            kind: vars(run(target, power_of_two, examples))
            for kind, power_of_two in (("powers_of_two", True), ("ordinary_scales", False))
        }
        print(f"{target}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return {
        "examples_each": examples,
        "unexplained": 0,  # one would have raised
        "targets": targets,
        "command": command,
        "seed": "derandomized",
        "commit": commit(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "hypothesis": hypothesis.__version__,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Record the stock contract of every target.")
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    command = f"python -m tests.property.stock_run --examples {options.examples} --out {options.out}"
    write_whole(options.out, json.dumps(record(options.examples, command), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
