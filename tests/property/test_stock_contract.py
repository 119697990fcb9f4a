"""Plain torch fake-quant agrees: exactly where scales are powers of two, else up to ties that float32 cannot decide."""

import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.model import TransformerConfig
from reference.quantize.scheme import Rule, Scheme
from reference.quantize.sites import Role
from reference.train import teacher_forced
from tests.property.equality import RefusedError, compare, prepare
from tests.property.stock import EXACT, Stage, StockChecked, Tally, certify, fake_quantized_codes, tie_distance
from tests.strategies import EFFORT, MAX_POSITIONS, Case, Draw, recipes, sentences, sites_of

KINDS = {"query", "key", "value", "hidden", "output", "scores", "shifted", "context", "residual", "logits"}


@st.composite
def stock_cases(draw: Draw, power_of_two: bool) -> Case:
    """Models whose every scale can be a power of two: sqrt(d_head) is one, and for tied embeddings sqrt(d_model)."""
    tied = draw(st.booleans())
    config = TransformerConfig(
        vocabulary_size=draw(st.integers(20, 60)),
        d_model=draw(st.sampled_from([16, 64] if tied else [16, 32, 64])),
        n_heads=draw(st.integers(1, 3)),
        d_head=draw(st.sampled_from([4, 16, 64])),
        d_ff=draw(st.integers(3, 48)),
        encoder_layers=1,
        decoder_layers=1,
        max_positions=MAX_POSITIONS,
        tied=tied,
    )
    bits = st.sampled_from([4, 6, 8])
    free = [site.name for site in sites_of(1, 1).values() if site.role is Role.FREE]
    rules = [Rule(pattern=name, symmetric=draw(st.booleans()), bits=draw(st.integers(3, 8))) for name in free]
    scheme = Scheme(
        name="stock",
        weight_bits=draw(bits),
        activation_bits=draw(bits),
        sqrt_mode=draw(st.sampled_from(["shift", "merged", "dropped"])),
        power_of_two=power_of_two,
        multiplier_bits=1 if power_of_two else 16,
        rules=draw(st.sampled_from([[], rules])),
    )
    weights = draw(recipes())
    pairs = draw(sentences(config.vocabulary_size))
    return Case(config=config, weights=weights, scheme=scheme, pairs=pairs, calibration=len(pairs))


def check(case: Case, certifying: bool) -> Tally:
    """The tally of a whole model, teacher-forced."""
    prepared = prepare(case)
    checked = StockChecked(prepared.model, prepared.plan, certifying)
    with torch.no_grad():
        teacher_forced(prepared.model, checked, prepared.batch)
    return checked.tally


def test_powers_of_two_equal_stock_torch() -> None:
    """Under condition A, which practically every row meets, no code differs; nor does one of the machine."""
    tallies: list[Tally] = []

    @settings(EFFORT, max_examples=EFFORT.max_examples // 5)
    @given(stock_cases(power_of_two=True))
    def equal(case: Case) -> None:
        try:
            tally = check(case, certifying=False)
        except RefusedError:
            return
        assert tally.different_in_condition == 0
        assert compare(case).different == 0
        tallies.append(tally)

    equal()
    assert set(itertools.chain.from_iterable(tally.stages for tally in tallies)) == KINDS
    codes = sum(tally.codes for tally in tallies)
    assert codes > 100_000
    assert sum(tally.in_condition for tally in tallies) > 0.99 * codes


def test_other_scales_differ_only_where_float32_cannot_tell() -> None:
    """At most one step apart, and each difference certified by the exact rational value."""
    tallies: list[Tally] = []

    @settings(EFFORT, max_examples=EFFORT.max_examples // 5)
    @given(stock_cases(power_of_two=False))
    def near(case: Case) -> None:
        try:
            tallies.append(check(case, certifying=True))
        except RefusedError:
            return

    near()
    assert all(tally.certified == tally.different for tally in tallies)
    assert sum(tally.different for tally in tallies) < 1e-3 * sum(tally.codes for tally in tallies)
    assert set(itertools.chain.from_iterable(tally.stages for tally in tallies)) == KINDS - {"logits"}


def test_torch_rounds_half_to_even_before_the_zero_point() -> None:
    """What the contract rests on: with an odd zero point a tie goes to the even quotient, not to the even code."""
    from hwsim.formats import IntFormat
    from reference.quantize.constants import Quantizer

    to = Quantizer(format=IntFormat(bits=8), scale=0.5, zero_point=3)
    real = torch.tensor([0.25, 0.75, -0.25, -0.75, 1.25])
    assert fake_quantized_codes(real, to, to.format).tolist() == [3, 5, 3, 1, 5]


def _stage(accumulator: int) -> Stage:
    one = torch.tensor([1])
    return Stage(
        site="made up",
        real=torch.zeros(1),
        accumulator=torch.tensor([accumulator]),
        mass=torch.tensor([EXACT // 8]),
        multiplier=one,
        shift=10 * one,
        terms=8,
    )


def test_the_certificate_holds_at_a_tie_and_fails_elsewhere() -> None:
    assert tie_distance(Fraction(-3, 2)) == 0
    assert tie_distance(Fraction(9, 4)) == Fraction(1, 4)
    certify(_stage(512), (0,), 1)
    with pytest.raises(AssertionError, match="from a tie"):
        certify(_stage(512), (0,), 2)
    with pytest.raises(AssertionError, match="from a tie"):
        certify(_stage(256), (0,), 1)
