"""An input that was not dumped is said to be assumed equal, where that is assumed and nowhere else."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from analysis.proof.explain import Explanation, explain, plot, read_dump, render
from hwsim.program import Program
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program
from tests.unit.analysis.proof.planted import requantized, softmax
from tests.unit.analysis.proof.test_look_back import DECODER, ENCODER, ROWS, dump_of, told

WORDS = "input not in the dump: assumed equal"
QUERY, SCORES = f"{ENCODER}query", f"{ENCODER}scores"
ACCUMULATOR, SHIFTED = f"{QUERY}.accumulator", f"{SCORES}.shifted"
OUTPUT = f"{ENCODER}softmax.output"


def said(found: Explanation) -> dict[str, list[str]]:
    """Of every site, what was assumed of it."""
    return {
        site.site: texts for site in found.sites if (texts := [text for text in site.observations if WORDS in text])
    }


def printed(found: Explanation) -> list[str]:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(*render(found))
    return [line.strip() for line in capture.get().splitlines()]


def anywhere(found: Explanation) -> tuple[int, int, int]:
    """How often the words stand in the console, the JSON and the figure."""
    figure = plot.figure(found)
    titles = [axes.get_title(loc="left") for axes in figure.axes] + [text.get_text() for text in figure.texts]
    return (
        sum(line.count(WORDS) for line in printed(found)),
        found.json().decode().count(WORDS),
        sum(title.count(WORDS) for title in titles),
    )


@pytest.mark.parametrize(
    ("sites", "site", "missing"),
    [
        ([QUERY], QUERY, ACCUMULATOR),
        ([QUERY, ACCUMULATOR], QUERY, None),
        ([SCORES], SCORES, SHIFTED),
        ([SCORES, QUERY, f"{ENCODER}key"], QUERY, ACCUMULATOR),
    ],
)
def test_an_input_that_is_missing(
    tiny_int8: Program, sites: list[str], site: str, missing: str | None, tmp_path: Path
) -> None:
    found = told(tiny_int8, dump_of(tiny_int8, {QUERY: requantized("floor")}, sites), tmp_path)
    expected = {} if missing is None else {site: [f"{WORDS} ({missing})"]}
    assert found.first is not None and found.first.site == site
    assert said(found) == expected and anywhere(found) == (len(expected),) * 3
    if missing is not None:
        assert f"{WORDS} ({missing})" in printed(found)
        record = next(one for one in json.loads(found.json())["sites"] if one["site"] == site)
        assert f"{WORDS} ({missing})" in record["observations"]


def test_nothing_is_assumed_where_all_is_dumped(tiny_int8: Program, tmp_path: Path) -> None:
    """Masks and sentences are the run's own, though a softmax and an embedding read them."""
    for stages in ({QUERY: requantized("floor")}, {OUTPUT: softmax(denominator="floor")}):
        found = told(tiny_int8, dump_of(tiny_int8, stages, list(tiny_int8.tensors), steps=2), tmp_path)
        assert found.origins and said(found) == {} and anywhere(found) == (0, 0, 0)


def test_nothing_is_assumed_where_nothing_differs(tiny_int8: Program, tmp_path: Path) -> None:
    found = told(tiny_int8, dump_of(tiny_int8, {}, [SCORES]), tmp_path)
    assert found.equal and said(found) == {} and anywhere(found) == (0, 0, 0)


def test_parts_read_the_parts_before_them(tiny_int8: Program, tmp_path: Path) -> None:
    """Of a softmax the output is made of numerator and denominator, and the scores alone do not tell them."""
    stage = {OUTPUT: softmax(output="floor")}
    parts = [f"{ENCODER}softmax.numerator", f"{ENCODER}softmax.denominator"]
    for sites, missing in (([SCORES], parts), ([SCORES, parts[0]], parts[1:]), (parts, [])):
        found = told(tiny_int8, dump_of(tiny_int8, stage, [*sites, OUTPUT]), tmp_path)
        assert said(found) == ({OUTPUT: [f"{WORDS} ({', '.join(missing)})"]} if missing else {})


def test_a_cache_was_dumped_in_the_call_before(tiny_int8: Program, tmp_path: Path) -> None:
    """The past is what the step before made; in the first step there is none."""
    site, heads = f"{DECODER}key_cache", f"{DECODER}key.heads"
    codes = dump_of(tiny_int8, {}, [site, heads], steps=3)
    for call in (0, 1, 2):
        one = dict(codes)
        name = f"decode_step.{call}/{site}"
        one[name] = codes[name].copy()
        one[name].flat[-1] ^= 1
        for gone in (None, *([f"decode_step.{call - 1}/{site}"] if call else [])):
            left = {key: array for key, array in one.items() if key != gone}
            missing = {} if gone is None else {site: [f"{WORDS} ({DECODER}key_past)"]}
            assert said(told(tiny_int8, left, tmp_path)) == missing


def test_programs_are_run_not_assumed(tiny_int8: Program) -> None:
    other = tiny_program(preset("int6"))
    found = explain(tiny_int8, other, ROWS, steps=1)
    assert found.origins and said(found) == {} and anywhere(found) == (0, 0, 0)


def test_an_empty_dump_is_refused(tiny_int8: Program, tmp_path: Path) -> None:
    """Inputs of the run alone are no codes to compare."""
    np.savez(tmp_path / "codes.npz", source_ids=np.ones((4, 9), np.int64))
    with pytest.raises(ValueError, match="is empty: it has codes of no site that an operation makes"):
        read_dump(tmp_path / "codes.npz", tiny_int8)
