"""Attention, caches and sentences of a lowered program as layers; the shipped model by closed forms."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.workload import Model, calibrate_model, calibration_text, configure, load_model
from hwsim.accelerator.events import Component
from hwsim.accelerator.layers import Part, Phase, Product
from hwsim.accelerator.lowered import function_layers, program_workload
from hwsim.accelerator.zeros import SiteZeros, ZeroCounts
from hwsim.program import Program
from hwsim.program.operations import MatMul
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import preset
from tests.unit.hwsim.accelerator.lowered_programs import (
    CACHE,
    ENCODE,
    STEP,
    E,
    H,
    cache_bytes,
    macs,
    named,
    native,
    terms,
)

# --- attention and caches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [1, 2, 7])
@pytest.mark.parametrize("target", ["fullyqt", "tflm"])
def test_cache_traffic_of_a_step(target: str, t: int) -> None:
    """Section 8, of one decoder layer."""
    layers = function_layers(native(target), "decode_step", STEP | {"past": t - 1})
    assert cache_bytes(layers) == (2 * H * E * (t - 1), 2 * H * E * STEP["source"], 2 * H * E)


def test_scores_and_context_of_a_step() -> None:
    found = named(function_layers(native(), "decode_step", STEP))
    scores, context = (found[f"decoder.0.self_attention.{name}"].product for name in ("scores", "context"))
    widths = {"a_bits": 8, "b_bits": 8, "output_bits": 8, "b": CACHE, "fresh": 1}
    assert scores == Product(count=H, m=1, k=E, n=4, fresh_along="n", **widths)
    assert context == Product(count=H, m=1, k=4, n=E, fresh_along="k", **widths)
    cross = found["decoder.0.cross_attention.scores"].product
    assert cross == Product(count=H, m=1, k=E, n=5, a_bits=8, b_bits=8, output_bits=8, b=CACHE)


@pytest.mark.parametrize("target", TARGETS)
def test_the_three_of_an_attention_follow_each_other(target: str) -> None:
    lengths = [(5, 4), (3, 7), (5, 2)]
    for phase in program_workload(native(target), lengths).phases:
        parts = [(place, layer) for place, layer in enumerate(phase.layers) if layer.part is not Part.NONE]
        assert len(parts) % 3 == 0 and parts
        for scores, softmax, context in zip(*(parts[i::3] for i in range(3)), strict=True):
            assert [layer.part for _, layer in (scores, softmax, context)] == [Part.SCORES, Part.SOFTMAX, Part.CONTEXT]
            assert (softmax[0], context[0]) == (scores[0] + 1, scores[0] + 2)
            assert len({layer.name.split("_attention.")[0] for _, layer in (scores, softmax, context)}) == 1
            a, b = scores[1].product, context[1].product
            assert a is not None and b is not None
            assert (a.count, a.m, a.n) == (b.count, b.m, b.k)


# --- sentences --------------------------------------------------------------------------------------------------------


def totals(phase: Phase) -> tuple[Counter[str], Counter[tuple[Component, int, int]]]:
    """Runs of each site, and datapath operations of all."""
    runs: Counter[str] = Counter()
    found: Counter[tuple[Component, int, int]] = Counter()
    for layer in phase.layers:
        runs[layer.name] += layer.repeat
        for kind, count in terms(layer.terms).items():
            found[kind] += layer.repeat * count
    return runs, found


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=4))
def test_a_workload_is_the_sum_of_its_calls(lengths: list[tuple[int, int]]) -> None:
    program = native()
    encode, decode = program_workload(program, lengths).phases
    calls = {"encode": [ENCODE | {"source": source} for source, _ in lengths]}
    calls["decode_step"] = [
        STEP | {"source": source, "past": past} for source, target in lengths for past in range(target)
    ]
    for function, phase in (("encode", encode), ("decode_step", decode)):
        layers = [layer for sizes in calls[function] for layer in function_layers(program, function, sizes)]
        runs, found = totals(phase)
        assert runs == Counter(layer.name for layer in layers)
        assert found == terms(term for layer in layers for term in layer.terms)
        seen = [(layer.name, layer.product, layer.rows) for layer in phase.layers]
        assert len(set(seen)) == len(seen)


def test_what_a_workload_says_of_itself() -> None:
    found = program_workload(native(), [(5, 4), (3, 7)])
    assert (found.name, found.scheme, found.batch, found.sentences) == ("tiny", "fullyqt", 1, 2)
    assert (found.source, found.target) == ("3 to 5 tokens", "4 to 7 tokens")
    assert [(phase.name, phase.tokens) for phase in found.phases] == [("encode", 8), ("decode", 11)]
    one = program_workload(native(), [(1, 2)])
    assert (one.source, one.target) == ("1 token", "2 tokens")


def test_the_order_of_sentences_does_not_matter() -> None:
    lengths = [(5, 4), (3, 7), (5, 2), (9, 7)]
    assert program_workload(native(), lengths) == program_workload(native(), iter(lengths[::-1]))


def test_layers_of_one_size_are_there_once() -> None:
    layers = program_workload(native(), [(5, 4), (3, 7)]).phases[1].layers
    assert [layer.repeat for layer in layers if layer.name == "decoder.0.feed_forward.hidden"] == [11]
    own = [(layer.product.n, layer.repeat) for layer in layers if layer.name == "decoder.0.self_attention.scores"]
    assert own == [(1, 2), (2, 2), (3, 2), (4, 2), (5, 1), (6, 1), (7, 1)]
    cross = [(layer.product.n, layer.repeat) for layer in layers if layer.name == "decoder.0.cross_attention.scores"]
    assert cross == [(3, 7), (5, 4)]


def test_zero_macs_go_to_layers_at_the_rate_of_the_run() -> None:
    program = native()
    sites = {op.output: SiteZeros(macs=4, macs_zero=1) for _, op in program.operations() if isinstance(op, MatMul)}
    for phase in program_workload(program, [(5, 4)], ZeroCounts(sites=sites)).phases:
        for layer in phase.layers:
            exact = layer.product.macs / 4 if layer.product else 0
            assert abs(layer.macs_zero - exact) <= 0.5
    del sites["generator.logits.accumulator"]
    with pytest.raises(ValueError, match=r"no zeros were counted of 'generator\.logits\.accumulator'"):
        program_workload(program, [(5, 4)], ZeroCounts(sites=sites))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([], "no sentences; at least one"),
        ([(0, 3)], "a source length of 0 tokens; allowed are 1 to 12"),
        ([(3, 4), (13, 3)], "a source length of 13 tokens; allowed are 1 to 12"),
        ([(3, 0)], "a target length of 0 tokens; allowed are 1 to 12"),
        ([(3, 13)], "a target length of 13 tokens; allowed are 1 to 12"),
    ],
)
def test_lengths_that_cannot_be(lengths: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        program_workload(native(), lengths)


@pytest.mark.parametrize(
    ("function", "sizes", "message"),
    [
        ("decode", STEP, "unknown function 'decode'; the program has encode, decode_step"),
        ("encode", {"batch": 1}, r"missing sizes \['source'\]"),
        ("encode", ENCODE | {"sauce": 1}, r"unknown sizes \['sauce'\]"),
        ("encode", ENCODE | {"source": 0}, "size source is 0; allowed are 1 to 12"),
        ("encode", ENCODE | {"source": 13}, "size source is 13; allowed are 1 to 12"),
        ("decode_step", STEP | {"past": 12}, "size past is 12; allowed are 0 to 11"),
    ],
)
def test_sizes_that_cannot_be(function: str, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function_layers(native(), function, sizes)


# --- the shipped model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> tuple[Model, Program]:
    model = load_model()
    ranges = calibrate_model(model, calibration_text().head(8))
    return model, configure(model, preset("int8"), ranges).program


def test_the_shipped_model_by_closed_form(shipped: tuple[Model, Program]) -> None:
    """MACs, datapath and cache bytes of 1,000 sentences, in few layers."""
    model, program = shipped
    c = model.network.config
    inner, layers = c.n_heads * c.d_head, c.decoder_layers
    lengths = [(3 + i % 50, 3 + i % 37) for i in range(1000)]
    encode, decode = program_workload(program, lengths).phases
    sizes = {source for source, _ in lengths}
    assert len(encode.layers) == len(sizes) * (1 + 11 * c.encoder_layers + 2 * layers)
    steps = max(target for _, target in lengths)
    assert len(decode.layers) == 2 + layers * (11 + 3 * steps + 3 * len(sizes))
    wanted = sum(
        c.encoder_layers * (4 * s * c.d_model * inner + 2 * s * s * inner + 2 * s * c.d_model * c.d_ff)
        + layers * 2 * s * c.d_model * inner
        for s, _ in lengths
    )
    assert macs(encode.layers) == wanted
    step = layers * (6 * c.d_model * inner + 2 * c.d_model * c.d_ff) + c.d_model * c.vocabulary_size
    wanted = sum(t * (step + 2 * layers * inner * s) + layers * inner * t * (t + 1) for s, t in lengths)
    assert macs(decode.layers) == wanted
    own, cross, _ = cache_bytes(decode.layers)
    assert own == sum(layers * inner * t * (t - 1) for _, t in lengths)
    assert cross == sum(2 * layers * inner * s * t for s, t in lengths)
