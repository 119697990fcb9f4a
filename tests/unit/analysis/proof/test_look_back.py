"""A stage that is another in B, and was not dumped, is named from the first dumped tensor behind it; no other is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.proof.explain import Explanation, SiteReport, explain, read_dump
from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine
from hwsim.program import Program
from reference.quantize.scheme import Scheme, preset
from reference.tokenizer import BOS
from tests.small.programs import tiny_program
from tests.small.sentences import sentences
from tests.unit.analysis.proof.planted import (
    Stage,
    added,
    embedded,
    layernorm,
    planted,
    requantized,
    shifted,
    softmax,
)  # fmt: skip

ROWS = sentences(4)
ENCODER, DECODER = "encoder.0.self_attention.", "decoder.0.self_attention."
CROSS, FEED = "decoder.0.cross_attention.", "encoder.0.feed_forward."
EMBEDDING, LAST, LOGITS = "encoder.embedding", f"{FEED}layernorm.output", "generator.logits"
WRAPS = "saturation missing: B keeps the low 4 bits of what lies outside"


@pytest.fixture(scope="module")
def int8() -> Program:
    return tiny_program(preset("int8"))


@pytest.fixture(scope="module")
def coarse() -> Program:
    """Power-of-two scales: values that are ties."""
    return tiny_program(Scheme(name="coarse", activation_bits=4, power_of_two=True, multiplier_bits=1))


@pytest.fixture(scope="module")
def four_bits() -> Program:
    """Codes that saturate."""
    return tiny_program(Scheme(name="four", activation_bits=4))


def dump_of(program: Program, stages: dict[str, Stage], sites: Sequence[str], steps: int = 0) -> dict[str, Any]:
    """Codes of some sites by a machine with other stages; the first token of every step is BOS."""
    values: dict[str, Any] = {}
    found = {}
    with planted(program, stages):
        stepper = MachineStepper(Machine(program), ROWS, values.__setitem__)
        for call in ("encode", *(f"decode_step.{step}" for step in range(steps))):
            if call != "encode":
                values.clear()
                stepper.step(np.full(len(ROWS), BOS), np.arange(len(ROWS)))
            names = [name for name in sites if name.startswith(("encoder", "decoder.0.cross")) == (call == "encode")]
            found |= {f"{call}/{name}": values[name] for name in names if name in values}
    return found


def told(program: Program, codes: dict[str, Any], folder: Path) -> Explanation:
    np.savez(folder / "codes.npz", **codes)
    return explain(program, read_dump(folder / "codes.npz", program), ROWS)


def exact(site: SiteReport) -> list[str]:
    return [cause.text for cause in site.causes if cause.exact]


def first_of(found: Explanation, site: str) -> SiteReport:
    assert found.first is not None and found.first.site == site
    return next(report for report in found.sites if report.site == site)


FLOOR = "B rounds floor, A half_even"
TO_ZERO = "B rounds toward_zero, A half_even"


def at(site: str, *rules: str) -> list[str]:
    return [f"at {site}: {rule}" for rule in rules]


CASES: dict[str, tuple[str, dict[str, Stage], list[str], str, list[str]]] = {
    "query": (
        "int8", {f"{ENCODER}query": requantized("floor")}, [EMBEDDING, f"{ENCODER}scores"],
        f"{ENCODER}scores", at(f"{ENCODER}query", FLOOR),
    ),
    "value, of context": (
        "int8", {f"{ENCODER}value": requantized("toward_zero")}, [EMBEDDING, f"{ENCODER}scores", f"{ENCODER}context"],
        f"{ENCODER}context", at(f"{ENCODER}value", TO_ZERO),
    ),
    "softmax output, never negative": (
        "int8", {f"{ENCODER}softmax.output": softmax(output="floor")}, [f"{ENCODER}scores", f"{ENCODER}context"],
        f"{ENCODER}context", at(f"{ENCODER}softmax.output", FLOOR, TO_ZERO),
    ),
    "softmax denominator": (
        "int8", {f"{ENCODER}softmax.output": softmax(denominator="floor")}, [f"{ENCODER}scores", LAST],
        LAST, at(f"{ENCODER}softmax.denominator", FLOOR, TO_ZERO),
    ),
    "layernorm quotient": (
        "int8", {f"{ENCODER}layernorm.output": layernorm(quotient="floor")}, [f"{ENCODER}residual", LAST],
        LAST, at(f"{ENCODER}layernorm.quotient", FLOOR),
    ),
    "layernorm output": (
        "int8", {f"{ENCODER}layernorm.output": layernorm(output="toward_zero")}, [f"{ENCODER}residual", LAST],
        LAST, at(f"{ENCODER}layernorm.output", TO_ZERO),
    ),
    "embedding": (
        "int8", {EMBEDDING: embedded("floor")}, [f"{ENCODER}scores"], f"{ENCODER}scores", at(EMBEDDING, FLOOR),
    ),
    "residual sum": (
        "int8", {f"{ENCODER}residual": added("floor")},
        [EMBEDDING, f"{ENCODER}output", f"{ENCODER}layernorm.numerator"],
        f"{ENCODER}layernorm.numerator", at(f"{ENCODER}residual", FLOOR),
    ),
    "halves are rounded up, as by a ceiling": (
        "coarse", {f"{ENCODER}scores.shifted": shifted("half_up")}, [EMBEDDING, f"{ENCODER}context"],
        f"{ENCODER}context",
        at(f"{ENCODER}scores.shifted", "ties: B rounds half_up, A half_even", "B rounds ceiling, A half_even"),
    ),
    "ties": (
        "coarse", {f"{ENCODER}key": requantized("half_away")}, [EMBEDDING, f"{ENCODER}scores"],
        f"{ENCODER}scores", at(f"{ENCODER}key", "ties: B rounds half_away, A half_even"),
    ),
    "wraps": (
        "four_bits", {f"{FEED}hidden": requantized(wraps=True)}, [f"{ENCODER}layernorm.output", f"{FEED}output"],
        f"{FEED}output", at(f"{FEED}hidden", f"{WRAPS} uint4 (wraps)"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_stage_that_was_not_dumped_is_named(case: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    fixture, stages, sites, differing, texts = CASES[case]
    program = request.getfixturevalue(fixture)
    found = told(program, dump_of(program, stages, sites), tmp_path)
    origin = first_of(found, differing)
    assert origin.different_on_equal_inputs > 0 and exact(origin) == texts
    assert found.first is not None and found.first.cause == texts[0]
    assert {stage for cause in origin.causes for stage in cause.stages} == {texts[0].split(": ")[0][3:]}
