"""Pruned models: the integer program gives the codes of strict fake-quant at every site, under every target."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analysis.proof.equality import prove_equal
from hwsim.machine import Machine
from hwsim.program.targets import DEFAULT_TARGET, TARGETS
from hwsim.program.validate import validate
from reference.lower import lower
from reference.quantize.plan import make_plan
from reference.quantize.scheme import NATIVE, PRESETS, Scheme, preset
from reference.quantize.strict import StrictArithmetic
from tests.small.models import TINY, small_model
from tests.small.programs import seen_by
from tests.small.pruned import PRUNINGS, VANISHINGS, pruned
from tests.small.sentences import sentences

SCHEMES = [*PRESETS.values(), *(preset(NATIVE, target) for target in TARGETS if target != DEFAULT_TARGET)]
WAYS = {**PRUNINGS, **{f"faint {name}": way for name, way in VANISHINGS.items()}}
POSITIONS = 10
"""So that few steps are decoded."""


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_a_pruned_model_is_computed_bit_for_bit(scheme: Scheme) -> None:
    """Random sets of parts are 0 or vanish; whole layers and everything at once, too."""

    @settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sets(st.sampled_from(sorted(WAYS)), min_size=1, max_size=4), st.booleans(), st.integers(0, 9))
    @example({"everything"}, True, 0)
    @example({"a dead ReLU", "a value projection", "faint a row of queries beside its bias"}, False, 1)
    def equal(names: set[str], tied: bool, seed: int) -> None:
        model = small_model(TINY, seed=seed, tied=tied, max_positions=POSITIONS)
        pruned(model, *(WAYS[name] for name in sorted(names)))
        plan = make_plan(model, scheme, seen_by(model))
        program = lower(model, plan, name="pruned")
        validate(program)
        outcome = prove_equal(model, StrictArithmetic(model, plan), Machine(program), sentences(2))
        assert outcome.equal, outcome.first

    equal()
