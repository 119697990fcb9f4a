"""Every target: the integer program gives the codes of strict fake-quant at every site, for random models."""

import math
import os
from collections import Counter as Multiset
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwsim.program.targets import DEFAULT_TARGET, TARGETS
from reference.quantize.scheme import Rule, scheme_for
from reference.quantize.sites import sites_among
from tests.property.equality import EVENTS, TARGET_OPERATIONS, Outcome, RefusedError, compare
from tests.small.models import sites_of
from tests.strategies import Case, Draw, target_cases

OTHERS = [name for name in TARGETS if name != DEFAULT_TARGET]
EXAMPLES = {"ci": 16, "long": 300}[os.environ.get("HYPOTHESIS_PROFILE", "ci")]
"""A target."""
REFUSED = {"ibert": 0.15, "pulp": 0.06, "gemmini": 0.04, "ita": 0.08, "ita-head": 0.08, "deeploy": 0.06}
"""Shares of many examples that are refused; of other targets next to none. A polynomial takes no scores coarser than
ln 2 or, in 32 bits, very fine ones; a wired scale of scores may be beyond a multiplier; a bias of ITA has 24 bits.
"""
POLYNOMIAL = ("ibert", "gemmini", "pulp")
"""What makes exponentials: scores must have some size and no great one."""
WIRED = ("ita", "ita-head", "deeploy")
"""Scores have one scale, far from which a product has no multiplier."""
WIDE = [name for name in OTHERS if TARGETS[name].wide is not None]


@st.composite
def cases(draw: Draw, target: str) -> Case:
    """A whole example, within reach of the target's constants more often than not."""
    case = draw(target_cases(target))
    weights = replace(case.weights, zero_rows=min(case.weights.zero_rows, 0.2))  # else a ReLU may make nothing but 0
    case = replace(case, weights=weights)
    if target == "gemmini":  # sums of squares are an int32
        case = with_scheme(case, residual_bits=min(case.scheme.residual_bits, 12))
    if target in POLYNOMIAL:
        case = with_scheme(case, rules=[Rule(pattern="*.scores", bits=draw(st.integers(8, 9)))])
        return with_magnitudes(replace(case, weights=replace(weights, constant_layernorm=False)))
    if target in WIDE and draw(st.booleans()):
        wide = scheme_for(target, name="wide", activation_bits=16, residual_bits=case.scheme.residual_bits)
        rules = [Rule(pattern="*.layernorm.quotient", bits=13)] if target == "nvdla" else []  # a 16-bit ratio
        return with_magnitudes(replace(case, scheme=msgspec.structs.replace(wide, rules=rules)))
    if target in WIRED:
        return replace(case, weights=replace(weights, magnitudes=tuple(min(one, 1.0) for one in weights.magnitudes)))
    return case


def with_magnitudes(case: Case) -> Case:
    """The case with weights such that scores have some units."""
    most = min(0.8, 2.2 / math.sqrt(case.config.d_model))
    magnitudes = tuple(min(max(one, most / 2), most) for one in case.weights.magnitudes)
    return replace(case, weights=replace(case.weights, magnitudes=magnitudes))


def with_scheme(case: Case, **fields: Any) -> Case:
    """The case with fields of its scheme changed."""
    return replace(case, scheme=msgspec.structs.replace(case.scheme, **fields))


def names_a_site(case: Case, text: str) -> bool:
    """Whether a refusal says where: a site of the case's model under its target."""
    names = sites_among(sites_of(case.config.encoder_layers, case.config.decoder_layers), case.scheme.arithmetic)
    return any(name in text or name.replace(".gamma", ".beta") in text for name in names)


def run(target: str, *rules: Rule) -> Outcome:
    """Random cases of a target, with rules beside the drawn ones; no code may differ."""
    seen = Outcome()
    refusals: list[tuple[Case, str]] = []
    effort = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

    @effort
    @given(cases(target))
    def equal(case: Case) -> None:
        scheme = msgspec.structs.replace(case.scheme, rules=[*case.scheme.rules, *rules])
        case = replace(case, scheme=scheme)
        try:
            outcome = compare(case)
        except RefusedError as error:
            refusals.append((case, str(error)))
            seen.refused += 1
            return
        seen.add(outcome)
        assert outcome.different == 0, outcome.first

    equal()
    assert [text for case, text in refusals if not names_a_site(case, text)] == []
    return seen


def most_refused(target: str, examples: int) -> float:
    """Three standard deviations above the share of many."""
    share = REFUSED.get(target, 0.02)
    return examples * share + 3 * math.sqrt(examples * share * (1 - share))


@pytest.mark.slow
def test_every_code_of_every_target_is_equal() -> None:
    """And the examples met every operation that only targets have, saturations, and ties of both signs."""
    operations: Multiset[str] = Multiset()
    events: Multiset[str] = Multiset()
    for target in OTHERS:
        seen = run(target)
        assert seen.refused <= most_refused(target, seen.examples + seen.refused), f"{target}: {seen.refused} refused"
        assert seen.compared > 1_000 * seen.examples
        operations.update(seen.operations)
        events.update(seen.events)
    assert set(operations) >= TARGET_OPERATIONS
    assert [name for name in EVENTS if not events[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("bits", [13, 16])
def test_scores_of_itamax_have_up_to_16_bits(bits: int) -> None:
    """It needs no table of their distances."""
    seen = run("deeploy", Rule(pattern="*.scores", bits=bits))
    assert seen.examples > 0.9 * EXAMPLES
    assert seen.widths[f"activation {bits}"] >= seen.examples
