"""A stage that is another in B, and was not dumped, is named from the first dumped tensor behind it; no other is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.proof.explain import Explanation, SiteReport, explain, read_dump, search
from analysis.proof.explain.records import UNEXPLAINED
from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.operations import Requantize, written
from reference.decoding import greedy
from reference.quantize.scheme import Scheme
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
EVERY = "at every requantization on the path"
WRAPS = "saturation missing: B keeps the low 4 bits of what lies outside"


@pytest.fixture(scope="module")
def short_sums() -> Program:
    return tiny_program(Scheme(name="short", residual_bits=8))


class Both:
    """A stepper of a machine, and of one with other stages that follows it; keeps what the second makes."""

    def __init__(self, program: Program, stages: dict[str, Stage]) -> None:
        self.program, self.stages = program, stages
        self.codes: dict[str, Any] = {}
        self._call = "encode"
        self._own = MachineStepper(Machine(program), ROWS)
        self.logit_scale = self._own.logit_scale
        with planted(program, stages):
            self._other = MachineStepper(Machine(program), ROWS, self._see)

    def _see(self, name: str, array: Any) -> None:
        self.codes[f"{self._call}/{name}"] = array

    def step(self, tokens: Any, parents: Any) -> Any:
        self._call = f"decode_step.{self._own.position}"
        with planted(self.program, self.stages):
            self._other.step(tokens, parents)
        return self._own.step(tokens, parents)


def dump_of(program: Program, stages: dict[str, Stage], sites: Sequence[str], steps: int = 0) -> dict[str, Any]:
    """Codes of some sites by a machine with other stages, on the tokens that the program chooses."""
    both = Both(program, stages)
    if steps:
        greedy(both, [steps] * len(ROWS))
    made = {name: function for function, op in program.operations() for name in written(op)}
    found = {}
    for key, array in both.codes.items():
        call, name = key.split("/")
        if name in sites and call.startswith(made.get(name, "-")):
            found[key] = array
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
        "tiny_int8", {f"{ENCODER}query": requantized("floor")}, [EMBEDDING, f"{ENCODER}scores"],
        f"{ENCODER}scores", at(f"{ENCODER}query", FLOOR),
    ),
    "value, of context": (
        "tiny_int8", {f"{ENCODER}value": requantized("toward_zero")},
        [EMBEDDING, f"{ENCODER}scores", f"{ENCODER}context"],
        f"{ENCODER}context", at(f"{ENCODER}value", TO_ZERO),
    ),
    "softmax output, never negative": (
        "tiny_int8", {f"{ENCODER}softmax.output": softmax(output="floor")}, [f"{ENCODER}scores", f"{ENCODER}context"],
        f"{ENCODER}context", at(f"{ENCODER}softmax.output", FLOOR, TO_ZERO),
    ),
    "softmax denominator": (
        "tiny_int8", {f"{ENCODER}softmax.output": softmax(denominator="floor")}, [f"{ENCODER}scores", LAST],
        LAST, at(f"{ENCODER}softmax.denominator", FLOOR, TO_ZERO),
    ),
    "layernorm quotient": (
        "tiny_int8", {f"{ENCODER}layernorm.output": layernorm(quotient="floor")}, [f"{ENCODER}residual", LAST],
        LAST, at(f"{ENCODER}layernorm.quotient", FLOOR),
    ),
    "layernorm output": (
        "tiny_int8", {f"{ENCODER}layernorm.output": layernorm(output="toward_zero")}, [f"{ENCODER}residual", LAST],
        LAST, at(f"{ENCODER}layernorm.output", TO_ZERO),
    ),
    "embedding": (
        "tiny_int8", {EMBEDDING: embedded("floor")}, [f"{ENCODER}scores"], f"{ENCODER}scores", at(EMBEDDING, FLOOR),
    ),
    "residual sum": (
        "short_sums", {f"{ENCODER}residual": added("floor")}, [EMBEDDING, f"{ENCODER}output", LAST],
        LAST, at(f"{ENCODER}residual", FLOOR),
    ),
    "halves are rounded up, as by a ceiling": (
        "coarse", {f"{ENCODER}scores.shifted": shifted("half_up")}, [EMBEDDING, f"{ENCODER}context"],
        f"{ENCODER}context",
        at(f"{ENCODER}scores.shifted", "ties: B rounds half_up, A half_even", "B rounds ceiling, A half_even"),
    ),
    "ties": (
        "coarse", {f"{ENCODER}scores": requantized("half_away")}, [EMBEDDING, f"{ENCODER}context", LAST],
        f"{ENCODER}context", at(f"{ENCODER}scores", "ties: B rounds half_away, A half_even"),
    ),
    "wraps": (
        "four_bits", {f"{FEED}hidden": requantized(wraps=True)}, [f"{ENCODER}layernorm.output", f"{FEED}output"],
        f"{FEED}output",
        [*at(f"{FEED}hidden", f"{WRAPS} uint4 (wraps)"), f"{EVERY} (2 stages): {WRAPS} the format (wraps)"],
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
    (stage,) = origin.causes[0].stages
    assert texts[0].startswith(f"at {stage}: ")


def looked(site: SiteReport) -> str:
    (said,) = (text for text in site.observations if text.startswith("looked back"))
    return said


# --- what is dumped ---------------------------------------------------------------------------------------------------


def test_from_the_last_output_alone(tiny_int8: Program, tmp_path: Path) -> None:
    """Of 19 stages before it that round, and of the embedding, one makes the codes."""
    codes = dump_of(tiny_int8, {f"{ENCODER}query": requantized("floor")}, [LAST])
    origin = first_of(told(tiny_int8, codes, tmp_path), LAST)
    assert exact(origin) == at(f"{ENCODER}query", FLOOR)
    assert origin.causes[0].checked == origin.causes[0].reproduced == codes[f"encode/{LAST}"].size
    assert looked(origin).startswith("looked back to source_ids: 21 undumped stages, ")


def test_a_stage_beyond_the_last_dumped_one_is_not_tried(tiny_int8: Program, tmp_path: Path) -> None:
    """The fault is before scores, which are dumped and differ: what is behind them only follows."""
    codes = dump_of(tiny_int8, {f"{ENCODER}query": requantized("floor")}, [EMBEDDING, f"{ENCODER}scores", LAST])
    found = told(tiny_int8, codes, tmp_path)
    origin = first_of(found, f"{ENCODER}scores")
    assert looked(origin).startswith("looked back to encoder.embedding: 3 undumped stages, ")
    tried = {stage for cause in origin.causes for stage in cause.stages}
    assert tried <= {f"{ENCODER}{name}" for name in ("query", "key", "scores.shifted", "scores")}
    (last,) = (site for site in found.sites if site.site == LAST)
    assert last.status == "follows" and not last.causes and not last.observations


def test_nothing_is_looked_for_where_all_is_dumped(tiny_int8: Program, tmp_path: Path) -> None:
    """The stage's own rule, as ever; no word of other stages."""
    everything = [name for name in tiny_int8.tensors if name.startswith("encoder")]
    codes = dump_of(tiny_int8, {f"{ENCODER}query": requantized("floor")}, everything)
    found = told(tiny_int8, codes, tmp_path)
    origin = first_of(found, f"{ENCODER}query")
    assert exact(origin) == [FLOOR] and not any(cause.stages for site in found.sites for cause in site.causes)
    assert not any("looked back" in text for site in found.sites for text in site.observations)
    assert b"looked back" not in found.json()


def test_a_rule_of_the_site_itself_is_told_without_a_stage(tiny_int8: Program, tmp_path: Path) -> None:
    """Scores that are themselves floored: no stage before them makes these codes."""
    codes = dump_of(tiny_int8, {f"{ENCODER}scores": requantized("floor")}, [EMBEDDING, f"{ENCODER}scores"])
    origin = first_of(told(tiny_int8, codes, tmp_path), f"{ENCODER}scores")
    assert exact(origin) == [FLOOR] and origin.causes[0].stages == []
    assert looked(origin).startswith("looked back to encoder.embedding: 3 undumped stages, ")


def test_a_dumped_tensor_that_agrees_clears_the_stage_before_it(tiny_int8: Program, tmp_path: Path) -> None:
    """Query alone does not tell; keys that are as in A do: the embedding cannot have been floored."""
    codes = dump_of(tiny_int8, {EMBEDDING: embedded("floor")}, [f"{ENCODER}query"])
    alone = first_of(told(tiny_int8, codes, tmp_path), f"{ENCODER}query")
    assert exact(alone) == at(EMBEDDING, FLOOR)
    codes |= dump_of(tiny_int8, {}, [f"{ENCODER}key"])
    query = first_of(told(tiny_int8, codes, tmp_path), f"{ENCODER}query")
    assert exact(query) == [] and query.cause == UNEXPLAINED
    assert looked(query).startswith("looked back to source_ids: 1 undumped stage, ")


def test_random_codes_are_no_stages(tiny_int8: Program, tmp_path: Path) -> None:
    codes = dump_of(tiny_int8, {}, [f"{ENCODER}context"])
    key = f"encode/{ENCODER}context"
    codes[key] = np.random.default_rng(2).integers(-100, 100, codes[key].shape)
    origin = first_of(told(tiny_int8, codes, tmp_path), f"{ENCODER}context")
    assert exact(origin) == [] and origin.cause == UNEXPLAINED and "looked back to source_ids: " in looked(origin)


# --- all of a kind ----------------------------------------------------------------------------------------------------


def every_requantization(program: Program, rule: str) -> dict[str, Stage]:
    return {op.output: requantized(rule) for _, op in program.operations() if isinstance(op, Requantize)}


@pytest.mark.parametrize(
    ("sites", "differing", "count"),
    [
        ([EMBEDDING, f"{ENCODER}scores", LAST], f"{ENCODER}scores", 3),
        ([EMBEDDING, LAST], LAST, 8),
        ([EMBEDDING, f"{FEED}residual", LAST], f"{FEED}residual", 8),
    ],
)
def test_one_requantizer(tiny_int8: Program, sites: list[str], differing: str, count: int, tmp_path: Path) -> None:
    """Query, key and the scores that differ; value, context, output, hidden, output: 8 to the layer's end."""
    origin = first_of(
        told(tiny_int8, dump_of(tiny_int8, every_requantization(tiny_int8, "floor"), sites), tmp_path), differing
    )
    assert exact(origin) == [f"{EVERY} ({count} stages): {FLOOR}"]
    assert len(origin.causes[0].stages) == count
    assert (differing in origin.causes[0].stages) == differing.endswith("scores")


# --- over calls -------------------------------------------------------------------------------------------------------


def test_a_key_that_the_cache_holds(tiny_int8: Program, tmp_path: Path) -> None:
    """The first step agrees; the scores of the second are off by a key that the first one made too."""
    site = f"{DECODER}scores"
    codes = dump_of(tiny_int8, {f"{DECODER}key": requantized("floor")}, [site], steps=4)
    found = told(tiny_int8, codes, tmp_path)
    origin = first_of(found, site)
    assert found.first is not None and found.first.call == "decode step 1"
    assert exact(origin) == at(f"{DECODER}key", FLOOR)
    assert origin.causes[0].checked == sum(codes[f"decode_step.{step}/{site}"].size for step in (0, 1))


def test_a_value_that_the_cache_holds(tiny_int8: Program, tmp_path: Path) -> None:
    """The context of every step is a sum over more keys."""
    site = f"{DECODER}context"
    codes = dump_of(tiny_int8, {f"{DECODER}value": requantized("floor")}, [site], steps=3)
    origin = first_of(told(tiny_int8, codes, tmp_path), site)
    assert exact(origin) == at(f"{DECODER}value", FLOOR)


def test_a_key_of_the_encoder(tiny_int8: Program, tmp_path: Path) -> None:
    codes = dump_of(tiny_int8, {f"{CROSS}key": requantized("floor")}, [LAST, LOGITS], steps=1)
    origin = first_of(told(tiny_int8, codes, tmp_path), LOGITS)
    assert exact(origin) == at(f"{CROSS}key", FLOOR)
    assert looked(origin).startswith(f"looked back to {LAST}, target_ids: ")


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_of_long_paths_fewer_sentences(tiny_int8: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The undumped stages of a sentence of 9 words have 10 tensors of 72 codes and two of 162: 1,044 in all."""
    codes = dump_of(tiny_int8, {f"{ENCODER}query": requantized("floor")}, [EMBEDDING, f"{ENCODER}scores"])
    size = codes[f"encode/{ENCODER}scores"].size // len(ROWS)
    per_sentence = 6 * codes[f"encode/{EMBEDDING}"].size // len(ROWS) + 2 * size
    for limit, count in ((4 * per_sentence, 4), (3 * per_sentence, 3), (2 * per_sentence - 1, 1)):
        monkeypatch.setattr("analysis.proof.explain.lookback.MOST_CODES", limit)
        origin = first_of(told(tiny_int8, codes, tmp_path), f"{ENCODER}scores")
        assert exact(origin) == at(f"{ENCODER}query", FLOOR) and origin.causes[0].checked == count * size
        assert looked(origin).endswith("rules tried" if count == 4 else f"rules tried, on {count} of 4 sentences")


def test_of_longer_paths_fewer_stages(tiny_int8: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearest are the shifted scores and their accumulator; query and key are too far for this limit."""
    codes = dump_of(tiny_int8, {f"{ENCODER}query": requantized("floor")}, [EMBEDDING, f"{ENCODER}scores"])
    monkeypatch.setattr(search, "MOST_CODES", 2 * codes[f"encode/{ENCODER}scores"].size)
    origin = first_of(told(tiny_int8, codes, tmp_path), f"{ENCODER}scores")
    assert exact(origin) == []
    assert looked(origin).startswith(
        f"looked back to {ENCODER}scores.accumulator, not as far as encoder.embedding: 1 undumped stage, "
    )
    assert looked(origin).endswith(f", more than {search.MOST_CODES:,} codes are not rounded again")


def test_the_same_dump_gives_the_same_words(tiny_int8: Program, tmp_path: Path) -> None:
    codes = dump_of(tiny_int8, {f"{ENCODER}softmax.output": softmax(output="floor")}, [f"{ENCODER}context"])
    assert told(tiny_int8, codes, tmp_path).json() == told(tiny_int8, codes, tmp_path).json()
