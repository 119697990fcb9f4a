"""The comparator finds what is planted, says where, for whom and from which value, and does not pass on nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
import torch

from analysis.proof.divergence import before_rounding, tie_distance
from analysis.proof.equality import Divergence, Equality, Lockstep, prove_equal
from analysis.proof.text import prove_text
from analysis.translation.steppers import MachineStepper, strict_stepper
from analysis.workload import Configuration, Model, calibrate_model, configure, load_model
from hwsim.formats import Accumulator, Overflow
from hwsim.machine.machine import Machine, operation_of
from hwsim.program import Program
from hwsim.program.operations import Add, Requantize, ShiftRight, written
from reference.data import ParallelText
from reference.decoding import beam, greedy, length_limit
from reference.quantize.scheme import Scheme, preset
from reference.quantize.strict import StrictArithmetic
from reference.tokenizer import BOS
from tests.small.models import save_tiny_model
from tests.small.programs import with_constant, with_operation

ENCODER, DECODER = "encoder.0", "decoder.0"
Tamper = Callable[[Program], Program]


@pytest.fixture(scope="module")
def model(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("equality") / "model"
    save_tiny_model(folder, vocabulary)
    return load_model(folder)


@pytest.fixture(scope="module")
def text(small_text: ParallelText) -> ParallelText:
    return small_text.head(6)


@pytest.fixture(scope="module")
def int8(model: Model, text: ParallelText) -> Configuration:
    return configure(model, preset("int8"), calibrate_model(model, text))


@pytest.fixture(scope="module")
def rows(model: Model, text: ParallelText) -> list[list[int]]:
    return model.encode(text.source, "text")


def tampered(configuration: Configuration, tamper: Tamper) -> Configuration:
    program = tamper(configuration.program)
    return replace(configuration, program=program, machine=Machine(program))


def limits_of(model: Model, rows: list[list[int]]) -> list[int]:
    return [length_limit(len(row), model.network.config.max_positions) for row in rows]


def code(program: Program, site: str, value: Fraction | float) -> int:
    """HALF_EVEN, zero point already inside; clamp, and what is raised to 1."""
    info = program.tensors[site]
    rounded = round(value - info.zero_point) + info.zero_point
    lowest = 1 if site.endswith(".denominator") else info.format.min
    return max(lowest, min(rounded, info.format.max))


# --- untampered ---------------------------------------------------------------------------------------------------


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


# --- tampered -----------------------------------------------------------------------------------------------------


def add_multiplier(program: Program) -> Program:
    site = f"{ENCODER}.feed_forward.residual"
    operation = operation_of(program, site)
    assert isinstance(operation, Add)
    return with_operation(program, site, a_multiplier=operation.a_multiplier + 1)


def generator_multiplier(program: Program) -> Program:
    operation = operation_of(program, "generator.logits")
    assert isinstance(operation, Requantize) and isinstance(operation.requantization.multiplier, str)
    multipliers = program.constants[operation.requantization.multiplier]
    name = "generator.logits.tampered"
    info = msgspec.structs.replace(program.constant_info[operation.requantization.multiplier], name=name)
    manifest = msgspec.structs.replace(program.manifest, constants=[*program.manifest.constants, info])
    changed = multipliers + (multipliers < 65535) - (multipliers == 65535)
    grown = Program(manifest, program.constants | {name: changed})
    scale = msgspec.structs.replace(operation.requantization, multiplier=name)
    return with_operation(grown, "generator.logits", requantization=scale)


def table_entries(program: Program) -> Program:
    name = f"{ENCODER}.self_attention.softmax.table"
    table = program.constants[name]
    return with_constant(program, name, {0: int(table[100]), 100: int(table[0])})


def weight(program: Program) -> Program:
    name = f"{DECODER}.feed_forward.hidden.weight"
    return with_constant(program, name, {(unit, 0): int(program.constants[name][unit, 0]) ^ 64 for unit in range(12)})


def score_shift(program: Program) -> Program:
    site = f"{DECODER}.self_attention.scores.shifted"
    operation = operation_of(program, site)
    assert isinstance(operation, ShiftRight)
    return with_operation(program, site, shift=operation.shift + 1)


def context_shift(program: Program) -> Program:
    site = f"{DECODER}.cross_attention.context"
    operation = operation_of(program, site)
    assert isinstance(operation, Requantize) and isinstance(operation.requantization.shift, int)
    scale = msgspec.structs.replace(operation.requantization, shift=operation.requantization.shift + 1)
    return with_operation(program, site, requantization=scale)


TAMPERED: dict[Tamper, tuple[str, str]] = {
    add_multiplier: (f"{ENCODER}.feed_forward.residual", "encode"),
    generator_multiplier: ("generator.logits", "decode step 0"),
    table_entries: (f"{ENCODER}.self_attention.softmax.numerator", "encode"),
    weight: (f"{DECODER}.feed_forward.hidden", "decode step 0"),
    score_shift: (f"{DECODER}.self_attention.scores.shifted", "decode step 0"),
    context_shift: (f"{DECODER}.cross_attention.context", "decode step 0"),
}


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_what_is_tampered_with_is_found(
    model: Model, int8: Configuration, rows: list[list[int]], tamper: Tamper
) -> None:
    wrong = tampered(int8, tamper)
    result = prove_equal(model.network, wrong.strict, wrong.machine, rows)
    first = result.first
    assert not result.equal and result.codes_different > 0 and first is not None
    assert (first.site, first.call) == TAMPERED[tamper]
    assert first.machine != first.reference
    assert first.sentence == first.index[0] + 1  # nobody has left yet
    different = [site for site, (_, count) in result.by_site.items() if count]
    assert different[0] == first.site and sum(result.by_site[site][1] for site in different) == result.codes_different
    if tamper is table_entries:
        table = int8.program.constants[f"{ENCODER}.self_attention.softmax.table"]
        swapped = {table[0]: table[100], table[100]: table[0]}
        assert first.before_rounding is None and swapped[first.reference] == first.machine
        return
    assert first.before_rounding is not None and first.tie_distance is not None and first.accumulator is not None
    assert code(wrong.program, first.site, first.before_rounding) == first.machine
    if tamper is not weight and tamper is not add_multiplier:  # the integer is sound, its factor is not
        operation = operation_of(int8.program, first.site)
        assert isinstance(operation, Requantize | ShiftRight)
        values = {operation.input: np.full(np.add(first.index, 1), first.accumulator)}
        _, sound = before_rounding(int8.program, first.site, first.index, values)
        assert sound is not None and code(int8.program, first.site, sound) == first.reference


def test_the_sentence_is_numbered_in_the_text(model: Model, int8: Configuration, rows: list[list[int]]) -> None:
    """A word of one sentence only is embedded wrongly; batches sort sentences by length."""
    counts = {token: [token in row for row in rows] for token in set().union(*rows)}
    token, where = next((token, found.index(True)) for token, found in counts.items() if sum(found) == 1)
    name = "encoder.embedding.weight"
    old = int(int8.program.constants[name][token, 3])
    wrong = tampered(int8, lambda program: with_constant(program, name, {(token, 3): old ^ 64}))
    result, _, _ = prove_text(model, wrong, rows)
    assert result.first is not None
    assert (result.first.sentence, result.first.site) == (where + 1, "encoder.embedding")
    assert str(result.first).startswith(f"sentence {where + 1}, encode, site encoder.embedding, index (")
    _, column, feature = result.first.index
    assert (rows[where][column], feature) == (token, 3)


def test_the_sentence_is_known_after_rows_move(
    vocabulary: Path, tmp_path: Path, text: ParallelText, rows: list[list[int]]
) -> None:
    """Rows that leave, reorder and repeat, as in beam search; one token of the decoder is embedded wrongly."""
    save_tiny_model(tmp_path / "untied", vocabulary, tied=False)
    untied = load_model(tmp_path / "untied")
    configuration = configure(untied, preset("int8"), calibrate_model(untied, text))
    name = "decoder.embedding.weight"
    old = int(configuration.program.constants[name][9, 2])
    wrong = tampered(configuration, lambda program: with_constant(program, name, {(9, 2): old ^ 64}))
    lockstep = Lockstep(untied.network, wrong.strict, wrong.machine, rows[:3])
    lockstep.step(np.full(3, BOS), np.arange(3))
    lockstep.step(np.array([7, 7, 8, 7]), np.array([2, 1, 0, 0]))
    assert lockstep.result.codes_different == 0
    lockstep.step(np.array([7, 9, 7]), np.array([3, 0, 1]))
    first = lockstep.result.first
    assert first is not None
    assert (first.sentence, first.call, first.site) == (3, "decode step 2", "decoder.embedding")
    assert first.index == (1, 0, 2)
    assert code(wrong.program, first.site, first.before_rounding or 0.0) == first.machine


def test_tokens_that_fake_quant_would_have_chosen_are_counted(
    model: Model, int8: Configuration, rows: list[list[int]]
) -> None:
    wrong = tampered(int8, weight)
    result = prove_equal(model.network, wrong.strict, wrong.machine, rows)
    stepper = strict_stepper(model.network, int8.strict, rows)
    with torch.inference_mode():
        assert result.fake_quant == greedy(stepper, limits_of(model, rows))
    expected = 0
    for row, ids in zip(rows, result.integer, strict=True):
        alone = strict_stepper(model.network, int8.strict, [row])
        for before, chosen in zip([BOS, *ids], ids, strict=False):
            expected += int(alone.step(np.array([before]), np.array([0])).argmax() != chosen)
    assert result.tokens_different == expected > 0


def test_another_logit_scale_is_refused(model: Model, int8: Configuration, rows: list[list[int]]) -> None:
    manifest = msgspec.structs.replace(int8.program.manifest, logit_scale=int8.plan.logit_scale * 2)
    wrong = tampered(int8, lambda program: Program(manifest, program.constants))
    with pytest.raises(ValueError, match="logit_scale"):
        prove_equal(model.network, wrong.strict, wrong.machine, rows, beam_width=2)


# --- nothing compared ---------------------------------------------------------------------------------------------


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
    site = f"{DECODER}.cross_attention.key.heads"
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


# --- overflows ----------------------------------------------------------------------------------------------------


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


# --- the value before rounding ------------------------------------------------------------------------------------


def calls(model: Model, configuration: Configuration, rows: list[list[int]]) -> Iterator[dict[str, np.ndarray]]:
    """The tensors of `encode` and of two steps."""
    values: dict[str, np.ndarray] = {}
    stepper = MachineStepper(configuration.machine, rows, values.__setitem__)
    yield values
    for token in (BOS, 9):
        values.clear()
        stepper.step(np.full(len(rows), token), np.arange(len(rows)))
        yield values


@pytest.mark.parametrize("mode", ["shift", "merged"])
def test_the_value_before_rounding_rounds_to_the_code(
    model: Model, text: ParallelText, rows: list[list[int]], mode: Literal["shift", "merged"]
) -> None:
    """Every operation of the program, by exact fractions."""
    scheme = Scheme(name="mixed", weight_bits=6, activation_bits=7, sqrt_mode=mode)
    configuration = configure(model, scheme, calibrate_model(model, text))
    program, rng, rounded = configuration.program, np.random.default_rng(1), set()
    for values in calls(model, configuration, rows[:3]):
        for site in [name for _, operation in program.operations() for name in written(operation)]:
            if site not in values or (site in program.functions["decode_step"].inputs and "target_ids" in values):
                continue
            for _ in range(12):
                index = tuple(int(rng.integers(size)) for size in values[site].shape)
                integer, value = before_rounding(program, site, index, values)
                if value is None:
                    assert integer is None
                    continue
                rounded.add(site)
                assert code(program, site, value) == values[site][index], (site, index)
    shifted = {site for site in program.tensors if site.endswith(".shifted")}
    numerators = {site for site in configuration.plan.quantizers if site.endswith("softmax.numerator")}
    assert rounded == configuration.plan.quantizers.keys() - numerators | shifted
    assert bool(shifted) == (mode == "shift")


def test_an_unknown_site_is_refused(int8: Configuration) -> None:
    with pytest.raises(ValueError, match="no operation makes 'nonsense'"):
        before_rounding(int8.program, "nonsense", (0,), {})


def test_distance_to_the_nearest_tie() -> None:
    assert [tie_distance(Fraction(n, 8)) for n in (-12, -11, 0, 3, 4, 7, 9)] == [
        Fraction(n, 8) for n in (0, 1, 4, 1, 0, 3, 3)
    ]


def test_a_divergence_says_where_and_from_what() -> None:
    first = Divergence(
        site="x.scores",
        call="decode step 4",
        sentence=7,
        index=(0, 1, 2, 3),
        machine=-3,
        reference=-2,
        accumulator=-40,
        before_rounding=-2.5078125,
        tie_distance=0.0078125,
    )
    assert str(first) == (
        "sentence 7, decode step 4, site x.scores, index (0, 1, 2, 3): machine -3, fake-quant -2, "
        "-2.507812 before rounding, 0.007812 from a tie"
    )
    bare = replace(first, before_rounding=None, tie_distance=None)
    assert str(bare).endswith("fake-quant -2")
