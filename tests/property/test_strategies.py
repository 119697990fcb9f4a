"""The shared strategies give what they promise."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hwsim.formats import Overflow
from reference.quantize.graph import trace
from reference.quantize.sites import Role, enumerate_sites
from reference.tokenizer import EOS, PAD
from tests.small.models import TINY, sites_of
from tests.strategies import (
    EFFORT,
    MAX_POSITIONS,
    A,
    B,
    Case,
    Weights,
    build_model,
    cases,
    configurations,
    schemes,
)

FEW = settings(EFFORT, max_examples=30)
PLAIN = Weights(seed=1, magnitudes=(0.5, 2.0), zero_rows=0.5, constant_layernorm=False, eps=1e-5)


@FEW
@given(configurations())
def test_sites_depend_on_the_layers_only(config) -> None:  # type: ignore[no-untyped-def]
    model = build_model(config, PLAIN)
    assert sites_of(config.encoder_layers, config.decoder_layers) == enumerate_sites(trace(model))


@FEW
@given(st.sampled_from([A, B]).flatmap(lambda profile: st.tuples(st.just(profile), schemes(profile, sites_of(1, 1)))))
def test_every_scheme_settles_within_its_profile(drawn) -> None:  # type: ignore[no-untyped-def]
    profile, scheme = drawn
    sites = sites_of(1, 1)
    for name, settled in scheme.resolve(sites).items():
        if sites[name].role is not Role.LOGITS:
            highest = 16 if name.endswith(".residual") else profile.highest
            assert profile.lowest <= settled.bits <= highest
        if name.endswith(".scores"):
            assert settled.bits <= profile.highest_scores


@FEW
@given(cases(A))
def test_a_case_is_made_the_same_twice(case: Case) -> None:
    first, second = case.model().state_dict(), case.model().state_dict()
    assert all(bool((first[name] == second[name]).all()) for name in first)


@FEW
@given(st.one_of(cases(A), cases(B)))
def test_batches_fit_the_model(case: Case) -> None:
    batch = case.batch()
    assert max(batch.source.shape[1], batch.target.shape[1]) <= MAX_POSITIONS
    assert int(batch.source.max()) < case.config.vocabulary_size
    assert 1 <= case.calibration <= len(case.pairs)
    assert bool((batch.source == PAD).all(-1).any()) == case.blind
    assert all(source[-1] == EOS == target[-1] for source, target in case.pairs)


def test_zero_rows_are_there_but_never_all() -> None:
    config = replace(TINY, n_heads=1, d_ff=8, encoder_layers=3, decoder_layers=3)
    weights = [p for p in build_model(config, PLAIN).parameters() if p.dim() == 2]
    zero = [(weight == 0).all(-1) for weight in weights]
    assert any(bool(rows.any()) for rows in zero)
    assert not any(bool(rows.all()) for rows in zero)


AWKWARD: dict[str, Callable[[Case], bool]] = {
    "d_model is no power of two": lambda case: case.config.d_model & (case.config.d_model - 1) != 0,
    "untied": lambda case: not case.config.tied,
    "two layers": lambda case: max(case.config.encoder_layers, case.config.decoder_layers) == 2,
    "wraps": lambda case: case.scheme.accumulator.overflow is Overflow.WRAP,
    "saturates": lambda case: case.scheme.accumulator.overflow is Overflow.SATURATE,
    "few-bit multipliers": lambda case: case.scheme.multiplier_bits <= 2,
    "merged": lambda case: case.scheme.sqrt_mode == "merged",
    "dropped": lambda case: case.scheme.sqrt_mode == "dropped",
    "a rule for every site": lambda case: len(case.scheme.rules) > 60,
    "constant LayerNorm, blind": lambda case: case.weights.constant_layernorm and case.blind,
    "profile A": lambda case: case.scheme.activation_bits <= A.highest,
    "profile B": lambda case: case.scheme.activation_bits >= B.lowest,
}


def test_the_awkward_ones_are_drawn() -> None:
    met: set[str] = set()

    @settings(EFFORT, max_examples=200, phases=[Phase.generate])
    @given(st.one_of(cases(A), cases(B)))
    def look(case: Case) -> None:
        met.update(name for name, wanted in AWKWARD.items() if wanted(case))

    look()
    assert met == set(AWKWARD)
