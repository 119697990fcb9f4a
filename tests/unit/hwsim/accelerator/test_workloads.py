"""Workloads from shapes alone, against closed forms and the literature."""

import time
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator.events import Operand
from hwsim.accelerator.layers import Layer, Part, Phase, Workload
from hwsim.accelerator.workloads import SCHEMES, WORKLOADS, Widths, workload
from hwsim.accelerator.workloads.bert import Bert
from hwsim.accelerator.workloads.encoder_decoder import EncoderDecoder
from hwsim.accelerator.workloads.gpt2 import Gpt2
from hwsim.accelerator.workloads.sizes import Shape, build
from tests.unit.hwsim.accelerator.workload_sums import Kind, macs, summed, times


def weights(phase: Phase) -> int:
    """Parameters of the matrices that the products of a phase read."""
    products = {layer.name: layer.product for layer in phase.layers if layer.product}
    return sum(p.k * p.n for p in products.values() if p.b is Operand.WEIGHT)


def of(name: str, **changes) -> Workload:
    return workload(name, **changes)


# --- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "d", "f"), [("transformer-base", 512, 2048), ("transformer-big", 1024, 4096)])
def test_transformer_macs(name: str, d: int, f: int) -> None:
    """Encoder: S(4d^2 + 2df) + 2 S^2 d a block, and keys and values for the 6 decoder blocks."""
    s, t, v = 20, 17, 37000
    encode, decode = of(name, target_length=t).phases
    assert macs(encode) == 6 * (s * (4 * d * d + 2 * d * f) + 2 * s * s * d) + 6 * 2 * s * d * d
    keys = t * (t + 1) // 2
    assert macs(decode) == 6 * (t * (6 * d * d + 2 * d * f) + 2 * d * (keys + t * s)) + t * d * v
    assert (encode.tokens, decode.tokens) == (s, t)


def test_transformer_base_has_63_million_parameters_in_matrices() -> None:
    """Table 3 of Vaswani et al. says 65 million, with LayerNorms, biases and a rounded vocabulary; tied embedding."""
    encode, decode = of("transformer-base").phases
    blocks = 6 * (4 * 512**2 + 2 * 512 * 2048) + 6 * (8 * 512**2 + 2 * 512 * 2048)
    assert weights(encode) + weights(decode) == blocks + 512 * 37000 == 62_984_192


def test_bert_base_is_22_3_gop() -> None:
    """Two operations a MAC, S = 128: products of blocks alone, without embedding and head."""
    (forward,) = of("bert-base").phases
    d, f, s = 768, 3072, 128
    assert macs(forward) == 12 * (s * (4 * d * d + 2 * d * f) + 2 * s * s * d) == 11_173_625_856
    assert 2 * macs(forward) == pytest.approx(22.3e9, rel=0.003)
    assert weights(forward) == 12 * (4 * d * d + 2 * d * f) == 84_934_656


def test_bert_large_has_302_million_parameters_in_blocks() -> None:
    (forward,) = of("bert-large").phases
    assert weights(forward) == 24 * 12 * 1024**2 == 301_989_888


def test_a_bert_with_labels_has_a_head() -> None:
    model = msgspec.structs.replace(WORKLOADS["bert-base"], labels=3)
    (plain,), (headed,) = of("bert-base", batch=2).phases, build("x", model, "int8", {"batch": 2}).phases
    assert [layer.name for layer in headed.layers[-2:]] == ["pooler.output", "classifier.logits"]
    assert macs(headed) - macs(plain) == 2 * (768 * 768 + 768 * 3)
    assert headed.layers[-1].product.column_bytes == 7


def test_mobilebert_is_5_34_gop_in_blocks() -> None:
    """Per token and block: two bottlenecks in, one out, queries and keys narrow, values wide, 4 feed-forwards."""
    (forward,) = of("mobilebert").phases
    s = 128
    token = 2 * 512 * 128 + 2 * 128 * 128 + 512 * 128 + 128 * 128 + 4 * 2 * 128 * 512 + 128 * 512
    blocks = 24 * (s * token + 2 * s * s * 128)
    assert macs(forward) == blocks + s * 384 * 512
    assert 2 * blocks == pytest.approx(5.34e9, rel=0.001)


def test_gpt2_macs() -> None:
    """Prefill at S = 128, logits of the last token alone; then 32 steps that see 129 to 160 keys."""
    prefill, decode = of("gpt2-small").phases
    d, s, t, v = 768, 128, 32, 50257
    assert macs(prefill) == 12 * (s * 12 * d * d + 2 * s * s * d) + d * v
    assert macs(decode) == t * (12 * 12 * d * d + d * v) + 12 * 2 * d * sum(range(s + 1, s + t + 1))
    assert (prefill.tokens, decode.tokens) == (128, 32)
    assert weights(decode) == 84_934_656 + d * v


# --- decoding -----------------------------------------------------------------------------------------------------


def row(n: int, bits: int) -> int:
    return (n * bits + 7) // 8


def cache_traffic(phase: Phase) -> tuple[Counter[str], Counter[str]]:
    """Bytes read from and appended to caches by attention, rows of d_head packed."""
    read: Counter[str] = Counter()
    appended: Counter[str] = Counter()
    for layer in phase.layers:
        p, kind = layer.product, layer.name.split(".")[-2]
        if p is not None and p.b is Operand.KV_CACHE:
            along, across = (p.n, p.k) if layer.part is Part.SCORES else (p.k, p.n)
            assert p.fresh_along == ("n" if layer.part is Part.SCORES else "k")
            read[kind] += p.count * (along - p.fresh) * row(across, p.b_bits)
        elif p is not None and p.output is Operand.KV_CACHE:
            appended[kind] += p.m * row(p.n, p.output_bits)
    return read, appended


@pytest.mark.parametrize("scheme", ["int8", "int6"])
@pytest.mark.parametrize(("batch", "beam", "context"), [(1, 1, 0), (3, 2, 5)])
def test_cache_traffic_is_that_of_section_8(scheme: str, batch: int, beam: int, context: int) -> None:
    s, t, b = 9, 4, SCHEMES[scheme].activation
    phases = workload(
        "tiny11", scheme, batch=batch, beam=beam, context=context, source_length=s, target_length=t
    ).phases
    read, appended = cache_traffic(phases[1])
    rows, old = batch * beam, sum(range(context, context + t))
    assert read == {
        "self_attention": 2 * 3 * 4 * row(64, b) * old * rows,
        "cross_attention": 2 * 3 * 4 * row(64, b) * s * t * rows,
    }
    assert appended == {"self_attention": 2 * 3 * 4 * row(64, b) * t * rows}
    assert cache_traffic(phases[0])[1] == {"cross_attention": 2 * 3 * 4 * row(64, b) * s * batch}


def test_groups_of_queries_share_keys() -> None:
    plain = Gpt2(layers=1, d_model=32, n_heads=8, d_ff=64, vocabulary=100)
    grouped = msgspec.structs.replace(plain, n_kv_heads=2)
    sizes = {"source_length": 6, "target_length": 3}
    many, few = (build("x", model, "int8", sizes).phases for model in (plain, grouped))
    for a, b in zip(many, few, strict=True):
        assert {k: v // 4 for k, v in cache_traffic(a)[0].items()} == cache_traffic(b)[0]
        products = [[layer.product for layer in phase.layers if layer.part is Part.SCORES] for phase in (a, b)]
        assert [(p.count // 4, 4 * p.m, p.k, p.n) for p in products[0]] == [
            (p.count, p.m, p.k, p.n) for p in products[1]
        ]


# --- names, parts, laws -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORKLOADS)
def test_sites_are_unique_in_a_step_and_attention_is_whole(name: str) -> None:
    made = workload(name)
    for phase in made.phases:
        sites = list(dict.fromkeys(layer.name for layer in phase.layers))
        steps = len(phase.layers) // len(sites)
        assert steps == (int(made.target.split()[0]) if phase.name == "decode" else 1)
        assert [layer.name for layer in phase.layers] == steps * sites
        assert all(layer.repeat == 1 for layer in phase.layers)
        parts = [layer for layer in phase.layers if layer.part is not Part.NONE]
        for three in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            stem = three[0].name.removesuffix(".scores")
            assert [x.part for x in three] == [Part.SCORES, Part.SOFTMAX, Part.CONTEXT]
            assert [x.name for x in three] == [f"{stem}.scores", f"{stem}.softmax.output", f"{stem}.context"]
            at = phase.layers.index(three[0])
            assert phase.layers[at : at + 3] == three
            scores, softmax, context = three
            assert softmax.rows.inputs[0].elements == scores.product.n == context.product.k
            assert softmax.rows.rows == scores.product.count * scores.product.m


def test_two_operands_have_their_passes() -> None:
    """Bias and requantize; one more for ReLU or table, and for the residual sum; scores have the shift instead."""
    (encode, _) = of("transformer-base").phases
    passes = {layer.name: layer.vectors.passes for layer in encode.layers if layer.name.startswith("encoder.0")}
    assert passes == {
        "encoder.0.self_attention.key": 2,
        "encoder.0.self_attention.value": 2,
        "encoder.0.self_attention.query": 2,
        "encoder.0.self_attention.scores": 2,
        "encoder.0.self_attention.softmax.output": 3,
        "encoder.0.self_attention.context": 1,
        "encoder.0.self_attention.output": 3,
        "encoder.0.self_attention.layernorm.output": 3,
        "encoder.0.feed_forward.hidden": 3,
        "encoder.0.feed_forward.output": 3,
        "encoder.0.feed_forward.layernorm.output": 3,
    }


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(WORKLOADS)), st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(2, 3))
def test_batch_and_beam_multiply(name: str, batch: int, source: int, target: int, factor: int) -> None:
    """So many times the sentences, so many times every term of every phase; hypotheses multiply decoding alone."""
    decodes = "beam" in WORKLOADS[name].DEFAULTS
    sizes = {"batch": batch, "source_length": source} | ({"target_length": target} if decodes else {})
    one, many = workload(name, **sizes), workload(name, **sizes | {"batch": factor * batch})
    for a, b in zip(one.phases, many.phases, strict=True):
        assert times(summed(a.layers), factor) == summed(b.layers)
        assert factor * a.tokens == b.tokens
    if decodes:
        wide = workload(name, **sizes, beam=factor)
        assert times(summed(one.phases[1].layers), factor) == summed(wide.phases[1].layers)
        assert wide.phases[0] == one.phases[0]
        assert wide.phases[1].tokens == one.phases[1].tokens


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(1, 4))
def test_twice_the_blocks_are_twice_the_work(layers: int, heads: int, source: int, target: int) -> None:
    """Between a model of n blocks and one of 2n lies what is outside the blocks: the same as below n."""
    shape = {"d_model": 8 * heads, "n_heads": heads, "d_ff": 24}

    def phases(n: int) -> list[tuple[int, Counter[Kind]]]:
        models = (
            EncoderDecoder(**shape, encoder_layers=n, decoder_layers=n, vocabulary=50),
            Bert(**shape, layers=n),
            Gpt2(**shape, layers=n, vocabulary=50),
        )
        found = []
        for model in models:
            sizes = {"source_length": source} | ({"target_length": target} if "beam" in model.DEFAULTS else {})
            found += [(macs(p), summed(p.layers)) for p in build("x", model, "int8", sizes).phases]
        return found

    for (m1, t1), (m2, t2), (m4, t4) in zip(phases(layers), phases(2 * layers), phases(4 * layers), strict=True):
        assert m4 - m2 == 2 * (m2 - m1)
        assert t4 - t2 == times(t2 - t1, 2)


def made_by(layer: Layer) -> tuple[int, int]:
    """Width and row length of what a layer writes."""
    if layer.product is not None:
        return layer.product.output_bits, layer.product.n
    assert layer.rows is not None
    return layer.rows.outputs[0].bits, layer.rows.outputs[0].elements


@pytest.mark.parametrize("name", WORKLOADS)
def test_norms_read_what_the_layer_before_wrote(name: str) -> None:
    for phase in workload(name, "int4").phases:
        for before, norm in zip(phase.layers, phase.layers[1:], strict=False):
            if norm.operation in ("layernorm", "nonorm"):
                assert made_by(before) == (norm.rows.inputs[0].bits, norm.rows.inputs[0].elements), norm.name


def test_sums_are_wide_and_prefill_ends_with_one_token() -> None:
    prefill, _ = of("gpt2-small", batch=3).phases
    assert (prefill.layers[-2].rows.rows, prefill.layers[-1].product.m) == (3, 3)
    for name, count in (("bert-base", 24), ("mobilebert", 24 * 6 + 1)):
        (forward,) = of(name).phases
        sums = [layer.product for layer in forward.layers if layer.product and layer.product.residual_bits]
        assert (len(sums), {p.output_bits for p in sums}) == (count, {16})
    assert {layer.rows.outputs[0].bits for layer in of("bert-base").phases[0].layers[:1]} == {16}


def test_widths_reach_every_layer() -> None:
    for layer in of("transformer-base", scheme="w4a8").phases[1].layers:
        if (p := layer.product) is not None:
            assert p.a_bits == 8
            assert p.b_bits == (4 if p.b is Operand.WEIGHT else 8)
            summing = layer.name.endswith(("attention.output", "feed_forward.output"))
            assert p.output_bits == (32 if "logits" in layer.name else 16 if summing else 8)
            assert p.residual_bits == (8 if summing else 0)
    sums = [
        x.product for x in of("gpt2-small", target_length=1).phases[1].layers if x.product and x.product.residual_bits
    ]
    assert {(p.residual_bits, p.output_bits) for p in sums} == {(16, 16)}


# --- names and sizes in words, faults, speed ----------------------------------------------------------------------


def test_sizes_in_words() -> None:
    made = of("transformer-base", batch=2, beam=4)
    assert (made.name, made.scheme, made.batch, made.sentences) == ("transformer-base", "int8", 2, 2)
    assert (made.source, made.target) == ("20", "20, beam 4")
    assert of("gpt2-small", source_length=64).target == "32 at context 64"
    assert of("gpt2-small", context=0).phases[1].layers[5].product.n == 1
    assert (of("bert-base").source, of("bert-base").target) == ("128", "")
    assert of("bert-base", scheme=Widths(weight=2)).scheme == "w2a8"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("bert-bas", {}, "unknown workload 'bert-bas'; did you mean bert-base?"),
        ("bert-base", {"scheme": "int9"}, "unknown scheme 'int9'; known: int8, int6, int4, w4a8"),
        ("bert-base", {"target_length": 3}, "bert-base has no size target_length; it has batch, source_length"),
        ("bert-base", {"source_length": 513}, "bert-base has 512 positions; a length of 513"),
        ("gpt2-small", {"context": 1000}, "gpt2-small has 1024 positions; a length of 1032"),
        ("transformer-base", {"batch": 0}, "batch is 0; allowed are 1 to 65536"),
        ("transformer-base", {"target_length": 5000}, "target_length is 5000; allowed are 1 to 4096"),
        ("transformer-base", {"beam": -1}, "beam is -1"),
    ],
)
def test_faults(name: str, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        workload(name, **changes)
    assert str(caught.value).startswith(message)


def test_impossible_shapes_and_widths() -> None:
    for make, message in (
        (lambda: Widths(weight=1), "widths.weight is 1; allowed are 2 to 16"),
        (lambda: Widths(accumulator=64), "widths.accumulator is 64; allowed are 8 to 63"),
        (lambda: Shape(d_model=10, n_heads=3, d_ff=4), "n_heads is 3; without d_head it must divide d_model, 10"),
        (lambda: Shape(d_model=12, n_heads=6, d_ff=4, n_kv_heads=4), "n_kv_heads is 4; it must divide n_heads, 6"),
        (lambda: Bert(d_model=8, n_heads=1, d_ff=4, layers=2000), "layers is 2000; allowed are 1 to 1024"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    deep = Gpt2(d_model=8, n_heads=1, d_ff=8, layers=1000, vocabulary=9)
    with pytest.raises(ValueError, match="layers of a decode phase is 5633536; allowed are 1 to 1048576"):
        build("deep", deep, "int8", {"target_length": 512})


def test_building_is_fast() -> None:
    """Limits are a hundred times what it takes: what decode steps have in common is shared."""
    for name, limit in (("bert-base", 0.05), ("transformer-big", 0.3)):
        start = time.process_time()
        made = workload(name)
        assert time.process_time() - start < limit
    decode = made.phases[1].layers
    assert decode[0] is decode[len(decode) // 20]
