"""The comparator finds what is planted, and says where, for which sentence and from which value."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from analysis.proof.divergence import before_rounding
from analysis.proof.equality import Lockstep, prove_equal
from analysis.proof.text import prove_text
from analysis.translation.torch_steppers import strict_stepper
from analysis.workload import Configuration, Model, calibrate_model, configure, load_model
from hwsim.machine import Machine, operation_of
from hwsim.program import Program
from hwsim.program.operations import Add, Requantize, ShiftRight
from reference.data import ParallelText
from reference.decoding import greedy
from reference.quantize.scheme import preset
from reference.tokenizer import BOS
from tests.small.models import save_tiny_model
from tests.small.programs import with_constant, with_operation
from tests.unit.analysis.proof.expected_outcomes import code, limits_of

ENCODER, DECODER = "encoder.0", "decoder.0"
Tamper = Callable[[Program], Program]


def tampered(configuration: Configuration, tamper: Tamper) -> Configuration:
    program = tamper(configuration.program)
    return replace(configuration, program=program, machine=Machine(program))


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
