"""The comparator passes what is equal, beams and overflows included, and does not pass on nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from analysis.proof.equality import Divergence, Equality, Lockstep, prove_equal
from analysis.proof.text import prove_text
from analysis.translation.torch_steppers import strict_stepper
from analysis.workload import Configuration, Model, calibrate_model, configure
from hwsim.formats import Accumulator, Overflow
from hwsim.machine import Machine
from reference.data import ParallelText
from reference.decoding import beam
from reference.quantize.scheme import Scheme
from reference.quantize.strict import StrictArithmetic
from reference.tokenizer import BOS
from tests.unit.analysis.proof.expected_outcomes import limits_of


def test_an_untampered_program_is_equal(model: Model, int8: Configuration, rows: list[list[int]]) -> None:
    total, integer, fake_quant = prove_text(model, int8, rows)
    assert total.equal and total.first is None and total.codes_compared > 10_000
    assert integer == fake_quant and all(integer.ids)
    assert int8.strict.observe is None


@torch.inference_mode()
def test_beam_search_is_equal_and_fake_quant_finds_it_alone(
    model: Model, int8: Configuration, rows: list[list[int]]
) -> None:
    result = prove_equal(model.network, int8.strict, int8.machine, rows, beam_width=3)
    assert result.equal and result.codes_compared > 10_000
    alone = beam(strict_stepper(model.network, int8.strict, rows), limits_of(model, rows), width=3)
    assert result.integer == result.fake_quant == alone
    assert result.integer is not result.fake_quant


def test_comparing_nothing_raises(model: Model, int8: Configuration, rows: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="no sentence"):
        prove_equal(model.network, int8.strict, int8.machine, [])
    with pytest.raises(ValueError, match="no sentence"):
        prove_text(model, int8, [])
    assert not Equality().equal

    class Silent(StrictArithmetic):
        def _see(self, site: str, codes: torch.Tensor) -> Any:
            self.observe, kept = (None, self.observe) if site == "generator.logits" else (self.observe, self.observe)
            seen = super()._see(site, codes)
            self.observe = kept
            return seen

    with pytest.raises(RuntimeError, match=r"never compared: generator\.logits"):
        prove_equal(model.network, Silent(model.network, int8.plan), int8.machine, rows[:1])


def test_an_input_is_not_compared(model: Model, int8: Configuration, rows: list[list[int]]) -> None:
    """Were it, a machine that never makes a site could pass with what it was given."""
    lockstep = Lockstep(model.network, int8.strict, int8.machine, rows[:2])
    site = "decoder.0.cross_attention.key.heads"
    assert site in int8.program.functions["decode_step"].inputs
    assert int8.strict.observe is not None
    int8.strict.observe(site, torch.zeros(2, 2, 6, 4))
    with pytest.raises(ValueError, match=r"decode_step of the program does not make site .*key\.heads"):
        lockstep.step(np.full(2, BOS), np.arange(2))
    int8.strict.observe = None


def test_nobody_is_left_observing(
    model: Model, int8: Configuration, rows: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("search failed")

    monkeypatch.setattr(Lockstep, "step", broken)
    with pytest.raises(RuntimeError, match="search failed"):
        prove_equal(model.network, int8.strict, int8.machine, rows)
    assert int8.strict.observe is None


@pytest.fixture(scope="module")
def saturating(model: Model, text: ParallelText) -> Configuration:
    accumulator = Accumulator(bits=16, overflow=Overflow.SATURATE)
    scheme = Scheme(name="saturating", weight_bits=10, activation_bits=10, accumulator=accumulator)
    return configure(model, scheme, calibrate_model(model, text))


@pytest.mark.parametrize("beam_width", [1, 2])
def test_overflows_are_the_same_alone_and_together(
    model: Model, saturating: Configuration, rows: list[list[int]], beam_width: int
) -> None:
    together, integer, _ = prove_text(model, saturating, rows, beam_width=beam_width)
    parts = [prove_text(model, saturating, [row], beam_width=beam_width) for row in rows]
    alone = Equality()
    for part, _, _ in parts:
        alone.merge(part)
    assert together.equal and together.overflows > 0
    assert together == alone
    assert integer.ids == [one.ids[0] for _, one, _ in parts]


def test_a_batch_would_count_its_padding(model: Model, saturating: Configuration, rows: list[list[int]]) -> None:
    """Why `prove_text` runs such sentences one by one."""
    total, _, _ = prove_text(model, saturating, rows)
    padded = prove_equal(model.network, saturating.strict, saturating.machine, rows)
    assert padded.equal and padded.overflows > total.overflows


def test_lost_overflows_are_not_equal(
    model: Model, saturating: Configuration, rows: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "totals", property(lambda _: dict.fromkeys(range(16), 0)))
    result, _, _ = prove_text(model, saturating, rows[:1])
    assert result.codes_different == result.tokens_different == result.overflows == 0 < result.overflows_fake_quant
    assert not result.equal


def test_outcomes_add_up() -> None:
    first = Divergence(
        site="s", call="encode", sentence=2, index=(0,), machine=1, reference=2, accumulator=5, before_rounding=0.75
    )
    total = Equality(by_site={"s": (4, 0)}, codes_compared=4, overflows=1, overflows_fake_quant=1)
    total.merge(
        Equality(
            by_site={"s": (3, 1), "t": (2, 0)}, tokens_different=1, overflows=2, overflows_fake_quant=3, first=first
        )
    )
    total.merge(Equality(first=replace(first, sentence=9)))
    assert total.by_site == {"s": (7, 1), "t": (2, 0)}
    assert (total.codes_compared, total.codes_different, total.tokens_different) == (9, 1, 1)
    assert (total.overflows, total.overflows_fake_quant, total.first) == (3, 4, first)
    assert not total.equal
    for field in ("codes_different", "tokens_different", "overflows", "overflows_fake_quant"):
        unequal = Equality(codes_compared=1)
        assert unequal.equal
        setattr(unequal, field, 1)
        assert not unequal.equal
    assert Equality(codes_compared=1, overflows=2, overflows_fake_quant=2).equal
