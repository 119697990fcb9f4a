"""Tables of embeddings in a plan: which are shared, with which scales."""

import math

import torch

from hwsim.program.targets import TARGETS
from reference.lower import lower
from reference.quantize.scheme import Rule, Scheme, preset
from reference.quantize.strict import StrictArithmetic
from reference.train import teacher_forced
from tests.small.models import small_model
from tests.small.programs import planned
from tests.small.sentences import random_batch
from tests.unit.reference.quantize.plans import TWO, VOCABULARY, plan_of
from tests.unit.reference.quantize.relations import Relations


def test_tied_embeddings_share_one_table_and_one_multiplier_a_row() -> None:
    model = small_model(TWO)
    plan = planned(model, preset("int8"))
    program = lower(model, plan, name="tied")
    tables = {constants.table for constants in (*plan.embed.values(), *plan.logits.values())}
    assert tables == {"encoder.embedding.weight"}
    rows = [constants.multipliers for constants in (*plan.embed.values(), *plan.logits.values())]
    assert all(torch.equal(other, rows[0]) for other in rows)
    named = [info.name for info in program.manifest.constants if "embedding" in info.name or "generator" in info.name]
    assert sorted(named) == ["encoder.embedding.weight", "encoder.embedding.weight.multiplier"]
    encoder, decoder = (plan.quantizers[f"{side}.embedding"].scale for side in ("encoder", "decoder"))
    assert math.frexp(encoder / decoder)[0] == 0.5


def test_a_width_of_its_own_makes_a_table_of_its_own() -> None:
    model = small_model(TWO)
    scheme = Scheme(name="x", rules=[Rule(pattern="generator.logits.weight", bits=4)])
    plan = planned(model, scheme)
    assert {constants.table for constants in plan.embed.values()} == {"encoder.embedding.weight"}
    assert plan.logits["generator.logits"].table == "generator.logits.weight"
    assert plan.weights["generator.logits.weight"].format.bits == 4
    Relations(plan).check()


def test_untied_embeddings_share_the_positions_only() -> None:
    model = small_model(TWO, tied=False)
    plan = planned(model, preset("int8"))
    program = lower(model, plan, name="untied")
    weights = {info.name for info in program.manifest.constants if info.role == "weight"}
    tables = {"encoder.embedding.weight", "decoder.embedding.weight", "generator.logits.weight"}
    assert weights >= tables | {"positions.weight"}


def test_one_scale_for_a_whole_table() -> None:
    model = small_model(TWO)
    scheme = Scheme(name="x", rules=[Rule(pattern="*.weight", granularity="per_tensor")])
    plan = planned(model, scheme)
    assert all(len(weight.scale) == 1 for weight in plan.weights.values())
    with torch.no_grad():
        codes = teacher_forced(model, StrictArithmetic(model, plan), random_batch(VOCABULARY)).codes
    assert codes.shape[-1] == 50


def test_a_shared_table_stays_shared_under_every_target() -> None:
    for target in TARGETS:
        plan = plan_of(target)
        assert {constants.table for constants in (*plan.embed.values(), *plan.logits.values())} == {
            "encoder.embedding.weight"
        }, target
