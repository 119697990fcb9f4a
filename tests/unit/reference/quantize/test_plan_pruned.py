"""(12a) to (12f) of docs/numerics.md: what is 0, constant or vanishing has a scale under every target."""

import pytest

from hwsim.program.targets import DEFAULT_TARGET, TARGETS
from hwsim.program.validate import validate
from reference.lower import lower
from reference.quantize.plan import make_plan
from reference.quantize.scheme import NATIVE, PRESETS, preset
from tests.small.models import ODD, small_model
from tests.small.programs import seen_by
from tests.small.pruned import PRUNINGS, VANISHINGS, Pruning, pruned

SCHEMES = [*PRESETS.values(), *(preset(NATIVE, target) for target in TARGETS if target != DEFAULT_TARGET)]


def whole(site: str) -> float:
    """The one scale of a site of the int8 plan."""
    raise NotImplementedError(site)


@pytest.mark.parametrize(
    "prune", [*PRUNINGS.values(), *VANISHINGS.values()], ids=[*PRUNINGS, *(f"faint: {name}" for name in VANISHINGS)]
)
def test_every_target_has_a_program_of_a_pruned_model(prune: Pruning) -> None:
    model = pruned(small_model(ODD, seed=3, tied=False), prune)
    seen = seen_by(model)
    for scheme in SCHEMES:
        validate(lower(model, make_plan(model, scheme, seen), name="pruned"))
