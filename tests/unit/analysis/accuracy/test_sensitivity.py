"""Sensitivity: which sites a target has, what a variant changes, and what comes out for a small random model."""

import math
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from analysis.accuracy import sensitivity as subject
from analysis.accuracy.accuracy import FloatPass, float_passes, measure
from analysis.accuracy.bleu import bleu
from analysis.accuracy.sensitivity import (
    BITS,
    KINDS,
    Row,
    Target,
    add_bleu,
    count_schemes,
    layer_of,
    passes_by_length,
    sensitivity,
    targets,
    variant,
)
from analysis.translation.steppers import MachineStepper
from analysis.workload import Model, calibrate_model
from hwsim.machine import Machine
from hwsim.program.targets import TARGETS as ACCELERATORS
from reference.data import ParallelText
from reference.decoding import greedy, length_limit
from reference.lower import lower
from reference.quantize.calibrate import Range
from reference.quantize.graph import trace
from reference.quantize.plan import make_plan
from reference.quantize.scheme import preset
from reference.quantize.sites import GROUPS, Site, enumerate_sites
from reference.tokenizer import PAD, Tokenizer
from reference.train import Batch
from tests.small.models import LEARNING, small_model


@pytest.fixture(scope="module")
def model(vocabulary: Path) -> Model:
    network = small_model(LEARNING, seed=3, decoder_layers=2, max_positions=48)
    return Model(folder=vocabulary.parent, network=network, tokenizer=Tokenizer(vocabulary))


@pytest.fixture(scope="module")
def ranges(model: Model, small_text: ParallelText) -> dict[str, Range]:
    return calibrate_model(model, small_text)


@pytest.fixture(scope="module")
def sites(model: Model) -> dict[str, Site]:
    return enumerate_sites(trace(model.network))


@pytest.fixture(scope="module")
def passes(model: Model, small_text: ParallelText) -> list[FloatPass]:
    """The labels are what the random model likes best, so that whatever disturbs it costs loss."""
    batches = []
    for one in passes_by_length(model, small_text.head(24)):
        best = one.logits[..., PAD + 1 :].argmax(-1) + PAD + 1
        labels = torch.where(one.batch.labels == PAD, PAD, best)
        batches.append(Batch(source=one.batch.source, target=one.batch.target, labels=labels))
    return list(float_passes(model.network, batches))


@pytest.fixture(scope="module")
def group_rows(model: Model, ranges: dict[str, Range], passes: list[FloatPass]) -> list[Row]:
    return sensitivity(model, ranges, passes, ("group",))


def attention_sites(name: str) -> set[str]:
    parts = "key value query scores context output key.weight value.weight query.weight output.weight"
    return {f"{name}.{part}" for part in parts.split()}


def softmax_sites(name: str) -> set[str]:
    return {f"{name}.softmax.{part}" for part in ("numerator", "denominator", "output")}


def layernorm_sites(name: str) -> set[str]:
    return {f"{name}.layernorm.{part}" for part in ("numerator", "denominator", "quotient", "output", "gamma")}


def feed_forward_sites(name: str) -> set[str]:
    return {f"{name}.{part}" for part in ("hidden", "output", "hidden.weight", "output.weight")}


ATTENTIONS = ["encoder.0.self_attention"] + [
    f"decoder.{i}.{kind}_attention" for i in (0, 1) for kind in ("self", "cross")
]
FEED_FORWARDS = [f"{layer}.feed_forward" for layer in ("encoder.0", "decoder.0", "decoder.1")]
EMBEDDING = {
    *("encoder.embedding", "encoder.embedding.weight", "positions.weight"),
    *("decoder.embedding", "decoder.embedding.weight"),
}
BY_GROUP = {
    "feed_forward": set().union(*map(feed_forward_sites, FEED_FORWARDS)),
    "attention": set().union(*map(attention_sites, ATTENTIONS)),
    "embedding": EMBEDDING,
    "generator": {"generator.logits.weight"},
    "layernorm": set().union(*map(layernorm_sites, ATTENTIONS + FEED_FORWARDS)),
    "softmax": set().union(*map(softmax_sites, ATTENTIONS)),
}


def test_groups_and_their_sites(sites):
    found = targets(sites, ["group"])
    assert [target.name for target in found] == list(GROUPS)
    assert {target.name: set(target.sites) for target in found} == BY_GROUP
    assert all(len(target.sites) == len(set(target.sites)) for target in found)


def test_layers_and_their_sites(sites):
    found = targets(sites, ["layer"])
    assert [target.name for target in found] == ["encoder.0", "decoder.0", "decoder.1", "embedding", "generator"]
    layers = {target.name: set(target.sites) for target in found}
    assert layers["embedding"] == EMBEDDING
    assert layers["generator"] == {"generator.logits.weight"}
    everything = set().union(*BY_GROUP.values())
    for name in ("encoder.0", "decoder.0", "decoder.1"):
        assert layers[name] == {site for site in everything if site.startswith(f"{name}.")}
    assert len(layers["encoder.0"]) == 10 + 3 + 5 + 4 + 5
    assert len(layers["decoder.1"]) == 2 * (10 + 3 + 5) + 4 + 5
    assert set().union(*layers.values()) == everything


def test_each_site_is_a_target_but_the_logits(sites):
    found = targets(sites, ["site"])
    assert [target.name for target in found] == [name for name in sites if name != "generator.logits"]
    assert all(target.sites == (target.name,) for target in found)
    residuals = {f"{block}.residual" for block in ATTENTIONS + FEED_FORWARDS}
    assert {target.name for target in found} == set().union(*BY_GROUP.values()) | residuals


def test_kinds_come_in_one_order_and_an_unknown_one_is_refused(sites):
    order = [target.kind for target in targets(sites, ["site", "group", "layer"])]
    assert order == sorted(order, key=KINDS.index)
    assert targets(sites) == targets(sites, KINDS)
    with pytest.raises(ValueError, match=r"unknown kind of target 'block'; known: group, layer, site"):
        targets(sites, ["group", "block"])


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8, 16])
def test_a_variant_changes_the_bits_of_its_sites_and_nothing_else(sites, bits):
    plain = preset("int8").resolve(sites)
    for target in targets(sites):
        if bits > 12 and any(site.endswith(".scores") for site in target.sites):
            continue
        settled = variant(target, bits).resolve(sites)
        for site, settings in settled.items():
            want = msgspec.structs.replace(plain[site], bits=bits) if site in target.sites else plain[site]
            assert settings == want, (target.name, site)
        assert settled["generator.logits"].bits == 32
        if target.name != "encoder.0.feed_forward.residual":
            assert settled["encoder.0.feed_forward.residual"].bits == 16


def test_at_8_bits_every_variant_is_int8_except_a_residual_sum(sites):
    plain = preset("int8").resolve(sites)
    different = [target.name for target in targets(sites) if variant(target, 8).resolve(sites) != plain]
    assert different == [name for name in sites if name.endswith(".residual")]


def test_impossible_widths_are_refused(sites):
    (target,) = [target for target in targets(sites, ["site"]) if target.name == "encoder.0.self_attention.scores"]
    for bits in (1, 17):
        with pytest.raises(ValueError, match=f"encoder.0.self_attention.scores at {bits} bits; allowed are 2 to 16"):
            variant(target, bits)
    with pytest.raises(ValueError, match=r"scores of 13 bits .* allowed are 2 to 12"):
        variant(target, 13).resolve(sites)


@pytest.mark.parametrize("name", ACCELERATORS)
def test_targets_of_an_accelerator_are_its_own_sites_at_the_baseline_s_width(model, name):
    accelerator = ACCELERATORS[name]
    own = enumerate_sites(trace(model.network), accelerator)
    plain = preset("int8", name).resolve(own)
    found = targets(own, accelerator=name)
    single = {site for target in found if target.kind == "site" for site in target.sites}
    together = {site for target in found if target.kind != "site" for site in target.sites}
    assert single == {site for site in own if site != "generator.logits" and not plain[site].narrow}
    assert together == {site for site in single if plain[site].bits == 8}
    gammas = {site for site in own if site.endswith(".gamma")}
    signs, eight = accelerator.layernorm == "ibert", accelerator.layernorm in ("fullyqt", "gemmini")
    assert gammas.isdisjoint(single) == signs and (gammas <= together) == eight
    assert ("encoder.0.feed_forward.residual" in together) == (accelerator.residual_bits == 8)
    for target in found:
        assert variant(target, 8, name).resolve(own) == plain or target.kind == "site"
        variant(target, 3, name).resolve(own)


@pytest.mark.parametrize("name", ["tflm", "ita", "pulp", "gemmini", "ibert", "nvdla"])
def test_every_accelerator_has_rows_or_no_constants(model, ranges, passes, name, monkeypatch):
    steps = []
    rows = sensitivity(model, ranges, passes[:1], ("group",), (8, 3), lambda: steps.append(1), name)
    assert len(steps) == count_schemes(model, ("group",), (8, 3), name)
    assert {row.accelerator for row in rows} == {name}
    assert {row.name for row in rows if row.bits == 8} == set(GROUPS)
    assert all(math.isfinite(row.loss_increase) for row in rows)
    monkeypatch.setattr(subject, "make_plan", refuse_three_bits)
    kept = sensitivity(model, ranges, passes[:1], ("group",), (8, 3), accelerator=name)
    assert [row.bits for row in kept] == [8] * len(GROUPS)


def refuse_three_bits(network, scheme, ranges):
    if any(rule.bits == 3 for rule in scheme.rules):
        raise ValueError("no constants")
    return make_plan(network, scheme, ranges)


def test_ranges_of_another_model_are_refused(model, passes):
    with pytest.raises(ValueError, match="not seen in calibration"):
        sensitivity(model, {}, passes, ("group",))


def test_bleu_is_measured_under_the_row_s_accelerator(model, ranges, small_text):
    row = Row(kind="group", name="softmax", bits=4, loss_increase=0.0, sqnr_db=0.0)
    ita = replace(row, accelerator="ita")
    text = small_text.head(3)
    scored = add_bleu([row, ita], model, ranges, text)
    assert [replace(one, bleu=None) for one in scored] == [row, ita]
    assert scored[1] == add_bleu([ita], model, ranges, text)[0]


def test_rows_are_sorted_and_the_8_bit_ones_are_the_baseline(group_rows, model, ranges, passes):
    assert [(row.name, row.bits) for row in group_rows] == [(group, bits) for group in GROUPS for bits in BITS]
    assert all(row.kind == "group" and row.bleu is None for row in group_rows)
    plain = measure(model.network, make_plan(model.network, preset("int8"), ranges), passes)
    for row in group_rows:
        if row.bits == 8:
            assert (row.loss_increase, row.sqnr_db) == (plain.loss_increase, plain.sites["generator.logits"].sqnr_db)
        assert math.isfinite(row.loss_increase) and math.isfinite(row.sqnr_db)


def test_a_row_is_what_its_variant_measures(group_rows, sites, model, ranges, passes):
    (target,) = [target for target in targets(sites, ["group"]) if target.name == "attention"]
    want = measure(model.network, make_plan(model.network, variant(target, 4), ranges), passes)
    (row,) = [row for row in group_rows if (row.name, row.bits) == ("attention", 4)]
    assert (row.loss_increase, row.sqnr_db) == (want.loss_increase, want.sites["generator.logits"].sqnr_db)


def test_fewer_bits_cost_more(group_rows, sites, model, ranges, passes):
    for group in GROUPS:
        sqnr = {row.bits: row.sqnr_db for row in group_rows if row.name == group}
        assert sqnr[8] > sqnr[4] > sqnr[3]
    everything = Target(kind="layer", name="all", sites=tuple(set().union(*BY_GROUP.values())))
    at = {
        bits: measure(model.network, make_plan(model.network, variant(everything, bits), ranges), passes)
        for bits in (8, 3)
    }
    assert at[3].loss_increase > 10 * abs(at[8].loss_increase)


def test_equal_schemes_are_measured_once(monkeypatch, model, ranges, passes):
    calls, steps = [], []
    monkeypatch.setattr(subject, "measure", lambda *args: calls.append(args[1].scheme.name) or measure(*args))
    rows = sensitivity(model, ranges, passes[:1], ("layer",), (4, 8, 8), advance=lambda: steps.append(1))
    assert [row.bits for row in rows] == [8, 4] * 5
    assert len(calls) == len(steps) == count_schemes(model, ("layer",), (4, 8, 8)) == 1 + 5
    residuals = len(ATTENTIONS + FEED_FORWARDS)
    n_sites = len(set().union(*BY_GROUP.values())) + residuals
    assert count_schemes(model, ("site",)) == 1 + residuals + 3 * n_sites
    assert count_schemes(model, ("group", "layer")) == 1 + 3 * (6 + 5 - 2)  # embedding and generator are both


def test_nothing_to_measure_on_is_refused(model, ranges):
    with pytest.raises(ValueError, match="there is none"):
        sensitivity(model, ranges, [], ("group",))


def test_passes_hold_every_sentence_in_batches_of_similar_length(model, small_text):
    made = passes_by_length(model, small_text)
    source = [[i for i in row if i != PAD] for one in made for row in one.batch.source.tolist()]
    target = [[i for i in row if i != PAD] for one in made for row in one.batch.labels.tolist()]
    encode = model.tokenizer.encode
    want = [(encode(s), encode(t)) for s, t in zip(small_text.source, small_text.target, strict=True)]
    assert sorted(zip(source, target, strict=True)) == sorted(want)
    longest = [max(map(len, pair)) for pair in zip(source, target, strict=True)]
    assert longest == sorted(longest)
    in_order = sum(batch.target.numel() for batch in model.batches(small_text, "text"))
    assert len(made) > 1 and sum(one.batch.target.numel() for one in made) < in_order


def test_bleu_is_that_of_the_integer_machine(model, ranges, sites, small_text, monkeypatch):
    text = small_text.head(5)
    rows = [
        Row(kind=target.kind, name=target.name, bits=bits, loss_increase=0.0, sqnr_db=0.0)
        for target in targets(sites, ["group"])[:2]
        for bits in (8, 4)
    ]
    seen, steps = [], []
    monkeypatch.setattr(subject, "bleu", lambda ours, theirs: seen.append(ours) or bleu(ours, theirs))
    scored = add_bleu(rows, model, ranges, text, advance=lambda: steps.append(1))
    assert [replace(row, bleu=None) for row in scored] == rows
    assert len(seen) == len(steps) == 3  # twice int8
    for row, hypotheses in zip([scored[0], scored[1], scored[3]], seen, strict=True):
        (target,) = [target for target in targets(sites, ["group"]) if target.name == row.name]
        plan = make_plan(model.network, variant(target, row.bits), ranges)
        machine = Machine(lower(model.network, plan, name="variant"))
        ids = [model.tokenizer.encode(sentence) for sentence in text.source]
        alone = [greedy(MachineStepper(machine, [one]), [length_limit(len(one), 48)])[0] for one in ids]
        assert hypotheses == [model.tokenizer.decode(one) for one in alone]
        assert row.bleu == bleu(hypotheses, text.target).score
    with pytest.raises(ValueError, match="the model has no group 'gates'"):
        add_bleu([replace(rows[0], name="gates")], model, ranges, text)


def test_layers_by_name():
    names = ("encoder.0.self_attention.key", "decoder.11.feed_forward.hidden.weight", "decoder.embedding")
    assert [layer_of(name) for name in names] == ["encoder.0", "decoder.11", "embedding"]
    assert layer_of("positions.weight") == "embedding"
    assert layer_of("generator.logits.weight") == "generator"
