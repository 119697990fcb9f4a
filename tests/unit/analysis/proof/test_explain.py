"""Planted faults are found where they are, and named; what only follows is not blamed."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from analysis.proof.explain import Explanation, SiteReport, explain, read_dump, render
from analysis.proof.explain.records import UNEXPLAINED
from analysis.translation.steppers import MachineStepper
from hwsim.formats import Accumulator, Overflow, Rounding
from hwsim.machine import Machine, operation_of
from hwsim.program import Program
from hwsim.program.catalogue import NarrowBefore
from hwsim.program.operations import Requantize, written
from reference.quantize.scheme import Scheme
from reference.tokenizer import BOS
from tests.small.programs import tiny_program, with_constant, with_operation
from tests.small.sentences import sentences

ROWS = sentences(4)
SCORES = "encoder.0.self_attention.scores"
NUMERATOR, OUTPUT = "encoder.0.self_attention.softmax.numerator", "encoder.0.self_attention.softmax.output"
TABLE = "encoder.0.self_attention.softmax.table"
HIDDEN = "encoder.0.feed_forward.hidden"
SUM = "encoder.0.feed_forward.output.accumulator"
SATURATING = Accumulator(bits=12, overflow=Overflow.SATURATE)


@pytest.fixture(scope="module")
def narrow() -> Program:
    return tiny_program(Scheme(name="narrow", weight_bits=6, accumulator=SATURATING))


def with_format(program: Program, site: str, bits: int) -> Program:
    """The program with a wider tensor."""
    tensors = [
        msgspec.structs.replace(info, format=msgspec.structs.replace(info.format, bits=bits))
        if info.name == site
        else info
        for info in program.manifest.tensors
    ]
    return Program(msgspec.structs.replace(program.manifest, tensors=tensors), program.constants)


def codes_of(program: Program, sites: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Codes of `encode` and of the first decode step, named by call and site; all sites, or some."""
    made = {site for _, operation in program.operations() for site in written(operation)}
    values: dict[str, np.ndarray] = {}
    found = {}
    stepper = MachineStepper(Machine(program), ROWS, values.__setitem__)
    for call in ("encode", "decode_step.0"):
        if call != "encode":
            values.clear()
            stepper.step(np.full(len(ROWS), BOS), np.arange(len(ROWS)))
        function = call.partition(".")[0]
        own = {site for operation in program.functions[function].operations for site in written(operation)}
        for site in sorted(made & own & values.keys()):
            if sites is None or site in sites:
                found[f"{call}/{site}"] = values[site]
    return found


def explain_dump(a: Program, codes: dict[str, np.ndarray], folder: Path) -> Explanation:
    np.savez(folder / "codes.npz", **codes)
    return explain(a, read_dump(folder / "codes.npz", a), ROWS)


def only_origin(found: Explanation, site: str) -> SiteReport:
    """The one site that differs on equal inputs; it is the first, and nothing before it differs."""
    assert not found.equal and found.exit_code == 1 and found.first is not None
    assert [origin.site for origin in found.origins] == [site] == [found.first.site]
    names = [report.site for report in found.sites]
    for report in found.sites:
        assert (report.status == "equal") == (report.different == 0)
        if report.status == "follows":
            assert names.index(report.site) > names.index(site) and report.follows_from == [site]
            assert not report.causes
    return found.origins[0]


def kinds(site: SiteReport) -> set[str]:
    return {cause.kind for cause in site.causes if cause.exact}


# --- no difference ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["tiny_int8", "coarse", "narrow"])
def test_equal_programs_give_no_difference(fixture: str, request: pytest.FixtureRequest) -> None:
    program = request.getfixturevalue(fixture)
    found = explain(program, program, ROWS)
    assert found.equal and found.exit_code == 0 and found.first is None and found.different == 0
    assert found.compared > 10_000 and not found.origins and not found.not_compared
    assert found.sites_compared == found.sites_made == len(found.sites)
    assert {site.status for site in found.sites} == {"equal"}
    assert all(site.events_a == site.events_b for site in found.sites)


def test_an_own_dump_gives_no_difference(tiny_int8: Program, tmp_path: Path) -> None:
    found = explain_dump(tiny_int8, codes_of(tiny_int8), tmp_path)
    assert found.equal and found.calls == 2 and not found.not_compared
    assert all(site.events_b is None for site in found.sites)


def test_the_verdict_says_how_few_sites_were_compared(tiny_int8: Program, tmp_path: Path) -> None:
    """Of a dump of one site nothing else is known; what did not run was not compared either."""
    found = explain_dump(tiny_int8, codes_of(tiny_int8, [HIDDEN]), tmp_path)
    made = sum(len(written(operation)) for _, operation in tiny_int8.operations())
    assert found.equal and (found.sites_compared, found.sites_made) == (1, made)
    assert len(found.not_compared) == made - 1
    assert found.not_compared["decoder.0.feed_forward.hidden"] == "decode_step is not run"
    assert f"no difference: 1 of {made} sites compared, " in str(render(found)[0])
    record = json.loads(found.json())
    assert (record["sites_compared"], record["sites_made"]) == (1, made)
    wrong, site = tie_shift(tiny_int8)
    different = explain_dump(tiny_int8, codes_of(wrong, [site]), tmp_path)
    assert f"codes differ, 1 of {made} sites compared; sites that differ" in str(render(different)[0])


# --- a tie ------------------------------------------------------------------------------------------------------------


def tie_shift(program: Program) -> tuple[Program, str]:
    site = f"{SCORES}.shifted"
    return with_operation(program, site, rounding=Rounding.HALF_UP), site


def tie_requantize(program: Program) -> tuple[Program, str]:
    own = operation_of(program, SCORES)
    assert isinstance(own, Requantize)
    scheme = NarrowBefore(multiplier=own.requantization.multiplier, shift=own.requantization.shift)
    return with_operation(program, SCORES, requantization=scheme), SCORES


@pytest.mark.parametrize("plant", [tie_shift, tie_requantize])
def test_a_planted_tie_is_named_in_a_program(coarse: Program, plant: Callable[[Program], tuple[Program, str]]) -> None:
    wrong, site = plant(coarse)
    origin = only_origin(explain(coarse, wrong, ROWS), site)
    assert {"ties"} < kinds(origin) and origin.causes[0].declared
    assert origin.cause == (
        "rounding half_up in B, half_even in A"
        if plant is tie_shift
        else "requantization narrow_before in B, dyadic in A"
    )
    assert origin.max_lsb == 1 and origin.events_a is not None and origin.events_a.ties > 0


@pytest.mark.parametrize("plant", [tie_shift, tie_requantize])
@pytest.mark.parametrize("alone", [True, False])
def test_a_planted_tie_is_named_in_a_dump(
    coarse: Program, plant: Callable[[Program], tuple[Program, str]], alone: bool, tmp_path: Path
) -> None:
    """Also where nothing else was dumped."""
    wrong, site = plant(coarse)
    found = explain_dump(coarse, codes_of(wrong, [site] if alone else None), tmp_path)
    origin = only_origin(found, site)
    assert origin.causes[0].kind == "ties" and origin.causes[0].exact
    assert "ties: B rounds half_up, A half_even" in origin.cause
    first = found.first
    assert first is not None and first.cause == origin.cause
    assert first.tie_distance == 0 and first.before_rounding is not None and first.b - first.a == 1
    assert first.accumulator is not None and first.before_rounding == pytest.approx(first.a + 0.5)
    assert any("ties" in text for text in origin.observations)


def test_one_tie_of_many_is_no_rule(coarse: Program, tmp_path: Path) -> None:
    """No rule makes one tie different and leaves the others: it is told, not claimed."""
    wrong, site = tie_requantize(coarse)
    ours, theirs = codes_of(coarse), codes_of(wrong)
    key = f"encode/{site}"
    index = tuple(np.argwhere(ours[key] != theirs[key])[0])
    ours[key] = ours[key].copy()
    ours[key][index] = theirs[key][index]
    origin = only_origin(explain_dump(coarse, ours, tmp_path), site)
    assert origin.cause == UNEXPLAINED and not any(cause.exact for cause in origin.causes)
    assert origin.observations[0].startswith("differing codes that are ties, off by 1 LSB: 1 of 1; equal ones: ")
    assert not origin.observations[0].endswith(" 0")


# --- a saturation -----------------------------------------------------------------------------------------------------


def test_a_missing_clamp_is_named_in_a_program(four_bits: Program) -> None:
    origin = only_origin(explain(four_bits, with_format(four_bits, HIDDEN, 8), ROWS), HIDDEN)
    assert kinds(origin) == {"saturation"} and "uint8 in B, uint4 in A" in origin.cause
    assert any("does not clamp to uint4" in cause.text for cause in origin.causes if cause.exact)
    assert origin.events_a is not None and origin.events_b is not None
    assert origin.events_a.saturations == origin.different > 0 == origin.events_b.saturations


def test_a_missing_saturation_is_named_in_a_dump(four_bits: Program, tmp_path: Path) -> None:
    """The low bits of what the clamp should have caught."""
    key = f"encode/{HIDDEN}"
    codes = codes_of(four_bits, [HIDDEN])
    codes[key] = codes_of(with_format(four_bits, HIDDEN, 8), [HIDDEN])[key] & 15
    origin = only_origin(explain_dump(four_bits, codes, tmp_path), HIDDEN)
    assert origin.cause == "saturation missing: B keeps the low 4 bits of what lies outside uint4 (wraps)"
    assert "differing codes that are saturated in A" in origin.observations[0]


def test_a_wrapping_accumulator_is_named_in_a_program(narrow: Program) -> None:
    wrapping = msgspec.structs.replace(SATURATING, overflow=Overflow.WRAP)
    found = explain(narrow, with_operation(narrow, SUM, accumulator=wrapping), ROWS)
    origin = only_origin(found, SUM)
    assert origin.cause == "accumulator overflow wrap in B, overflow saturate in A"
    assert "the accumulator wraps at 12 bits in B" in [cause.text for cause in origin.causes if cause.exact]
    assert found.first is not None and found.first.accumulator == found.first.a
    assert origin.events_a is not None and origin.events_a.overflows > 0


@pytest.mark.parametrize("site", [SUM, "encoder.0.feed_forward.output"])
def test_a_wrapping_accumulator_is_named_in_a_dump(narrow: Program, site: str, tmp_path: Path) -> None:
    """Also from the codes alone that were made of it."""
    wrapping = msgspec.structs.replace(SATURATING, overflow=Overflow.WRAP)
    codes = codes_of(with_operation(narrow, SUM, accumulator=wrapping), [site])
    origin = only_origin(explain_dump(narrow, codes, tmp_path), site)
    assert origin.cause == "the accumulator wraps at 12 bits in B" and kinds(origin) == {"accumulator"}


def test_another_bias_is_named(tiny_int8: Program, tmp_path: Path) -> None:
    operation = operation_of(tiny_int8, SUM)
    name = getattr(operation, "bias")  # noqa: B009
    wrong = with_constant(tiny_int8, name, {3: int(tiny_int8.constants[name][3]) + 40})
    origin = only_origin(explain(tiny_int8, wrong, ROWS), SUM)
    assert origin.causes[0].kind == "bias" and "bias: 1 of 8 elements differ: [3]" in origin.cause
    origin = only_origin(explain_dump(tiny_int8, codes_of(wrong), tmp_path), SUM)
    assert origin.cause == "the bias differs in channel 3 by +40"
    assert "all differing codes are in channel 3 of the last axis" in origin.observations


# --- a table ----------------------------------------------------------------------------------------------------------


def swapped(program: Program, i: int, j: int) -> Program:
    table = program.constants[TABLE]
    return with_constant(program, TABLE, {i: int(table[j]), j: int(table[i])})


def sentence(program: Program, i: int, j: int) -> str:
    x, y = (int(program.constants[TABLE][k]) for k in (i, j))
    return f"swapped table entries: {i} holds {y} and {j} holds {x} in B, {x} and {y} in A"


def test_swapped_entries_are_named_in_a_program(tiny_int8: Program) -> None:
    origin = only_origin(explain(tiny_int8, swapped(tiny_int8, 7, 8), ROWS), NUMERATOR)
    assert origin.cause == sentence(tiny_int8, 7, 8) and kinds(origin) == {"table"}


@pytest.mark.parametrize("sites", [None, [NUMERATOR], [OUTPUT]], ids=["all", "numerator", "output"])
def test_swapped_entries_are_named_in_a_dump(tiny_int8: Program, sites: list[str] | None, tmp_path: Path) -> None:
    """From the numerators, and for neighbours even from the outputs alone."""
    found = explain_dump(tiny_int8, codes_of(swapped(tiny_int8, 7, 8), sites), tmp_path)
    origin = only_origin(found, OUTPUT if sites == [OUTPUT] else NUMERATOR)
    assert origin.cause == sentence(tiny_int8, 7, 8) and kinds(origin) == {"table"}


def test_a_single_wrong_entry_is_named(tiny_int8: Program, tmp_path: Path) -> None:
    table = tiny_int8.constants[TABLE]
    wrong = with_constant(tiny_int8, TABLE, {8: int(table[7])})
    origin = only_origin(explain_dump(tiny_int8, codes_of(wrong, [NUMERATOR]), tmp_path), NUMERATOR)
    assert origin.cause == f"table entry 8 holds {table[7]} in B, {table[8]} in A, the value of A's entry 7"


def test_numerators_that_no_table_makes_are_unexplained(tiny_int8: Program, tmp_path: Path) -> None:
    codes = codes_of(tiny_int8, [NUMERATOR])
    key = f"encode/{NUMERATOR}"
    codes[key] = codes[key].copy()
    codes[key].flat[np.flatnonzero(codes[key] == int(tiny_int8.constants[TABLE][0]))[0]] -= 3
    origin = only_origin(explain_dump(tiny_int8, codes, tmp_path), NUMERATOR)
    assert origin.cause == UNEXPLAINED


# --- downstream, and more than one ------------------------------------------------------------------------------------


def test_two_faults_are_both_found(tiny_int8: Program) -> None:
    """The second is downstream of the first, and none of its inputs is as in A."""
    wrong, site = tie_shift(swapped(tiny_int8, 7, 8))
    decoder = "decoder.0.cross_attention.softmax.table"
    wrong = with_constant(wrong, decoder, {0: int(wrong.constants[decoder][1])})
    found = explain(tiny_int8, wrong, ROWS)
    assert [origin.site for origin in found.origins] == [
        site,
        NUMERATOR,
        "decoder.0.cross_attention.softmax.numerator",
    ]
    assert found.origins[1].cause == sentence(tiny_int8, 7, 8)
    assert UNEXPLAINED not in {origin.cause for origin in found.origins}


def test_two_faults_are_both_found_in_a_dump(tiny_int8: Program, tmp_path: Path) -> None:
    wrong, site = tie_shift(swapped(tiny_int8, 7, 8))
    found = explain_dump(tiny_int8, codes_of(wrong), tmp_path)
    assert [origin.site for origin in found.origins] == [site, NUMERATOR]
    assert found.origins[1].cause == sentence(tiny_int8, 7, 8)


def test_a_fault_in_a_later_step_follows_the_cache(tiny_int8: Program, tmp_path: Path) -> None:
    """Keys of the encoder's end are read by the decoder: what differs there follows."""
    site = "decoder.0.cross_attention.key"
    own = operation_of(tiny_int8, site)
    assert isinstance(own, Requantize) and isinstance(own.requantization.multiplier, str)
    name = own.requantization.multiplier
    wrong = with_constant(tiny_int8, name, {i: int(m) - 900 for i, m in enumerate(tiny_int8.constants[name])})
    found = explain(tiny_int8, wrong, ROWS)
    origin = only_origin(found, site)
    assert origin.causes[0].kind == "multiplier"
    assert any(r.function == "decode_step" and r.status == "follows" for r in found.sites)
    only_origin(explain_dump(tiny_int8, codes_of(wrong), tmp_path), site)


def test_random_codes_are_unexplained(tiny_int8: Program, tmp_path: Path) -> None:
    site = "encoder.0.self_attention.query"
    codes = codes_of(tiny_int8, [site])
    key = f"encode/{site}"
    codes[key] = np.random.default_rng(1).integers(-100, 100, codes[key].shape)
    found = explain_dump(tiny_int8, codes, tmp_path)
    assert found.origins[0].cause == UNEXPLAINED and found.first is not None and found.first.cause == UNEXPLAINED


def test_no_sentence_and_another_vocabulary_are_refused(tiny_int8: Program) -> None:
    with pytest.raises(ValueError, match="no sentence"):
        explain(tiny_int8, tiny_int8, [])
    other = Program(msgspec.structs.replace(tiny_int8.manifest, tokenizer_sha256="0" * 64), tiny_int8.constants)
    with pytest.raises(ValueError, match="different vocabularies"):
        explain(tiny_int8, other, ROWS)
