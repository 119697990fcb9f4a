"""Every target: the integer program gives the codes of strict fake-quant at every site, for random models."""

import os
from collections import Counter as Multiset

import pytest
from hypothesis import HealthCheck, given, settings

from hwsim.targets import DEFAULT_TARGET, TARGETS
from tests.property.equality import EVENTS, TARGET_OPERATIONS, Outcome, RefusedError, compare
from tests.strategies import Case, target_cases

OTHERS = [name for name in TARGETS if name != DEFAULT_TARGET]
EXAMPLES = {"ci": 16, "long": 300}[os.environ.get("HYPOTHESIS_PROFILE", "ci")]
"""A target."""


def run(target: str) -> Outcome:
    """Random cases of a target; no code may differ."""
    seen = Outcome()
    refusals: list[str] = []
    effort = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

    @effort
    @given(target_cases(target))
    def equal(case: Case) -> None:
        try:
            outcome = compare(case)
        except RefusedError as error:
            refusals.append(str(error))
            seen.refused += 1
            return
        seen.add(outcome)
        assert outcome.different == 0, outcome.first

    equal()
    assert all(": " in text for text in refusals), refusals  # each names its site
    return seen


@pytest.mark.slow
def test_every_code_of_every_target_is_equal() -> None:
    """And the examples met every operation that only targets have, saturations, and ties of both signs."""
    operations: Multiset[str] = Multiset()
    events: Multiset[str] = Multiset()
    for target in OTHERS:
        seen = run(target)
        assert seen.examples >= EXAMPLES // 4, f"{target}: {seen.refused} refused"
        assert seen.compared > 1_000 * seen.examples
        operations.update(seen.operations)
        events.update(seen.events)
    assert set(operations) >= TARGET_OPERATIONS
    assert [name for name in EVENTS if not events[name]] == []
