"""The integer program gives the codes of strict fake-quant at every site: random models, schemes and sentences."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.program import operations as ops
from tests.property.equality import ALL_OPERATIONS, TARGET_OPERATIONS, Outcome, RefusedError, compare, missing
from tests.small.models import sites_of
from tests.strategies import EFFORT, A, B, Case, cases


@pytest.mark.slow
def test_every_code_of_every_site_is_equal() -> None:
    """Profiles A (2-8 bits) and B (9-16 bits) together; and the examples really met what could go wrong."""
    seen, refusals = Outcome(), []

    @settings(EFFORT)
    @given(st.one_of(cases(A), cases(B)))
    def equal(case: Case) -> None:
        try:
            outcome = compare(case)
        except RefusedError as error:
            refusals.append((case, str(error)))
            seen.refused += 1
            return
        seen.add(outcome)
        assert outcome.different == 0, outcome.first

    equal()
    for case, text in refusals:
        sites = sites_of(case.config.encoder_layers, case.config.decoder_layers)
        assert any(name.replace(".gamma", ".beta") in text or name in text for name in sites), text
    assert missing(seen) == []
    assert seen.refused < 0.15 * seen.examples
    assert seen.compared > 10_000 * seen.examples


def test_what_did_not_occur_is_named() -> None:
    """The check of the examples can fail: it names an operation, a width and an event that are missing."""
    assert {"Softmax", "activation 7", "overflow"} <= set(missing(Outcome()))


def test_operations_are_those_of_the_seam() -> None:
    tags = {operation.__struct_config__.tag for operation in ops.Operation.__args__}
    assert len(tags) == len(ALL_OPERATIONS)
    assert TARGET_OPERATIONS < ALL_OPERATIONS
    assert all(issubclass(operation, msgspec.Struct) for operation in ops.Operation.__args__)
